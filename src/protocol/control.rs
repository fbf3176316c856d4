//! What the JSON frames of the internal protocol say: the handshake (`Hello`, `Welcome`) and what operators' commands
//! and nodes ask of a node (`Control`, `ControlReply`).
//!
//! One answer to each question, and the error forms are the same for all: `{"error": text}`, or
//! `{"not_leader": {"leader": name}}` where only the leader of the group can answer. Unknown fields are ignored, so that
//! an older end understands a newer one; an unknown question is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frame::Role;
use super::verification::{MarkDigests, MarkId, MarkPlace, SlotKeys, Verdict};
use crate::topology::config::CATALOG_NAME;
use crate::topology::{
    Catalog, CatalogCommand, CatalogOutcome, ClusterId, Incarnation, LogIndex, NodeName, ReplicaId, Revision, ShardId,
    ShardName, Slot, Term,
};

/// What the connecting end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerRole {
    /// A command that somebody typed, or a node that only wants to hear the catalog; sends `Control` and heartbeats.
    Operator,
    /// A proxy; sends requests and heartbeats.
    Proxy,
    /// Another node; sends Raft messages, snapshots and `Control`.
    Node,
}

/// The first frame of the connecting end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it is.
    pub role: PeerRole,
    /// The cluster that it belongs to; none while it belongs to none, which every node takes.
    pub cluster: Option<ClusterId>,
    /// Its name: a node's name, or a label for logs.
    pub name: String,
    /// Its incarnation, of nodes.
    pub incarnation: Option<Incarnation>,
    /// The node that it means to reach; none: whoever listens there.
    pub to: Option<NodeName>,
}

/// The first frame of the accepting end. A mismatch is answered with `Goodbye` and the reason instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster that the node belongs to; none before `pontoon init` reached it.
    pub cluster: Option<ClusterId>,
    /// The node's name.
    pub node: NodeName,
    /// The node's incarnation.
    pub incarnation: Incarnation,
    /// Whether leaders may count on its replicas for their leases.
    #[serde(default)]
    pub keeps_leases: bool,
}

/// A question to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Who are you? Answered with [`ControlReply::Identity`].
    Identify,
    /// How are your replicas? Answered with [`ControlReply::Status`].
    Status,
    /// What has the cluster agreed on, as far as you know? Answered with [`ControlReply::Catalog`].
    Catalog,
    /// Form the catalog of a new cluster, with this content, on this node alone. Answered with
    /// [`ControlReply::Initialized`] once it is durable; an error where the node belongs to a cluster.
    Init {
        /// What the new cluster starts with.
        catalog: Box<Catalog>,
    },
    /// Propose this `shards.toml` to the catalog. Answered with [`ControlReply::Decided`].
    Propose {
        /// The file's text.
        text: String,
        /// Where it comes from, for logs.
        origin: String,
    },
    /// What would this `shards.toml` wait for, if it were proposed now? The catalog's leader asks the nodes that the change needs.
    /// Answered with [`ControlReply::Foreseen`].
    Foresee {
        /// The file's text.
        text: String,
    },
    /// Record a node's incarnation in the catalog, in the place of an earlier one if that is gone: the leader asks at the
    /// node's address. Answered with [`ControlReply::Decided`].
    Register {
        /// The node's name.
        name: NodeName,
        /// The incarnation of its data directory.
        incarnation: Incarnation,
    },
    /// Have leaders leave a node, or let them come back. Answered with [`ControlReply::Decided`].
    EvictLeaders {
        /// The node.
        node: NodeName,
        /// Whether they are to leave.
        evicted: bool,
    },
    /// Who leads on your node, and who could take over? Answered with [`ControlReply::Leaders`].
    Leaders,
    /// Give the leadership of a shard to another of its voters, unless something else is going on with it. Answered with
    /// [`ControlReply::Done`] when that has begun.
    GiveLeadership {
        /// The shard.
        shard: ShardId,
        /// The voter.
        to: ReplicaId,
        /// The term in which the node leads: what was planned for another one is not done.
        term: Term,
        /// Why, for the log.
        reason: String,
    },
    /// Take to the catalog what the leaders on a node have to say of their shards: owners, members, retired shards; nothing else.
    /// Answered with [`ControlReply::Decided`], which is about the last of them.
    Report {
        /// What they say.
        commands: Vec<CatalogCommand>,
    },
    /// Log a mark, at which the replicas of a shard can be compared. Answered by the shard's leader with
    /// [`ControlReply::Marked`], by others with [`ControlReply::NotLeader`].
    Mark {
        /// The shard.
        shard: ShardId,
        /// A number never used before.
        id: MarkId,
    },
    /// What was your replica of a shard at this mark? Answered with [`ControlReply::Digests`].
    Digests {
        /// The shard.
        shard: ShardId,
        /// The mark.
        id: MarkId,
        /// Where it stands.
        index: LogIndex,
    },
    /// What were the keys of a slot like at this mark? Answered with [`ControlReply::SlotKeys`].
    SlotKeys {
        /// The shard.
        shard: ShardId,
        /// The mark.
        id: MarkId,
        /// The slot.
        slot: Slot,
        /// How many keys to skip, in hash order.
        from: u64,
    },
    /// What does each slot of a shard hold? Answered by any of its replicas with [`ControlReply::SlotUsage`].
    SlotUsage {
        /// The shard.
        shard: ShardId,
    },
    /// Let go of what is kept for a mark, and count how the comparison ended. Answered with [`ControlReply::Done`].
    EndVerification {
        /// The shard.
        shard: ShardId,
        /// The mark.
        id: MarkId,
        /// What the comparison came to.
        verdict: Verdict,
    },
}

