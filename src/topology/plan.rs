//! What a `shards.toml` would change if the catalog accepted it: pure, from the catalog alone. What it costs in keys, bytes and time
//! is for those to add who can ask the nodes.
//!
//! Invariant: a plan says what the catalog itself would do, since it is read off a copy of the catalog that accepted the file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::config::CATALOG_NAME;
use super::{
    Catalog, CatalogCommand, CatalogOutcome, NodeName, NodeRecord, ReplicaRecord, ShardId, ShardName, ShardRecord,
    ShardsConfig,
};

/// What a file would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The accepted version.
    pub accepted: u64,
    /// The version of the file.
    pub version: u64,
    /// What the catalog would say. Unless that is `Accepted` or `Same`, nothing else is planned.
    pub outcome: CatalogOutcome,
    /// The slots that would have to move, by source and target; also those that are on their way already.
    pub moves: Vec<PlannedMove>,
    /// The groups that would change, the catalog's own included.
    pub shards: Vec<PlannedShard>,
    /// The nodes that would come, change or go.
    pub nodes: Vec<PlannedNode>,
    /// The shards whose slots would be in several shards.
    pub parting: Vec<Parting>,
}

/// Slots that would move from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedMove {
    /// The owner's name.
    pub from: ShardName,
    /// The owner.
    pub from_id: ShardId,
    /// The target's name.
    pub to: ShardName,
    /// The target; of a shard that is not formed yet, the id that it would get now.
    pub to_id: ShardId,
    /// How many.
    pub slots: u32,
    /// The slots as runs: first and last.
    pub runs: Vec<(u16, u16)>,
}

/// What becomes of a shard or node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Comes,
    /// It stays, and something about it changes.
    Changes,
    /// It goes, once it is not needed any more.
    Goes,
}

/// A group that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedShard {
    /// Its name.
    pub name: ShardName,
    /// Its id.
    pub id: ShardId,
    /// What becomes of it.
    pub fate: Fate,
    /// The slots that it owns.
    pub slots_before: u32,
    /// The slots that it is to own.
    pub slots_after: u32,
    /// Its weight now; none of one that is new.
    pub weight_before: Option<u32>,
    /// Its weight then.
    pub weight_after: u32,
    /// Where its replicas are to be.
    pub nodes: Vec<NodeName>,
    /// Where a replica comes to.
    pub replicas_added: Vec<NodeName>,
    /// Where one leaves.
    pub replicas_removed: Vec<NodeName>,
}

/// A node that would come, change or go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedNode {
    /// Its name.
    pub name: NodeName,
    /// What becomes of it.
    pub fate: Fate,
    /// Where it is reached.
    pub addr: String,
    /// How many replicas come to it.
    pub replicas_added: usize,
    /// How many leave it.
    pub replicas_removed: usize,
}

/// A shard whose slots would be in several shards: commands over several keys of different slots stop working where these part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parting {
    /// The shard that has all of them now.
    pub shard: ShardName,
    /// How many of them would be where.
    pub parts: Vec<(ShardName, u32)>,
}

impl Plan {
    /// What the file would change.
    pub fn of(catalog: &Catalog, file: &ShardsConfig) -> Self {
        let mut after = catalog.clone();
        let command = CatalogCommand::ProposeConfig { text: file.text.to_string(), origin: "plan".to_owned() };
        let outcome = after.apply(&command);
        let mut plan = Self {
            accepted: catalog.version,
            version: file.version,
            outcome,
            moves: Vec::new(),
            shards: Vec::new(),
            nodes: Vec::new(),
            parting: Vec::new(),
        };
        if plan.is_possible() {
            plan.moves = moves(&after);
            plan.shards = shards(catalog, &after);
            plan.nodes = nodes(catalog, &after, &plan.shards);
            plan.parting = partings(&after);
        }
        plan
    }

    /// Whether the catalog would take the file, or has it.
    pub const fn is_possible(&self) -> bool {
        matches!(self.outcome, CatalogOutcome::Accepted { .. } | CatalogOutcome::Same { .. })
    }

    /// How many slots would move.
    pub fn slots(&self) -> u32 {
        self.moves.iter().map(|planned| planned.slots).sum()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.shards.is_empty() && self.nodes.is_empty()
    }
}

/// Calls `each` with the runs of slots of one owner and one target.
fn runs(catalog: &Catalog, mut each: impl FnMut(ShardId, ShardId, (u16, u16))) {
    let mut targets = catalog.targets.iter().peekable();
    for owned in &catalog.slots {
        while let Some(target) = targets.peek() {
            let run = (owned.first.max(target.first), owned.last.min(target.last));
            if run.0 <= run.1 {
                each(owned.owner, target.shard, run);
            }
            if target.last > owned.last {
                break;
            }
            targets.next();
        }
    }
}

fn count((first, last): (u16, u16)) -> u32 {
    u32::from(last) - u32::from(first) + 1
}

fn name(catalog: &Catalog, shard: ShardId) -> ShardName {
    catalog.shard(shard).map_or_else(|| ShardName::new(&shard.to_string()), |record| record.name.clone())
}

