//! The wall clocks of the nodes: whose clock is far off the median does not lead (DESIGN.md, R8).
//!
//! A leader's clock becomes log time, by which keys expire. Nodes that share a shard tell each other theirs once a second. Who
//! finds its own far off, for a while, gives its leaderships to voters whose clocks are right and does not stand for
//! election. A shard that finds no leader for five seconds (`leaders`) takes one with a wrong clock: what that does to expiries is
//! bounded (`leader_time`), and no data is ever written without a leader. The catalog has no log time and is left alone.
//!
//! Only a median counts: of two clocks nobody can tell which is wrong, so at least three must be heard of. A clock is told over
//! the stream that carries everything else, so what is heard may be late, which makes the teller look slow: of the last
//! few tellings the one that was least late is believed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Engine, HandOver};
use crate::net::Moment;
use crate::node::replica::Replica;
use crate::protocol::frame::{Kind, put_message};
use crate::topology::{LogTime, NodeName, ReplicaId, ShardId};

/// Ticks between two tellings.
pub(super) const TELL_TICKS: u64 = 40;
/// How long what was told counts.
const FRESH: Duration = Duration::from_secs(5);
/// Tellings of which the least late is believed.
const TELLINGS: usize = 3;
/// How long a clock must be far off before that has consequences.
const PATIENCE: Duration = Duration::from_secs(3);
/// Fewer clocks than that, the own one included, have no median.
const CLOCKS_MIN: usize = 3;

/// What one node told.
#[derive(Debug)]
struct Told {
    at: Moment,
    /// How far its clock was ahead of the own one, the newest first.
    ahead_ms: [i64; TELLINGS],
}

impl Told {
    fn ahead_ms(&self) -> i64 {
        self.ahead_ms.into_iter().max().unwrap_or_default()
    }
}

/// What is known of the nodes' clocks.
#[derive(Debug, Default)]
pub struct Clocks {
    told: BTreeMap<NodeName, Told>,
    /// How far the median is ahead of the own clock.
    median_ms: i64,
    far_since: Option<Moment>,
    is_far: bool,
}

impl Clocks {
    /// A node said what its clock shows.
    pub fn hear(&mut self, node: NodeName, clock: LogTime, now: Moment, wall: LogTime) {
        let ahead =
            i64::try_from(clock.0).unwrap_or(i64::MAX).saturating_sub(i64::try_from(wall.0).unwrap_or(i64::MAX));
        let told = self.told.entry(node).or_insert(Told { at: now, ahead_ms: [ahead; TELLINGS] });
        if now.since(told.at) > FRESH {
            told.ahead_ms = [ahead; TELLINGS];
        }
        told.ahead_ms.rotate_right(1);
        told.ahead_ms[0] = ahead;
        told.at = now;
    }

    /// Looks whether the own clock is far off. `limit`: what is far; zero: nothing.
    pub fn judge(&mut self, limit: Duration, now: Moment) {
        self.told.retain(|_, told| now.since(told.at) <= FRESH);
        let mut ahead: Vec<i64> = self.told.values().map(Told::ahead_ms).chain([0]).collect();
        ahead.sort_unstable();
        // Between the two in the middle every clock is right.
        let (low, high) = (ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]);
        self.median_ms = if ahead.len() < CLOCKS_MIN { 0 } else { 0.clamp(low, high) };
        let is_off = !limit.is_zero() && u128::from(self.median_ms.unsigned_abs()) > limit.as_millis();
        self.far_since = is_off.then(|| self.far_since.unwrap_or(now));
        let was_far = self.is_far;
        self.is_far = self.far_since.is_some_and(|since| now.since(since) >= PATIENCE);
        if self.is_far && !was_far {
            let off_ms = self.off_ms();
            tracing::error!(
                off_ms,
                "this node's clock is far off the median: it leads no shard until that is put right"
            );
        } else if was_far && !self.is_far {
            tracing::info!("this node's clock is right again");
        }
    }

    /// How far the own clock is ahead of the median.
    pub const fn off_ms(&self) -> i64 {
        -self.median_ms
    }

    /// Whether that is too far to lead.
    pub const fn is_far(&self) -> bool {
        self.is_far
    }

    /// Whether a node's clock is known to be near the median.
    fn is_right(&self, node: &NodeName, limit: Duration) -> bool {
        let off = |told: &Told| u128::from((told.ahead_ms() - self.median_ms).unsigned_abs());
        self.told.get(node).is_some_and(|told| off(told) <= limit.as_millis())
    }
}

