//! The catalog under random edits, and under reports of shards that follow them: late, doubled, out of order.
//!
//! A model of the shards moves slots and members as the catalog wants, step by step, and tells of it; sometimes it tells again what it
//! told long ago. After every command the catalog must still know everything that is real, and when the edits end, all of it
//! must come to be as the last file says.

use std::collections::{BTreeMap, BTreeSet};

use pontoon::topology::{
    Catalog, CatalogCommand, CatalogOutcome, ClusterId, Epoch, Incarnation, LogIndex, NodeName, ReplicaId, SLOT_COUNT,
    ShardId, ShardsConfig, Slot, SlotRange,
};
use proptest::prelude::*;

/// Numbers below a bound, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound.max(1)
    }

    fn some<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }
}

/// What a group really is.
#[derive(Clone, Debug, Default)]
struct Group {
    members: BTreeSet<ReplicaId>,
    index: u64,
    /// The epochs under which it gave slots away.
    gone: BTreeMap<u16, Epoch>,
}

struct World {
    catalog: Catalog,
    dice: Dice,
    /// Who really owns each slot.
    owners: Vec<(ShardId, Epoch)>,
    groups: BTreeMap<ShardId, Group>,
    /// Everything that was ever reported.
    told: Vec<CatalogCommand>,
    /// Every replica that ever was, with its shard and node.
    replicas: BTreeMap<ReplicaId, (ShardId, NodeName)>,
    /// Every shard that ever was, with its first members.
    births: BTreeMap<ShardId, BTreeSet<ReplicaId>>,
    /// Replicas whose disks are gone.
    lost: BTreeSet<ReplicaId>,
    incarnations: u128,
}

