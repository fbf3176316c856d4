//! The status of a cluster, made of what its nodes told: pure, and printed as a table or as JSON.
//!
//! The nodes told at slightly different moments. A leader is believed with the highest term; lag is counted against the
//! highest committed position that anybody knows.

use std::fmt::Write;

use serde::Serialize;

use super::gather::Gathered;
use crate::protocol::control::ReplicaReport;
use crate::protocol::frame::Role;
use crate::topology::{Catalog, ClusterId, Epoch, NodeName, Revision, ShardName, ShardRecord, Slot, Term};

/// `pontoon status --json`.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// The cluster; none before `pontoon init`.
    pub cluster: Option<ClusterId>,
    /// The accepted version of `shards.toml`.
    pub version: u64,
    /// The revision of the catalog.
    pub revision: Revision,
    /// The nodes by name.
    pub nodes: Vec<NodeStatus>,
    /// The shards by id.
    pub shards: Vec<ShardStatus>,
    /// The catalog's own group.
    pub catalog: Option<ShardStatus>,
}

/// A node.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    name: NodeName,
    addr: String,
    zone: Option<String>,
    alive: bool,
    /// Why it is not alive.
    problem: Option<String>,
}

/// A shard.
#[derive(Debug, Serialize)]
pub struct ShardStatus {
    /// Its label.
    pub name: ShardName,
    /// The node of its leader, where one is known.
    pub leader: Option<NodeName>,
    term: Term,
    slots: u32,
    keys: u64,
    bytes: u64,
    /// Its replicas.
    pub replicas: Vec<ReplicaView>,
}

/// A replica. Role, applied and lag are unknown while it is not alive.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaView {
    /// Its node.
    pub node: NodeName,
    /// What it does.
    pub role: Option<Role>,
    applied: Option<u64>,
    lag: Option<u64>,
    /// Whether its node told about it.
    pub alive: bool,
}

/// `pontoon where --json`.
#[derive(Debug, Serialize)]
pub struct KeyPlace {
    key: String,
    slot: Slot,
    shard: ShardName,
    epoch: Epoch,
    leader: Option<NodeName>,
    addr: Option<String>,
    replicas: Vec<ReplicaView>,
}

impl StatusReport {
    /// Puts the answers together.
    pub fn of(gathered: &Gathered) -> Self {
        let catalog = gathered.catalog.as_ref();
        Self {
            cluster: catalog.map(|c| c.cluster),
            version: catalog.map_or(0, |c| c.version),
            revision: catalog.map_or(Revision(0), |c| c.revision),
            nodes: nodes(gathered),
            shards: catalog.map_or(Vec::new(), |c| c.data_shards().iter().map(|s| shard(gathered, c, s)).collect()),
            catalog: catalog.map(|c| shard(gathered, c, c.catalog_shard())),
        }
    }

    /// The shards that have no leader now, the catalog's group included.
    pub fn leaderless(&self) -> Vec<&ShardName> {
        let groups = self.catalog.iter().chain(&self.shards);
        groups.filter(|shard| shard.leader.is_none()).map(|shard| &shard.name).collect()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all text");
        match self.cluster {
            Some(cluster) => line(format!("cluster {cluster}, version {}, revision {}", self.version, self.revision)),
            None => line("no cluster yet: `pontoon init` creates it".to_owned()),
        }
        line(String::new());
        let mut rows = vec![["NODE", "ADDRESS", "ZONE", "ALIVE"].map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().map(NodeStatus::row));
        rows_aligned(&rows).into_iter().for_each(&mut line);
        if self.catalog.is_some() {
            line(String::new());
            let head = ["SHARD", "SLOTS", "KEYS", "BYTES", "LEADER", "TERM", "REPLICAS (LAG)"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.catalog.iter().chain(&self.shards).map(ShardStatus::row));
            rows_aligned(&rows).into_iter().for_each(&mut line);
        }
        out
    }
}

impl NodeStatus {
    fn row(&self) -> Vec<String> {
        let alive = match &self.problem {
            Some(problem) => format!("no: {problem}"),
            None => "yes".to_owned(),
        };
        vec![self.name.to_string(), self.addr.clone(), self.zone.clone().unwrap_or_else(|| "-".to_owned()), alive]
    }
}

