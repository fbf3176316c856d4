//! How long clients wait for their writes at a node while no slots move, and whether more of them wait for long while some do.
//!
//! What a move costs those who did not ask for it depends on the machine: where processors are quick or idle nobody notices what makes
//! others queue. So sources do not ask how fast the machine is, but how many writes take longer than one in a hundred took before.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Buckets to each doubling of a wait: what is found is right to an eighth.
const BUCKETS_PER_DOUBLING: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: usize = 3;
/// The last one has all above 14 s.
const BUCKETS: usize = 24 * BUCKETS_PER_DOUBLING;
/// After so many calm waits each of them counts half: what was hours ago says nothing of now.
const CALM_MAX: u32 = 4_000;
/// So few say nothing of the slowest of a hundred.
const CALM_MIN: u32 = 500;
/// Slow is what one write in so many, or fewer, waited for.
const SLOW_ONE_IN: u32 = 100;
/// While slots move this part of all writes may be slow, in hundredths. Most of these are hardly slow: measured, the slowest of a hundred
/// takes about twice as long then. With 20 it took as long and the move a third longer, with 45 up to 2.9 times as long.
const SLOW_HUNDREDTHS: u32 = 35;
/// What a wait weighs at first; an eighth less with each tick.
const WEIGHT: u32 = 64;
/// So few waits of late say nothing.
const LATE_MIN: u32 = 16 * WEIGHT;

/// The waits of a node's clients for their writes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Waits(Rc<RefCell<Level>>);

#[derive(Debug)]
struct Level {
    /// How many took how long while nothing moved.
    calm: [u32; BUCKETS],
    calm_count: u32,
    moves: bool,
    /// While slots move: what is slow, if that is known.
    slow_from: Option<Duration>,
    /// What all writes of late weigh, and the slow ones of these.
    all: u32,
    slow: u32,
}

impl Default for Level {
    fn default() -> Self {
        Self { calm: [0; BUCKETS], calm_count: 0, moves: false, slow_from: None, all: 0, slow: 0 }
    }
}

impl Waits {
    /// A write was answered after so long.
    pub fn note(&self, wait: Duration) {
        let mut level = self.0.borrow_mut();
        if level.moves {
            level.all = level.all.saturating_add(WEIGHT);
            if level.slow_from.is_some_and(|slow| wait > slow) {
                level.slow = level.slow.saturating_add(WEIGHT);
            }
            return;
        }
        level.calm[bucket_of(wait)] += 1;
        level.calm_count += 1;
        if level.calm_count >= CALM_MAX {
            level.calm.iter_mut().for_each(|count| *count /= 2);
            level.calm_count = level.calm.iter().sum();
        }
    }

    /// A tick has passed; slots are on the move here, or not. Returns whether too many writes are slow since they are.
    pub fn tick(&self, moves: bool) -> bool {
        let mut level = self.0.borrow_mut();
        if moves != level.moves {
            (level.moves, level.all, level.slow) = (moves, 0, 0);
            level.slow_from = level.slow_when_calm();
        }
        let are_slow = level.all >= LATE_MIN && level.slow > level.all / 100 * SLOW_HUNDREDTHS;
        level.all -= level.all / 8;
        level.slow -= level.slow / 8;
        are_slow
    }
}

impl Level {
    fn slow_when_calm(&self) -> Option<Duration> {
        if self.calm_count < CALM_MIN {
            return None;
        }
        let mut left = self.calm_count / SLOW_ONE_IN;
        let has_it = |bucket: &usize| {
            let count = self.calm[*bucket];
            let has_it = count > left;
            left = left.saturating_sub(count);
            has_it
        };
        (0..BUCKETS).rev().find(has_it).map(longest_in)
    }
}

/// The doubling of a wait in microseconds, and the eighth of it.
fn bucket_of(wait: Duration) -> usize {
    let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(BUCKETS_PER_DOUBLING as u64);
    let doubling = us.ilog2() as usize;
    let eighth = (us >> (doubling - BUCKET_BITS)) as usize % BUCKETS_PER_DOUBLING;
    (doubling * BUCKETS_PER_DOUBLING + eighth).min(BUCKETS - 1)
}

/// The waits of a bucket are shorter than this.
fn longest_in(bucket: usize) -> Duration {
    let (doubling, eighth) = (bucket / BUCKETS_PER_DOUBLING, bucket % BUCKETS_PER_DOUBLING);
    Duration::from_micros(((BUCKETS_PER_DOUBLING + eighth + 1) as u64) << doubling >> BUCKET_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Ticks with so many writes each, `slow` of which take 50 ms and the others 1; returns at how many of them too many were slow.
    fn slow_ticks(waits: &Waits, ticks: usize, writes: usize, slow: usize) -> usize {
        waits.tick(true);
        let tick = |_: &usize| {
            (0..writes).for_each(|write| waits.note(ms(if write < slow { 50 } else { 1 })));
            waits.tick(true)
        };
        (0..ticks).filter(tick).count()
    }

    #[test]
    fn a_bucket_has_what_is_shorter_than_its_end_and_no_more_than_an_eighth_shorter() {
        for us in (8..10_000).chain([1 << 20, (1 << 23) - 1]) {
            let (wait, end) = (Duration::from_micros(us), longest_in(bucket_of(Duration::from_micros(us))));
            assert!(wait < end && end.mul_f64(0.888) <= wait + Duration::from_micros(1), "{us} us: {end:?}");
        }
        assert_eq!((bucket_of(Duration::ZERO), bucket_of(Duration::MAX)), (24, BUCKETS - 1));
    }

    #[test]
    fn more_slow_writes_than_before_are_noticed_and_no_more_when_they_are_quick_again() {
        let waits = Waits::default();
        (0..2_000).for_each(|write| waits.note(ms(1 + write % 10)));
        assert!(!waits.tick(false));
        assert_eq!(slow_ticks(&waits, 100, 50, 15), 0, "three in ten are not too many");
        assert!(slow_ticks(&waits, 100, 50, 25) > 90);
        assert!(slow_ticks(&waits, 100, 50, 0) < 10);
    }

    #[test]
    fn what_was_slow_before_is_not_the_fault_of_a_move() {
        let waits = Waits::default();
        (0..2_000).for_each(|write| waits.note(ms(if write % 20 == 0 { 60 } else { 1 })));
        assert_eq!(slow_ticks(&waits, 100, 50, 25), 0);
    }

    #[test]
    fn few_writes_say_nothing() {
        let (unknown, rare) = (Waits::default(), Waits::default());
        (0..400).for_each(|_| unknown.note(ms(1)));
        assert_eq!(slow_ticks(&unknown, 100, 50, 50), 0, "nobody knows what is slow");
        (0..2_000).for_each(|_| rare.note(ms(1)));
        assert_eq!(slow_ticks(&rare, 100, 1, 1), 0, "one in a tick");
    }

    #[test]
    fn old_waits_count_less_and_less() {
        let waits = Waits::default();
        (0..20_000).for_each(|_| waits.note(ms(100)));
        (0..200_000).for_each(|_| waits.note(ms(1)));
        assert!(slow_ticks(&waits, 20, 50, 50) > 10, "50 ms are slow where 100 were not, long ago");
    }
}