/// The answer to a [`ControlRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// It cannot be done, and why.
    Error(String),
    /// Only the leader of the group, mostly the catalog's, can answer: ask there.
    NotLeader {
        /// The node of that leader, where it is known.
        leader: Option<NodeName>,
    },
    /// Who the node is.
    Identity(Welcome),
    /// The node's replicas.
    Status(NodeReport),
    /// Who leads there.
    Leaders(LeadersReport),
    /// The node's copy of the catalog; none before it has one.
    Catalog(Option<Box<Catalog>>),
    /// The cluster exists from here on.
    Initialized,
    /// What the catalog decided about a proposal.
    Decided(CatalogOutcome),
    /// What the file would wait for; nothing: it would not wait.
    Foreseen(Vec<Hindrance>),
    /// The mark is in the shard's log, and the leader has come to it.
    Marked(MarkPlace),
    /// What the replica was at the mark.
    Digests(MarkDigests),
    /// What the slot's keys were like; none: the replica did not own the slot.
    SlotKeys(Option<SlotKeys>),
    /// What the slots hold that have any key.
    SlotUsage(Vec<SlotUsage>),
    /// It was done.
    Done,
}

/// Why a change of a shard cannot be made while the nodes are as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    /// The shard; of the catalog's group, its name.
    pub shard: ShardName,
    /// The reason, for people.
    pub reason: String,
}

impl std::fmt::Display for Hindrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shard, reason } = self;
        if shard.as_str() == CATALOG_NAME {
            write!(f, "the catalog: {reason}")
        } else {
            write!(f, "shard `{shard}`: {reason}")
        }
    }
}

/// A node's account of itself and its replicas, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// The incarnation of its data directory.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The revision of its copy of the catalog.
    pub revision: Revision,
    /// The version of the `shards.toml` in that copy.
    pub version: u64,
    /// Its replicas, the catalog's included.
    pub replicas: Vec<ReplicaReport>,
    /// Bytes of memory that count against its limit.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The limit; zero: none.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// How far its clock is ahead of the median of those that it hears of, in milliseconds.
    #[serde(default)]
    pub clock_off_ms: i64,
    /// Whether that is so far that it leads no shard.
    #[serde(default)]
    pub clock_is_far: bool,
    /// How many bytes a second it sends at most when slots move; zero: as many as it can.
    #[serde(default)]
    pub move_bytes_per_second: u64,
    /// Why its `shards.toml` is not what is accepted, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_trouble: Option<String>,
    /// What it leads, and who could take over.
    #[serde(default)]
    pub leaders: LeadersReport,
    /// The proxies that are connected to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<ProxyReport>,
}

/// A proxy's account of itself: the first that nodes hear of it, and again whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyReport {
    /// Its label.
    pub name: String,
    /// What tells its process from all others; its workers have it in common.
    pub run_id: String,
    /// Where its connection comes from, as the node sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The port that clients connect to.
    pub port: u16,
    /// Why its `shards.toml` is not what is accepted, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_trouble: Option<String>,
}

impl ProxyReport {
    /// The longest one, as JSON.
    pub const BYTES_MAX: usize = 16 * 1024;
    /// The longest reason; what is longer is cut.
    pub const REASON_BYTES_MAX: usize = 2 * 1024;
}

/// What a node leads, and what there is to know before a leader is asked to give way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadersReport {
    /// Whether its clock is so far off that it is to lead nothing.
    pub clock_is_far: bool,
    /// What it leads, but for the catalog.
    pub leading: Vec<LeaderReport>,
}

