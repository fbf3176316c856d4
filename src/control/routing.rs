//! Where a request goes: slot -> shard -> replicas, each on a node, with what is known of it.
//!
//! Built from the catalog (which shards and nodes exist, who owns a slot), the nodes' statuses (who leads, how far each
//! replica has applied) and refusals that say where a slot is by now. One table belongs to one thread, which alone changes
//! it; nothing here does IO.
//!
//! Invariants:
//! - a shard's term never falls, and a leader is replaced only by one of the same or a later term;
//! - the catalog's revision never falls, and neither does the epoch of a slot, whoever tells it;
//! - an index given out for a shard or a node stays its own while the table lives, so that requests in flight may hold it.
//!
//! Deliberately absent: any promise. A wrong table costs a refused request; the shards decide (DESIGN.md, P4).

mod slots;

use std::collections::HashMap;

use slots::Slots;

use crate::protocol::frame::{ReadLevel, ReplicaStatus, Role};
use crate::topology::{
    Catalog, ClusterId, Epoch, LogIndex, LogTime, NodeName, ReplicaId, Revision, ShardId, ShardName, Slot, Term,
    Whereabouts,
};

/// A follower that is this many entries behind its leader is not read at level `session` or
/// `strong`, though it could keep the promise.
pub const LAG_ENTRIES_MAX: u64 = 10_000;

/// Unanswered requests at a leader's node up to which its `strong` reads are not spread. Each replica asks one question for
/// all that wait, and the leader has work with each question: a few reads together cost it less than the same reads apart.
pub const STRONG_TOGETHER_MAX: u32 = 64;

/// A node's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

/// A shard's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u32);

impl NodeIndex {
    /// The place as a number.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl ShardIndex {
    const NONE: Self = Self(u32::MAX);

    /// The place as a number.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// A node as requests see it.
#[derive(Clone, Debug)]
pub struct NodeRoute {
    /// Its name.
    pub name: NodeName,
    /// `host:port`.
    pub addr: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether the catalog (or, before one is known, the file) still lists it.
    pub listed: bool,
    /// Whether requests can be sent to it now.
    pub up: bool,
    /// Requests that it has not answered.
    pub in_flight: u32,
}

/// A replica as requests see it.
#[derive(Clone, Debug)]
pub struct ReplicaRoute {
    /// Its id.
    pub id: ReplicaId,
    /// Where it lives.
    pub node: NodeIndex,
    /// Its last known role.
    pub role: Role,
    /// Whether it may be read.
    pub readable: bool,
    /// Whether it can answer level `any`.
    pub fresh: bool,
    /// Whether it answers that level though it may be of any age.
    pub orphan: bool,
    /// Whether it answers `strong` reads without asking others.
    pub leases: bool,
    /// Whom it follows.
    pub follows: Option<ReplicaId>,
    /// The highest index that it is known to have applied.
    pub applied: LogIndex,
}

/// A shard as requests see it.
#[derive(Clone, Debug)]
pub struct ShardRoute {
    /// Its id.
    pub id: ShardId,
    /// Its label.
    pub name: ShardName,
    /// How far the table knows it.
    pub standing: Standing,
    /// How many slots it owns, as far as known.
    pub slots: usize,
    /// The number of the last change by which it got a slot.
    pub gained_at: u64,
    /// The highest term heard of.
    pub term: Term,
    /// The latest log time that was heard of.
    pub log_time: LogTime,
    /// The leader of that term, once known.
    pub leader: Option<ReplicaId>,
    /// Its replicas.
    pub replicas: Vec<ReplicaRoute>,
}

/// How far a table knows a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A slot is there, and no catalog told of it yet: requests for the slot wait for that.
    Rumoured,
    /// The catalog lists it.
    Listed,
    /// The catalog lists it no more: all that it had is somewhere else.
    Retired,
}

/// What became of the news of a slot's whereabouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// They are none.
    Known,
    /// The slot has moved, or has another epoch where it is.
    News,
    /// It has moved to a shard of which nothing else is known: a newer catalog is needed.
    Rumour,
}

