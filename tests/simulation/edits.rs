//! The cluster is edited while it runs: shards come, go and weigh otherwise, their members change. Slots, replicas and leaders follow.
//!
//! The catalog is one value here, which never fails: commands reach it from every node that hears some other one, and its revisions
//! spread with delays. What a node does with a revision, and what it reports, is what the shell does (`node::cluster`).

use std::sync::Arc;

use pontoon::node::reports;
use pontoon::topology::{
    Catalog, CatalogCommand, CatalogOutcome, Epoch, LogIndex, ReplicaId, ShardId, Slot, SlotRange,
};

use super::node::{Happening, LOSS_HEARD_MAX_US};
use super::random::Random;
use super::streams::Host;
use super::workload;
use super::world::World;

/// More shards than this at a time only slow a run down.
const SHARDS_MAX: usize = 4;
/// Ticks between two looks of a node at the catalog, on average.
const FOLLOW_TICKS: usize = 6;

/// What the operator wishes for.
pub struct Draft {
    version: u64,
    names: u64,
    shards: Vec<Wanted>,
    /// The shard and the nodes that an edit changed, to be put back.
    regretted: Option<(String, Vec<usize>)>,
}

struct Wanted {
    name: String,
    nodes: Vec<usize>,
    weight: u64,
}

impl Draft {
    /// The wishes that the first file has.
    pub fn new(shards: &[Vec<usize>]) -> Self {
        let wanted = |(number, nodes): (usize, &Vec<usize>)| Wanted {
            name: format!("s{number}"),
            nodes: nodes.clone(),
            weight: 1,
        };
        let shards: Vec<Wanted> = shards.iter().enumerate().map(wanted).collect();
        Self { version: 1, names: shards.len() as u64, shards, regretted: None }
    }

    /// The file.
    pub fn text(&self, nodes: usize) -> String {
        let mut text = format!("version = {}\n", self.version);
        for number in 1..=nodes {
            text += &format!("[[node]]\nname = \"n{number}\"\naddr = \"n{number}:7000\"\nzone = \"n{number}\"\n");
        }
        for Wanted { name, nodes, weight } in &self.shards {
            let nodes: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
            text += &format!("[[shard]]\nname = \"{name}\"\nnodes = {nodes:?}\nweight = {weight}\n");
        }
        text
    }

    /// The shards get these weights, in order.
    #[cfg(feature = "failpoints")]
    pub fn weigh(&mut self, weights: &[u64]) {
        self.shards.iter_mut().zip(weights).for_each(|(shard, weight)| shard.weight = *weight);
    }

    /// Without a shard.
    #[cfg(feature = "failpoints")]
    pub fn remove(&mut self, name: &str) {
        self.shards.retain(|shard| shard.name != name);
        self.shards.iter_mut().for_each(|shard| shard.weight = shard.weight.max(1));
    }

    fn change(&mut self, random: &mut Random, nodes: usize, what: Edit) {
        let some = |random: &mut Random| some_nodes(random, nodes);
        let at = random.below(self.shards.len());
        match what {
            Edit::Weights => self.shards.iter_mut().for_each(|shard| shard.weight = random.within(0, 3)),
            Edit::Shards if self.shards.len() > 1 && (self.shards.len() >= SHARDS_MAX || random.per_mille(500)) => {
                drop(self.shards.remove(at));
            }
            Edit::Shards => {
                // Now and then a name comes back.
                let number = if random.per_mille(300) { random.within(0, self.names) } else { self.names };
                self.names += 1;
                let name = format!("s{number}");
                if self.shards.iter().all(|shard| shard.name != name) {
                    self.shards.push(Wanted { name, nodes: some(random), weight: random.within(1, 3) });
                }
            }
            Edit::Members => self.shards[at].nodes = some(random),
            Edit::Regretted => {
                let shard = &mut self.shards[at];
                let before = std::mem::replace(&mut shard.nodes, some(random));
                self.regretted = Some((shard.name.clone(), before));
            }
            Edit::TakenBack => {
                let (name, nodes) = self.regretted.take().unwrap_or_default();
                self.shards.iter_mut().filter(|shard| shard.name == name).for_each(|shard| shard.nodes = nodes.clone());
            }
        }
        if self.shards.iter().all(|shard| shard.weight == 0) {
            self.shards[0].weight = 1;
        }
        self.version += 1;
    }
}

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Weights,
    Shards,
    Members,
    /// Members, for a moment.
    Regretted,
    /// They are to be what they were before that.
    TakenBack,
}