fn moves(after: &Catalog) -> Vec<PlannedMove> {
    let mut found: BTreeMap<(ShardId, ShardId), Vec<(u16, u16)>> = BTreeMap::new();
    runs(after, |from, to, run| {
        if from == to {
            return;
        }
        let known = found.entry((from, to)).or_default();
        match known.last_mut() {
            Some(last) if last.1 + 1 == run.0 => last.1 = run.1,
            _ => known.push(run),
        }
    });
    let planned = |((from_id, to_id), runs): ((ShardId, ShardId), Vec<(u16, u16)>)| PlannedMove {
        from: name(after, from_id),
        from_id,
        to: name(after, to_id),
        to_id,
        slots: runs.iter().map(|run| count(*run)).sum(),
        runs,
    };
    found.into_iter().map(planned).collect()
}

fn partings(after: &Catalog) -> Vec<Parting> {
    let mut parts: BTreeMap<ShardId, BTreeMap<ShardId, u32>> = BTreeMap::new();
    runs(after, |from, to, run| *parts.entry(from).or_default().entry(to).or_default() += count(run));
    let parting = |(shard, parts): (ShardId, BTreeMap<ShardId, u32>)| Parting {
        shard: name(after, shard),
        parts: parts.into_iter().map(|(to, slots)| (name(after, to), slots)).collect(),
    };
    parts.into_iter().filter(|(_, parts)| parts.len() > 1).map(parting).collect()
}

fn slot_counts<T>(ranges: &[T], count: impl Fn(&T) -> (ShardId, u32)) -> BTreeMap<ShardId, u32> {
    let mut counts = BTreeMap::new();
    for (shard, slots) in ranges.iter().map(count) {
        *counts.entry(shard).or_default() += slots;
    }
    counts
}

fn shards(before: &Catalog, after: &Catalog) -> Vec<PlannedShard> {
    let owned = slot_counts(&before.slots, |range| (range.owner, range.slot_count()));
    let wanted = slot_counts(&after.targets, |range| (range.shard, range.slot_count()));
    let planned = |shard: &ShardRecord| {
        let known = before.shard(shard.id);
        let slots = |counts: &BTreeMap<ShardId, u32>| counts.get(&shard.id).copied().unwrap_or(0);
        let (came, left) = (added(known, shard), removed(known, shard));
        let fate = match known {
            None => Fate::Comes,
            Some(known) if shard.closing && !known.closing => Fate::Goes,
            Some(_) => Fate::Changes,
        };
        let same = known.is_some_and(|known| known.weight == shard.weight && known.closing == shard.closing)
            && slots(&owned) == slots(&wanted)
            && came.is_empty()
            && left.is_empty();
        let planned = PlannedShard {
            name: shard.name.clone(),
            id: shard.id,
            fate,
            slots_before: slots(&owned),
            slots_after: slots(&wanted),
            weight_before: known.map(|known| known.weight),
            weight_after: shard.weight,
            nodes: nodes_of(&shard.replicas).into_iter().cloned().collect(),
            replicas_added: came,
            replicas_removed: left,
        };
        (!same).then_some(planned)
    };
    after.shards.iter().filter_map(planned).collect()
}

fn nodes_of(replicas: &[ReplicaRecord]) -> Vec<&NodeName> {
    replicas.iter().map(|replica| &replica.node).collect()
}

/// Where replicas come to. Those that were to leave and may stay after all come too.
fn added(before: Option<&ShardRecord>, after: &ShardRecord) -> Vec<NodeName> {
    let there = before.map_or_else(Vec::new, |before| nodes_of(&before.replicas));
    nodes_of(&after.replicas).into_iter().filter(|node| !there.contains(node)).cloned().collect()
}

fn removed(before: Option<&ShardRecord>, after: &ShardRecord) -> Vec<NodeName> {
    let there = before.map_or_else(Vec::new, |before| nodes_of(&before.replicas));
    if after.closing && before.is_some_and(|before| !before.closing) {
        return there.into_iter().cloned().collect();
    }
    let stay = nodes_of(&after.replicas);
    there.into_iter().filter(|node| !stay.contains(node)).cloned().collect()
}

/// What a file can change of a node.
fn place(record: &NodeRecord) -> (&str, Option<&String>, Option<&String>, u32) {
    (&record.addr, record.zone.as_ref(), record.host.as_ref(), record.weight)
}

fn nodes(before: &Catalog, after: &Catalog, shards: &[PlannedShard]) -> Vec<PlannedNode> {
    let names: BTreeSet<&NodeName> = before.nodes.keys().chain(after.nodes.keys()).collect();
    let holds = |list: &[NodeName], name: &NodeName| list.contains(name);
    let planned = |name: &NodeName| {
        let (was, is) = (before.nodes.get(name), after.nodes.get(name));
        let stays = is.filter(|record| !record.leaving);
        let fate = match (was.filter(|record| !record.leaving), stays) {
            (None, Some(_)) => Fate::Comes,
            (Some(_), None) => Fate::Goes,
            (Some(was), Some(is)) if place(was) != place(is) => Fate::Changes,
            _ => return None,
        };
        Some(PlannedNode {
            name: name.clone(),
            fate,
            addr: is.or(was).map_or_else(String::new, |record| record.addr.clone()),
            replicas_added: shards.iter().filter(|shard| holds(&shard.replicas_added, name)).count(),
            replicas_removed: shards.iter().filter(|shard| holds(&shard.replicas_removed, name)).count(),
        })
    };
    names.into_iter().filter_map(planned).collect()
}

