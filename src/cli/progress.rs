//! What is on its way in a cluster, as `status` and `status --watch` tell it: slots between shards, shards that close, nodes
//! that go, leaders that stay away. Pure, made of the catalog and of what the leaders told.
//!
//! What is left to do is the catalog's word; how fast it goes and why it does not is that of the leaders of the sources.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gather::Gathered;
use super::outlook::size;
use crate::protocol::control::{MoveDirection, MovesReport, StallReport};
use crate::protocol::frame::Role;
use crate::topology::{Catalog, NodeName, ShardId, ShardName};

/// All that is on its way, but for replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Slots that are still to move.
    pub slots_left: u32,
    /// Slots that have moved since the rebalancing began that is under way.
    pub slots_done: u32,
    /// Keys a second.
    pub keys_per_second: u64,
    /// Their bytes.
    pub bytes_per_second: u64,
    /// How long the rest takes at this speed, as long as every source can say so.
    pub eta_ms: Option<u64>,
    /// By source and target.
    pub moves: Vec<MoveStatus>,
    /// Shards that are removed, and what they wait for.
    pub closing: Vec<ClosingShard>,
    /// Nodes that the file does not have any more.
    pub leaving: Vec<LeavingNode>,
    /// Nodes that leaders are to leave.
    pub evicted: Vec<EvictedNode>,
}

/// Slots on their way from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveStatus {
    from: ShardName,
    to: ShardName,
    slots_left: u32,
    slots_done: u32,
    keys_moved: u64,
    bytes_moved: u64,
    keys_per_second: u64,
    bytes_per_second: u64,
    eta_ms: Option<u64>,
    /// Batches that are copied, and those whose requests wait for the last piece.
    copying: u32,
    frozen: u32,
    stall: Option<StallReport>,
}

/// A shard that is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosingShard {
    name: ShardName,
    id: ShardId,
    slots_left: u32,
    /// Slots that it is still to get, since they were on their way to it when it was removed.
    slots_coming: u32,
}

/// A node that the file does not have any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeavingNode {
    name: NodeName,
    /// The shards that have a replica there still.
    shards: Vec<ShardName>,
}

/// A node that leaders are to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvictedNode {
    name: NodeName,
    /// The shards that it leads still.
    leads: Vec<ShardName>,
}

impl Progress {
    /// Puts it together.
    pub fn of(catalog: &Catalog, gathered: &Gathered) -> Self {
        let moves = moves(catalog, gathered);
        let sum = |of: fn(&MoveStatus) -> u64| moves.iter().map(of).sum::<u64>();
        let under_way = || moves.iter().filter(|status| status.slots_left > 0);
        let etas: Option<Vec<u64>> = under_way().map(|status| status.eta_ms).collect();
        Self {
            slots_left: sum(|status| u64::from(status.slots_left)) as u32,
            slots_done: sum(|status| u64::from(status.slots_done)) as u32,
            keys_per_second: sum(|status| status.keys_per_second),
            bytes_per_second: sum(|status| status.bytes_per_second),
            eta_ms: etas.and_then(|etas| etas.into_iter().max()),
            moves,
            closing: closing(catalog, gathered),
            leaving: leaving(catalog),
            evicted: evicted(catalog, gathered),
        }
    }

    /// Whether no slots, shards or nodes are on their way.
    pub const fn is_settled(&self) -> bool {
        self.slots_left == 0 && self.closing.is_empty() && self.leaving.is_empty()
    }

    /// The part of the slots that have moved, from 0 to 1.
    pub fn part_done(&self) -> f64 {
        let all = self.slots_left + self.slots_done;
        if all == 0 { 1.0 } else { f64::from(self.slots_done) / f64::from(all) }
    }

    /// The sums in one line; nothing when no slots move.
    pub fn summary(&self) -> Option<String> {
        if self.slots_left == 0 {
            return None;
        }
        let all = self.slots_left + self.slots_done;
        let eta = self.eta_ms.map_or_else(String::new, |eta| format!(", {} to go", duration(eta)));
        Some(format!(
            "{} of {all} slots have moved, {} keys/s, {}/s{eta}",
            self.slots_done,
            self.keys_per_second,
            size(self.bytes_per_second)
        ))
    }

    /// A line for each thing that is on its way.
    pub fn lines(&self) -> Vec<String> {
        let moves = self.moves.iter().filter(|status| status.slots_left > 0 || status.stall.is_some());
        let closing = self.closing.iter().map(ClosingShard::text);
        let leaving = self.leaving.iter().map(|node| match &node.shards[..] {
            [] => format!("node {} goes", node.name),
            shards => format!("node {} goes when its replicas have left: {}", node.name, names(shards)),
        });
        let evicted = self.evicted.iter().map(|node| match &node.leads[..] {
            [] => format!("leaders are evicted from node {}", node.name),
            shards => format!("leaders are evicted from node {}, which leads still: {}", node.name, names(shards)),
        });
        moves.map(MoveStatus::text).chain(closing).chain(leaving).chain(evicted).collect()
    }
}

