//! Where leaders are not wanted: on a node whose clock is wrong (`clocks`), and on one that an operator is about to work on
//! (`pontoon evict-leaders`).
//!
//! There a replica hands over what it leads, and does not stand for election, as long as its shard has a leader: after
//! [`LEADERLESS_MAX`] without one, one in the wrong place will do. A leader that nobody could follow stays.

use std::time::Duration;

use super::Engine;
use crate::net::Moment;
use crate::node::replica::Replica;
use crate::topology::{NodeName, ReplicaId, ShardId};

/// How long a shard may be without a leader before one in the wrong place will do.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);

impl Engine {
    /// Who is not wanted as a leader here stands back, and hands over what it leads.
    pub(super) fn place_leaders(&mut self, now: Moment) {
        let catalog = self.catalog.as_deref();
        let is_evicted = |node: &NodeName| catalog.and_then(|c| c.nodes.get(node)).is_some_and(|record| record.evicted);
        let (is_far, evicted) = (self.clocks.is_far(), is_evicted(&self.node));
        for replica in self.replicas.values_mut() {
            // The catalog has no log time.
            let is_wrong = is_far && replica.shard != ShardId::CATALOG;
            let spares = replica.misses_leader(now);
            replica.group.stand_back((evicted || is_wrong) && !spares);
            // Who gives the leadership away to an evicted node knows more than this one.
            replica.group.decline(is_wrong && !spares);
            if !evicted {
                continue;
            }
            let homes = &self.homes;
            let welcome = |id: &ReplicaId| homes.get(id).is_some_and(|node| !is_evicted(node));
            let able: Vec<ReplicaId> = replica.group.members().voters.iter().copied().filter(welcome).collect();
            if let Some(to) = replica.group.hand_over(&able) {
                tracing::info!(shard = %replica.shard, replica = %to, "gets the leadership, as leaders are to leave this node");
            }
        }
    }
}

impl Replica {
    /// Whether the shard has been without a leader for so long that one in the wrong place will do.
    fn misses_leader(&self, now: Moment) -> bool {
        self.leaderless_since().is_some_and(|since| now.since(since) >= LEADERLESS_MAX)
    }
}
