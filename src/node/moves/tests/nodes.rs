//! Two shards on three nodes in memory, their messages carried by hand, and a catalog that says what a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::MoveOptions;
use crate::consensus::{Group, GroupOptions, HardState, Restored, SnapshotPoint};
use crate::keyspace::Keyspace;
use crate::net::Moment;
use crate::node::answers::{Answers, Ticket};
use crate::node::engine::{Engine, EngineOptions, TICK};
use crate::node::machine::Machine;
use crate::node::replica::Replica;
use crate::protocol::frame::{Kind, ReadLevel, RefusalReason, RequestHead, split_frame};
use crate::protocol::identity::Identity;
use crate::protocol::request::write_array;
use crate::topology::assignment::TargetRange;
use crate::topology::{
    Catalog, ClusterId, Epoch, LogIndex, LogTime, NodeName, ReplicaId, SLOT_COUNT, SessionId, ShardId, ShardsConfig,
    Slot, SlotRange, Whereabouts, WriteId,
};

pub(super) const A: ShardId = ShardId(1);
pub(super) const B: ShardId = ShardId(2);
pub(super) const NODES: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply(String),
    Refused(RefusalReason),
    Elsewhere(Option<Whereabouts>),
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) held: BTreeSet<u64>,
}

impl Told {
    pub(super) fn tell(&mut self, ticket: Ticket, answer: Answer) {
        assert!(self.answers.insert(ticket.id, answer).is_none(), "answered twice");
        self.held.remove(&ticket.id);
    }
}

impl Answers for Told {
    fn reply(&mut self, ticket: Ticket, _index: LogIndex, reply: &[u8]) {
        self.tell(ticket, Answer::Reply(String::from_utf8(reply.to_vec()).unwrap()));
    }
    fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, _leader: Option<ReplicaId>) {
        self.tell(ticket, Answer::Refused(reason));
    }
    fn redirect(&mut self, ticket: Ticket, moved: Option<Whereabouts>) {
        self.tell(ticket, Answer::Elsewhere(moved));
    }
    fn hold_line(&mut self, ticket: Ticket) {
        self.held.insert(ticket.id);
    }
    fn is_awaited(&self, _ticket: Ticket, _now: Moment) -> bool {
        true
    }
}

pub(super) struct Nodes {
    pub(super) engines: Vec<Engine>,
    pub(super) catalog: Catalog,
    pub(super) now_ms: u64,
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) told: Told,
    pub(super) next_id: u64,
    pub(super) next_sequence: u64,
    pub(super) random: u64,
    /// Of a thousand messages about moves, so many are lost, and so many come twice.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Once this slot is frozen all messages about moves are lost.
    pub(super) lost_once_frozen: Option<Slot>,
    /// Messages about moves that come late.
    pub(super) late: Vec<(usize, Vec<u8>)>,
}

pub(super) fn name(node: usize) -> NodeName {
    NodeName::new(&format!("n{}", node + 1))
}

