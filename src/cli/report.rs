//! The status of a cluster, made of what its nodes told: pure, and printed as a table or as JSON.
//!
//! The nodes told at slightly different moments. A leader is believed with the highest term; lag is counted against the
//! highest committed position that anybody knows.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::balance::HostLeaders;
use super::gather::Gathered;
use super::membership::{MemberInTransit, StoppedReplica, is_lost};
use super::progress::Progress;
use crate::control::reload::{Standing, standing};
use crate::protocol::control::{NodeReport, ProxyReport, ReplicaReport, TypeReport};
use crate::protocol::frame::Role;
use crate::topology::{
    Catalog, CatalogOutcome, ClusterId, Epoch, NodeName, ReplicaRecord, Revision, ShardId, ShardName, ShardRecord,
    ShardsConfig, Slot, Term,
};

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
    /// Replicas that become voters, and voters that leave.
    pub changes: Vec<MemberInTransit>,
    /// Replicas that stopped for good.
    stopped: Vec<StoppedReplica>,
    /// Slots, shards, nodes and leaders that are on their way.
    pub progress: Progress,
    /// The proxies that are connected to any node.
    proxies: Vec<ProxyReport>,
    /// Files that are not what is accepted, and why that is.
    files: Vec<FileTrouble>,
    /// How the leaders lie on the hosts.
    balance: HostLeaders,
}

/// A file that is not what is accepted.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FileTrouble {
    /// The node that watches it.
    node: Option<NodeName>,
    /// The proxy that watches it; if neither: the file that the command was given.
    proxy: Option<String>,
    reason: String,
}

/// A node.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    name: NodeName,
    addr: String,
    zone: Option<String>,
    alive: bool,
    /// Why it is not alive, or takes no part.
    problem: Option<String>,
    /// Bytes of memory that count against its limit; unknown while it is not alive.
    memory_bytes: Option<u64>,
    /// The limit; none: there is none.
    memory_limit_bytes: Option<u64>,
}

/// A shard.
#[derive(Debug, Serialize)]
pub struct ShardStatus {
    /// Its label.
    pub name: ShardName,
    /// Its Raft group.
    pub id: ShardId,
    /// Whether it is being removed.
    pub closing: bool,
    /// The node of its leader, where one is known.
    pub leader: Option<NodeName>,
    term: Term,
    slots: u32,
    /// The slots that it is to own.
    slots_wanted: u32,
    keys: u64,
    bytes: u64,
    /// Keys and bytes by type; types without keys are left out.
    types: BTreeMap<String, TypeReport>,
    /// Clients that wait for its keys.
    clients_blocked: u64,
    /// Whether all disks that had its data are gone.
    lost: bool,
    /// How many replicas vote, as its leader knows; unknown without one.
    voters: Option<usize>,
    /// How many it is to have.
    replicas_wanted: usize,
    /// Its replicas: those that are wanted, then those that are to leave and are still there.
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
    /// Whether it has no leader and answers reads of level `any` all the same, however old its state.
    pub orphan: bool,
    /// Whether it is wanted no more.
    pub leaving: bool,
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
            changes: catalog.map_or_else(Vec::new, |c| {
                c.shards.iter().flat_map(|s| MemberInTransit::of(s, &told(gathered, s))).collect()
            }),
            stopped: catalog.map_or_else(Vec::new, |c| {
                c.shards.iter().flat_map(|s| StoppedReplica::of(s, &told(gathered, s))).collect()
            }),
            progress: catalog.map_or_else(Progress::default, |c| Progress::of(c, gathered)),
            proxies: proxies(gathered),
            files: files(gathered),
            balance: catalog.map_or_else(HostLeaders::default, |c| HostLeaders::of(c, gathered)),
        }
    }

    /// The same, and what there is to say of the file that the operator has.
    pub fn beside(mut self, gathered: &Gathered, file: &ShardsConfig) -> Self {
        let reason = gathered.catalog.as_ref().and_then(|catalog| trouble(&standing(catalog, file), file.version));
        self.files.extend(reason.map(|reason| FileTrouble { node: None, proxy: None, reason }));
        self
    }

    /// Whether there is a cluster, and nothing in it is on its way.
    pub fn is_settled(&self) -> bool {
        self.cluster.is_some() && self.progress.is_settled() && self.changes.is_empty()
    }

    /// What there is to say beside the tables, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let lost = self.catalog.iter().chain(&self.shards).filter(|shard| shard.lost);
        let lost = lost.map(|shard| format!("shard {} is lost: no disk is left that had its data", shard.name));
        let stopped = self.stopped.iter().map(StoppedReplica::text);
        let changes = self.changes.iter().map(MemberInTransit::text);
        let files = self.files.iter().map(|file| match (&file.node, &file.proxy) {
            (Some(node), _) => format!("the file of node {node}: {}", file.reason),
            (None, Some(proxy)) => format!("the file of {proxy}: {}", file.reason),
            (None, None) => format!("this file: {}", file.reason),
        });
        lost.chain(stopped).chain(self.progress.lines()).chain(changes).chain(files).collect()
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
            None if self.nodes.iter().all(|node| !node.alive) => line("no node answered".to_owned()),
            None => line("no cluster yet: `pontoon init` creates it".to_owned()),
        }
        line(String::new());
        let mut rows = vec![["NODE", "ADDRESS", "ZONE", "MEMORY", "ALIVE"].map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().map(NodeStatus::row));
        rows_aligned(&rows).into_iter().for_each(&mut line);
        if self.catalog.is_some() {
            line(String::new());
            let head = [
                "SHARD",
                "SLOTS",
                "KEYS",
                "BYTES",
                "LEADER",
                "TERM",
                "VOTERS",
                "REPLICAS (LAG)",
                "TYPES (KEYS, BYTES)",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.catalog.iter().chain(&self.shards).map(ShardStatus::row));
            rows_aligned(&rows).into_iter().for_each(&mut line);
        }
        let hosts = self.balance.lines();
        if !hosts.is_empty() {
            line(String::new());
            hosts.into_iter().for_each(&mut line);
        }
        let mut remarks = self.remarks();
        if let Some(summary) = self.progress.summary() {
            remarks.insert(0, summary);
        }
        if !remarks.is_empty() {
            line(String::new());
            remarks.into_iter().for_each(line);
        }
        out
    }
}