/// A change that the holder of the table acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// A node that was not there before.
    Added(NodeIndex),
    /// A known node has another address.
    Moved(NodeIndex),
    /// A node is no longer listed.
    Removed(NodeIndex),
}

/// Slot -> shard -> replicas.
#[derive(Debug)]
pub struct RoutingTable {
    zone: Option<String>,
    cluster: Option<ClusterId>,
    revision: Revision,
    doubts: u64,
    slots: Slots,
    shards: Vec<ShardRoute>,
    nodes: Vec<NodeRoute>,
    by_id: HashMap<ShardId, ShardIndex>,
    by_name: HashMap<NodeName, NodeIndex>,
}

impl RoutingTable {
    /// A table that knows nothing. Reads prefer replicas in `zone`.
    pub fn new(zone: Option<String>) -> Self {
        Self {
            zone,
            cluster: None,
            revision: Revision(0),
            doubts: 0,
            slots: Slots::new(),
            shards: Vec::new(),
            nodes: Vec::new(),
            by_id: HashMap::new(),
            by_name: HashMap::new(),
        }
    }

    /// The cluster, once a catalog is known.
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// The revision of the catalog that the table was built from.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// How often something was learned beside which all that nodes have said before is to be merged again: a catalog, by which more of it
    /// means something, a hint, which may be wrong, and that a shard has no leader.
    pub const fn doubts(&self) -> u64 {
        self.doubts
    }

    /// All nodes ever known, in the order of their indexes.
    pub fn nodes(&self) -> &[NodeRoute] {
        &self.nodes
    }

    /// All shards ever known, in the order of their indexes. A shard without slots gets no requests.
    pub fn shards(&self) -> &[ShardRoute] {
        &self.shards
    }

    /// One node.
    pub fn node(&self, node: NodeIndex) -> &NodeRoute {
        &self.nodes[node.at()]
    }

    /// One node, to note its connection and load.
    pub fn node_mut(&mut self, node: NodeIndex) -> &mut NodeRoute {
        &mut self.nodes[node.at()]
    }

    /// One shard.
    pub fn shard(&self, shard: ShardIndex) -> &ShardRoute {
        &self.shards[shard.at()]
    }

    /// The owner of a slot as far as known.
    pub fn owner(&self, slot: Slot) -> Option<ShardIndex> {
        self.slots.owner(slot)
    }

    /// The epoch of a slot's owner as far as known.
    pub fn epoch(&self, slot: Slot) -> Epoch {
        self.slots.epoch(slot)
    }

    /// How many changes there were that requests have to follow: slots that moved, shards that went away. One comparison
    /// tells whether there is anything to look at.
    pub const fn changes(&self) -> u64 {
        self.slots.changes()
    }

    /// The number of the last change of a slot's owner or epoch; zero if there was none.
    pub fn changed_at(&self, slot: Slot) -> u64 {
        self.slots.changed_at(slot)
    }

    /// Whether an owner is known of the slots.
    pub const fn is_charted(&self) -> bool {
        self.cluster.is_some()
    }