impl Nodes {
    pub(super) fn new(options: MoveOptions) -> Self {
        let nodes: String = (1..=NODES).map(|n| format!("[[node]]\nname = 'n{n}'\naddr = 'h:{n}'\n")).collect();
        let shard = |name| format!("[[shard]]\nname = '{name}'\nnodes = ['n1', 'n2', 'n3']\n");
        let text = format!("version = 1\n{nodes}{}{}", shard("a"), shard("b"));
        let config = ShardsConfig::parse(&text, "test").unwrap();
        let catalog = Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new());
        let (cut, told, late) = (BTreeSet::new(), Told::default(), Vec::new());
        let (now_ms, random) = (10_000, 0x9e37_79b9_7f4a_7c15);
        let mut nodes = Self {
            engines: Vec::new(),
            catalog,
            now_ms,
            cut,
            told,
            next_id: 1,
            next_sequence: 1,
            random,
            lost: 0,
            doubled: 0,
            lost_once_frozen: None,
            late,
        };
        for node in 0..NODES {
            let engine = nodes.engine(node, options);
            nodes.engines.push(engine);
        }
        nodes
    }

    /// With the first node leading `a` and the second leading `b`.
    pub(super) fn led() -> Self {
        let mut nodes = Self::new(MoveOptions::default());
        nodes.ticks(60);
        nodes.lead(B, 1);
        assert_eq!((nodes.leader(A), nodes.leader(B)), (Some(0), Some(1)));
        nodes
    }

    pub(super) fn engine(&self, node: usize, moves: MoveOptions) -> Engine {
        let options = EngineOptions { moves, ..EngineOptions::default() };
        let mut engine = Engine::new(name(node), options, 7 + node as u64);
        engine.adopt_catalog(Arc::new(self.catalog.clone()));
        for shard in [A, B] {
            let record = self.catalog.shard(shard).unwrap();
            let id = record.replica_on(&name(node)).unwrap().id;
            let options = GroupOptions {
                heartbeat_ticks: 2,
                lease_ticks: 18,
                election_ticks: 24 + 4 * node,
                append_bytes_max: 1 << 20,
                appends_in_flight_max: 256,
                uncommitted_bytes_max: 64 << 20,
                committed_bytes_max: 1 << 20,
                quiet_ticks: 0,
                keeps_leases: false,
                boot_nonce: node as u64 + 1,
            };
            let start = SnapshotPoint::birth(record.birth.iter().map(|r| r.id));
            let restored = Restored { start, hard_state: HardState::default(), entries: Vec::new() };
            let group = Group::restore(id, options, restored).unwrap();
            let mut keyspace = Keyspace::new(1);
            let slots = record.birth_slots.iter().flat_map(SlotRange::slots);
            slots.for_each(|slot| keyspace.own(slot, Epoch(1)));
            engine.add_replica(Replica::new(shard, id, group, Machine::Data(keyspace.into()), 0));
        }
        for other in (0..NODES).filter(|other| *other != node) {
            engine.peer_connected(&name(other));
        }
        engine
    }

    pub(super) fn draw(&mut self, of: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % of
    }

    pub(super) fn now(&self) -> (Moment, LogTime) {
        (Moment::at(Duration::from_millis(self.now_ms)), LogTime(1_000_000 + self.now_ms))
    }

    pub(super) fn replica(&self, shard: ShardId, node: usize) -> &Replica {
        self.engines[node].replica(shard).unwrap()
    }

    pub(super) fn keyspace(&self, shard: ShardId, node: usize) -> &Keyspace {
        self.replica(shard, node).machine.keyspace().unwrap()
    }

    /// The one that surely leads, of those that can talk to another.
    pub(super) fn leader(&self, shard: ShardId) -> Option<usize> {
        let leads = |node: &usize| self.replica(shard, *node).group.leads_surely();
        (0..NODES).filter(leads).max_by_key(|node| self.replica(shard, *node).group.term())
    }

    /// Makes a node lead a shard.
    pub(super) fn lead(&mut self, shard: ShardId, node: usize) {
        let id = self.replica(shard, node).id;
        for _ in 0..40 {
            if self.leader(shard) == Some(node) {
                return;
            }
            if let Some(leader) = self.leader(shard) {
                self.engines[leader].replica_mut(shard).unwrap().group.transfer(id);
            }
            self.ticks(5);
        }
        panic!("node {node} does not come to lead shard {shard}");
    }

    pub(super) fn isolate(&mut self, node: usize) {
        for other in (0..NODES).filter(|other| *other != node) {
            self.cut.extend([(node, other), (other, node)]);
        }
    }

    /// One round: every engine has its turn, and what it said is carried. Returns whether anything was.
    pub(super) fn round(&mut self) -> bool {
        let (now, wall) = self.now();
        let mut carried = Vec::new();
        for (node, engine) in self.engines.iter_mut().enumerate() {
            engine.turn(now, wall, &mut self.told);
            while let Some(batch) = engine.take_batch() {
                engine.batch_written(batch);
                engine.turn(now, wall, &mut self.told);
            }
            for (to, outbox) in engine.peers_mut() {
                let to = (0..NODES).find(|n| name(*n) == *to).unwrap();
                carried.push((node, to, std::mem::take(&mut outbox.frames)));
            }
            engine.take_events();
        }
        carried.retain(|(from, to, frames)| !frames.is_empty() && !self.cut.contains(&(*from, *to)));
        let any = !carried.is_empty();
        let is_frozen = |slot| (0..NODES).any(|node| self.replica(A, node).moving.is_frozen(slot));
        if self.lost_once_frozen.is_some_and(is_frozen) {
            (self.lost, self.lost_once_frozen) = (1000, None);
        }
        for (to, payload) in std::mem::take(&mut self.late) {
            self.engines[to].peer_move(&payload, now, wall, &mut self.told);
        }
        for (_, to, frames) in carried {
            let mut assembler = crate::protocol::frame::Assembler::new(64 << 20);
            let mut rest = frames.as_slice();
            while let Some(frame) = split_frame(rest).unwrap() {
                rest = &rest[frame.consumed..];
                let Some(message) = assembler.push(frame).unwrap() else { continue };
                match message.kind {
                    Kind::Clock => self.engines[to].peer_clock(message.payload, now, wall),
                    Kind::Move => {
                        let (lost, doubled) = (self.draw(1000) < self.lost, self.draw(1000) < self.doubled);
                        if doubled {
                            self.late.push((to, message.payload.to_vec()));
                        }
                        if !lost {
                            self.engines[to].peer_move(message.payload, now, wall, &mut self.told);
                        }
                    }
                    _ => self.engines[to].peer_message(message.payload),
                }
            }
        }
        any
    }

    /// So many rounds, with the ticks that they take.
    pub(super) fn rounds_pass(&mut self, count: usize) {
        for _ in 0..count {
            if !self.round() {
                self.tick_only();
            }
        }
    }

    pub(super) fn exchange(&mut self) {
        while self.round() {}
    }

    pub(super) fn tick_only(&mut self) {
        self.now_ms += TICK.as_millis() as u64;
        let (now, wall) = self.now();
        self.engines.iter_mut().for_each(|engine| engine.tick(now, wall, &mut self.told));
    }

    pub(super) fn tick(&mut self) {
        self.tick_only();
        self.report();
        self.exchange();
    }

    pub(super) fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// The catalog hears from leaders what they own, as their nodes tell it.
    pub(super) fn report(&mut self) {
        let leaders: Vec<_> = [A, B].into_iter().filter_map(|shard| Some((shard, self.leader(shard)?))).collect();
        let known = |(shard, node): (ShardId, usize)| self.replica(shard, node).unreported_slots(&self.catalog);
        let news: Vec<SlotRange> = leaders.into_iter().flat_map(known).collect();
        if news.is_empty() {
            return;
        }
        let mut owners: Vec<(ShardId, Epoch)> =
            Slot::all().map(|slot| self.catalog.range_of(slot)).map(|range| (range.owner, range.epoch)).collect();
        for range in news {
            for slot in range.slots() {
                if owners[slot.index()].1 < range.epoch {
                    owners[slot.index()] = (range.owner, range.epoch);
                }
            }
        }
        let mut ranges: Vec<SlotRange> = Vec::new();
        for (number, (owner, epoch)) in (0..SLOT_COUNT as u16).zip(owners) {
            match ranges.last_mut() {
                Some(range) if (range.owner, range.epoch) == (owner, epoch) => range.last = number,
                _ => ranges.push(SlotRange { first: number, last: number, owner, epoch }),
            }
        }
        self.catalog.slots = ranges;
        self.spread();
    }

    pub(super) fn spread(&mut self) {
        self.catalog.revision = self.catalog.revision.next();
        let catalog = Arc::new(self.catalog.clone());
        self.engines.iter_mut().for_each(|engine| engine.adopt_catalog(Arc::clone(&catalog)));
    }

    /// The catalog wants these slots to be there.
    pub(super) fn want(&mut self, slots: impl IntoIterator<Item = Slot>, shard: ShardId) {
        let mut targets: Vec<ShardId> = Slot::all().map(|slot| self.catalog.target(slot)).collect();
        slots.into_iter().for_each(|slot| targets[slot.index()] = shard);
        let mut ranges: Vec<TargetRange> = Vec::new();
        for (number, shard) in (0..SLOT_COUNT as u16).zip(targets) {
            match ranges.last_mut() {
                Some(range) if range.shard == shard => range.last = number,
                _ => ranges.push(TargetRange { first: number, last: number, shard }),
            }
        }
        self.catalog.targets = ranges;
        self.spread();
    }

    pub(super) fn send(
        &mut self,
        shard: ShardId,
        node: usize,
        words: &[&str],
        sequence: Option<u64>,
        epoch: Epoch,
    ) -> u64 {
        let mut body = Vec::new();
        write_array(&mut body, words.iter().map(|w| w.as_bytes()));
        let id = self.next_id;
        self.next_id += 1;
        let (now, wall) = self.now();
        let name = |sequence| WriteId { session: SessionId(1), sequence };
        let identity = sequence.map(|sequence| Identity { id: name(sequence), low: 1, born: wall });
        let head = RequestHead {
            id,
            shard,
            client: 1,
            generation: 0,
            write: sequence.is_some(),
            resp3: false,
            transaction: false,
            split: false,
            covers: false,
            retried: false,
            after_writes: false,
            level: ReadLevel::Session,
            slot: Some(Slot::of_key(words[1].as_bytes())),
            epoch,
            remaining_ms: 60_000,
            floor: LogIndex(0),
            identity,
            blocking: None,
        };
        let ticket = Ticket { connection: node as u32, connection_generation: 0, id, client: 1, generation: 0, shard };
        self.engines[node].request(&head, &body, ticket, now, wall, &mut self.told);
        id
    }

    /// A write, sent until it is answered, as a proxy would.
    pub(super) fn write(&mut self, words: &[&str]) -> String {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut shard = A;
        for _ in 0..400 {
            let Some(leader) = self.leader(shard) else {
                self.tick();
                continue;
            };
            let id = self.send(shard, leader, words, Some(sequence), Epoch(0));
            self.exchange();
            for _ in 0..400 {
                if self.told.answers.contains_key(&id) {
                    break;
                }
                self.tick();
            }
            match self.told.answers.get(&id) {
                Some(Answer::Reply(reply)) => return reply.clone(),
                Some(Answer::Elsewhere(Some(went))) => shard = went.owner,
                Some(_) => self.tick(),
                None => panic!("{words:?} is never answered"),
            }
        }
        panic!("{words:?} is refused for ever");
    }

    pub(super) fn read(&mut self, shard: ShardId, node: usize, words: &[&str]) -> Answer {
        let id = self.send(shard, node, words, None, Epoch(0));
        self.exchange();
        self.told.answers[&id].clone()
    }

    /// Whether a shard's leader serves these slots and nothing of them is under way.
    pub(super) fn serves(&self, shard: ShardId, slots: &[Slot]) -> bool {
        let Some(leader) = self.leader(shard) else { return false };
        let other = if shard == A { B } else { A };
        let is_quiet = |shard: ShardId| {
            self.leader(shard).is_some_and(|node| {
                let keyspace = self.keyspace(shard, node);
                keyspace.exports().next().is_none() && keyspace.imports().next().is_none()
            })
        };
        slots.iter().all(|slot| self.keyspace(shard, leader).owns(*slot).is_some())
            && is_quiet(shard)
            && is_quiet(other)
    }

    pub(super) fn until_served(&mut self, shard: ShardId, slots: &[Slot]) {
        for _ in 0..4000 {
            if self.serves(shard, slots) {
                return;
            }
            self.tick();
        }
        let state = |shard: ShardId| {
            let leader = self.leader(shard);
            let moves = leader.map(|n| self.replica(shard, n).moves(&self.catalog, self.now().0));
            format!("{leader:?} {moves:?}")
        };
        panic!("shard {shard} does not come to serve the slots: a: {}, b: {}", state(A), state(B));
    }

    /// Keys, one per slot and more, of slots that `a` has at first.
    pub(super) fn fill(&mut self, keys: usize) -> Vec<(String, Slot)> {
        let names = (0..).map(|n| format!("k{n}")).map(|key| (Slot::of_key(key.as_bytes()), key));
        let of_a: Vec<_> = names.filter(|(slot, _)| slot.number() < 8192).take(keys).collect();
        of_a.iter().for_each(|(_, key)| assert_eq!(self.write(&["SET", key, &format!("v{key}")]), "+OK\r\n"));
        of_a.into_iter().map(|(slot, key)| (key, slot)).collect()
    }

    pub(super) fn check(&mut self, shard: ShardId, keys: &[(String, Slot)]) {
        self.ticks(4);
        for node in 0..NODES {
            for (key, _) in keys {
                let value = format!("v{key}");
                let expected = Answer::Reply(format!("${}\r\n{value}\r\n", value.len()));
                assert_eq!(self.read(shard, node, &["GET", key]), expected, "{key} at node {node}");
            }
        }
    }
}