impl NodeStatus {
    fn row(&self) -> Vec<String> {
        let alive = match &self.problem {
            Some(problem) if self.alive => format!("yes, but {problem}"),
            Some(problem) => format!("no: {problem}"),
            None => "yes".to_owned(),
        };
        let memory = match (self.memory_bytes, self.memory_limit_bytes) {
            (Some(used), Some(limit)) if used > limit => format!("{used} of {limit}: full"),
            (Some(used), Some(limit)) => format!("{used} of {limit}"),
            (Some(used), None) => used.to_string(),
            (None, _) => "-".to_owned(),
        };
        let zone = self.zone.clone().unwrap_or_else(|| "-".to_owned());
        vec![self.name.to_string(), self.addr.clone(), zone, memory, alive]
    }
}

impl ShardStatus {
    fn row(&self) -> Vec<String> {
        let leader = self.leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let slots = match self.slots_wanted {
            wanted if wanted == self.slots => self.slots.to_string(),
            wanted => format!("{} -> {wanted}", self.slots),
        };
        let voters = self.voters.map_or_else(|| "?".to_owned(), |voters| voters.to_string());
        let voters = format!("{voters} of {}", self.replicas_wanted);
        let replicas: Vec<String> = self.replicas.iter().map(ReplicaView::text).collect();
        let types = self.types.iter().map(|(kind, held)| format!("{kind} ({}, {})", held.keys, held.bytes));
        let types: Vec<String> = types.collect();
        let mut row = vec![self.name.to_string()];
        row.extend([slots, self.keys.to_string(), self.bytes.to_string()]);
        row.extend([leader, self.term.to_string(), voters, replicas.join(", "), types.join(", ")]);
        row
    }
}

impl ReplicaView {
    fn text(&self) -> String {
        let text = self.state();
        if self.leaving { format!("{text} leaving") } else { text }
    }

