//! Waiting a moment before bytes go to nodes, as network cards coalesce interrupts.
//!
//! An almost idle proxy wakes a sleeping peer for every two or three requests; under load it is cheaper for both to
//! gather a few more first. Only while the load is high: below it, waiting would cost latency and gain nothing. And only
//! while others have work: clients that wait for answers send nothing. So the sleep is as long as some of them take to speak,
//! and there is none once half of them have.

use std::time::Duration;

use crate::net::Moment;

/// What the promise is counted in: so long at most the whole thread sleeps.
pub const PAUSE_MAX: Duration = Duration::from_micros(100);
/// So long at least: falling asleep and waking up has its price.
const PAUSE_MIN: Duration = Duration::from_micros(25);
/// How many more requests the longest pause must promise.
const PROMISED_MIN: u64 = 4;
/// A pause lasts as long as this part of the clients takes to speak. All that are connected count: who has many that are idle pauses
/// for longer, within the bounds.
const CLIENTS_PER_READ_OF_PAUSE: u64 = 10;
/// So much of the clients is enough to be sent on at once.
const CLIENTS_PER_READ_ENOUGH: u64 = 2;
/// What the promise is drawn from.
const WINDOW: Duration = Duration::from_millis(1);

/// What clients sent up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    /// Requests.
    pub requests: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Clients that are connected.
    pub clients: u64,
}

/// Knows how much came lately.
#[derive(Debug)]
pub struct Moderation {
    window_began: Moment,
    then: Came,
    promised: u64,
    length: Duration,
    /// Reads when nodes were written to last.
    reads_sent_on: u64,
}

impl Moderation {
    /// No load yet.
    pub const fn new(now: Moment) -> Self {
        let then = Came { requests: 0, reads: 0, clients: 0 };
        Self { window_began: now, then, promised: 0, length: PAUSE_MAX, reads_sent_on: 0 }
    }

    /// How long to pause, if that is worth it.
    pub fn pause(&mut self, now: Moment, came: Came) -> Option<Duration> {
        let span = now.since(self.window_began);
        if span >= WINDOW {
            let span = span.as_micros() as u64;
            self.promised = came.requests.wrapping_sub(self.then.requests) * PAUSE_MAX.as_micros() as u64 / span;
            let reads = came.reads.wrapping_sub(self.then.reads).max(1);
            self.length = Duration::from_micros(came.clients * span / (reads * CLIENTS_PER_READ_OF_PAUSE))
                .clamp(PAUSE_MIN, PAUSE_MAX);
            (self.window_began, self.then) = (now, came);
        }
        let gathered = came.reads.wrapping_sub(self.reads_sent_on);
        (self.promised >= PROMISED_MIN && gathered * CLIENTS_PER_READ_ENOUGH < came.clients).then_some(self.length)
    }

    /// Nodes are written to.
    pub const fn sent_on(&mut self, came: Came) {
        self.reads_sent_on = came.reads;
    }
}

/// Sleeps; the runtime's own timers have steps of a millisecond.
pub fn sleep(pause: Duration) {
    std::thread::sleep(pause);
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

    fn at(us: u64) -> Moment {
        Moment::at(Duration::from_micros(us))
    }

    /// Each request of 64 clients in a read of its own, and all sent on but the last few.
    fn pause(moderation: &mut Moderation, us: u64, requests: u64) -> Option<Duration> {
        moderation.sent_on(Came { requests, reads: requests - 5, clients: 64 });
        moderation.pause(at(us), Came { requests, reads: requests, clients: 64 })
    }

    #[test]
    fn pauses_begin_at_forty_thousand_requests_a_second_and_end_with_them() {
        let mut moderation = Moderation::new(at(0));
        assert_eq!(pause(&mut moderation, 100, 50), None, "nothing is known yet");
        assert!(pause(&mut moderation, 1_000, 50).is_some());
        assert!(pause(&mut moderation, 1_500, 60).is_some());
        assert_eq!(pause(&mut moderation, 2_100, 70), None, "10 requests in a millisecond are too few");
        assert_eq!(pause(&mut moderation, 9_000, 300), None, "spread over 7 ms");
    }

    #[test]
    fn a_pause_is_as_long_as_some_more_clients_take_to_speak() {
        let mut moderation = Moderation::new(at(0));
        assert_eq!(pause(&mut moderation, 1_000, 80), Some(Duration::from_micros(80)));
        assert_eq!(pause(&mut moderation, 2_000, 580), Some(PAUSE_MIN));
        // As many requests, but in few reads.
        let came = Came { requests: 1_080, reads: 580 + 16, clients: 64 };
        moderation.sent_on(came);
        assert_eq!(moderation.pause(at(3_000), came), Some(PAUSE_MAX));
    }

    #[test]
    fn once_half_of_the_clients_have_spoken_nothing_is_waited_for() {
        let mut moderation = Moderation::new(at(0));
        let came = |requests, reads| Came { requests, reads, clients: 64 };
        moderation.sent_on(came(10_000, 100));
        assert!(moderation.pause(at(1_000), came(20_000, 131)).is_some());
        assert_eq!(moderation.pause(at(1_100), came(20_100, 132)), None);
        assert!(moderation.pause(at(1_100), Came { clients: 65, ..came(20_100, 132) }).is_some());
        moderation.sent_on(came(20_100, 132));
        assert!(moderation.pause(at(1_200), came(20_200, 133)).is_some());
    }
}
