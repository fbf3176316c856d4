//! What a leader stamps its entries with (DESIGN.md, R8): log time never goes back, follows the leader's clock, and
//! when that clock jumps ahead follows elapsed monotonic time plus one second instead.

use std::time::Duration;

use crate::net::Moment;
use crate::topology::LogTime;

/// How far the leader's clock may run ahead of elapsed monotonic time.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// A leader's clock for as long as it leads.
#[derive(Clone, Copy, Debug)]
pub struct LeaderTime {
    since: Moment,
    anchor: LogTime,
}

impl LeaderTime {
    /// Starts to lead at `now`, the wall clock showing `wall`, the log's time being `last`.
    pub fn start(now: Moment, wall: LogTime, last: LogTime) -> Self {
        Self { since: now, anchor: wall.max(last) }
    }

    /// The time for an entry proposed now.
    pub fn at(&self, now: Moment, wall: LogTime, last: LogTime) -> LogTime {
        let elapsed = now.since(self.since) + AHEAD_MAX;
        let limit = self.anchor.0.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        LogTime(wall.0.min(limit)).max(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r8_a_jump_of_the_wall_clock_is_held_to_elapsed_time() {
        let at = |ms| Moment::at(Duration::from_millis(ms));
        let time = LeaderTime::start(at(0), LogTime(10_000), LogTime(5_000));
        assert_eq!(time.at(at(100), LogTime(10_100), LogTime(10_000)), LogTime(10_100));
        assert_eq!(time.at(at(100), LogTime(3_600_000), LogTime(10_000)), LogTime(11_100), "forward");
        assert_eq!(time.at(at(100), LogTime(1_000), LogTime(10_050)), LogTime(10_050), "back");
    }
}
