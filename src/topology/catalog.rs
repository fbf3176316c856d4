//! The catalog: what the cluster has agreed on (DESIGN.md, section 5). The state machine of shard 0, and, as a
//! read-only copy, what every process routes by.
//!
//! Invariants, checked whenever a catalog is read from bytes, on its own or in another message: the slots are covered once and in
//! order, and so are the targets; owners, nodes and ids that are mentioned exist; every id is below the next one to be given
//! out; a node holds at most one replica of a shard. How it is made is in `founding`, how it changes in `decision`
//! (`acceptance`: by files, `reports`: by what the shards say, `registration`: by nodes).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::assignment::TargetRange;
use super::config::{BalanceConfig, CATALOG_NAME, NodeConfig, ShardsConfig, check_name};
use super::{
    ClusterId, Epoch, HostPort, Incarnation, LogIndex, NodeName, ReplicaId, Revision, SLOT_COUNT, ShardId, ShardName,
    Slot,
};

/// A node as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `host:port`.
    pub addr: String,
    /// The zone, for placement and nearest reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The machine that it runs on, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its share of the leaders; 0: it is to lead nothing.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// The one incarnation that may act under this name; none until the node was first heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The accepted file has it no more: it is kept, with its address, until no replica is there.
    #[serde(default, skip_serializing_if = "is_not")]
    pub leaving: bool,
    /// Leaders leave it, and none is elected there without need: somebody is about to work on it.
    #[serde(default, skip_serializing_if = "is_not")]
    pub evicted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls takes references")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls takes references")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

const fn one() -> u32 {
    1
}

impl NodeRecord {
    /// A node that the file has: nothing is known of its incarnation.
    pub fn of(node: &NodeConfig) -> Self {
        Self {
            addr: node.addr.to_string(),
            zone: node.zone.clone(),
            host: node.host.clone(),
            weight: node.weight,
            incarnation: None,
            leaving: false,
            evicted: false,
        }
    }

    /// The machine that it runs on: what the file says, or what its address does.
    pub fn host(&self) -> String {
        let host = self.host.clone();
        host.or_else(|| self.addr.parse().ok().map(|addr: HostPort| addr.host())).unwrap_or_else(|| self.addr.clone())
    }
}

/// A replica as the catalog gave it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its id in the Raft group, never used again.
    pub id: ReplicaId,
    /// Where it lives.
    pub node: NodeName,
}

/// A run of slots of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
    /// The shard that owns them.
    pub owner: ShardId,
    /// The epoch of that ownership.
    pub epoch: Epoch,
}

/// A shard, or (with id 0 and name `catalog`) the catalog itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Its Raft group, never used again.
    pub id: ShardId,
    /// Its label in `shards.toml`.
    pub name: ShardName,
    /// Its share of the slots.
    pub weight: u32,
    /// Its replicas. The first configuration of the Raft group, for ever, is `birth`.
    pub replicas: Vec<ReplicaRecord>,
    /// The voters that the group is formed from.
    pub birth: Vec<ReplicaRecord>,
    /// The slots that the group is formed with.
    pub birth_slots: Vec<SlotRange>,
    /// The accepted file has it no more: it gives its slots away, and its record goes when it has none. Another shard may
    /// have its name meanwhile.
    #[serde(default, skip_serializing_if = "is_not")]
    pub closing: bool,
    /// Replicas that are wanted no more and may still be members of the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<ReplicaRecord>,
    /// The revision by which the newest of these left. A report of members that was made by an older one says nothing of them.
    #[serde(default)]
    pub leaving_since: Revision,
    /// The position of the shard's log at which its members were last reported.
    #[serde(default)]
    pub members_at: LogIndex,
}

