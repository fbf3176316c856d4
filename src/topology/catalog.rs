//! The catalog: what the cluster has agreed on (DESIGN.md, section 5). The state machine of shard 0, and, as a
//! read-only copy, what every process routes by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ClusterId, Epoch, Incarnation, NodeName, ReplicaId, Revision, ShardId, ShardName};

/// A node as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `host:port`.
    pub addr: String,
    /// The zone, for placement and nearest reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The one incarnation that may act under this name; none until the node was first heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
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
}

/// All that the cluster has agreed on. Serialized as JSON in the catalog's log, its snapshots, and on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Owners of all slots, in order and without gaps.
    pub slots: Vec<SlotRange>,
    /// The next shard id.
    pub next_shard: ShardId,
    /// The next replica id (one sequence for all shards).
    pub next_replica: ReplicaId,
    /// The next slot epoch.
    pub next_epoch: Epoch,
}