/// A leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderReport {
    /// Its shard.
    pub shard: ShardId,
    /// The member of the group.
    pub replica: ReplicaId,
    /// The term that it leads in.
    pub term: Term,
    /// The voters that live and are in step; none: it does not know yet, as it has just been elected.
    pub heirs: Option<Vec<ReplicaId>>,
    /// Why it is to stay, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Entries per second, of late.
    pub writes_per_second: u64,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotUsage {
    /// The slot.
    pub slot: Slot,
    /// Its keys.
    pub keys: u64,
    /// Their bytes and those of their values, as the keyspace counts them.
    pub bytes: u64,
}

/// Keys of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeReport {
    /// How many.
    pub keys: u64,
    /// Their bytes and those of their values, as the keyspace counts them.
    pub bytes: u64,
}

/// A replica, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The Raft group.
    pub shard: ShardId,
    /// The shard's label.
    pub name: ShardName,
    /// The member of the group.
    pub replica: ReplicaId,
    /// What it does there.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader that it follows, or itself.
    pub leader: Option<ReplicaId>,
    /// The last position of the log that it applied.
    pub applied: LogIndex,
    /// The last position that it knows to be committed.
    pub committed: LogIndex,
    /// Keys in its slots.
    pub keys: u64,
    /// Bytes of keys and values, as the keyspace counts them.
    pub bytes: u64,
    /// Of these, by type; types without keys are left out.
    #[serde(default)]
    pub types: BTreeMap<String, TypeReport>,
    /// Clients that wait for its keys.
    #[serde(default)]
    pub clients_blocked: u64,
    /// How many slots it owns.
    pub slots: u32,
    /// Whether it can serve reads now.
    pub readable: bool,
    /// Who votes in the group, as far as it knows; while one voter takes the place of another, both do.
    #[serde(default)]
    pub voters: Vec<ReplicaId>,
    /// What the leader is doing about the group's members, or waits for, in words; nothing where they are as they should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Why the replica stopped for good, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether it has no leader and answers reads of level `any` all the same.
    #[serde(default)]
    pub orphan: bool,
    /// Slots on their way between this shard and others, told by its leader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<MovesReport>,
}

/// Which way slots move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveDirection {
    /// From this shard.
    Out,
    /// To this shard.
    In,
}

/// The slots that move between a shard and another one, since the rebalancing began that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovesReport {
    /// The other shard.
    pub peer: ShardId,
    /// Its label.
    pub name: ShardName,
    /// Which way.
    pub direction: MoveDirection,
    /// Slots that are still to move.
    pub slots_left: u32,
    /// Slots that have moved.
    pub slots_done: u32,
    /// Keys that were sent, or came; those that were sent again after a change count again.
    pub keys_moved: u64,
    /// Their bytes.
    pub bytes_moved: u64,
    /// Keys in the last second or so.
    pub keys_per_second: u64,
    /// Their bytes.
    pub bytes_per_second: u64,
    /// How long the rest takes at this speed, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
    /// Batches of slots that are being copied, while this shard or the other one serves them.
    pub copying: u32,
    /// Batches whose requests wait for the last piece.
    pub frozen: u32,
    /// Why nothing goes on, if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<StallReport>,
}

/// Why a move does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallReport {
    /// The reason, for people.
    pub reason: String,
    /// For how long it has been like that.
    pub for_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_have_the_documented_json() {
        let json = |value: serde_json::Value| value.to_string();
        let text = |value: &ControlReply| serde_json::to_string(value).unwrap();
        assert_eq!(serde_json::to_string(&ControlRequest::Identify).unwrap(), r#"{"op":"identify"}"#);
        assert_eq!(text(&ControlReply::Error("no".into())), json(serde_json::json!({"error": "no"})));
        assert_eq!(
            text(&ControlReply::NotLeader { leader: Some(NodeName::new("n1")) }),
            json(serde_json::json!({"not_leader": {"leader": "n1"}}))
        );
        assert_eq!(
            text(&ControlReply::Decided(CatalogOutcome::Stale { version: 3 })),
            json(serde_json::json!({"decided": {"outcome": "stale", "version": 3}}))
        );
        assert!(serde_json::from_str::<ControlRequest>(r#"{"op":"dance"}"#).is_err());
    }

    #[test]
    fn a_hello_may_carry_fields_of_a_later_version() {
        let hello: Hello = serde_json::from_str(r#"{"role":"proxy","name":"p","later":1}"#).unwrap();
        assert_eq!((hello.role, hello.cluster, hello.to), (PeerRole::Proxy, None, None));
    }
}