impl PlannedShard {
    /// Whether it is the catalog's own group.
    pub fn is_catalog(&self) -> bool {
        self.name.as_str() == CATALOG_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ClusterId;

    fn file(version: u64, nodes: &[&str], shards: &[(&str, u32, &[&str])]) -> ShardsConfig {
        use std::fmt::Write;
        let mut text = format!("version = {version}\n");
        for node in nodes {
            writeln!(text, "[[node]]\nname = \"{node}\"\naddr = \"{node}:1\"").unwrap();
        }
        for (name, weight, nodes) in shards {
            writeln!(text, "[[shard]]\nname = \"{name}\"\nweight = {weight}\nnodes = {nodes:?}").unwrap();
        }
        ShardsConfig::parse(&text, "f").unwrap()
    }

    const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
    const THREE: &[&str] = &["n1", "n2", "n3"];

    fn cluster() -> Catalog {
        Catalog::found(ClusterId(1), 2, &file(1, &NODES, &[("a", 1, THREE), ("b", 1, THREE)]), &BTreeMap::new())
    }

    #[test]
    fn a_shard_more_takes_slots_of_all_others() {
        let more = file(2, &NODES, &[("a", 1, THREE), ("b", 1, THREE), ("c", 2, &["n4"])]);
        let plan = Plan::of(&cluster(), &more);
        assert_eq!(plan.outcome, CatalogOutcome::Accepted { version: 2 });
        let moves: Vec<_> = plan.moves.iter().map(|m| (m.from.as_str(), m.to.as_str(), m.runs.len())).collect();
        assert_eq!(moves, [("a", "c", 1), ("b", "c", 1)]);
        assert!(plan.slots().abs_diff(8192) <= 1);
        let c = plan.shards.iter().find(|shard| shard.name.as_str() == "c").unwrap();
        assert_eq!((c.fate, c.slots_before, c.slots_after), (Fate::Comes, 0, plan.slots()));
        assert_eq!(c.replicas_added, [NodeName::new("n4")]);
        let parts: Vec<_> = plan.parting.iter().map(|parting| (parting.shard.as_str(), parting.parts.len())).collect();
        assert_eq!(parts, [("a", 2), ("b", 2)]);
        assert_eq!(plan.nodes, []);
    }

    #[test]
    fn a_shard_less_and_a_node_less_are_named_with_what_they_hold() {
        let less = file(2, &["n1", "n2", "n4"], &[("a", 1, &["n1", "n2", "n4"])]);
        let plan = Plan::of(&cluster(), &less);
        let b = plan.shards.iter().find(|shard| shard.name.as_str() == "b").unwrap();
        assert_eq!((b.fate, b.slots_before, b.slots_after), (Fate::Goes, 8192, 0));
        assert_eq!((plan.slots(), plan.parting.len()), (8192, 0), "all of b goes to a");
        let a = plan.shards.iter().find(|shard| shard.name.as_str() == "a").unwrap();
        assert_eq!(
            (&a.replicas_added[..], &a.replicas_removed[..]),
            (&["n4"].map(NodeName::new)[..], &["n3"].map(NodeName::new)[..])
        );
        let n3 = &plan.nodes[0];
        assert_eq!((n3.name.as_str(), n3.fate, n3.replicas_removed), ("n3", Fate::Goes, 3), "a, b and the catalog");
        assert!(plan.shards[0].is_catalog());
    }

    #[test]
    fn what_changes_nothing_is_empty_and_what_is_refused_says_why() {
        let same = file(1, &NODES, &[("a", 1, THREE), ("b", 1, THREE)]);
        let plan = Plan::of(&cluster(), &same);
        assert!(plan.is_possible() && plan.is_empty(), "{plan:?}");
        let other = file(1, &NODES, &[("a", 1, THREE)]);
        let plan = Plan::of(&cluster(), &other);
        assert!(matches!(plan.outcome, CatalogOutcome::Conflict { .. }) && plan.is_empty(), "{plan:?}");
    }

    #[test]
    fn slots_that_are_on_their_way_are_planned_still() {
        let mut catalog = cluster();
        let more = file(2, &NODES, &[("a", 1, THREE), ("b", 1, THREE), ("c", 1, THREE)]);
        let first = Plan::of(&catalog, &more);
        catalog.apply(&CatalogCommand::ProposeConfig { text: more.text.to_string(), origin: "f".to_owned() });
        let again = Plan::of(&catalog, &more);
        assert_eq!((again.outcome, again.moves), (CatalogOutcome::Same { version: 2 }, first.moves));
    }
}
