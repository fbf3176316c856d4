//! A plan with what it costs, as `plan` and `reshard` show it: pure, made of the plan and of what the nodes told.
//!
//! Keys and bytes are exact where the leader of the source told of each of its slots; else they are its share of all that the shard
//! has, and said to be about that.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::gather::Gathered;
use crate::protocol::control::{Hindrance, SlotUsage};
use crate::topology::plan::{Fate, Plan, PlannedMove, PlannedNode, PlannedShard};
use crate::topology::{CatalogOutcome, NodeName, ShardId, ShardName};

/// What each slot of some shards holds.
pub type Usage = BTreeMap<ShardId, Vec<SlotUsage>>;

/// `pontoon plan --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// What would change.
    #[serde(flatten)]
    pub plan: Plan,
    /// Keys and bytes of each of the plan's moves.
    load: Vec<Load>,
    /// Slots, keys and bytes that would move.
    total: Load,
    /// Whether keys and bytes are estimates.
    estimated: bool,
    /// Bytes that new replicas of shards with data have to copy.
    replica_bytes: u64,
    /// How long the slots take at the speed that the nodes are limited to; none: they are not.
    seconds_min: Option<u64>,
    /// Leaders that would have to move, since their replicas go.
    leaders: Vec<MovingLeader>,
    /// What the whole file would wait for, as the nodes are now; none: nobody could say.
    waits: Option<Vec<Hindrance>>,
    /// Why nobody could.
    unforeseen: Option<String>,
    /// Shards whose slots would stand still until they have a leader.
    stalls: Vec<Hindrance>,
}

/// Keys and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    keys: u64,
    bytes: u64,
}

/// A leader whose replica goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MovingLeader {
    shard: ShardName,
    node: NodeName,
}

impl Outlook {
    /// Adds the costs, and what the catalog's leader says of nodes that are missing.
    pub fn of(plan: Plan, gathered: &Gathered, usage: &Usage, foreseen: Result<Vec<Hindrance>, String>) -> Self {
        let load: Vec<Load> = plan.moves.iter().map(|planned| load(planned, gathered, usage)).collect();
        let total = load.iter().fold(Load::default(), |sum, load| sum.plus(*load));
        let copies = |shard: &&PlannedShard| shard.fate == Fate::Changes;
        let copied = |shard: &PlannedShard| {
            let bytes = gathered.leader(shard.id).map_or(0, |(_, replica)| replica.bytes);
            bytes * shard.replicas_added.len() as u64
        };
        let leaving = plan.shards.iter().filter(|shard| shard.fate == Fate::Changes).filter_map(|shard| {
            let (node, _) = gathered.leader(shard.id)?;
            let leaves = shard.replicas_removed.contains(node);
            leaves.then(|| MovingLeader { shard: shard.name.clone(), node: node.clone() })
        });
        Self {
            replica_bytes: plan.shards.iter().filter(copies).map(copied).sum(),
            seconds_min: seconds(&plan, &load, gathered),
            leaders: leaving.collect(),
            estimated: total.keys > 0 && plan.moves.iter().any(|planned| !usage.contains_key(&planned.from_id)),
            unforeseen: foreseen.as_ref().err().cloned(),
            waits: foreseen.ok(),
            stalls: stalls(&plan, gathered),
            load,
            total,
            plan,
        }
    }

    /// Whether the catalog would say no, and why.
    pub fn refusal(&self) -> Option<String> {
        let Plan { version, accepted, outcome, .. } = &self.plan;
        match outcome {
            CatalogOutcome::Accepted { .. } | CatalogOutcome::Same { .. } => None,
            CatalogOutcome::Stale { .. } => Some(format!("version {version} is older than the accepted {accepted}")),
            CatalogOutcome::Conflict { reason, .. } => {
                Some(format!("the accepted file has version {version}, too, and another meaning: {reason}"))
            }
            CatalogOutcome::Refused { reason, .. } => Some(reason.clone()),
            CatalogOutcome::Unready { reason, .. } => Some(format!("not as things are now: {reason}")),
        }
    }

