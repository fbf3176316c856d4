//! Whether this thread has to wait for a processor, as the operating system counts it.
//!
//! Where processors are short, a thread that waits for the disk lets others run; where they are not, it leaves its
//! own processor idle.

use std::time::Duration;

use crate::net::Moment;

/// Processors are short where a thread waits for one for this part of the time.
const SHORT_PART: u32 = 8;
/// A shorter time says little.
const LOOK: Duration = Duration::from_millis(20);

/// How long the calling thread has waited for a processor since its start; none where the system does not tell.
pub fn waited() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// What was seen of that.
#[derive(Debug, Default)]
pub struct Crowding {
    seen: Option<(Moment, Duration)>,
    is_short: bool,
}

impl Crowding {
    /// Takes how long the thread has waited until `now`.
    pub fn look(&mut self, now: Moment, waited: Option<Duration>) {
        // What the system tells no more holds no more.
        let Some(waited) = waited else { return *self = Self::default() };
        let Some((then, before)) = self.seen else { return self.seen = Some((now, waited)) };
        let passed = now.since(then);
        if passed >= LOOK {
            self.is_short = waited.saturating_sub(before) * SHORT_PART >= passed;
            self.seen = Some((now, waited));
        }
    }

    /// Whether processors are short.
    pub const fn is_short(&self) -> bool {
        self.is_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_short_while_a_good_part_of_the_time_is_waiting() {
        let mut crowding = Crowding::default();
        let mut look = |at_ms, waited_ms| {
            crowding.look(Moment::at(Duration::from_millis(at_ms)), Some(Duration::from_millis(waited_ms)));
            crowding.is_short()
        };
        assert!(!look(1000, 900), "what was before the first look");
        assert!(!look(1025, 902));
        assert!(look(1050, 906), "6 of 25 ms");
        assert!(look(1060, 906), "too soon to say");
        assert!(!look(1100, 906));
    }

    #[test]
    fn a_system_that_stops_telling_leaves_no_shortage_behind() {
        let mut crowding = Crowding::default();
        let at = |ms| Moment::at(Duration::from_millis(ms));
        crowding.look(at(0), Some(Duration::ZERO));
        crowding.look(at(20), Some(LOOK));
        assert!(crowding.is_short());
        crowding.look(at(40), None);
        assert!(!crowding.is_short());
        crowding.look(at(60), Some(LOOK * 2));
        assert!(!crowding.is_short(), "the first look of two");
    }

    #[test]
    fn the_system_tells() {
        assert!(waited() <= waited());
        assert!(waited().is_some() || !std::path::Path::new("/proc/thread-self/schedstat").exists());
    }
}