fn some_nodes(random: &mut Random, nodes: usize) -> Vec<usize> {
    let count = [1, 3, 3, 3, nodes.min(5)][random.below(5)];
    let mut all: Vec<usize> = (0..nodes).collect();
    (0..count).map(|_| all.swap_remove(random.below(all.len()))).collect()
}

impl World {
    /// The operator edits the file.
    pub fn edit(&mut self, what: Edit) {
        self.draft.change(&mut self.random, self.members.len(), what);
        self.hand_in();
    }

    /// The operator changes just this.
    #[cfg(feature = "failpoints")]
    pub fn propose(&mut self, change: impl FnOnce(&mut Draft)) {
        change(&mut self.draft);
        self.draft.version += 1;
        self.hand_in();
    }

    fn hand_in(&mut self) {
        let nodes = self.members.len();
        let (text, origin) = (self.draft.text(nodes), "simulation".to_owned());
        self.tell(|| format!("edited: {text}"));
        let outcome = self.decide(&CatalogCommand::ProposeConfig { text, origin });
        assert!(matches!(outcome, CatalogOutcome::Accepted { .. }), "{outcome:?}");
    }

    /// The catalog decides.
    fn decide(&mut self, command: &CatalogCommand) -> CatalogOutcome {
        let mut catalog = Catalog::clone(&self.catalog);
        let outcome = catalog.apply(command);
        if matches!(outcome, CatalogOutcome::Accepted { .. }) {
            hand_over_unused(&mut catalog);
            catalog.validate().expect("a catalog that keeps its invariants");
            self.tell(|| format!("catalog {}: {command:?}", catalog.revision));
            self.catalog = Arc::new(catalog);
        }
        outcome
    }

    /// Whether a node hears of the catalog, and is heard.
    fn reaches_catalog(&self, node: usize) -> bool {
        let hears = |other: usize| {
            let (here, there) = (Host::Node(node), Host::Node(other));
            self.members[other].running.is_some()
                && !self.blocks.contains_key(&(here, there))
                && !self.blocks.contains_key(&(there, here))
        };
        self.neighbours(node).into_iter().any(hears)
    }

    /// Now and then a node follows the catalog and reports to it. An error is of its disk.
    pub fn follow_catalog(&mut self, node: usize) -> Result<(), String> {
        if self.random.below(FOLLOW_TICKS) > 0 || !self.reaches_catalog(node) {
            return Ok(());
        }
        self.hear_catalog(node)
    }

    /// A node hears of an edit as soon as it is accepted.
    pub fn hear_at_once(&mut self, node: usize) {
        if self.reaches_catalog(node)
            && let Err(error) = self.hear_catalog(node)
        {
            self.died(node, &error);
        }
    }

    /// A node hears the newest revision, if it hears any, and reports what it has to say.
    fn hear_catalog(&mut self, node: usize) -> Result<(), String> {
        let world = Arc::clone(&self.catalog);
        let is_deaf = self.deaf.contains(&node);
        let running = self.members[node].running.as_mut().expect("it follows");
        if world.revision > running.engine.revision() && !is_deaf {
            running.home.keep_catalog(&world).map_err(|e| e.to_string())?;
            running.engine.adopt_catalog(world);
        }
        self.act(node)?;
        self.link_up(node);
        for command in self.reports(node) {
            let before = Arc::clone(&self.catalog);
            self.decide(&command);
            if let CatalogCommand::RecordMembers { shard, index, .. } = command {
                self.note_dropped(&before, shard, index);
            }
        }
        Ok(())
    }

    /// Those whom a report of members took out of the catalog are destroyed from now on.
    fn note_dropped(&mut self, before: &Catalog, shard: ShardId, at: LogIndex) {
        let all = |catalog: &Catalog| -> Vec<ReplicaId> {
            catalog
                .shard(shard)
                .into_iter()
                .flat_map(|record| record.all_replicas())
                .map(|replica| replica.id)
                .collect()
        };
        let kept = all(&self.catalog);
        all(before).into_iter().filter(|id| !kept.contains(id)).for_each(|id| self.invariants.dropped(shard, id, at));
    }