impl MoveStatus {
    fn text(&self) -> String {
        let Self { from, to, slots_left, slots_done, copying, frozen, .. } = self;
        let mut text = format!("slots {from} -> {to}: {slots_done} moved, {slots_left} left");
        if copying + frozen > 0 {
            text += &format!(", {copying} batches copied now, {frozen} handed over");
        }
        if self.keys_per_second > 0 {
            text += &format!(", {} keys/s, {}/s", self.keys_per_second, size(self.bytes_per_second));
        }
        if let Some(eta) = self.eta_ms.filter(|_| *slots_left > 0) {
            text += &format!(", {} to go", duration(eta));
        }
        if let Some(stall) = &self.stall {
            text += &format!("; stalled for {}: {}", duration(stall.for_ms), stall.reason);
        }
        text
    }
}

impl ClosingShard {
    fn text(&self) -> String {
        let what = match (self.slots_left, self.slots_coming) {
            (0, 0) => "is about to be removed: its replicas go when the catalog knows all that it gave away".to_owned(),
            (left, 0) => format!("is removed when its {left} slots have moved"),
            (left, coming) => format!("is removed when its {left} slots, and {coming} that come still, have moved"),
        };
        format!("shard {} (id {}) {what}", self.name, self.id)
    }
}

/// A duration for people.
pub fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn names(shards: &[ShardName]) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn moves(catalog: &Catalog, gathered: &Gathered) -> Vec<MoveStatus> {
    let name =
        |id: ShardId| catalog.shard(id).map_or_else(|| ShardName::new(&id.to_string()), |shard| shard.name.clone());
    let mut found = Vec::new();
    for source in catalog.data_shards() {
        let mut left: BTreeMap<ShardId, u32> = BTreeMap::new();
        for run in catalog.moves_wanted(source.id) {
            *left.entry(run.shard).or_default() += run.slot_count();
        }
        let told = gathered.leader(source.id).map_or(&[][..], |(_, replica)| &replica.moves);
        let out = |report: &&MovesReport| report.direction == MoveDirection::Out;
        let told: BTreeMap<ShardId, &MovesReport> =
            told.iter().filter(out).map(|report| (report.peer, report)).collect();
        let untold = left.keys().filter(|target| !told.contains_key(*target)).copied();
        for target in told.keys().copied().chain(untold).collect::<std::collections::BTreeSet<ShardId>>() {
            let report = told.get(&target);
            let slots_left = left.get(&target).copied().unwrap_or(0);
            // The catalog hears of a slot a moment after the leader; what is left by its word has not moved yet.
            let all = report.map_or(0, |report| report.slots_done + report.slots_left).max(slots_left);
            found.push(MoveStatus {
                from: source.name.clone(),
                to: report.map_or_else(|| name(target), |report| report.name.clone()),
                slots_left,
                slots_done: all - slots_left,
                keys_moved: report.map_or(0, |report| report.keys_moved),
                bytes_moved: report.map_or(0, |report| report.bytes_moved),
                keys_per_second: report.map_or(0, |report| report.keys_per_second),
                bytes_per_second: report.map_or(0, |report| report.bytes_per_second),
                eta_ms: report.and_then(|report| report.eta_ms),
                copying: report.map_or(0, |report| report.copying),
                frozen: report.map_or(0, |report| report.frozen),
                stall: match report {
                    Some(report) => report.stall.clone(),
                    None => unled(gathered, source.id),
                },
            });
        }
    }
    found
}

/// A source whose leader nobody knows moves nothing.
fn unled(gathered: &Gathered, shard: ShardId) -> Option<StallReport> {
    let reason = || StallReport { reason: "the shard has no leader that answers".to_owned(), for_ms: 0 };
    gathered.leader(shard).is_none().then(reason)
}

fn closing(catalog: &Catalog, gathered: &Gathered) -> Vec<ClosingShard> {
    let coming = |id: ShardId| -> u32 {
        let told = gathered.leader(id).map_or(&[][..], |(_, replica)| &replica.moves);
        told.iter().filter(|report| report.direction == MoveDirection::In).map(|report| report.slots_left).sum()
    };
    let closing = catalog.data_shards().iter().filter(|shard| shard.closing);
    let status = closing.map(|shard| ClosingShard {
        name: shard.name.clone(),
        id: shard.id,
        slots_left: catalog.slot_count(shard.id),
        slots_coming: coming(shard.id),
    });
    status.collect()
}

fn leaving(catalog: &Catalog) -> Vec<LeavingNode> {
    let leaving = catalog.nodes.iter().filter(|(_, record)| record.leaving);
    let status = leaving.map(|(name, _)| LeavingNode {
        name: name.clone(),
        shards: catalog.replicas_on(name).map(|(shard, _)| shard.name.clone()).collect(),
    });
    status.collect()
}

fn evicted(catalog: &Catalog, gathered: &Gathered) -> Vec<EvictedNode> {
    let leads = |node: &NodeName| {
        let led = catalog.shards.iter().filter(|shard| {
            gathered.leader(shard.id).is_some_and(|(name, replica)| name == node && replica.role == Role::Leader)
        });
        led.map(|shard| shard.name.clone()).collect()
    };
    let evicted = catalog.nodes.iter().filter(|(_, record)| record.evicted);
    evicted.map(|(name, _)| EvictedNode { name: name.clone(), leads: leads(name) }).collect()
}
