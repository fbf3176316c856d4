//! Replicas that come and go, as `status` tells them: who is in the catalog and does not vote yet, who votes and is in the
//! catalog no more, and which shards have nobody left who could have their data.

use serde::Serialize;

use crate::protocol::control::ReplicaReport;
use crate::protocol::frame::Role;
use crate::topology::{NodeName, ReplicaId, ReplicaRecord, ShardName, ShardRecord};

/// What a replica is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Become a voter.
    Joins,
    /// Be a voter no more.
    Leaves,
}

/// A replica that is between the members that a shard has and those that it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberInTransit {
    shard: ShardName,
    replica: ReplicaId,
    direction: Direction,
    /// Its node; unknown of one that leaves because its disk is gone.
    node: Option<NodeName>,
    /// The last position that it has, of one that joins and has told.
    applied: Option<u64>,
    /// The last position that the leader has.
    committed: u64,
    /// What the leader says of the change as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_says: Option<String>,
}

impl MemberInTransit {
    /// All of a shard, as far as its leader told. `told`: the replicas that told something, with their nodes.
    pub fn of(record: &ShardRecord, told: &[(&NodeName, &ReplicaReport)]) -> Vec<Self> {
        let leader = told.iter().filter(|(_, r)| r.role == Role::Leader).max_by_key(|(_, r)| r.term);
        let Some((_, leader)) = leader else { return Vec::new() };
        let transit = |replica, direction, node: Option<&NodeName>, applied| Self {
            shard: record.name.clone(),
            replica,
            direction,
            node: node.cloned(),
            applied,
            committed: leader.committed.get(),
            leader_says: leader.change.clone(),
        };
        let joining = |r: &ReplicaRecord| {
            let applied = told.iter().find(|(_, told)| told.replica == r.id).map(|(_, told)| told.applied.get());
            transit(r.id, Direction::Joins, Some(&r.node), applied)
        };
        let joins = record.replicas.iter().filter(|r| !leader.voters.contains(&r.id)).map(joining);
        let leaving = record.leaving.iter().map(|r| transit(r.id, Direction::Leaves, Some(&r.node), None));
        let known = |id: &ReplicaId| record.all_replicas().any(|r| r.id == *id);
        let unknown = leader.voters.iter().filter(|id| !known(id));
        let unknown = unknown.map(|id| transit(*id, Direction::Leaves, None, None));
        let all: Vec<Self> = joins.chain(leaving).chain(unknown).collect();
        if !all.is_empty() || leader.change.is_none() {
            return all;
        }
        // They vote, but not all who would be needed after a restart know it yet.
        record.replicas.iter().filter(|r| r.id != leader.replica).map(joining).collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { shard, replica, node, committed, .. } = self;
        let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let what = match (self.direction, self.applied) {
            (Direction::Leaves, _) if node.is_empty() => "leaves when its successor votes".to_owned(),
            (Direction::Leaves, _) => "leaves".to_owned(),
            (Direction::Joins, None) => "joins when its node is there".to_owned(),
            (Direction::Joins, Some(0)) => "joins, and waits for the state".to_owned(),
            (Direction::Joins, Some(applied)) => format!("joins: has {applied} of {committed} entries"),
        };
        format!("shard {shard}: replica {replica}{node} {what}")
    }
}

/// A replica that stopped for good, while its node goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoppedReplica {
    shard: ShardName,
    node: NodeName,
    reason: String,
}

impl StoppedReplica {
    /// All of a shard that told.
    pub fn of(record: &ShardRecord, told: &[(&NodeName, &ReplicaReport)]) -> Vec<Self> {
        let stopped = told.iter().filter_map(|(node, replica)| Some((*node, replica.failed.as_ref()?)));
        stopped
            .map(|(node, reason)| Self { shard: record.name.clone(), node: node.clone(), reason: reason.clone() })
            .collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        format!("shard {}: the replica on {} stopped: {}", self.shard, self.node, self.reason)
    }
}

/// Whether no replica is left that could have the shard's data: every one came after the shard was formed, told about
/// itself, and has nothing.
pub fn is_lost(record: &ShardRecord, told: &[(&NodeName, &ReplicaReport)]) -> bool {
    record.all_replicas().all(|replica| {
        let formed = record.birth.iter().any(|first| first.id == replica.id);
        let empty = |(_, told): &(&NodeName, &ReplicaReport)| told.replica == replica.id && told.applied.get() == 0;
        !formed && told.iter().any(empty)
    })
}
