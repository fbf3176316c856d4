//! Virtual time: one queue of happenings, in an order that the seed alone decides.
//!
//! The network carries frames in order per link and reorders between links; links lose, hold back or cut what they
//! carry. Disks take their time, and a crash takes from them what was not synced. Nothing here knows what a frame means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pontoon::consensus::{Message, SnapshotPoint, snapshot_point};
use pontoon::net::Moment;
use pontoon::node::answers::{Answers, Ticket};
use pontoon::node::engine::{Event, TICK};
use pontoon::node::machine::{FrozenMachine, MachineLoader};
use pontoon::protocol::frame::{Kind, RefusalReason, RequestHead, split_frame};
use pontoon::topology::{Catalog, LogIndex, LogTime, ReplicaId};

use super::faults::Fault;
use super::invariants::Invariants;
use super::member::{Incoming, Limits, Member, Running, SHARD};
use super::random::{Random, mixed};

/// Where the wall clocks start.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// How long it takes others at most to hear that a process is gone.
const LOSS_HEARD_MAX_US: u64 = 30_000;

/// What comes to a node.
pub enum Happening {
    Tick,
    Message { from: usize, epoch: u64, payload: Vec<u8> },
    BatchDone,
    SnapshotDone { point: SnapshotPoint, state: Option<FrozenMachine> },
    StateComes { from: usize, from_life: u64, transfer: u64, message: Message, pieces: Vec<Vec<u8>> },
    StateDone { from: usize, from_life: u64, transfer: u64, message: Message },
    StateSent { to: ReplicaId, arrived: bool },
    Connected { to: usize },
    Lost { to: usize, refused: bool },
    Request { head: RequestHead, body: Vec<u8> },
}

/// What happens at a time.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub enum Due {
    At { node: usize, life: u64, happening: Happening },
    Client { client: usize },
    Answer { operation: u64, answer: Answer },
    GiveUp { operation: u64 },
    NextFault,
    Undo(Fault),
}

/// What a node said to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply {
        index: LogIndex,
        reply: Vec<u8>,
    },
    Refused {
        reason: RefusalReason,
        leader: Option<ReplicaId>,
    },
    /// Nobody listens there.
    NotThere,
}

/// What a link does with what it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Block {
    #[default]
    Open,
    Lose,
    Hold,
}

/// One direction between two nodes.
#[derive(Default)]
pub struct Link {
    /// Raised when the connection breaks: what was under way is gone.
    epoch: u64,
    pub block: Block,
    last_arrival_us: u64,
    held: Vec<(u64, Vec<u8>)>,
}

/// How a network is on a good or bad day.
#[derive(Clone, Copy)]
pub struct Weather {
    pub delay_min_us: u64,
    pub delay_max_us: u64,
    pub loss_per_mille: u64,
}

pub const FAIR: Weather = Weather { delay_min_us: 100, delay_max_us: 2_000, loss_per_mille: 0 };

/// The answers of one turn.
#[derive(Default)]
struct Collected(Vec<(u64, Answer)>);

impl Answers for Collected {
    fn reply(&mut self, ticket: Ticket, index: LogIndex, reply: &[u8]) {
        self.0.push((ticket.id, Answer::Reply { index, reply: reply.to_vec() }));
    }

    fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, leader: Option<ReplicaId>) {
        self.0.push((ticket.id, Answer::Refused { reason, leader }));
    }

    fn is_awaited(&self, _: Ticket, _: Moment) -> bool {
        true
    }
}

pub struct World {
    pub now_us: u64,
    pub random: Random,
    pub catalog: Arc<Catalog>,
    pub limits: Limits,
    pub members: Vec<Member>,
    pub links: Vec<Vec<Link>>,
    pub weather: Weather,
    pub invariants: Invariants,
    /// A running hash of all that happened.
    pub trace: u64,
    queue: BTreeMap<(u64, u64), Due>,
    refused: BTreeSet<u64>,
    scheduled: u64,
    transfers: u64,
}