    /// What the file would wait for, as the nodes are now.
    pub fn waits(&self) -> &[Hindrance] {
        self.waits.as_deref().unwrap_or_default()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let plan = &self.plan;
        let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all text");
        match self.refusal() {
            Some(reason) => {
                line(format!("version {} would be refused: {reason}", plan.version));
                return out;
            }
            None if plan.version == plan.accepted => line(format!("version {} is what is accepted", plan.accepted)),
            None => line(format!("version {} -> {}", plan.accepted, plan.version)),
        }
        if !self.waits().is_empty() {
            line("not as things are now: nothing of it would begin before all of this is otherwise:".to_owned());
        }
        self.waits().iter().for_each(|hindrance| line(format!("waits: {hindrance}")));
        if let Some(reason) = &self.unforeseen {
            line(format!("nobody could say whether it would wait for nodes that are down: {reason}"));
        }
        if plan.is_empty() {
            line("nothing moves".to_owned());
        }
        plan.nodes.iter().for_each(|node| line(node_text(node)));
        plan.shards.iter().for_each(|shard| line(shard_text(shard)));
        for leader in &self.leaders {
            line(format!("leader of {}: leaves {}", leader.shard, leader.node));
        }
        if self.replica_bytes > 0 {
            line(format!("replicas copy {}", size(self.replica_bytes)));
        }
        let about = if self.estimated { "about " } else { "" };
        for (planned, load) in plan.moves.iter().zip(&self.load) {
            let PlannedMove { from, to, slots, .. } = planned;
            line(format!("slots {from} -> {to}: {slots} with {about}{}", load.text()));
        }
        if !plan.moves.is_empty() {
            let least =
                self.seconds_min.map_or_else(String::new, |s| format!(", in at least {s} s at the nodes' limits"));
            line(format!("{} of 16384 slots move, {about}{}{least}", plan.slots(), self.total.text()));
        }
        self.stalls.iter().for_each(|hindrance| line(format!("stands still: {hindrance}")));
        for parting in &plan.parting {
            let parts = parting.parts.iter().map(|(shard, slots)| format!("{slots} in {shard}"));
            line(format!(
                "warning: the slots of shard {} part ({}): what works over several of its slots now, like MULTI or SMOVE with keys \
                 without a common {{hash tag}}, fails with CROSSSLOT once they are apart",
                parting.shard,
                parts.collect::<Vec<_>>().join(", ")
            ));
        }
        out
    }
}