/// All that the cluster has agreed on. Serialized as JSON in the catalog's log, its snapshots, and on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Catalog {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Raised by every change of the catalog.
    pub revision: Revision,
    /// The version of the accepted `shards.toml`.
    pub version: u64,
    /// The accepted `shards.toml`, as it was proposed.
    pub config_text: String,
    /// The seed of key hashes (SCAN positions).
    pub seed: u64,
    /// Nodes by name.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// Shards, the catalog's own group first, then by id.
    pub shards: Vec<ShardRecord>,
    /// The highest known owner and epoch of all slots, in order and without gaps.
    pub slots: Vec<SlotRange>,
    /// Where each slot is to be, in order and without gaps: what the accepted weights came to when they were accepted.
    #[serde(default)]
    pub targets: Vec<TargetRange>,
    /// The next shard id.
    pub next_shard: ShardId,
    /// The next replica id (one sequence for all shards).
    pub next_replica: ReplicaId,
    /// Incarnations that acted under some name once and never may again: their disks were replaced, or their nodes removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired: BTreeSet<Incarnation>,
    /// Where leaders are to be.
    #[serde(default)]
    pub balance: BalanceConfig,
}

impl Serialize for Catalog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Catalog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut catalog = Self::deserialize(deserializer)?;
        if catalog.targets.is_empty() {
            // Written by a release that moved no slots.
            catalog.targets = catalog.slots.iter().map(SlotRange::as_target).collect();
        }
        catalog.validate().map_err(serde::de::Error::custom)?;
        Ok(catalog)
    }
}