impl World {
    pub fn new(seed: u64, catalog: Arc<Catalog>, limits: Limits) -> Self {
        let count = catalog.nodes.len();
        let mut random = Random::new(seed);
        let members = (0..count).map(|n| Member::new(n, random.next())).collect();
        let links = (0..count).map(|_| (0..count).map(|_| Link::default()).collect()).collect();
        Self {
            now_us: 0,
            random,
            catalog,
            limits,
            members,
            links,
            weather: FAIR,
            invariants: Invariants::default(),
            trace: seed,
            queue: BTreeMap::new(),
            refused: BTreeSet::new(),
            scheduled: 0,
            transfers: 0,
        }
    }

    pub fn schedule(&mut self, delay_us: u64, due: Due) {
        self.scheduled += 1;
        self.queue.insert((self.now_us + delay_us, self.scheduled), due);
    }

    /// The next happening, its time having come.
    pub fn next(&mut self) -> Due {
        let ((at, number), due) = self.queue.pop_first().expect("ticks never end");
        self.now_us = at;
        self.note(at ^ number.rotate_left(32));
        due
    }

    pub fn note(&mut self, what: u64) {
        self.trace = mixed(self.trace.rotate_left(5) ^ what);
    }

    pub fn send_to(&mut self, node: usize, delay_us: u64, happening: Happening) {
        let life = self.members[node].life;
        self.schedule(delay_us, Due::At { node, life, happening });
    }

    pub fn delay(&mut self) -> u64 {
        let Weather { delay_min_us, delay_max_us, .. } = self.weather;
        // One in fifty waits much longer.
        let stretch = if self.random.per_mille(20) { 10 } else { 1 };
        self.random.within(delay_min_us, delay_max_us) * stretch
    }

    pub fn start(&mut self, node: usize) {
        let (catalog, limits) = (Arc::clone(&self.catalog), self.limits);
        if let Err(error) = self.members[node].start(&catalog, limits, &mut self.random) {
            panic!("node {node} does not come back from its disk: {error}");
        }
        self.invariants.started(node);
        self.members[node].started_us = self.now_us;
        let phase = self.random.within(0, TICK.as_micros() as u64);
        self.send_to(node, phase, Happening::Tick);
        for other in (0..self.members.len()).filter(|o| *o != node) {
            if self.members[other].running.is_some() {
                // After whatever is still to be heard of its end.
                let (out, back) = (LOSS_HEARD_MAX_US + self.delay(), LOSS_HEARD_MAX_US + self.delay());
                self.send_to(node, out, Happening::Connected { to: other });
                self.send_to(other, back, Happening::Connected { to: node });
            }
        }
        self.turn(node);
    }

    /// The process ends. `power`: and with it what its disk had not synced.
    pub fn end(&mut self, node: usize, power: bool) {
        let fate = self.random.below(3);
        let member = &mut self.members[node];
        if let Some(Running { batch: Some(batch), log, .. }) = member.running.as_mut() {
            // The batch under way may have come as far as it likes.
            let _ = match fate {
                0 => Ok(()),
                1 => log.write(batch),
                _ => log.write(batch).and_then(|()| log.sync()),
            };
        }
        member.end();
        if power {
            member.disk.crash();
        } else {
            member.disk.kill();
        }
        for other in (0..self.members.len()).filter(|o| *o != node) {
            self.links[other][node].cut();
            self.links[node][other].cut();
            let delay = self.random.within(500, LOSS_HEARD_MAX_US);
            let refused = !power || self.random.per_mille(500);
            self.send_to(other, delay, Happening::Lost { to: node, refused });
        }
    }

    pub fn pause(&mut self, node: usize) {
        self.members[node].paused = self.members[node].running.is_some();
    }

    pub fn resume(&mut self, node: usize) {
        self.members[node].paused = false;
        while let Some(happening) = self.members[node].backlog.pop_front() {
            self.handle(node, happening);
        }
    }

    /// What a held link kept goes on its way, in order.
    pub fn open(&mut self, from: usize, to: usize) {
        let link = &mut self.links[from][to];
        link.block = Block::Open;
        for (epoch, payload) in std::mem::take(&mut link.held) {
            self.arrive(to, Happening::Message { from, epoch, payload });
        }
    }