impl Load {
    const fn plus(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, bytes: self.bytes + other.bytes }
    }

    fn text(self) -> String {
        format!("{} keys, {}", self.keys, size(self.bytes))
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

fn node_text(node: &PlannedNode) -> String {
    let PlannedNode { name, addr, replicas_added, replicas_removed, .. } = node;
    match node.fate {
        Fate::Comes => format!("node {name}: new, at {addr}, with {replicas_added} replicas"),
        Fate::Changes => format!("node {name}: at {addr} from then on, or with another zone, host or weight"),
        Fate::Goes => format!("node {name}: goes, once its {replicas_removed} replicas have left"),
    }
}

fn shard_text(shard: &PlannedShard) -> String {
    let what = if shard.is_catalog() { "catalog".to_owned() } else { format!("shard {}", shard.name) };
    let names = |nodes: &[NodeName]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    match shard.fate {
        Fate::Comes => parts.push(format!("new, on {}", names(&shard.nodes))),
        Fate::Goes => {
            parts.push("gives its slots away and closes".to_owned());
            return format!("{what}: {}", parts.join("; "));
        }
        Fate::Changes => {
            if !shard.replicas_added.is_empty() {
                parts.push(format!("replicas join on {}", names(&shard.replicas_added)));
            }
            if !shard.replicas_removed.is_empty() {
                parts.push(format!("replicas leave {}", names(&shard.replicas_removed)));
            }
        }
    }
    if let Some(weight) = shard.weight_before.filter(|weight| *weight != shard.weight_after) {
        parts.push(format!("weight {weight} -> {}", shard.weight_after));
    }
    if shard.slots_before != shard.slots_after {
        parts.push(format!("slots {} -> {}", shard.slots_before, shard.slots_after));
    }
    format!("{what}: {}", parts.join("; "))
}

fn load(planned: &PlannedMove, gathered: &Gathered, usage: &Usage) -> Load {
    if let Some(slots) = usage.get(&planned.from_id) {
        let moves = |slot: &&SlotUsage| planned.runs.iter().any(|run| (run.0..=run.1).contains(&slot.slot.number()));
        let of = |slot: &SlotUsage| Load { keys: slot.keys, bytes: slot.bytes };
        return slots.iter().filter(moves).map(of).fold(Load::default(), Load::plus);
    }
    let Some((_, source)) = gathered.leader(planned.from_id) else { return Load::default() };
    let share = |all: u64| (u128::from(all) * u128::from(planned.slots) / u128::from(source.slots.max(1))) as u64;
    Load { keys: share(source.keys), bytes: share(source.bytes) }
}

/// The shards that slots would leave or come to, and that nobody leads as far as the nodes told.
fn stalls(plan: &Plan, gathered: &Gathered) -> Vec<Hindrance> {
    let is_new = |id| plan.shards.iter().any(|shard| shard.id == id && shard.fate == Fate::Comes);
    let ends = plan.moves.iter().flat_map(|m| [(m.from_id, &m.from), (m.to_id, &m.to)]);
    let stuck: BTreeMap<ShardId, &ShardName> =
        ends.filter(|(id, _)| !is_new(*id) && gathered.leader(*id).is_none()).collect();
    let reason = "no node that answers leads it, so its slots neither leave nor come until one does";
    stuck.into_values().map(|shard| Hindrance { shard: shard.clone(), reason: reason.to_owned() }).collect()
}

/// How long the moves take if every node sends at its limit: as long as the node that has most to send.
fn seconds(plan: &Plan, load: &[Load], gathered: &Gathered) -> Option<u64> {
    let mut sent: BTreeMap<&NodeName, (u64, u64)> = BTreeMap::new();
    for (planned, load) in plan.moves.iter().zip(load) {
        let (node, _) = gathered.leader(planned.from_id)?;
        let report = gathered.answers.iter().find(|answer| answer.target.node == *node)?.report.as_ref().ok()?;
        let limit = report.move_bytes_per_second;
        let node = sent.entry(node).or_insert((limit, 0));
        node.1 += load.bytes;
    }
    let needed = sent.values().filter(|(limit, _)| *limit > 0).map(|(limit, bytes)| bytes.div_ceil(*limit));
    needed.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Catalog, ClusterId, ShardsConfig, Slot};

    fn file(version: u64, shards: &str) -> ShardsConfig {
        let mut text = format!("version = {version}\n");
        for node in ["n1", "n2"] {
            writeln!(text, "[[node]]\nname = \"{node}\"\naddr = \"{node}:1\"").unwrap();
        }
        for name in shards.chars() {
            writeln!(text, "[[shard]]\nname = \"{name}\"\nnodes = [\"n1\"]").unwrap();
        }
        ShardsConfig::parse(&text, "f").unwrap()
    }

    #[test]
    fn moves_are_weighed_by_the_slots_that_move() {
        let catalog = Catalog::found(ClusterId(1), 2, &file(1, "a"), &BTreeMap::new());
        let (source, gathered) = (catalog.data_shards()[0].id, Gathered { catalog: None, answers: Vec::new() });
        let slot = |number, keys| SlotUsage { slot: Slot::new(number).unwrap(), keys, bytes: keys * 1024 };
        let usage = Usage::from([(source, vec![slot(0, 5), slot(8191, 7), slot(8192, 20), slot(16383, 30)])]);
        let outlook = Outlook::of(Plan::of(&catalog, &file(2, "ab")), &gathered, &usage, Ok(Vec::new()));
        let text = outlook.text();
        let expected = "\
version 1 -> 2
shard a: slots 16384 -> 8193
shard b: new, on n1; slots 0 -> 8191
slots a -> b: 8191 with 30 keys, 30.0 KiB
8191 of 16384 slots move, 30 keys, 30.0 KiB
stands still: shard `a`: no node that answers leads it, so its slots neither leave nor come until one does
warning: the slots of shard a part (8193 in a, 8191 in b)";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(outlook.refusal(), None);
    }

    #[test]
    fn a_refusal_is_all_there_is_to_say() {
        let catalog = Catalog::found(ClusterId(1), 2, &file(3, "a"), &BTreeMap::new());
        let gathered = Gathered { catalog: None, answers: Vec::new() };
        let outlook = Outlook::of(Plan::of(&catalog, &file(2, "ab")), &gathered, &Usage::new(), Ok(Vec::new()));
        assert_eq!(outlook.text(), "version 2 would be refused: version 2 is older than the accepted 3\n");
    }

    #[test]
    fn what_waits_is_said_first_and_that_nobody_knows_too() {
        let catalog = Catalog::found(ClusterId(1), 2, &file(1, "a"), &BTreeMap::new());
        let gathered = Gathered { catalog: None, answers: Vec::new() };
        let outlook = |foreseen| Outlook::of(Plan::of(&catalog, &file(2, "ab")), &gathered, &Usage::new(), foreseen);
        let hindrance = Hindrance { shard: ShardName::new("b"), reason: "node `n1` is gone".to_owned() };
        let waiting = outlook(Ok(vec![hindrance]));
        let begin = "\
version 1 -> 2
not as things are now: nothing of it would begin before all of this is otherwise:
waits: shard `b`: node `n1` is gone
shard a: slots";
        assert!(waiting.text().starts_with(begin), "{}", waiting.text());
        assert_eq!((waiting.refusal(), waiting.waits().len()), (None, 1));
        let unknown = outlook(Err("no leader".to_owned()));
        assert!(unknown.text().contains("nobody could say whether it would wait for nodes that are down: no leader"));
        assert_eq!(serde_json::to_value(&unknown).unwrap()["waits"], serde_json::Value::Null);
    }
}
