//! A machine's own clocks: they run at a rate of their own, and the wall clock jumps.

use std::sync::Arc;
use std::time::Duration;

use pontoon::net::clock::Source;
use pontoon::net::{Clock, Moment};
use pontoon::topology::LogTime;

/// Where the wall clocks start.
const EPOCH_MS: i64 = 1_700_000_000_000;
const TRUE_RATE: u64 = 1000;

pub struct MachineClock {
    /// How much of a second it counts in a second, in thousandths.
    rate: u64,
    /// When the rate last changed, and what the clock said then.
    since_us: u64,
    then_us: u64,
    /// How far the wall clock is off.
    pub wall_offset_ms: i64,
}

impl MachineClock {
    pub fn new() -> Self {
        Self { rate: TRUE_RATE, since_us: 0, then_us: 0, wall_offset_ms: 0 }
    }

    fn own_us(&self, now_us: u64) -> u64 {
        self.then_us + (now_us - self.since_us) * self.rate / TRUE_RATE
    }

    pub fn now(&self, now_us: u64) -> Moment {
        Moment::at(Duration::from_micros(self.own_us(now_us)))
    }

    pub fn wall(&self, now_us: u64) -> LogTime {
        LogTime((EPOCH_MS + (self.own_us(now_us) / 1000) as i64 + self.wall_offset_ms) as u64)
    }

    /// How long it takes until this clock has gone on by so much.
    pub fn takes_us(&self, own_us: u64) -> u64 {
        own_us * TRUE_RATE / self.rate
    }

    pub fn run_at(&mut self, now_us: u64, rate: u64) {
        (self.then_us, self.since_us, self.rate) = (self.own_us(now_us), now_us, rate);
    }
}

/// A clock for what only tells people the time.
pub fn standing() -> Clock {
    struct Standing;
    impl Source for Standing {
        fn now(&self) -> Moment {
            Moment::default()
        }

        fn wall(&self) -> LogTime {
            LogTime(0)
        }
    }
    Clock::of(Arc::new(Standing))
}