/// Why bytes are not a catalog: not JSON, not of this shape, or an invariant is broken.
#[derive(Debug, thiserror::Error)]
#[error("not a catalog: {0}")]
pub struct CatalogError(#[from] serde_json::Error);

impl ShardRecord {
    /// The replica with this id.
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaRecord> {
        self.replicas.iter().find(|r| r.id == id)
    }

    /// The replicas that may be members of the group: those that are wanted, then those that leave.
    pub fn all_replicas(&self) -> impl Iterator<Item = &ReplicaRecord> {
        self.replicas.iter().chain(&self.leaving)
    }

    /// The place of a replica among the shard's, which no other of them has.
    pub fn place(&self, id: ReplicaId) -> usize {
        self.all_replicas().position(|r| r.id == id).unwrap_or(self.replicas.len() + self.leaving.len())
    }

    /// The replica that is wanted on this node.
    pub fn replica_on(&self, node: &NodeName) -> Option<&ReplicaRecord> {
        self.replicas.iter().find(|r| r.node == *node)
    }

    /// The replica on this node, be it one that leaves.
    pub fn any_replica_on(&self, node: &NodeName) -> Option<&ReplicaRecord> {
        self.all_replicas().find(|r| r.node == *node)
    }
}

impl SlotRange {
    /// How many slots it has.
    pub const fn slot_count(&self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// The same slots, to stay where they are.
    pub const fn as_target(&self) -> TargetRange {
        TargetRange { first: self.first, last: self.last, shard: self.owner }
    }

    /// Its slots in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (self.first..=self.last).filter_map(Slot::new)
    }
}

impl Catalog {
    /// The catalog's own group.
    pub fn catalog_shard(&self) -> &ShardRecord {
        &self.shards[0]
    }

    /// All groups but the catalog's.
    pub fn data_shards(&self) -> &[ShardRecord] {
        &self.shards[1..]
    }

    /// The shard with this id.
    pub fn shard(&self, id: ShardId) -> Option<&ShardRecord> {
        self.shards.iter().find(|s| s.id == id)
    }

    /// The shard with this name; one that is closing has it no more.
    pub fn shard_named(&self, name: &ShardName) -> Option<&ShardRecord> {
        self.shards.iter().find(|s| s.name == *name && !s.closing)
    }

    /// The run of slots that this one is in.
    pub fn range_of(&self, slot: Slot) -> &SlotRange {
        &self.slots[self.slots.partition_point(|range| range.last < slot.number())]
    }

    /// The shard that owns this slot.
    pub fn owner(&self, slot: Slot) -> &ShardRecord {
        self.shard(self.range_of(slot).owner).expect("owners exist")
    }

    /// The shard that is to own this slot.
    pub fn target(&self, slot: Slot) -> ShardId {
        self.targets[self.targets.partition_point(|range| range.last < slot.number())].shard
    }

    /// What a shard owns, as far as is known here, and others are to own, in order: runs with their new owners.
    pub fn moves_wanted(&self, shard: ShardId) -> Vec<TargetRange> {
        let mut moves: Vec<TargetRange> = Vec::new();
        for owned in self.slots.iter().filter(|range| range.owner == shard) {
            let from = self.targets.partition_point(|target| target.last < owned.first);
            let wanted = self.targets[from..].iter().take_while(|target| target.first <= owned.last);
            for target in wanted.filter(|target| target.shard != shard) {
                let (first, last) = (target.first.max(owned.first), target.last.min(owned.last));
                match moves.last_mut() {
                    Some(run) if run.shard == target.shard && run.last + 1 == first => run.last = last,
                    _ => moves.push(TargetRange { first, last, shard: target.shard }),
                }
            }
        }
        moves
    }

    /// How many slots a shard is to own.
    pub fn target_count(&self, shard: ShardId) -> u32 {
        self.targets.iter().filter(|range| range.shard == shard).map(TargetRange::slot_count).sum()
    }

    /// How many slots a shard owns.
    pub fn slot_count(&self, shard: ShardId) -> u32 {
        self.slots.iter().filter(|range| range.owner == shard).map(SlotRange::slot_count).sum()
    }

    /// Where a node is reached.
    pub fn addr(&self, node: &NodeName) -> Option<&str> {
        self.nodes.get(node).map(|record| record.addr.as_str())
    }

    /// The shards with a replica on this node, be it one that leaves, with that replica.
    pub fn replicas_on(&self, node: &NodeName) -> impl Iterator<Item = (&ShardRecord, &ReplicaRecord)> {
        self.shards.iter().filter_map(move |shard| shard.any_replica_on(node).map(|replica| (shard, replica)))
    }

    /// Whether another revision says the same of everything but of who owns which slot.
    pub fn is_same_but_for_slots(&self, other: &Self) -> bool {
        let Self {
            cluster,
            version,
            config_text,
            seed,
            nodes,
            shards,
            targets,
            next_shard,
            next_replica,
            retired,
            balance,
            slots: _,
            revision: _,
        } = self;
        (cluster, version, config_text, seed, nodes, balance)
            == (&other.cluster, &other.version, &other.config_text, &other.seed, &other.nodes, &other.balance)
            && (shards, targets, retired) == (&other.shards, &other.targets, &other.retired)
            && (next_shard, next_replica) == (&other.next_shard, &other.next_replica)
    }

    /// The JSON of the catalog's log, snapshots and copies.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Reads what [`encode`](Self::encode) wrote, and checks it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CatalogError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Checks the invariants; else says the first that is broken.
    ///
    /// The accepted text need not be valid any more: a later release may have other rules.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_nodes()?;
        self.validate_shards()?;
        self.validate_slots()?;
        self.validate_targets()?;
        match self.accepted() {
            Some(config) if config.version != self.version => {
                damaged(format!("version {} with the text of version {}", self.version, config.version))
            }
            _ => Ok(()),
        }
    }

    /// The accepted `shards.toml`; none where the rules have changed since.
    pub fn accepted(&self) -> Option<ShardsConfig> {
        ShardsConfig::parse(&self.config_text, "shards.toml").ok()
    }

    fn validate_nodes(&self) -> Result<(), String> {
        for (name, record) in &self.nodes {
            if let Err(rule) = check_name(name.as_str()) {
                return damaged(format!("node {name:?}: {rule}"));
            }
            if let Err(reason) = record.addr.parse::<HostPort>() {
                return damaged(format!("node {name}: {reason}"));
            }
            if record.incarnation.is_some_and(|incarnation| self.retired.contains(&incarnation)) {
                return damaged(format!("node {name} has an incarnation that was retired"));
            }
        }
        Ok(())
    }

    fn validate_shards(&self) -> Result<(), String> {
        let (mut names, mut replicas) = (BTreeSet::new(), BTreeSet::new());
        let mut next = ShardId::CATALOG;
        if self.shards.first().is_none_or(|s| s.id != ShardId::CATALOG || s.name.as_str() != CATALOG_NAME) {
            return damaged("the catalog's own group is missing");
        }
        if self.shards[0].closing {
            return damaged("the catalog's own group is closing");
        }
        for shard in &self.shards {
            let (id, name) = (shard.id, &shard.name);
            if id < next || id >= self.next_shard {
                return damaged(format!("shard {id} is out of order or was not given out"));
            }
            next = id.next();
            if check_name(name.as_str()).is_err() || !(shard.closing || names.insert(name)) {
                return damaged(format!("shard {id} has the name {name:?}"));
            }
            if shard.replicas.is_empty() || shard.birth.is_empty() {
                return damaged(format!("shard {id} has no replicas"));
            }
            self.validate_replicas(shard, &mut replicas)?;
            let born_elsewhere = |range: &SlotRange| range.owner != id || range.first > range.last || !in_space(range);
            if shard.birth_slots.iter().any(born_elsewhere) {
                return damaged(format!("shard {id} was born with slots that are not its own"));
            }
        }
        Ok(())
    }

    fn validate_replicas(&self, shard: &ShardRecord, seen: &mut BTreeSet<ReplicaId>) -> Result<(), String> {
        let given_out = |replica: &ReplicaRecord| replica.id.0 > 0 && replica.id < self.next_replica;
        let mut nodes = BTreeSet::new();
        for replica in shard.all_replicas() {
            if !given_out(replica) || !seen.insert(replica.id) {
                return damaged(format!(
                    "replica {} of shard {} is there twice or was not given out",
                    replica.id, shard.id
                ));
            }
            if !self.nodes.contains_key(&replica.node) || !nodes.insert(&replica.node) {
                return damaged(format!("replica {} of shard {} is on node {:?}", replica.id, shard.id, replica.node));
            }
        }
        match shard.birth.iter().find(|replica| !given_out(replica)) {
            Some(replica) => damaged(format!("birth replica {} of shard {} was not given out", replica.id, shard.id)),
            None => Ok(()),
        }
    }

    fn validate_slots(&self) -> Result<(), String> {
        let mut next = 0;
        for range in &self.slots {
            if usize::from(range.first) != next || range.last < range.first || !in_space(range) {
                return damaged(format!("slots {} to {} do not follow {next}", range.first, range.last));
            }
            next = usize::from(range.last) + 1;
            if range.owner == ShardId::CATALOG || self.shard(range.owner).is_none() {
                return damaged(format!("slot {} belongs to shard {}, which is not there", range.first, range.owner));
            }
            if range.epoch.0 == 0 {
                return damaged(format!("slot {} has epoch {}, which was not given out", range.first, range.epoch));
            }
        }
        if next == SLOT_COUNT { Ok(()) } else { damaged(format!("the slots end at {next}")) }
    }

    fn validate_targets(&self) -> Result<(), String> {
        let mut next = 0;
        for range in &self.targets {
            if usize::from(range.first) != next || range.last < range.first || usize::from(range.last) >= SLOT_COUNT {
                return damaged(format!("targets {} to {} do not follow {next}", range.first, range.last));
            }
            next = usize::from(range.last) + 1;
            let takes = |shard: &ShardRecord| !shard.closing && shard.id != ShardId::CATALOG;
            if !self.shard(range.shard).is_some_and(takes) {
                return damaged(format!("slot {} is to go to shard {}, which takes none", range.first, range.shard));
            }
        }
        if next == SLOT_COUNT { Ok(()) } else { damaged(format!("the targets end at {next}")) }
    }
}

fn in_space(range: &SlotRange) -> bool {
    usize::from(range.last) < SLOT_COUNT
}

fn damaged<T>(what: impl fmt::Display) -> Result<T, String> {
    Err(format!("damaged: {what}"))
}
