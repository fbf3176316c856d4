//! How far the moves with one other shard have come, for people: counted since the rebalancing began that is under way.

use std::time::Duration;

use super::SlotUsage;
use crate::net::Moment;
use crate::protocol::control::StallReport;

/// Between two looks at the speed.
const SAMPLE: Duration = Duration::from_millis(500);

/// What has moved in one direction between two shards.
#[derive(Debug, Default)]
pub struct Tally {
    /// Since when something moves, if it does.
    began: Option<Moment>,
    /// Slots that have moved.
    pub slots: u32,
    /// Keys of slots that have moved.
    pub keys: u64,
    /// Bytes that were sent, or came.
    pub bytes: u64,
    /// Their speed.
    speed: Speed,
}

/// Bytes and keys per second, smoothed.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    at: Option<Moment>,
    bytes: u64,
    keys: u64,
    bytes_per_second: u64,
    keys_per_second: u64,
}

impl Tally {
    /// Something moves from now on, if nothing did before: what was counted for an earlier rebalancing is forgotten.
    pub fn begin(&mut self, now: Moment) {
        if self.began.is_none() {
            *self = Self { began: Some(now), ..Self::default() };
            self.speed.at = Some(now);
        }
    }

    /// Nothing moves any more. Returns for how long something did.
    pub fn end(&mut self, now: Moment) -> Option<Duration> {
        self.speed = Speed::default();
        self.began.take().map(|began| now.since(began))
    }

    /// Whether something moves.
    pub const fn is_running(&self) -> bool {
        self.began.is_some()
    }

    /// Slots have moved that hold this much.
    pub fn moved(&mut self, slots: usize, usage: SlotUsage) {
        self.slots += slots as u32;
        self.keys += usage.keys;
    }

    /// Looks at the speed, if the last look was long enough ago.
    pub fn sample(&mut self, now: Moment) {
        let Some(at) = self.speed.at else {
            self.speed.at = Some(now);
            return;
        };
        let passed = now.since(at);
        if passed < SAMPLE {
            return;
        }
        let rate = |count: u64| (u128::from(count) * 1_000_000 / passed.as_micros()) as u64;
        let smooth = |before: u64, rate: u64| if before == 0 { rate } else { (before + rate) / 2 };
        let speed = self.speed;
        self.speed = Speed {
            at: Some(now),
            bytes: self.bytes,
            keys: self.keys,
            bytes_per_second: smooth(speed.bytes_per_second, rate(self.bytes.saturating_sub(speed.bytes))),
            keys_per_second: smooth(speed.keys_per_second, rate(self.keys.saturating_sub(speed.keys))),
        };
    }

    /// Bytes per second.
    pub const fn bytes_per_second(&self) -> u64 {
        self.speed.bytes_per_second
    }

    /// Keys per second.
    pub const fn keys_per_second(&self) -> u64 {
        self.speed.keys_per_second
    }

    /// How long so many slots take at the speed since the beginning.
    pub fn eta(&self, slots_left: u32, now: Moment) -> Option<Duration> {
        let took = now.since(self.began?);
        (self.slots > 0).then(|| took * slots_left / self.slots)
    }
}

/// A reason for which nothing goes on, and since when.
#[derive(Clone, Debug, Default)]
pub struct Stall {
    reason: Option<(&'static str, Moment)>,
    told: Option<Moment>,
}

/// How long nothing must go on before it is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two warnings of the same.
const TELL_AGAIN: Duration = Duration::from_secs(30);

impl Stall {
    /// Takes note of why nothing goes on, and since when; none: all goes well. Returns whether it is time to warn.
    pub fn note(&mut self, reason: Option<(&'static str, Moment)>, now: Moment) -> bool {
        self.reason = reason.filter(|(_, since)| now.since(*since) >= PATIENCE);
        match (self.reason, self.told) {
            (None, _) => {
                self.told = None;
                false
            }
            (Some(_), Some(told)) if now.since(told) < TELL_AGAIN => false,
            (Some(_), _) => {
                self.told = Some(now);
                true
            }
        }
    }

    /// What there is to say of it.
    pub fn report(&self, now: Moment) -> Option<StallReport> {
        self.reason.map(|(reason, since)| StallReport {
            reason: reason.to_owned(),
            for_ms: u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The reason alone.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason.map(|(reason, _)| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn the_rest_is_foreseen_by_what_was_done() {
        let mut tally = Tally::default();
        tally.begin(at(1000));
        assert_eq!(tally.eta(30, at(2000)), None);
        for second in 1..=4 {
            tally.moved(10, SlotUsage { keys: 500, bytes: 0 });
            tally.bytes += 1000;
            tally.sample(at(1000 + second * 1000));
        }
        assert_eq!(tally.eta(20, at(5000)), Some(Duration::from_secs(2)));
        assert_eq!((tally.bytes_per_second(), tally.keys_per_second()), (1000, 500));
        assert_eq!(tally.end(at(6000)), Some(Duration::from_secs(5)));
        tally.begin(at(9000));
        assert_eq!((tally.slots, tally.keys, tally.bytes), (0, 0, 0));
    }

    #[test]
    fn a_stall_is_warned_of_once_in_a_while() {
        let mut stall = Stall::default();
        let since = Some(("no leader", at(0)));
        let warned = (0..60).filter(|second| stall.note(since, at(second * 1000))).count();
        assert_eq!(warned, 2);
        assert_eq!(stall.report(at(61_000)).map(|s| s.for_ms), Some(61_000));
        assert!(!stall.note(None, at(62_000)) && stall.report(at(62_000)).is_none());
    }
}