    /// Connects a node with those that it has reason to talk to by now.
    fn link_up(&mut self, node: usize) {
        for other in self.neighbours(node) {
            let name = self.members[other].name.clone();
            let engine = &mut self.members[node].running.as_mut().expect("it follows").engine;
            if engine.peer(&name).is_some_and(|peer| !peer.connected) && self.members[other].running.is_some() {
                let delay = LOSS_HEARD_MAX_US + self.delay();
                self.send_to(node, delay, Happening::Connected { to: other });
            }
        }
    }

    /// Does what the node's copy of the catalog asks for.
    pub fn act(&mut self, node: usize) -> Result<(), String> {
        let (now, wall) = self.node_now(node);
        let member = &mut self.members[node];
        let running = member.running.as_mut().expect("it acts");
        let Some(catalog) = running.engine.catalog().cloned() else { return Ok(()) };
        let listed = |shard, id| catalog.shard(shard).is_some_and(|record| record.all_replicas().any(|r| r.id == id));
        let gone = running.engine.replicas().filter(|replica| !listed(replica.shard, replica.id));
        let gone: Vec<ShardId> = gone.map(|replica| replica.shard).collect();
        for shard in gone {
            if running.engine.remove_replica(shard, now, wall, &mut running.connections) {
                running.removals.insert(shard);
            }
        }
        for (shard, record) in catalog.replicas_on(&member.name).filter(|(shard, _)| shard.id != ShardId::CATALOG) {
            if running.engine.replica(shard.id).is_some() || running.removals.contains(&shard.id) {
                continue;
            }
            let born_here = shard.birth.iter().any(|birth| birth.id == record.id);
            let made = if born_here {
                running.home.give_birth(&catalog, shard, record.id)
            } else {
                running.home.newcomer(shard, record.id)
            };
            let mut replica = match made {
                Ok(replica) => replica,
                Err(pontoon::node::home::HomeError::OtherReplica { .. }) => {
                    running.removals.insert(shard.id);
                    running.engine.forget_log(shard.id);
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            if shard.birth[0].id == record.id {
                replica.group.campaign();
            }
            running.engine.add_replica(replica);
        }
        Ok(())
    }

    /// What a node tells the catalog of the shards that it leads.
    fn reports(&self, node: usize) -> Vec<CatalogCommand> {
        let engine = &self.members[node].running.as_ref().expect("it follows").engine;
        let Some(catalog) = engine.catalog() else { return Vec::new() };
        engine.replicas().flat_map(|replica| reports::due(replica, catalog)).collect()
    }

    /// What the newest file asks for and is not so yet.
    pub fn unsettled(&self) -> Vec<String> {
        let mut left = Vec::new();
        for shard in self.catalog.data_shards() {
            if shard.closing {
                left.push(format!("shard {} is closing", shard.id));
            }
            left.extend(shard.leaving.iter().map(|r| format!("replica {} leaves shard {}", r.id, shard.id)));
        }
        for slot in used_slots() {
            let (owner, target) = (self.catalog.owner(slot).id, self.catalog.target(slot));
            // It may have gone on, and the catalog not have heard of it.
            let keyspace = self
                .leader(owner)
                .and_then(|node| self.members[node].running.as_ref()?.engine.replica(owner)?.machine.keyspace());
            if owner != target || keyspace.and_then(|keyspace| keyspace.owns(slot)).is_none() {
                left.push(format!("slot {slot} is at {owner} and not at {target}"));
            }
        }
        left
    }
}

/// The slots of the workload.
pub fn used_slots() -> Vec<Slot> {
    let mut slots: Vec<Slot> = workload::tags().map(|(_, tag)| Slot::of_key(tag.as_bytes())).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// Slots that no key of the workload is in are not in any shard's state: there is nothing to wait for.
fn hand_over_unused(catalog: &mut Catalog) {
    let used = used_slots();
    let mut slots: Vec<SlotRange> = Vec::new();
    for slot in Slot::all() {
        let known = *catalog.range_of(slot);
        let (owner, epoch) = if used.binary_search(&slot).is_ok() {
            (known.owner, known.epoch)
        } else {
            (catalog.target(slot), Epoch(1))
        };
        match slots.last_mut().filter(|last| (last.owner, last.epoch) == (owner, epoch)) {
            Some(last) => last.last = slot.number(),
            None => slots.push(SlotRange { first: slot.number(), last: slot.number(), owner, epoch }),
        }
    }
    catalog.slots = slots;
}
