//! How fast: the bytes per second that a node may send, and the writes that have to wait because they outrun a copy.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::PIECE_BYTES;
use crate::net::Moment;

/// How much may be sent at once after a pause, as a share of a second.
const BURST_SHARE: u64 = 100;
/// At least that, or a slow rate would never let a piece through.
const BURST_BYTES_MIN: u64 = 64 * 1024;

/// A node that gets to its ticks later than this has no processor time to spare: clients wait for it, and moves give way.
const LATE_MAX: Duration = Duration::from_millis(8);
/// The whole of the rate, in parts.
const PARTS: u64 = 1024;
/// What is left of it however late the node is, so that a move ends.
const PARTS_MIN: u64 = PARTS / 32;
/// What is left of it however long clients wait, while the node itself is in time: they may wait for something else.
const PARTS_WAITED_FOR_MIN: u64 = PARTS / 4;
/// What there is of it when slots begin to move: whether more is too much is seen from then on.
const PARTS_AT_FIRST: u64 = PARTS * 3 / 4;
/// What comes back with each tick in time.
const PARTS_BACK: u64 = PARTS / 64;

/// After so long without anybody who sends or would nothing is on the move.
const USED_FOR: Duration = Duration::from_secs(1);

/// A rate that all movers of a node share, less of it while the node has too much to do. Clones are the same bucket.
#[derive(Clone, Debug)]
pub struct Bucket(Rc<Cell<Level>>);

#[derive(Clone, Copy, Debug)]
struct Level {
    bytes_per_second: u64,
    /// How much of that rate there is now.
    parts: u64,
    /// What may be sent now; below zero after a large piece.
    bytes: i64,
    at: Moment,
    /// Whether one who takes what is sent was late since the last tick.
    gives_way: bool,
    /// Whether somebody could have sent more since then.
    limits: bool,
    /// When something was sent last, or would have been.
    used: Option<Moment>,
}

impl Bucket {
    /// One that is full.
    pub fn new(bytes_per_second: u64) -> Self {
        let (bytes, at) = (burst(bytes_per_second), Moment::default());
        let level =
            Level { bytes_per_second, parts: PARTS_AT_FIRST, bytes, at, gives_way: false, limits: false, used: None };
        Self(Rc::new(Cell::new(level)))
    }

    /// Whether more may be sent now.
    pub fn has(&self, now: Moment) -> bool {
        let mut level = self.0.get();
        let rate = level.rate();
        let earned = bytes_in(rate, now.since(level.at));
        if earned > 0 {
            level.bytes = level.bytes.saturating_add(earned).min(burst(rate));
            level.at = now;
        }
        if level.bytes <= 0 {
            (level.limits, level.used) = (true, Some(now));
        }
        self.0.set(level);
        level.bytes > 0
    }

    /// What may be sent in a second as things are, in bytes.
    pub fn rate(&self) -> u64 {
        self.0.get().rate()
    }

    /// Whether something was sent of late, or would have been.
    pub fn is_used(&self, now: Moment) -> bool {
        self.0.get().used.is_some_and(|used| now.since(used) < USED_FOR)
    }

    /// One who takes what is sent has too much to do: there is less from the next tick on.
    pub fn give_way(&self) {
        self.0.set(Level { gives_way: true, ..self.0.get() });
    }

    /// The node came to a tick so much later than it wanted; too many clients wait for long, or not. What nobody would use does not
    /// come back: it would be a stretch at full speed as soon as somebody does.
    pub fn tick(&self, late: Duration, clients_wait: bool, now: Moment) {
        let mut level = self.0.get();
        let limits = std::mem::take(&mut level.limits);
        level.parts = if !self.is_used(now) {
            PARTS_AT_FIRST
        } else if std::mem::take(&mut level.gives_way) || late > LATE_MAX {
            (level.parts - level.parts / 4).max(PARTS_MIN)
        } else if clients_wait {
            (level.parts - level.parts / 16).max(PARTS_WAITED_FOR_MIN.min(level.parts))
        } else if limits {
            (level.parts + PARTS_BACK).min(PARTS)
        } else {
            level.parts
        };
        self.0.set(level);
    }