impl ShardStatus {
    fn row(&self) -> Vec<String> {
        let leader = self.leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let numbers = [u64::from(self.slots), self.keys, self.bytes].map(|n| n.to_string());
        let replicas: Vec<String> = self.replicas.iter().map(ReplicaView::text).collect();
        let mut row = vec![self.name.to_string()];
        row.extend(numbers);
        row.extend([leader, self.term.to_string(), replicas.join(", ")]);
        row
    }
}

impl ReplicaView {
    fn text(&self) -> String {
        match (self.role, self.lag) {
            (Some(role), Some(lag)) => format!("{} {} ({lag})", self.node, role.name()),
            _ => format!("{} down", self.node),
        }
    }
}

impl KeyPlace {
    /// Where a key lives.
    pub fn of(gathered: &Gathered, catalog: &Catalog, key: &[u8]) -> Self {
        let slot = Slot::of_key(key);
        let status = shard(gathered, catalog, catalog.owner(slot));
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            slot,
            epoch: catalog.range_of(slot).epoch,
            addr: status.leader.as_ref().and_then(|leader| catalog.addr(leader)).map(str::to_owned),
            shard: status.name,
            leader: status.leader,
            replicas: status.replicas,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let leader = match (&self.leader, &self.addr) {
            (Some(leader), Some(addr)) => format!("{leader} at {addr}"),
            _ => "none".to_owned(),
        };
        let replicas: Vec<String> = self.replicas.iter().map(ReplicaView::text).collect();
        format!(
            "slot      {}\nshard     {}\nleader    {leader}\nreplicas  {}\n",
            self.slot,
            self.shard,
            replicas.join(", ")
        )
    }
}

fn nodes(gathered: &Gathered) -> Vec<NodeStatus> {
    let zone =
        |name: &NodeName| gathered.catalog.as_ref().and_then(|c| c.nodes.get(name)).and_then(|node| node.zone.clone());
    let status = |answer: &super::gather::Answer| NodeStatus {
        name: answer.target.node.clone(),
        addr: answer.target.addr.clone(),
        zone: zone(&answer.target.node),
        alive: answer.report.is_ok(),
        problem: answer.report.as_ref().err().cloned(),
    };
    gathered.answers.iter().map(status).collect()
}

fn shard(gathered: &Gathered, catalog: &Catalog, record: &ShardRecord) -> ShardStatus {
    let told: Vec<(&NodeName, &ReplicaReport)> = record
        .replicas
        .iter()
        .filter_map(|replica| {
            let answer = gathered.answers.iter().find(|answer| answer.target.node == replica.node)?;
            let report = answer.report.as_ref().ok()?;
            let told = report.replicas.iter().find(|told| told.shard == record.id && told.replica == replica.id)?;
            Some((&replica.node, told))
        })
        .collect();
    let committed = told.iter().map(|(_, replica)| replica.committed.max(replica.applied)).max().unwrap_or_default();
    let leader = told.iter().filter(|(_, replica)| replica.role == Role::Leader).max_by_key(|(_, r)| r.term);
    let best = leader.or_else(|| told.iter().max_by_key(|(_, replica)| replica.applied));
    let view = |node: &NodeName| {
        let replica = told.iter().find(|(name, _)| *name == node).map(|(_, replica)| replica);
        ReplicaView {
            node: node.clone(),
            role: replica.map(|replica| replica.role),
            applied: replica.map(|replica| replica.applied.get()),
            lag: replica.map(|replica| committed.get() - replica.applied.get()),
            alive: replica.is_some(),
        }
    };
    ShardStatus {
        name: record.name.clone(),
        leader: leader.map(|(node, _)| (*node).clone()),
        term: told.iter().map(|(_, replica)| replica.term).max().unwrap_or_default(),
        slots: catalog.slot_count(record.id),
        keys: best.map_or(0, |(_, replica)| replica.keys),
        bytes: best.map_or(0, |(_, replica)| replica.bytes),
        replicas: record.replicas.iter().map(|replica| view(&replica.node)).collect(),
    }
}

fn rows_aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