    /// The connections between two nodes break and are made again.
    pub fn reconnect(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.links[from][to].cut();
            let (lost, again) = (self.random.within(100, 5_000), self.random.within(6_000, 60_000));
            self.send_to(from, lost, Happening::Lost { to, refused: false });
            if self.members[to].running.is_some() {
                self.send_to(from, again, Happening::Connected { to });
            }
        }
    }

    /// Who leads, as far as anybody knows: the leader of the highest term.
    pub fn leader(&self) -> Option<usize> {
        let replicas =
            self.members.iter().enumerate().filter_map(|(n, m)| Some((n, m.running.as_ref()?.engine.replica(SHARD)?)));
        let leaders = replicas.filter(|(_, replica)| replica.group.leads_surely());
        leaders.max_by_key(|(_, replica)| replica.group.term()).map(|(node, _)| node)
    }

    /// A node writes its state, whether that is due or not.
    pub fn snapshot(&mut self, node: usize) {
        if let Some(running) = self.members[node].running.as_mut() {
            running.engine.snapshot(SHARD);
            self.turn_unless_paused(node);
        }
    }

    /// A node gives its leadership away, if it has it.
    pub fn transfer(&mut self, node: usize, target: usize) {
        let to = self.catalog.shard(SHARD).expect("the shard under test").replicas[target].id;
        if let Some(running) = self.members[node].running.as_mut() {
            running.engine.replica_mut(SHARD).expect("each node has one").group.transfer(to);
            self.turn_unless_paused(node);
        }
    }

    fn turn_unless_paused(&mut self, node: usize) {
        if !self.members[node].paused {
            self.turn(node);
        }
    }

    /// Brings something to a node, unless it was meant for an earlier life.
    pub fn deliver(&mut self, node: usize, life: u64, happening: Happening) {
        if self.members[node].life == life && self.members[node].running.is_some() {
            return self.arrive(node, happening);
        }
        match happening {
            Happening::Request { head, .. } => {
                let delay = self.delay();
                self.schedule(delay, Due::Answer { operation: head.id, answer: Answer::NotThere });
            }
            Happening::StateComes { from, from_life, message, .. }
            | Happening::StateDone { from, from_life, message, .. } => {
                self.answer_transfer(from, from_life, &message, false);
            }
            _ => {}
        }
    }

    fn arrive(&mut self, node: usize, happening: Happening) {
        if self.members[node].running.is_none() {
            return;
        }
        if let Happening::Message { from, epoch, payload } = happening {
            let link = &mut self.links[from][node];
            match link.block {
                _ if epoch != link.epoch => {}
                Block::Lose => {}
                Block::Hold => link.held.push((epoch, payload)),
                Block::Open => self.admit(node, Happening::Message { from, epoch, payload }),
            }
            return;
        }
        self.admit(node, happening);
    }

    fn admit(&mut self, node: usize, happening: Happening) {
        if self.members[node].paused {
            self.members[node].backlog.push_back(happening);
        } else {
            self.handle(node, happening);
        }
    }

    fn now(&self) -> Moment {
        Moment::at(Duration::from_micros(self.now_us))
    }

    fn wall(&self, node: usize) -> LogTime {
        let ms = EPOCH_MS + (self.now_us / 1000) as i64 + self.members[node].wall_offset_ms;
        LogTime(ms as u64)
    }

    fn handle(&mut self, node: usize, happening: Happening) {
        let (now, wall) = (self.now(), self.wall(node));
        let Some(running) = self.members[node].running.as_mut() else { return };
        let engine = &mut running.engine;
        let mut answers = Collected::default();
        let tick = matches!(happening, Happening::Tick);
        match happening {
            Happening::Tick => engine.tick(now, wall, &mut answers),
            Happening::Message { from, payload, .. } => {
                let frame = split_frame(&payload).expect("a frame").expect("a whole frame");
                let assembler = &mut running.assemblers[from];
                if let Ok(Some(message)) = assembler.push(frame)
                    && message.kind == Kind::Raft
                {
                    engine.peer_message(message.payload);
                }
            }
            Happening::BatchDone => {
                let Some(mut batch) = running.batch.take() else { return };
                if let Err(error) = running.log.write(&mut batch).and_then(|()| running.log.sync()) {
                    return self.died(node, &error.to_string());
                }
                running
                    .log
                    .pinned_by()
                    .into_iter()
                    .for_each(|group| engine.snapshot(pontoon::topology::ShardId(group)));
                engine.batch_written(batch);
            }
            Happening::SnapshotDone { point, state } => {
                let Some(id) = engine.replica(SHARD).map(|r| r.id) else { return };
                let Some(state) = state else { return };
                match running.home.snapshots().write(SHARD, id, &point, state.pieces()) {
                    Ok(bytes) => engine.snapshot_written(SHARD, &point, bytes),
                    Err(error) => return self.died(node, &error.to_string()),
                }
            }
            Happening::StateComes { from, from_life, transfer, message, pieces } => {
                return self.state_comes(node, from, from_life, transfer, message, pieces);
            }
            Happening::StateDone { from, from_life, transfer, message } => {
                return self.state_done(node, from, from_life, transfer, message);
            }
            Happening::StateSent { to, arrived } => engine.snapshot_sent(SHARD, to, arrived),
            Happening::Connected { to } => {
                let peer = self.catalog.nodes.keys().nth(to).expect("a node");
                engine.peer_connected(peer);
            }
            Happening::Lost { to, refused } => {
                let peer = self.catalog.nodes.keys().nth(to).expect("a node");
                engine.peer_lost(peer, refused);
            }
            // What the shell does for a connection: who was refused is refused again until a new generation (R1).
            Happening::Request { head, .. } if head.after_writes && self.refused.contains(&(head.id - 1)) => {
                answers.0.push((head.id, Answer::Refused { reason: RefusalReason::Superseded, leader: None }));
            }
            Happening::Request { head, body } => {
                let ticket = Ticket {
                    connection: 0,
                    connection_generation: 0,
                    id: head.id,
                    client: head.client,
                    generation: head.generation,
                    shard: head.shard,
                };
                engine.request(&head, &body, ticket, now, wall, &mut answers);
            }
        }
        self.answer(answers);
        if tick {
            self.send_to(node, TICK.as_micros() as u64, Happening::Tick);
        }
        self.turn(node);
    }

    /// A disk that stopped takes the process with it.
    fn died(&mut self, node: usize, error: &str) {
        assert!(error.contains("stopped") || error.contains("os error 5"), "node {node}: {error}");
        self.end(node, true);
        let delay = self.random.within(50_000, 1_500_000);
        self.schedule(delay, Due::Undo(Fault::Down { node }));
    }

    fn turn(&mut self, node: usize) {
        let (now, wall) = (self.now(), self.wall(node));
        let mut answers = Collected::default();
        let Some(running) = self.members[node].running.as_mut() else { return };
        running.engine.turn(now, wall, &mut answers);
        if let Some(batch) = running.engine.take_batch() {
            running.batch = Some(batch);
            let extra = self.members[node].sync_extra_us;
            let took = self.random.within(100, 2_000) + if extra > 0 { self.random.within(1_000, extra) } else { 0 };
            self.send_to(node, took, Happening::BatchDone);
        }
        self.answer(answers);
        self.carry_out_events(node);
        self.carry_out_frames(node);
        let running = self.members[node].running.as_ref().expect("just seen");
        let replica = running.engine.replica(SHARD).expect("each node has one");
        let noted = self.invariants.observe(node, self.now_us, replica);
        self.note(noted);
    }

    fn answer(&mut self, answers: Collected) {
        for (operation, answer) in answers.0 {
            if matches!(answer, Answer::Refused { .. }) {
                self.refused.insert(operation);
            }
            let delay = self.delay();
            self.schedule(delay, Due::Answer { operation, answer });
        }
    }

    fn carry_out_events(&mut self, node: usize) {
        let running = self.members[node].running.as_mut().expect("just seen");
        for event in running.engine.take_events() {
            match event {
                Event::SendSnapshot { shard, to, node: name, message, state } => {
                    assert_eq!(shard, SHARD);
                    self.invariants.states_sent += 1;
                    self.transfers += 1;
                    let receiver = self.catalog.nodes.keys().position(|n| *n == name).expect("a node");
                    let (from_life, transfer) = (self.members[node].life, self.transfers);
                    let pieces: Vec<Vec<u8>> = state.pieces().collect();
                    self.invariants.state_leaves(&message, &pieces);
                    let delay = self.delay() + self.delay();
                    let lost = self.links[node][receiver].block != Block::Open || self.random.per_mille(50);
                    if lost {
                        self.send_to(node, delay * 5, Happening::StateSent { to, arrived: false });
                    } else {
                        let comes = Happening::StateComes { from: node, from_life, transfer, message, pieces };
                        self.send_to(receiver, delay, comes);
                    }
                }
                Event::WriteSnapshot { point, state, .. } => {
                    self.invariants.snapshots += 1;
                    let took = self.random.within(500, 40_000);
                    self.send_to(node, took, Happening::SnapshotDone { point, state: Some(state) });
                }
                Event::CatalogChanged(_) | Event::StatusChanged | Event::Garbage(_) | Event::Marked { .. } => {}
            }
        }
    }

    fn carry_out_frames(&mut self, node: usize) {
        for to in (0..self.members.len()).filter(|to| *to != node) {
            let name = self.members[to].name.clone();
            let running = self.members[node].running.as_mut().expect("just seen");
            let Some(outbox) = running.engine.peer(&name) else { continue };
            let frames = std::mem::take(&mut outbox.frames);
            let mut rest = frames.as_slice();
            while let Some(frame) = split_frame(rest).expect("frames of the engine") {
                let (one, more) = rest.split_at(frame.consumed);
                rest = more;
                self.carry(node, to, one.to_vec());
            }
        }
    }

    fn carry(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        let delay = self.delay();
        let lost = self.random.per_mille(self.weather.loss_per_mille);
        let now_us = self.now_us;
        let link = &mut self.links[from][to];
        let arrival = (now_us + delay).max(link.last_arrival_us);
        if lost || link.block == Block::Lose {
            return;
        }
        link.last_arrival_us = arrival;
        let epoch = link.epoch;
        self.send_to(to, arrival - now_us, Happening::Message { from, epoch, payload });
    }

    fn state_comes(
        &mut self,
        node: usize,
        from: usize,
        from_life: u64,
        transfer: u64,
        message: Message,
        mut pieces: Vec<Vec<u8>>,
    ) {
        let point = snapshot_point(&message).expect("a state's message");
        let running = self.members[node].running.as_mut().expect("checked");
        let Ok(id) = running.engine.begin_receiving(SHARD, &point) else {
            return self.answer_transfer(from, from_life, &message, false);
        };
        let rest = pieces.split_off(pieces.len() / 2);
        let started = running.home.snapshots().writer(SHARD, id, &point).and_then(|mut writer| {
            pieces.iter().try_for_each(|piece| writer.push(piece))?;
            Ok(writer)
        });
        let writer = match started {
            Ok(writer) => writer,
            Err(error) => return self.died(node, &error.to_string()),
        };
        let mut loader = MachineLoader::new(SHARD);
        pieces.iter().for_each(|piece| loader.push(piece).expect("pieces of a state"));
        running.incoming.insert(transfer, Incoming { writer, loader, rest });
        let took = self.random.within(500, 50_000);
        self.send_to(node, took, Happening::StateDone { from, from_life, transfer, message });
    }

    fn state_done(&mut self, node: usize, from: usize, from_life: u64, transfer: u64, message: Message) {
        let running = self.members[node].running.as_mut().expect("checked");
        let Some(Incoming { mut writer, mut loader, rest }) = running.incoming.remove(&transfer) else { return };
        let written = rest.iter().try_for_each(|piece| writer.push(piece)).and_then(|()| writer.finish());
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => return self.died(node, &error.to_string()),
        };
        rest.iter().for_each(|piece| loader.push(piece).expect("pieces of a state"));
        let state = loader.finish().expect("a whole state");
        self.invariants.states_installed += 1;
        running.engine.snapshot_received(SHARD, message.clone(), state, bytes);
        self.answer_transfer(from, from_life, &message, true);
        self.turn(node);
    }

    fn answer_transfer(&mut self, from: usize, from_life: u64, message: &Message, arrived: bool) {
        let (to, delay) = (ReplicaId(message.to), self.delay());
        let happening = Happening::StateSent { to, arrived };
        self.schedule(delay, Due::At { node: from, life: from_life, happening });
    }
}

impl Link {
    fn cut(&mut self) {
        self.epoch += 1;
        self.held.clear();
    }
}