impl Engine {
    /// What is known of the nodes' clocks.
    pub const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Another node says what its clock shows.
    pub fn peer_clock(&mut self, payload: &[u8], now: Moment, wall: LogTime) {
        let Some((clock, name)) = payload.split_first_chunk::<8>() else { return };
        let Ok(name) = std::str::from_utf8(name) else { return };
        let node = NodeName::new(name);
        if self.peers.contains_key(&node) {
            self.clocks.hear(node, LogTime(u64::from_le_bytes(*clock)), now, wall);
        }
    }

    /// Tells the others what time it is here, and gives up what a node with a wrong clock must not have.
    pub(super) fn follow_clocks(&mut self, now: Moment, wall: LogTime) {
        let limit = self.options.clock_off_max;
        for outbox in self.peers.values_mut().filter(|outbox| outbox.connected) {
            put_message(&mut outbox.frames, Kind::Clock, |out| {
                out.extend_from_slice(&wall.0.to_le_bytes());
                out.extend_from_slice(self.node.as_str().as_bytes());
            });
        }
        self.clocks.judge(limit, now);
        if !self.clocks.is_far() {
            return;
        }
        for replica in self.replicas.values_mut().filter(|replica| replica.shard != ShardId::CATALOG) {
            let catalog = self.catalog.as_deref();
            let shard = replica.shard;
            let stays = |id: &ReplicaId| super::leaders::stays(catalog, shard, *id);
            let is_right =
                |id: &ReplicaId| stays(id) && self.homes.get(id).is_some_and(|n| self.clocks.is_right(n, limit));
            hand_over(replica, is_right);
        }
    }
}

fn hand_over(replica: &mut Replica, is_right: impl Fn(&ReplicaId) -> bool) {
    let able: Vec<ReplicaId> = replica.group.members().voters.iter().copied().filter(is_right).collect();
    if let Some(to) = replica.group.hand_over(&able) {
        replica.count_hand_over(HandOver::Clock);
        tracing::warn!(shard = %replica.shard, replica = %to, "gets the leadership, as this node's clock is far off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    /// The clocks of a node that was told this by each of the others, once a second.
    fn told(ahead_ms: &[i64], seconds: u64) -> Clocks {
        let mut clocks = Clocks::default();
        for second in 1..=seconds {
            for (number, ahead) in ahead_ms.iter().enumerate() {
                let clock = LogTime(1_000_000_u64.saturating_add_signed(*ahead));
                clocks.hear(NodeName::new(&format!("n{number}")), clock, at(second), LogTime(1_000_000));
            }
            clocks.judge(LIMIT, at(second));
        }
        clocks
    }

    #[test]
    fn r8_only_a_clock_that_is_far_off_the_median_for_a_while_is_wrong() {
        for (ahead, off, is_far) in [
            (&[0, 100][..], 0, false),
            (&[-60_000, 0], 0, false),
            (&[60_000, 60_100], -60_000, true),
            (&[-60_000, -60_100], 60_000, true),
            (&[60_000, -60_000], 0, false),
            (&[5_000, 5_001], -5_000, false),
            (&[60_000], 0, false),
            (&[], 0, false),
            (&[60_000, 60_000, 0], 0, false),
            (&[60_000, 60_000, 60_000], -60_000, true),
        ] {
            let clocks = told(ahead, 5);
            assert_eq!((clocks.off_ms(), clocks.is_far()), (off, is_far), "{ahead:?}");
        }
        assert!(!told(&[60_000, 60_000], 3).is_far(), "not at once");
        let mut clocks = told(&[60_000, 60_000], 5);
        clocks.judge(LIMIT, at(11));
        assert!(!clocks.is_far(), "nobody told anything for long");
        let mut clocks = told(&[60_000, 60_000], 5);
        clocks.judge(Duration::ZERO, at(6));
        assert!(!clocks.is_far(), "switched off");
    }

    #[test]
    fn what_comes_late_does_not_make_a_clock_wrong() {
        let mut clocks = Clocks::default();
        for second in 1..20_u64 {
            for name in ["a", "b"] {
                // Two of three come ten seconds late.
                let late = if second.is_multiple_of(3) { 0 } else { 10_000 };
                clocks.hear(NodeName::new(name), LogTime(1_000_000 - late), at(second), LogTime(1_000_000));
            }
            clocks.judge(LIMIT, at(second));
            assert!(second < 3 || clocks.off_ms() == 0);
        }
        assert!(!clocks.is_far());
    }
}
