//! The time seam: everything that needs a clock is handed one, so that a simulation can own time.
//!
//! Pure code takes `now` as an argument instead. Two readings that are never mixed: a [`Moment`] of a clock that only
//! moves forward (time-outs, intervals), and the wall clock, which may jump (a proposal for log time, never a decision).

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::topology::LogTime;

/// A reading of the monotonic clock: time since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment this long after the clock was made.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

/// A source of time.
pub trait Source: Send + Sync {
    /// The monotonic clock.
    fn now(&self) -> Moment;
    /// The wall clock.
    fn wall(&self) -> LogTime;
}

/// A handle to a source of time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

impl Clock {
    /// The operating system's clocks.
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn system() -> Self {
        Self(Arc::new(System { start: Instant::now() }))
    }

    /// A clock of another making.
    pub fn of(source: Arc<dyn Source>) -> Self {
        Self(source)
    }

    /// The monotonic clock.
    pub fn now(&self) -> Moment {
        self.0.now()
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub fn wall(&self) -> LogTime {
        self.0.wall()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

struct System {
    start: Instant,
}

impl Source for System {
    fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall(&self) -> LogTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LogTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