    fn state(&self) -> String {
        match (self.role, self.lag) {
            (Some(_), Some(lag)) if self.orphan => format!("{} orphan ({lag})", self.node),
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
        problem: match &answer.report {
            Ok(report) => stranger(gathered, report).or_else(|| wrong_clock(report)),
            Err(problem) => Some(problem.clone()),
        },
        memory_bytes: answer.report.as_ref().ok().map(|report| report.memory_bytes),
        memory_limit_bytes: answer.report.as_ref().ok().map(|r| r.memory_limit_bytes).filter(|limit| *limit > 0),
    };
    gathered.answers.iter().map(status).collect()
}

/// The proxies that nodes told of, each once.
fn proxies(gathered: &Gathered) -> Vec<ProxyReport> {
    let reports = gathered.answers.iter().filter_map(|answer| answer.report.as_ref().ok());
    let all = reports.flat_map(|report| report.proxies.iter().map(|proxy| (proxy.run_id.clone(), proxy.clone())));
    let mut found: Vec<ProxyReport> = all.collect::<BTreeMap<_, _>>().into_values().collect();
    found.sort_by(|a, b| (&a.name, &a.from, a.port).cmp(&(&b.name, &b.from, b.port)));
    found
}

/// What there is to say of the files that the nodes and proxies watch.
fn files(gathered: &Gathered) -> Vec<FileTrouble> {
    let reports = gathered.answers.iter().filter_map(|answer| answer.report.as_ref().ok());
    let trouble = reports.filter_map(|report| {
        let reason = report.file_trouble.clone()?;
        Some(FileTrouble { node: Some(report.node.clone()), proxy: None, reason })
    });
    let of_proxy = |proxy: ProxyReport| {
        let reason = proxy.file_trouble?;
        let place =
            proxy.from.map_or_else(|| format!("port {}", proxy.port), |from| format!("{from}, port {}", proxy.port));
        Some(FileTrouble { node: None, proxy: Some(format!("{} at {place}", proxy.name)), reason })
    };
    trouble.chain(proxies(gathered).into_iter().filter_map(of_proxy)).collect()
}

/// What there is to say of a file of this version.
fn trouble(standing: &Standing, version: u64) -> Option<String> {
    match standing {
        Standing::Propose => Some(format!("version {version} is not accepted, or not yet")),
        Standing::Decided(CatalogOutcome::Conflict { reason, .. }) => {
            Some(format!("version {version} is in conflict with the accepted file of this version: {reason}"))
        }
        Standing::Decided(CatalogOutcome::Stale { version: accepted }) => {
            Some(format!("version {version} is older than the accepted {accepted}"))
        }
        Standing::Decided(_) => None,
    }
}

/// What there is to say of a node whose data directory is not the one that the cluster knows under its name.
fn stranger(gathered: &Gathered, report: &NodeReport) -> Option<String> {
    let known = gathered.catalog.as_ref()?.nodes.get(&report.node)?.incarnation?;
    let is_other = report.incarnation.is_some_and(|incarnation| incarnation != known);
    is_other.then(|| "its data directory is another one than the cluster knows: it asks for its place".to_owned())
}

/// What there is to say of a node whose clock is wrong.
fn wrong_clock(report: &NodeReport) -> Option<String> {
    let (off, way) = (report.clock_off_ms.unsigned_abs(), if report.clock_off_ms > 0 { "ahead of" } else { "behind" });
    report.clock_is_far.then(|| format!("its clock is {off} ms {way} the others: it leads no shard"))
}

fn shard(gathered: &Gathered, catalog: &Catalog, record: &ShardRecord) -> ShardStatus {
    let told = told(gathered, record);
    let committed = told.iter().map(|(_, replica)| replica.committed.max(replica.applied)).max().unwrap_or_default();
    let leader = told.iter().filter(|(_, replica)| replica.role == Role::Leader).max_by_key(|(_, r)| r.term);
    let best = leader.or_else(|| told.iter().max_by_key(|(_, replica)| replica.applied));
    let view = |(record, leaving): (&ReplicaRecord, bool)| {
        let replica = told.iter().find(|(_, told)| told.replica == record.id).map(|(_, replica)| replica);
        ReplicaView {
            node: record.node.clone(),
            leaving,
            role: replica.map(|replica| replica.role),
            applied: replica.map(|replica| replica.applied.get()),
            lag: replica.map(|replica| committed.get() - replica.applied.get()),
            alive: replica.is_some(),
            orphan: replica.is_some_and(|replica| replica.orphan),
        }
    };
    let wanted = record.replicas.iter().map(|replica| (replica, false));
    let leaving = record.leaving.iter().map(|replica| (replica, true));
    ShardStatus {
        name: record.name.clone(),
        id: record.id,
        closing: record.closing,
        leader: leader.map(|(node, _)| (*node).clone()),
        term: told.iter().map(|(_, replica)| replica.term).max().unwrap_or_default(),
        slots: catalog.slot_count(record.id),
        slots_wanted: catalog.target_count(record.id),
        keys: best.map_or(0, |(_, replica)| replica.keys),
        bytes: best.map_or(0, |(_, replica)| replica.bytes),
        types: best.map_or_else(BTreeMap::new, |(_, replica)| replica.types.clone()),
        lost: is_lost(record, &told),
        clients_blocked: best.map_or(0, |(_, replica)| replica.clients_blocked),
        voters: leader.map(|(_, replica)| replica.voters.len()),
        replicas_wanted: record.replicas.len(),
        replicas: wanted.chain(leaving).map(view).collect(),
    }
}

/// The replicas of a shard that told about themselves, with their nodes.
fn told<'a>(gathered: &'a Gathered, record: &'a ShardRecord) -> Vec<(&'a NodeName, &'a ReplicaReport)> {
    let told = |replica: &'a ReplicaRecord| {
        let answer = gathered.answers.iter().find(|answer| answer.target.node == replica.node)?;
        let report = answer.report.as_ref().ok()?;
        let told = report.replicas.iter().find(|told| told.shard == record.id && told.replica == replica.id)?;
        Some((&replica.node, told))
    };
    record.all_replicas().filter_map(told).collect()
}

/// Columns of one width each.
pub fn rows_aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