    /// The shards that own slots.
    pub fn owners(&self) -> impl Iterator<Item = ShardIndex> + '_ {
        (0_u32..).zip(&self.shards).filter(|(_, s)| s.slots > 0).map(|(i, _)| ShardIndex(i))
    }

    /// Whether every shard that owns slots has a leader that can be reached, and every slot has an owner.
    pub fn is_ready(&self) -> bool {
        self.cluster.is_some()
            && Slot::all().all(|slot| self.owner(slot).is_some())
            && self.owners().all(|s| self.leader_node(s).is_some())
    }

    /// Nodes to ask while no catalog is known: those that a file names.
    pub fn seed(&mut self, nodes: impl IntoIterator<Item = (NodeName, String, Option<String>)>) -> Vec<NodeChange> {
        if self.cluster.is_some() {
            return Vec::new();
        }
        self.list_nodes(nodes)
    }

    /// Takes a catalog over unless a newer one is known.
    pub fn adopt(&mut self, catalog: &Catalog) -> Vec<NodeChange> {
        if self.cluster.is_some_and(|c| c != catalog.cluster) || catalog.revision <= self.revision {
            return Vec::new();
        }
        self.cluster = Some(catalog.cluster);
        self.revision = catalog.revision;
        self.doubts += 1;
        let listed = catalog.nodes.iter().map(|(name, n)| (name.clone(), n.addr.clone(), n.zone.clone()));
        let changes = self.list_nodes(listed);
        self.adopt_shards(catalog);
        self.adopt_slots(catalog);
        changes
    }

    fn list_nodes(&mut self, listed: impl IntoIterator<Item = (NodeName, String, Option<String>)>) -> Vec<NodeChange> {
        let mut changes = Vec::new();
        let mut absent: Vec<bool> = vec![true; self.nodes.len()];
        for (name, addr, zone) in listed {
            let Some(&index) = self.by_name.get(&name) else {
                let index = NodeIndex(self.nodes.len() as u32);
                self.by_name.insert(name.clone(), index);
                self.nodes.push(NodeRoute { name, addr, zone, listed: true, up: false, in_flight: 0 });
                absent.push(false);
                changes.push(NodeChange::Added(index));
                continue;
            };
            absent[index.at()] = false;
            let node = &mut self.nodes[index.at()];
            node.zone = zone;
            if !std::mem::replace(&mut node.listed, true) {
                changes.push(NodeChange::Added(index));
            } else if node.addr != addr {
                changes.push(NodeChange::Moved(index));
            }
            node.addr = addr;
        }
        for (index, node) in (0..).zip(&mut self.nodes) {
            if absent[index as usize] && std::mem::replace(&mut node.listed, false) {
                changes.push(NodeChange::Removed(NodeIndex(index)));
            }
        }
        changes
    }

    fn adopt_shards(&mut self, catalog: &Catalog) {
        for shard in &mut self.shards {
            shard.replicas.retain(|r| catalog_has(catalog, shard.id, r.id));
            if shard.standing == Standing::Listed && catalog.shards.iter().all(|record| record.id != shard.id) {
                shard.standing = Standing::Retired;
                self.slots.count_change();
            }
        }
        for record in catalog.shards.iter().filter(|s| s.id != ShardId::CATALOG) {
            let index = self.index_of(record.id);
            let shard = &mut self.shards[index.at()];
            shard.name = record.name.clone();
            shard.standing = Standing::Listed;
            // Those that are to leave may lead as long as they are there.
            for replica in record.all_replicas() {
                let Some(&node) = self.by_name.get(&replica.node) else { continue };
                if !shard.replicas.iter().any(|r| r.id == replica.id) {
                    shard.replicas.push(ReplicaRoute {
                        id: replica.id,
                        node,
                        role: Role::Follower,
                        readable: false,
                        fresh: false,
                        orphan: false,
                        leases: false,
                        follows: None,
                        applied: LogIndex(0),
                    });
                }
            }
        }
    }

    /// A shard's place; it gets one if it has none.
    fn index_of(&mut self, id: ShardId) -> ShardIndex {
        let shards = &mut self.shards;
        *self.by_id.entry(id).or_insert_with(|| {
            shards.push(ShardRoute {
                id,
                name: ShardName::new(&id.to_string()),
                standing: Standing::Rumoured,
                slots: 0,
                gained_at: 0,
                term: Term(0),
                log_time: LogTime(0),
                leader: None,
                replicas: Vec::new(),
            });
            ShardIndex(shards.len() as u32 - 1)
        })
    }

    fn adopt_slots(&mut self, catalog: &Catalog) {
        for range in &catalog.slots {
            let Some(&owner) = self.by_id.get(&range.owner) else { continue };
            for slot in (range.first..=range.last).map_while(Slot::new) {
                self.merge_slot(slot, owner, range.epoch);
            }
        }
    }

    fn merge_slot(&mut self, slot: Slot, owner: ShardIndex, epoch: Epoch) -> bool {
        let Some(before) = self.slots.merge(slot, owner, epoch) else { return false };
        if let Some(before) = before {
            self.shards[before.at()].slots -= 1;
        }
        let shard = &mut self.shards[owner.at()];
        shard.slots += 1;
        shard.gained_at = self.slots.changes();
        true
    }

    /// Merges what a shard says of a slot that it does not serve, or serves under another epoch than was believed.
    pub fn merge_whereabouts(&mut self, heard: Whereabouts) -> Heard {
        // Before a catalog is known nothing is asked for, and a slot never belongs to the catalog's own group.
        if self.owner(heard.slot).is_none() || heard.owner == ShardId::CATALOG || heard.epoch <= self.epoch(heard.slot)
        {
            return Heard::Known;
        }
        let owner = self.index_of(heard.owner);
        self.merge_slot(heard.slot, owner, heard.epoch);
        if self.shard(owner).standing == Standing::Listed { Heard::News } else { Heard::Rumour }
    }

    /// Merges what a node says of its replicas. Returns whether the leader of a shard changed or what a replica may be
    /// read for, which is when waiting requests may go on.
    pub fn merge_status<'a>(&mut self, node: NodeIndex, replicas: impl IntoIterator<Item = &'a ReplicaStatus>) -> bool {
        let mut changed = false;
        for heard in replicas {
            let Some(&index) = self.by_id.get(&heard.shard) else { continue };
            let shard = &mut self.shards[index.at()];
            // A follower may not have heard of an entry for hours.
            if heard.role == Role::Leader {
                shard.log_time = shard.log_time.max(heard.log_time);
            }
            let new_leader = shard.merge_leader(heard);
            self.doubts += u64::from(new_leader && shard.leader.is_none());
            changed |= new_leader;
            changed |= shard.merge_replica(node, heard);
        }
        changed
    }

    /// A replica that was believed to lead says that it does not, and who does as far as it knows.
    pub fn merge_hint(&mut self, shard: ShardIndex, refused_by: NodeIndex, leader: Option<ReplicaId>) {
        let shard = &mut self.shards[shard.at()];
        let believed = shard.leader.and_then(|l| shard.replica(l));
        let refused_by_believed = believed.is_some_and(|r| r.node == refused_by);
        let known = leader.filter(|l| shard.replica(*l).is_some_and(|r| r.node != refused_by));
        if refused_by_believed || (shard.leader.is_none() && known.is_some()) {
            shard.leader = known;
            self.doubts += 1;
        }
    }

    /// A reply shows how far a replica has applied.
    pub fn merge_applied(&mut self, shard: ShardIndex, node: NodeIndex, index: LogIndex) {
        let shard = &mut self.shards[shard.at()];
        if let Some(replica) = shard.replicas.iter_mut().find(|r| r.node == node) {
            replica.applied = replica.applied.max(index);
        }
    }

    /// The node of a shard's leader, if it is known and can be reached.
    pub fn leader_node(&self, shard: ShardIndex) -> Option<NodeIndex> {
        let shard = &self.shards[shard.at()];
        let replica = shard.replica(shard.leader?)?;
        Some(replica.node).filter(|n| self.nodes[n.at()].up)
    }

    /// The node that a read is sent to: of the replicas that can keep the level's promise the less loaded of two at
    /// random, those in the own zone first; the leader where no other can. `coin` is any random number.
    pub fn reader(&self, shard: ShardIndex, level: ReadLevel, floor: LogIndex, coin: u64) -> Option<NodeIndex> {
        let route = &self.shards[shard.at()];
        let leader = route.leader.and_then(|l| route.replica(l));
        if level == ReadLevel::Strong
            && let Some(node) = self.leader_node(shard)
        {
            let has_time = self.node(node).in_flight < STRONG_TOGETHER_MAX && self.is_near(node);
            // A follower would ask it, and with a lease it need not ask anybody.
            if has_time || leader.is_some_and(|r| r.leases) {
                return Some(node);
            }
        }
        let newest = leader.map_or(LogIndex(0), |r| r.applied);
        let is_near = |r: &ReplicaRoute| newest.0 <= r.applied.0 + LAG_ENTRIES_MAX;
        let keeps = |r: &ReplicaRoute| match level {
            _ if Some(r.id) == route.leader => true,
            // It asks the leader that it follows: one that follows another, or nobody, would ask for a long time.
            ReadLevel::Strong => r.follows.is_some() && r.follows == route.leader && is_near(r),
            ReadLevel::Session => r.applied >= floor && is_near(r),
            ReadLevel::Any => r.fresh,
        };
        let kept = self.pick(route, keeps, coin).or_else(|| self.leader_node(shard));
        // Where nobody can keep the promise, those come last that do not give it.
        kept.or_else(|| self.pick(route, |r| level == ReadLevel::Any && r.orphan, coin))
    }

    /// Whether a node is in the own zone, if there is one.
    fn is_near(&self, node: NodeIndex) -> bool {
        self.zone.is_none() || self.nodes[node.at()].zone == self.zone
    }

    fn pick(&self, route: &ShardRoute, keeps: impl Fn(&ReplicaRoute) -> bool, coin: u64) -> Option<NodeIndex> {
        let near = |r: &ReplicaRoute| self.zone.is_some() && self.is_near(r.node);
        let able = |r: &&ReplicaRoute| keeps(r) && r.readable && self.nodes[r.node.at()].up;
        let near_count = route.replicas.iter().filter(able).filter(|r| near(r)).count();
        let only_near = near_count > 0;
        let count = if only_near { near_count } else { route.replicas.iter().filter(able).count() };
        let nth = |n: usize| route.replicas.iter().filter(able).filter(|r| !only_near || near(r)).nth(n);
        let (first, second) = match count {
            0 | 1 => return nth(0).map(|r| r.node),
            _ => {
                let first = (coin & 0xffff_ffff) as usize % count;
                let step = 1 + (coin >> 32) as usize % (count - 1);
                (nth(first)?.node, nth((first + step) % count)?.node)
            }
        };
        let load = |node: NodeIndex| self.nodes[node.at()].in_flight;
        Some(if load(second) < load(first) { second } else { first })
    }
}

