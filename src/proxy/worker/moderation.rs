//! Waiting a moment before bytes go to nodes, as network cards coalesce interrupts.
//!
//! An almost idle proxy wakes a sleeping peer for every two or three requests; under load it is cheaper for both to
//! gather a few more first. Only while the load is high: below it, waiting would cost latency and gain nothing.

use std::time::Duration;

use crate::net::Moment;

/// How long the whole thread sleeps.
pub const PAUSE: Duration = Duration::from_micros(100);
/// How many more requests the pause must promise.
const PROMISED_MIN: u64 = 4;
/// What the promise is drawn from.
const WINDOW: Duration = Duration::from_millis(1);

/// Knows how many requests came lately.
#[derive(Debug)]
pub struct Moderation {
    window_began: Moment,
    requests_then: u64,
    promised: u64,
}

impl Moderation {
    /// No load yet.
    pub const fn new(now: Moment) -> Self {
        Self { window_began: now, requests_then: 0, promised: 0 }
    }

    /// Whether to pause, given how many requests ever came.
    pub fn is_worth_a_pause(&mut self, now: Moment, requests: u64) -> bool {
        let span = now.since(self.window_began);
        if span >= WINDOW {
            let came = requests.wrapping_sub(self.requests_then);
            self.promised = came * PAUSE.as_micros() as u64 / (span.as_micros() as u64).max(1);
            self.window_began = now;
            self.requests_then = requests;
        }
        self.promised >= PROMISED_MIN
    }
}

/// Sleeps for [`PAUSE`]; the runtime's own timers have steps of a millisecond.
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// Lets this thread sleep as short as it asks to: by default the kernel adds 50 us.
pub fn sharpen_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize) };
    if result != 0 {
        tracing::debug!("the timer slack cannot be set: pauses are a little longer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_at_forty_thousand_requests_a_second_and_end_with_them() {
        let at = |us| Moment::at(Duration::from_micros(us));
        let mut moderation = Moderation::new(at(0));
        assert!(!moderation.is_worth_a_pause(at(100), 50), "nothing is known yet");
        assert!(moderation.is_worth_a_pause(at(1_000), 50));
        assert!(moderation.is_worth_a_pause(at(1_500), 60));
        assert!(!moderation.is_worth_a_pause(at(2_100), 70), "10 requests in a millisecond are too few");
        assert!(!moderation.is_worth_a_pause(at(9_000), 300), "spread over 7 ms");
    }
}