fn text(version: u64, nodes: &[usize], shards: &[(usize, Vec<usize>, u32)]) -> String {
    let mut text = format!("version = {version}\n");
    for node in nodes {
        text += &format!("[[node]]\nname = \"n{node}\"\naddr = \"h{node}:1\"\n");
    }
    for (name, nodes, weight) in shards {
        let list: Vec<_> = nodes.iter().map(|node| format!("\"n{node}\"")).collect();
        text += &format!("[[shard]]\nname = \"s{name}\"\nweight = {weight}\nnodes = [{}]\n", list.join(", "));
    }
    text
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed | 1);
        let first = random_file(&mut dice, 1);
        let config = ShardsConfig::parse(&first, "f").unwrap();
        let catalog = Catalog::found(ClusterId(1), 0, &config, &BTreeMap::new());
        let owners = Slot::all().map(|slot| (catalog.range_of(slot).owner, catalog.range_of(slot).epoch)).collect();
        let mut world = Self {
            catalog,
            dice,
            owners,
            groups: BTreeMap::new(),
            told: Vec::new(),
            replicas: BTreeMap::new(),
            births: BTreeMap::new(),
            lost: BTreeSet::new(),
            incarnations: 0,
        };
        world.look();
        world
    }

    /// Gives a command to the catalog, and checks what must hold then.
    fn tell(&mut self, command: &CatalogCommand) -> CatalogOutcome {
        let before = self.catalog.clone();
        let outcome = self.catalog.apply(command);
        self.catalog.validate().unwrap_or_else(|broken| panic!("{broken} after {command:?}"));
        let changed = matches!(outcome, CatalogOutcome::Accepted { .. });
        assert_eq!(self.catalog.revision.0, before.revision.0 + u64::from(changed));
        assert!(changed || self.catalog == before, "{command:?} was {outcome:?} and changed something");
        let slots = Slot::all().filter(|_| before.slots != self.catalog.slots);
        for slot in slots {
            let (was, is) = (before.range_of(slot), self.catalog.range_of(slot));
            assert!(is.epoch > was.epoch || is.epoch == was.epoch && is.owner == was.owner, "slot {slot} went back");
        }
        assert!(before.retired.is_subset(&self.catalog.retired), "a retired incarnation is forgotten");
        self.look();
        outcome
    }

    /// What is real must be known, and what has a number has it for ever.
    fn look(&mut self) {
        for shard in &self.catalog.shards {
            let birth: BTreeSet<_> = shard.birth.iter().map(|replica| replica.id).collect();
            let known = self.births.entry(shard.id).or_insert_with(|| birth.clone());
            assert_eq!(*known, birth, "shard {} was born twice", shard.id);
            self.groups.entry(shard.id).or_insert_with(|| Group { members: birth, ..Group::default() });
            for replica in shard.all_replicas() {
                let place = (shard.id, replica.node.clone());
                assert_eq!(*self.replicas.entry(replica.id).or_insert_with(|| place.clone()), place);
            }
        }
        let owners: BTreeSet<ShardId> = self.owners.iter().map(|(owner, _)| *owner).collect();
        for owner in owners {
            assert!(self.catalog.shard(owner).is_some(), "slots are owned by {owner}, of which nothing is known");
        }
        for (id, group) in &self.groups {
            let Some(shard) = self.catalog.shard(*id) else { continue };
            for member in &group.members {
                let listed = shard.all_replicas().any(|replica| replica.id == *member);
                assert!(listed || self.lost.contains(member), "member {member} of shard {id} is forgotten");
            }
        }
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0 => self.edit(),
            1 | 2 => self.move_slots(),
            3 | 4 => self.report_owners(),
            5 | 6 => self.change_members(),
            7 | 8 => self.report_members(),
            9 => self.retire(),
            10 => {
                if let Some(command) = self.dice.some(&self.told).cloned() {
                    self.tell(&command);
                }
            }
            _ => self.touch_nodes(),
        }
    }

    fn edit(&mut self) {
        let version = self.catalog.version + self.dice.below(3) as u64;
        let mut text = random_file(&mut self.dice, version.max(1));
        let base = self.catalog.version + self.dice.below(2) as u64;
        if self.dice.below(4) == 0 && base < version {
            text = format!("base = {base}\n{text}");
        }
        let (accepted, is_later) = (self.catalog.version, version > self.catalog.version);
        let is_based = !text.starts_with("base") || base == accepted;
        let outcome = self.tell(&CatalogCommand::ProposeConfig { text, origin: "f".to_owned() });
        let is_accepted = matches!(outcome, CatalogOutcome::Accepted { .. });
        assert_eq!(is_accepted, is_later && is_based, "{outcome:?} for {version} after {accepted}");
    }

    /// Some slots arrive where they are to be, under fresh epochs.
    fn move_slots(&mut self) {
        let (first, count) = (self.dice.below(SLOT_COUNT / 2), 1 + self.dice.below(SLOT_COUNT));
        for slot in Slot::all().chain(Slot::all()).skip(first).take(count) {
            let (owner, epoch) = self.owners[slot.index()];
            let to = self.catalog.target(slot);
            if to != owner {
                self.groups.get_mut(&owner).expect("it owns").gone.insert(slot.number(), epoch.next());
                self.owners[slot.index()] = (to, epoch.next());
            }
        }
    }

    fn report_owners(&mut self) {
        let shards: Vec<_> = self.catalog.data_shards().iter().map(|shard| shard.id).collect();
        let Some(shard) = self.dice.some(&shards).copied() else { return };
        let mut owned: Vec<SlotRange> = Vec::new();
        for slot in Slot::all().filter(|slot| self.owners[slot.index()].0 == shard) {
            let (first, epoch) = (slot.number(), self.owners[slot.index()].1);
            match owned.last_mut() {
                Some(run) if run.epoch == epoch && run.last + 1 == first => run.last = first,
                _ => owned.push(SlotRange { first, last: first, owner: shard, epoch }),
            }
        }
        let command = CatalogCommand::RecordOwners { shard, owned };
        self.told.push(command.clone());
        let outcome = self.tell(&command);
        assert!(!matches!(outcome, CatalogOutcome::Refused { .. }), "{outcome:?}");
    }

    /// A group goes one step towards what the catalog wants of it.
    fn change_members(&mut self) {
        let shards: Vec<_> = self.catalog.shards.iter().map(|shard| shard.id).collect();
        let Some(shard) = self.dice.some(&shards).copied() else { return };
        let wanted: BTreeSet<_> = self.catalog.shard(shard).expect("listed").replicas.iter().map(|r| r.id).collect();
        let group = self.groups.get_mut(&shard).expect("known");
        group.index += 1 + self.dice.below(9) as u64;
        if let Some(missing) = wanted.difference(&group.members).next().copied() {
            group.members.insert(missing);
        } else if let Some(surplus) = group.members.difference(&wanted).next().copied() {
            group.members.remove(&surplus);
        }
    }

    fn report_members(&mut self) {
        let shards: Vec<_> = self.catalog.shards.iter().map(|shard| shard.id).collect();
        let Some(shard) = self.dice.some(&shards).copied() else { return };
        let group = &self.groups[&shard];
        let members = group.members.iter().copied().collect();
        let (index, revision) = (LogIndex(group.index), self.catalog.revision);
        let command = CatalogCommand::RecordMembers { shard, index, revision, members };
        self.told.push(command.clone());
        self.tell(&command);
    }

    fn retire(&mut self) {
        let closing = self.catalog.data_shards().iter().filter(|shard| shard.closing).map(|shard| shard.id);
        for shard in closing.collect::<Vec<_>>() {
            let owns = self.owners.iter().any(|(owner, _)| *owner == shard);
            let unknown =
                |(slot, epoch): (&u16, &Epoch)| self.catalog.range_of(Slot::new(*slot).unwrap()).epoch < *epoch;
            if owns || self.groups[&shard].gone.iter().any(unknown) {
                continue;
            }
            let command = CatalogCommand::RetireShard { shard };
            self.told.push(command.clone());
            self.tell(&command);
        }
    }

    fn touch_nodes(&mut self) {
        let names: Vec<_> = self.catalog.nodes.keys().cloned().collect();
        let Some(name) = self.dice.some(&names).cloned() else { return };
        let known = self.catalog.nodes[&name].incarnation;
        self.incarnations += 1;
        let new = Incarnation(self.incarnations);
        let command = match (self.dice.below(3), known) {
            (0, _) => CatalogCommand::EvictLeaders { node: name, evicted: self.dice.below(2) == 0 },
            (_, None) => CatalogCommand::RegisterNode { name, incarnation: new },
            (1, Some(old)) => {
                let there = self.replicas.iter().filter(|(_, (_, node))| *node == name).map(|(id, _)| *id);
                self.lost.extend(there);
                CatalogCommand::ReplaceNode { name, old, new }
            }
            (_, Some(_)) => return,
        };
        self.tell(&command);
    }

    /// What is left to do.
    fn unsettled(&self) -> String {
        let catalog = &self.catalog;
        let nodes: Vec<_> = catalog.nodes.iter().filter(|(_, node)| node.leaving).map(|(name, _)| name).collect();
        let shards = catalog.shards.iter().filter(|shard| shard.closing || !shard.leaving.is_empty());
        let owns = |id| self.owners.iter().filter(|(owner, _)| *owner == id).count();
        let unknown = |group: &Group| {
            group.gone.iter().filter(|(slot, e)| catalog.range_of(Slot::new(**slot).unwrap()).epoch < **e).count()
        };
        let group = |id: ShardId| (&self.groups[&id].members, owns(id), unknown(&self.groups[&id]));
        let shards: Vec<_> = shards.map(|s| (s.id, s.closing, &s.replicas, &s.leaving, group(s.id))).collect();
        let slots: Vec<_> = catalog.data_shards().iter().map(|s| (s.id, catalog.moves_wanted(s.id).len())).collect();
        format!("nodes {nodes:?}, shards {shards:?}, runs to move {slots:?}")
    }

    fn is_settled(&self) -> bool {
        let catalog = &self.catalog;
        catalog.nodes.values().all(|node| !node.leaving)
            && catalog.shards.iter().all(|shard| !shard.closing && shard.leaving.is_empty())
            && Slot::all().all(|slot| catalog.range_of(slot).owner == catalog.target(slot))
    }
}