impl ShardRoute {
    /// One replica.
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaRoute> {
        self.replicas.iter().find(|r| r.id == id)
    }

    fn merge_leader(&mut self, heard: &ReplicaStatus) -> bool {
        let leads = heard.role == Role::Leader;
        let said = if leads { Some(heard.replica) } else { heard.leader.filter(|l| *l != heard.replica) };
        let before = (self.term, self.leader);
        if heard.term > self.term {
            (self.term, self.leader) = (heard.term, said);
        } else if heard.term == self.term {
            match said {
                Some(_) if leads || self.leader.is_none() => self.leader = said,
                // It led in this term and stepped down.
                None if self.leader == Some(heard.replica) => self.leader = None,
                _ => {}
            }
        }
        before != (self.term, self.leader)
    }

    fn merge_replica(&mut self, node: NodeIndex, heard: &ReplicaStatus) -> bool {
        let Some(replica) = self.replicas.iter_mut().find(|r| r.id == heard.replica && r.node == node) else {
            return false;
        };
        let before = (replica.readable, replica.fresh, replica.orphan, replica.follows);
        replica.role = heard.role;
        replica.readable = heard.readable;
        replica.fresh = heard.fresh;
        replica.orphan = heard.orphan;
        replica.leases = heard.leases;
        replica.follows = heard.leader;
        // A replica whose disk was replaced comes back under another id, so an applied index only grows.
        replica.applied = replica.applied.max(heard.applied);
        before != (replica.readable, replica.fresh, replica.orphan, replica.follows)
    }
}

fn catalog_has(catalog: &Catalog, shard: ShardId, replica: ReplicaId) -> bool {
    catalog.shards.iter().any(|s| s.id == shard && s.all_replicas().any(|r| r.id == replica))
}

#[cfg(test)]
pub(crate) mod tests;
