//! Whether a node is there: when to connect, when to ask for a sign of life, when to give a connection up.
//!
//! Pure: takes `now`, returns what to do. Reconnects are bounded on both sides: the first tries come quickly, because
//! a refused connect is usually a restart; later ones are a second apart, with jitter, so that a fleet of proxies does
//! not knock in step.

use std::time::Duration;

use crate::net::Moment;

/// The times by which a node is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthTimes {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// A connection on which nothing was heard for this long is given up.
    pub silence_max: Duration,
    /// The longest time that a connect and its handshake may take.
    pub connect_max: Duration,
    /// The pause after the first failed connect; doubled by each further one.
    pub backoff_min: Duration,
    /// The longest pause between two connects.
    pub backoff_max: Duration,
}

impl Default for HealthTimes {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            silence_max: Duration::from_millis(1500),
            connect_max: Duration::from_secs(1),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        }
    }
}

/// Where the connection to a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// None; the next try is at this moment.
    Down(Moment),
    /// A connect or its handshake began at this moment.
    Connecting(Moment),
    /// Requests may be sent.
    Up,
}

/// What is due for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Open a connection.
    Connect,
    /// Send a heartbeat with this sequence.
    Heartbeat(u64),
    /// Close the connection: nothing was heard for too long.
    GiveUp,
}

/// The health of one node, as one connection's end sees it.
#[derive(Debug)]
pub struct Health {
    times: HealthTimes,
    phase: Phase,
    failures: u32,
    heard: Moment,
    next_heartbeat: Moment,
    sequence: u64,
    asked: Moment,
    round_trip: Option<Duration>,
}

impl Health {
    /// A node that was never spoken to; the first connect is due at once.
    pub fn new(times: HealthTimes, now: Moment) -> Self {
        Self {
            times,
            phase: Phase::Down(now),
            failures: 0,
            heard: now,
            next_heartbeat: now,
            sequence: 0,
            asked: now,
            round_trip: None,
        }
    }

    /// Where the connection stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether requests may be sent.
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// The last measured round trip of a heartbeat.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Failed connects since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// What is due now; [`Due::Connect`] and [`Due::Heartbeat`] count as done when they are returned.
    pub fn due(&mut self, now: Moment) -> Due {
        match self.phase {
            Phase::Down(at) if now >= at => {
                self.phase = Phase::Connecting(now);
                Due::Connect
            }
            Phase::Down(_) => Due::Nothing,
            Phase::Connecting(since) if now.since(since) >= self.times.connect_max => Due::GiveUp,
            Phase::Connecting(_) => Due::Nothing,
            Phase::Up if now.since(self.heard) >= self.times.silence_max => Due::GiveUp,
            Phase::Up if now >= self.next_heartbeat => {
                self.next_heartbeat = now + self.times.heartbeat;
                self.sequence += 1;
                self.asked = now;
                Due::Heartbeat(self.sequence)
            }
            Phase::Up => Due::Nothing,
        }
    }

    /// The next heartbeat is due.
    pub fn hurry(&mut self, now: Moment) {
        self.next_heartbeat = now;
    }

    /// The handshake is done.
    pub fn connected(&mut self, now: Moment) {
        self.phase = Phase::Up;
        self.failures = 0;
        self.heard = now;
        self.next_heartbeat = now;
    }

    /// The connection broke or could not be made. `jitter` is any random number.
    pub fn disconnected(&mut self, now: Moment, jitter: u64) {
        let exponent = self.failures.min(16);
        let pause = self.times.backoff_min.saturating_mul(1 << exponent).min(self.times.backoff_max);
        let share = 50 + u32::try_from(jitter % 51).unwrap_or(0);
        self.failures = self.failures.saturating_add(1);
        self.round_trip = None;
        self.phase = Phase::Down(now + pause * share / 100);
    }

    /// The address changed: what failed at the old one says nothing about the new one.
    pub fn moved(&mut self, now: Moment) {
        self.failures = 0;
        self.phase = Phase::Down(now);
    }

    /// How much longer than allowed nothing was heard.
    pub fn overdue(&self, now: Moment) -> Duration {
        now.since(self.heard).saturating_sub(self.times.silence_max)
    }

    /// Something was received.
    pub fn heard(&mut self, now: Moment) {
        self.heard = now;
    }

    /// A status with this sequence was received.
    pub fn answered(&mut self, sequence: u64, now: Moment) {
        if sequence == self.sequence && sequence != 0 {
            self.round_trip = Some(now.since(self.asked));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn a_silent_node_is_given_up_and_any_frame_keeps_it() {
        let mut health = Health::new(HealthTimes::default(), at(0));
        assert_eq!(health.due(at(0)), Due::Connect);
        assert_eq!(health.due(at(1)), Due::Nothing);
        health.connected(at(5));
        assert_eq!(health.due(at(5)), Due::Heartbeat(1));
        assert_eq!(health.due(at(50)), Due::Nothing);
        assert_eq!(health.due(at(105)), Due::Heartbeat(2));
        health.answered(2, at(108));
        assert_eq!(health.round_trip(), Some(Duration::from_millis(3)));
        health.heard(at(900));
        assert_eq!(health.due(at(2399)), Due::Heartbeat(3));
        assert_eq!(health.due(at(2400)), Due::GiveUp);
        assert_eq!(health.overdue(at(2600)), Duration::from_millis(200));
    }

    #[test]
    fn reconnects_start_fast_and_stay_bounded() {
        let mut health = Health::new(HealthTimes::default(), at(0));
        let mut now = 0;
        let mut pauses = Vec::new();
        for round in 0..12 {
            while health.due(at(now)) != Due::Connect {
                now += 1;
            }
            health.disconnected(at(now), round * 7);
            let Phase::Down(next) = health.phase() else { panic!("down") };
            pauses.push(next.since(at(now)).as_millis() as u64);
        }
        assert!(pauses[0] <= 10 && pauses[1] <= 20, "{pauses:?}");
        assert!(pauses.iter().all(|p| (5..=1000).contains(p)), "{pauses:?}");
        assert!(pauses[11] >= 500, "{pauses:?}");
    }

    #[test]
    fn a_handshake_that_hangs_is_given_up() {
        let mut health = Health::new(HealthTimes::default(), at(0));
        assert_eq!(health.due(at(0)), Due::Connect);
        assert_eq!(health.due(at(999)), Due::Nothing);
        assert_eq!(health.due(at(1000)), Due::GiveUp);
    }
}
