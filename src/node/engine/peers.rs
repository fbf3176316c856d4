//! The other nodes, as a node's engine knows them: what waits to be sent to each, which are gone, and what they promised.

use std::sync::Arc;

use super::{Engine, Event};
use crate::topology::{Catalog, NodeName, ReplicaId};

/// Ticks between the elections of two replicas that saw their leader's node go away.
const STAGGER_TICKS: usize = 2;
/// Ticks until an election that was brought forward is tried again, while the leader's node stays away.
const HURRY_AGAIN_TICKS: u64 = 6;

/// What waits to be sent to one node.
#[derive(Debug, Default)]
pub struct PeerOutbox {
    /// Frames.
    pub frames: Vec<u8>,
    /// Whether there is a connection. Without one, messages are dropped: Raft sends again.
    pub connected: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Hurry {
    next_tick: u64,
}

impl Engine {
    /// Takes a catalog from elsewhere, if it is newer.
    pub fn adopt_catalog(&mut self, catalog: Arc<Catalog>) {
        if catalog.revision <= self.revision() {
            return;
        }
        // Those that leave are members until they have left.
        let all = catalog.shards.iter().flat_map(|shard| shard.all_replicas());
        self.homes = all.map(|r| (r.id, r.node.clone())).collect();
        let mine = |node: &NodeName| *node == self.node;
        let near = catalog.replicas_on(&self.node).flat_map(|(shard, _)| shard.all_replicas());
        let peers: Vec<_> = near.filter(|r| !mine(&r.node)).collect();
        for replica in peers {
            self.peers.entry(replica.node.clone()).or_default();
        }
        self.catalog = Some(Arc::clone(&catalog));
        self.meet_movers();
        self.events.push(Event::CatalogChanged(catalog));
    }

    /// The node of a replica.
    pub fn home(&self, replica: ReplicaId) -> Option<&NodeName> {
        self.homes.get(&replica)
    }

    /// The nodes that this node's replicas talk to.
    pub fn peer_names(&self) -> impl Iterator<Item = &NodeName> {
        self.peers.keys()
    }

    /// What is to be sent to a node.
    pub fn peer(&mut self, node: &NodeName) -> Option<&mut PeerOutbox> {
        self.peers.get_mut(node)
    }

    /// All that is to be sent.
    pub fn peers_mut(&mut self) -> impl Iterator<Item = (&NodeName, &mut PeerOutbox)> {
        self.peers.iter_mut()
    }

    /// A connection to a node was made.
    pub fn peer_connected(&mut self, node: &NodeName) {
        self.lost_peers.remove(node);
        if let Some(outbox) = self.peers.get_mut(node) {
            outbox.connected = true;
            outbox.frames.clear();
        }
    }

    /// What a node said of itself when the connection to it was made: whether leaders here may count on its replicas.
    pub fn peer_keeps_leases(&mut self, node: &NodeName, keeps: bool) {
        if keeps {
            self.lease_keepers.insert(node.clone());
        } else {
            self.lease_keepers.remove(node);
        }
    }

    /// The connection to a node broke. `refused`: nobody listens there any more, so its leaders are gone for sure and
    /// their followers need not wait for the election time.
    pub fn peer_lost(&mut self, node: &NodeName, refused: bool) {
        let Some(outbox) = self.peers.get_mut(node) else { return };
        self.lease_keepers.remove(node);
        let was_connected = std::mem::take(&mut outbox.connected);
        outbox.frames = Vec::new();
        if was_connected {
            let homes = &self.homes;
            for replica in self.replicas.values_mut() {
                let there = replica.group.members().all().find(|id| homes.get(id) == Some(node));
                there.into_iter().for_each(|id| replica.group.report_unreachable(id));
            }
        }
        if refused && !self.lost_peers.contains_key(node) {
            self.lost_peers.insert(node.clone(), Hurry { next_tick: self.ticks });
            self.hurry_elections();
        }
    }

    /// Brings the election forward where the leader's node is known to be gone: one replica after the other.
    pub(super) fn hurry_elections(&mut self) {
        let ticks = self.ticks;
        for (node, hurry) in &mut self.lost_peers {
            if hurry.next_tick > ticks {
                continue;
            }
            hurry.next_tick = ticks + HURRY_AGAIN_TICKS;
            for replica in self.replicas.values_mut() {
                let leader = replica.group.leader();
                if leader.is_some_and(|id| self.homes.get(&id) != Some(node)) {
                    continue;
                }
                let (gone, left): (Vec<ReplicaId>, Vec<ReplicaId>) =
                    replica.group.members().voters.iter().partition(|id| self.homes.get(id) == Some(node));
                if let Some(order) = left.iter().position(|id| *id == replica.id).filter(|_| !gone.is_empty()) {
                    replica.group.hurry_election(1 + order * STAGGER_TICKS);
                }
            }
        }
    }
}