    /// So many bytes were sent.
    pub fn take(&self, bytes: usize, now: Moment) {
        let mut level = self.0.get();
        level.used = Some(now);
        level.bytes = level.bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.0.set(level);
    }
}

impl Level {
    fn rate(&self) -> u64 {
        let rate = u128::from(self.bytes_per_second) * u128::from(self.parts) / u128::from(PARTS);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

fn burst(bytes_per_second: u64) -> i64 {
    i64::try_from((bytes_per_second / BURST_SHARE).max(BURST_BYTES_MIN)).unwrap_or(i64::MAX)
}

fn bytes_in(bytes_per_second: u64, time: Duration) -> i64 {
    let bytes = u128::from(bytes_per_second) * time.as_micros() / 1_000_000;
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What was quick longer ago than twice this says nothing of now.
const OF_LATE: Duration = Duration::from_secs(60);

/// The least time that something took of late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quickest {
    /// Since a moment, and in the time before.
    known: Option<(Duration, Duration, Moment)>,
}

impl Quickest {
    /// It took so long this time. Returns the least.
    pub fn note(&mut self, took: Duration, now: Moment) -> Duration {
        let (least, before, since) = self.known.unwrap_or((took, took, now));
        let known = if now.since(since) > OF_LATE { (took, least, now) } else { (least.min(took), before, since) };
        self.known = Some(known);
        known.0.min(known.1)
    }

    /// The least; nothing, if it was never seen.
    pub fn least(&self) -> Duration {
        self.known.map_or(Duration::ZERO, |(least, before, _)| least.min(before))
    }
}

/// What may be in a target's log and not applied, however quick it is: three pieces, so that one is written while others come. A
/// batch of them is small enough to be written by the node's own thread.
const IN_LOG_BYTES_MIN: usize = 2 * PIECE_BYTES + PIECE_BYTES / 4;
/// What one attempt may have on its way to a target, however near that is.
const ON_WAY_BYTES_MIN: usize = 6 * PIECE_BYTES;
/// Where it takes long there may be so much more, or the pace would be that of the way.
const LONG_WAY_BYTES_PER_SECOND: u128 = 16 << 20;
/// But no more than that: clients' entries queue behind it.
const LONG_WAY_BYTES_MAX: usize = 1 << 20;

/// Bytes of pieces at which a target proposes no more, where one takes so long to be applied when little else is under way. What
/// is beyond would only wait, in batches that clients' writes wait for as well.
pub fn in_log_bytes_max(quickest: Duration) -> usize {
    with_long_way(IN_LOG_BYTES_MIN, quickest)
}

/// Bytes at which a source sends no more of an attempt, where one takes so long to be confirmed. What is beyond would wait at the
/// target, which looks as if it were late.
pub fn on_way_bytes_max(quickest: Duration) -> usize {
    with_long_way(ON_WAY_BYTES_MIN, quickest)
}

fn with_long_way(least: usize, quickest: Duration) -> usize {
    let more = LONG_WAY_BYTES_PER_SECOND * quickest.as_micros() / 1_000_000;
    usize::try_from(more).map_or(LONG_WAY_BYTES_MAX, |more| (least + more).min(LONG_WAY_BYTES_MAX))
}

/// Rounds after which a copy that does not get nearer to its end slows the writes that it runs after.
const ROUNDS_FREE: u32 = 2;
/// What a round must leave of the bytes of the one before, in quarters, or less.
const SHRINKS_TO_QUARTERS: u64 = 3;
/// Each stubborn round halves what writers get; after so many they get nothing until the copy has ended.
const HALVINGS_MAX: u32 = 8;

/// The rounds of one copy, and the writes that it lets through.
#[derive(Debug, Default)]
pub struct Rounds {
    count: u32,
    before: u64,
    began: Option<Moment>,
    /// How often a round left as much as the one before.
    stubborn: u32,
    /// What a write costs: the whole key is sent again.
    write_bytes: u64,
    bytes_per_second: u64,
    bytes: i64,
    at: Moment,
}

impl Rounds {
    /// A round has ended, in which these keys were changed.
    pub fn ended(&mut self, changed_bytes: u64, changed_keys: u64, now: Moment) {
        let took = self.began.map_or(Duration::from_secs(1), |began| now.since(began)).max(Duration::from_millis(1));
        if self.count >= ROUNDS_FREE && changed_bytes * 4 > self.before * SHRINKS_TO_QUARTERS {
            self.stubborn += 1;
            let speed = u128::from(self.before.max(1)) * 1_000_000 / took.as_micros();
            let speed = u64::try_from(speed).unwrap_or(u64::MAX);
            self.bytes_per_second = if self.stubborn > HALVINGS_MAX { 0 } else { speed >> self.stubborn };
            self.write_bytes = changed_bytes / changed_keys.max(1);
        }
        (self.count, self.before, self.began) = (self.count + 1, changed_bytes, Some(now));
    }

    /// Whether writers wait.
    pub const fn slows(&self) -> bool {
        self.stubborn > 0
    }

    /// Whether a write of so many bytes may be taken now.
    pub fn admit(&mut self, bytes: usize, now: Moment) -> bool {
        if !self.slows() {
            return true;
        }
        let earned = bytes_in(self.bytes_per_second, now.since(self.at));
        if earned > 0 {
            self.bytes =
                self.bytes.saturating_add(earned).min(bytes_in(self.bytes_per_second, Duration::from_millis(50)));
            self.at = now;
        }
        if self.bytes <= 0 {
            return false;
        }
        let cost = self.write_bytes.max(bytes as u64);
        self.bytes = self.bytes.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    /// Sends pieces of 32 KiB for a second as fast as it may, with ticks; returns how many.
    fn a_second(bucket: &Bucket, from_ms: u64, late: Duration, clients_wait: bool) -> usize {
        let at_each_ms = |ms: u64| {
            if ms.is_multiple_of(25) {
                bucket.tick(late, clients_wait, at(ms));
            }
            let sends = |_: &usize| {
                let has = bucket.has(at(ms));
                if has {
                    bucket.take(32 * 1024, at(ms));
                }
                has
            };
            (0..8).take_while(sends).count()
        };
        (from_ms..from_ms + 1000).map(at_each_ms).sum()
    }

    const IN_TIME: Duration = Duration::from_millis(1);

    #[test]
    fn a_bucket_gives_its_rate_and_a_burst_after_a_pause() {
        let bucket = Bucket::new(10 << 20);
        assert!((240..320).contains(&a_second(&bucket, 0, IN_TIME, false)), "it begins with three quarters");
        a_second(&bucket, 1000, IN_TIME, false);
        let second = a_second(&bucket, 2000, IN_TIME, false);
        assert!((320 - 2..=320 + 2).contains(&second), "a second's bytes: {second}");
        let after_a_pause = a_second(&bucket, 3500, IN_TIME, false);
        assert!((320 + 2..=320 + 8).contains(&after_a_pause), "and the burst: {after_a_pause}");
        bucket.take(100 << 20, at(4500));
        assert!(!bucket.has(at(13_500)) && bucket.has(at(15_500)), "what was too much is paid for");
        bucket.tick(IN_TIME, false, at(14_400));
        assert_eq!(bucket.rate(), 10 << 20, "somebody wanted to send less than a second ago");
        bucket.tick(IN_TIME, false, at(16_600));
        assert_eq!(bucket.rate(), (10 << 20) * 3 / 4, "the next move begins like the first");
    }

    #[test]
    fn the_slowest_rate_lets_something_through_in_the_end() {
        let bucket = Bucket::new(100);
        bucket.take(256 * 1024 + 50, at(0));
        assert!(!bucket.has(at(0)) && bucket.has(at(2_000_000_000)));
    }

    #[test]
    fn a_node_that_is_late_sends_less_but_never_nothing_and_recovers() {
        let bucket = Bucket::new(32 << 20);
        let (free, late) = (1024, Duration::from_millis(20));
        a_second(&bucket, 0, late, false);
        let busy = a_second(&bucket, 1000, late, false);
        assert!(busy > 10 && busy * 20 < free, "{busy} of {free}");
        a_second(&bucket, 2000, IN_TIME, false);
        a_second(&bucket, 3000, IN_TIME, false);
        assert!(a_second(&bucket, 4000, IN_TIME, false) * 10 > free * 9);
        for _ in 0..100 {
            bucket.give_way();
            bucket.tick(IN_TIME, false, at(5000));
        }
        assert_eq!(bucket.rate(), 1 << 20, "others that are late");
    }

    #[test]
    fn clients_that_wait_slow_a_move_down_to_a_quarter() {
        let bucket = Bucket::new(32 << 20);
        a_second(&bucket, 0, IN_TIME, false);
        let free = a_second(&bucket, 1000, IN_TIME, false);
        a_second(&bucket, 2000, IN_TIME, true);
        let slowed = a_second(&bucket, 3000, IN_TIME, true);
        assert!((free / 5..free / 3).contains(&slowed), "{slowed} of {free}");
        (0..100).for_each(|_| bucket.tick(Duration::from_millis(20), true, at(4000)));
        let rate = bucket.rate();
        bucket.tick(IN_TIME, true, at(4000));
        assert_eq!(
            (rate, bucket.rate()),
            (1 << 20, 1 << 20),
            "a node that is late has gone lower, and does not gain by them"
        );
    }

    #[test]
    fn a_rate_that_holds_nobody_up_does_not_grow() {
        let bucket = Bucket::new(32 << 20);
        a_second(&bucket, 0, IN_TIME, false);
        bucket.tick(IN_TIME, true, at(1000));
        let rate = bucket.rate();
        for now in (1500..4000).step_by(25).map(at) {
            assert!(bucket.has(now));
            bucket.take(1024, now);
            bucket.tick(IN_TIME, false, now);
        }
        assert_eq!(bucket.rate(), rate);
        assert!(rate > 9 << 20 && bucket.is_used(at(4900)) && !bucket.is_used(at(5000)));
    }

    #[test]
    fn a_log_holds_few_pieces_and_a_way_some_and_more_only_where_each_takes_long() {
        let ms = Duration::from_millis;
        let three_pieces = 2 * PIECE_BYTES + 1..3 * PIECE_BYTES;
        assert!(three_pieces.contains(&in_log_bytes_max(Duration::ZERO)));
        assert!(in_log_bytes_max(ms(1)) < 4 * PIECE_BYTES, "a quick disk");
        assert!((6 * PIECE_BYTES..8 * PIECE_BYTES).contains(&on_way_bytes_max(ms(1))));
        for long in [in_log_bytes_max(ms(50)), on_way_bytes_max(ms(50))] {
            assert!((512 << 10..1 << 20).contains(&long), "far away: {long}");
        }
        assert_eq!((in_log_bytes_max(Duration::MAX), on_way_bytes_max(Duration::MAX)), (1 << 20, 1 << 20));
    }

    #[test]
    fn writers_that_outrun_a_copy_get_less_with_every_round_that_leaves_as_much() {
        let mut rounds = Rounds::default();
        for round in 0..3 {
            assert!(rounds.admit(100, at(round * 100)), "round {round}");
            rounds.ended(1 << 20, 1 << 13, at(round * 100));
        }
        assert!(rounds.slows());
        let mut taken = Vec::new();
        for round in 3..14 {
            taken.push((0..100).map(|ms| at(round * 100 + ms)).filter(|now| rounds.admit(100, *now)).count());
            rounds.ended(1 << 20, 1 << 13, at((round + 1) * 100));
        }
        assert!(taken.windows(2).all(|pair| pair[1] <= pair[0]), "{taken:?}");
        assert!(taken[0] > 50 && *taken.last().unwrap() == 0, "{taken:?}");
    }

    #[test]
    fn a_copy_that_shrinks_slows_nobody() {
        let mut rounds = Rounds::default();
        for round in 0..20 {
            rounds.ended((1 << 30) >> round, 100, at(round * 100));
        }
        assert!(!rounds.slows());
    }
}