fn random_file(dice: &mut Dice, version: u64) -> String {
    let nodes: Vec<usize> = (1..=6).filter(|_| dice.below(3) > 0).collect();
    let nodes = if nodes.is_empty() { vec![1] } else { nodes };
    let mut shards = Vec::new();
    for name in 0..4 {
        if dice.below(3) > 0 {
            let mut members: Vec<usize> = nodes.iter().copied().filter(|_| dice.below(2) == 0).collect();
            members.extend(members.is_empty().then_some(nodes[0]));
            shards.push((name, members, dice.below(4) as u32));
        }
    }
    if shards.iter().all(|(_, _, weight)| *weight == 0) {
        shards.retain(|(name, ..)| *name != 3);
        shards.push((3, vec![nodes[0]], 1));
    }
    text(version, &nodes, &shards)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_edited_and_told_nothing_real_is_forgotten_and_all_ends_as_the_file_says(seed in any::<u64>()) {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        for _ in 0..400 {
            if world.is_settled() {
                break;
            }
            world.move_slots();
            world.report_owners();
            for _ in 0..4 {
                world.change_members();
                world.report_members();
            }
            world.retire();
        }
        prop_assert!(world.is_settled(), "no end: {}", world.unsettled());
        let catalog = &world.catalog;
        let config = catalog.accepted().unwrap();
        prop_assert_eq!(catalog.nodes.len(), config.nodes.len());
        prop_assert_eq!(catalog.data_shards().len(), config.shards.len());
        let sum: u64 = config.shards.iter().map(|shard| u64::from(shard.weight)).sum();
        for shard in &config.shards {
            let record = catalog.shard_named(&shard.name).unwrap();
            let nodes: Vec<_> = record.replicas.iter().map(|replica| replica.node.clone()).collect();
            prop_assert_eq!(nodes, shard.nodes.clone());
            let (share, has) = (SLOT_COUNT as f64 * f64::from(shard.weight) / sum as f64, catalog.slot_count(record.id));
            prop_assert!((share - f64::from(has)).abs() <= 1.0, "shard {} has {} of {}", shard.name, has, share);
        }
        prop_assert_eq!(Catalog::decode(&catalog.encode()).unwrap(), catalog.clone());
    }
}
