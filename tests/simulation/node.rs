//! What happens to a node, and what it does then: the part of the shell, with simulated sockets, disks and clocks.

use std::collections::{BTreeMap, VecDeque};

use pontoon::consensus::{Message, SnapshotPoint, snapshot_point};
use pontoon::net::Moment;
use pontoon::node::engine::{Event, TICK};
use pontoon::node::gate;
use pontoon::node::home::HomeError;
use pontoon::node::machine::{FrozenMachine, MachineLoader};
use pontoon::protocol::control::Hello;
use pontoon::protocol::frame::{
    Assembler, Heartbeat, Kind, PREAMBLE, Refusal, ReplyHead, RequestHead, put_message, split_frame,
};
use pontoon::topology::{LogTime, ReplicaId, ShardId, Term};

use super::faults::Fault;
use super::member::{Incoming, Reader, Running};
use super::streams::{Host, Parcel, StreamId};
use super::world::{Block, Due, World};

/// How long it takes others at most to hear that a process is gone.
pub const LOSS_HEARD_MAX_US: u64 = 30_000;
/// No lease lasts for so long.
const LEASES_OVER_US: u64 = 2_000_000;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What comes to a node.
pub enum Happening {
    Tick,
    LeasesOver,
    Message { from: usize, epoch: u64, payload: Vec<u8> },
    Stream { stream: StreamId, parcel: Parcel },
    BatchDone,
    SnapshotDone { shard: ShardId, point: SnapshotPoint, state: FrozenMachine },
    StateComes { from: usize, from_life: u64, shard: ShardId, transfer: u64, message: Message, pieces: Vec<Vec<u8>> },
    StateDone { from: usize, from_life: u64, shard: ShardId, transfer: u64, message: Message },
    StateSent { shard: ShardId, to: ReplicaId, arrived: bool },
    Connected { to: usize },
    Lost { to: usize, refused: bool },
}

impl Happening {
    /// Where it comes from: what comes from one place keeps its order.
    fn source(&self) -> (u8, u64) {
        match self {
            Self::Message { from, .. } => (0, *from as u64),
            Self::Connected { to } | Self::Lost { to, .. } => (0, *to as u64),
            Self::Stream { stream, .. } => (1, *stream),
            Self::Tick | Self::LeasesOver => (2, 0),
            Self::BatchDone => (3, 0),
            Self::SnapshotDone { shard, .. } => (4, shard.0),
            Self::StateComes { transfer, .. } | Self::StateDone { transfer, .. } => (5, *transfer),
            Self::StateSent { to, .. } => (6, to.0),
        }
    }
}

impl World {
    pub fn node_now(&self, node: usize) -> (Moment, LogTime) {
        let clock = &self.members[node].clock;
        (clock.now(self.now_us), clock.wall(self.now_us))
    }

    /// Starts a node. One whose disk takes nothing tries again later.
    pub fn start(&mut self, node: usize) {
        let (catalog, limits) = (std::sync::Arc::clone(&self.catalog), self.limits);
        let started = self.members[node].start(&catalog, limits, &mut self.random).map_err(|e| e.to_string());
        if let Err(error) = started.and_then(|()| self.act(node)) {
            return self.died(node, &error);
        }
        self.invariants.started(node);
        let phase = self.random.within(0, TICK.as_micros() as u64);
        self.send_to(node, phase, Happening::Tick);
        let over = self.members[node].clock.takes_us(LEASES_OVER_US);
        self.send_to(node, over, Happening::LeasesOver);
        for other in self.neighbours(node) {
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
        member.off = power;
        if power {
            member.disk.crash();
        } else {
            member.disk.kill();
        }
        self.end_streams_of(Host::Node(node));
        for other in self.neighbours(node) {
            self.links[other][node].cut();
            self.links[node][other].cut();
            let delay = self.random.within(500, LOSS_HEARD_MAX_US);
            let refused = !power || self.random.per_mille(500);
            self.send_to(other, delay, Happening::Lost { to: node, refused });
        }
    }

    /// A node goes on. What waits for it at different sockets has no order between them.
    pub fn resume(&mut self, node: usize) {
        self.members[node].paused = false;
        let mut queues: BTreeMap<(u8, u64), VecDeque<Happening>> = BTreeMap::new();
        for happening in std::mem::take(&mut self.members[node].backlog) {
            queues.entry(happening.source()).or_default().push_back(happening);
        }
        while !queues.is_empty() {
            let source = *queues.keys().nth(self.random.below(queues.len())).expect("one of them");
            // A socket is read until it is empty, or a while.
            for _ in 0..self.random.within(1, 20) {
                let Some(happening) = queues.get_mut(&source).and_then(VecDeque::pop_front) else { break };
                self.handle(node, happening);
            }
            queues.retain(|_, queue| !queue.is_empty());
        }
    }

    /// What a held link kept goes on its way, in order.
    pub fn let_go(&mut self, from: usize, to: usize) {
        for (epoch, payload) in std::mem::take(&mut self.links[from][to].held) {
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

    /// A node writes its state, whether that is due or not.
    pub fn snapshot(&mut self, node: usize, shard: ShardId) {
        if let Some(running) = self.members[node].running.as_mut() {
            running.engine.snapshot(shard);
            self.turn_unless_paused(node);
        }
    }

    /// A node gives its leadership away, if it has it.
    pub fn transfer(&mut self, shard: ShardId, node: usize, target: usize) {
        let Some(record) = self.catalog.shard(shard) else { return };
        let Some(to) = record.replica_on(&self.members[target].name).map(|r| r.id) else { return };
        if let Some(replica) = self.members[node].running.as_mut().and_then(|r| r.engine.replica_mut(shard)) {
            replica.group.transfer(to);
            self.turn_unless_paused(node);
        }
    }

    /// A leader is asked to give way to another replica. It has the last word.
    pub fn give_way(&mut self, node: usize, shard: ShardId, to: ReplicaId, term: Term) {
        if let Some(running) = self.members[node].running.as_mut() {
            let given = running.engine.give_leadership(shard, to, term, "they are spread");
            self.tell(|| format!("shard {shard}: node {node} is asked to give way to {to}: {given:?}"));
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
            Happening::StateComes { from, from_life, shard, message, .. }
            | Happening::StateDone { from, from_life, shard, message, .. } => {
                self.answer_transfer(from, from_life, shard, &message, false);
            }
            _ => {}
        }
    }

    /// Something comes over a proxy's connection.
    pub fn node_gets(&mut self, node: usize, stream: StreamId, parcel: Parcel) {
        if self.members[node].running.is_some() {
            self.admit(node, Happening::Stream { stream, parcel });
        }
    }

    fn arrive(&mut self, node: usize, happening: Happening) {
        if self.members[node].running.is_none() {
            return;
        }
        if let Happening::Message { from, epoch, payload } = happening {
            let block = self.blocks.get(&(Host::Node(from), Host::Node(node))).copied();
            let link = &mut self.links[from][node];
            match block {
                _ if epoch != link.epoch => {}
                Some(Block::Lose) => {}
                Some(Block::Hold) => link.held.push((epoch, payload)),
                None => self.admit(node, Happening::Message { from, epoch, payload }),
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

    fn handle(&mut self, node: usize, happening: Happening) {
        let (now, wall) = self.node_now(node);
        let Some(running) = self.members[node].running.as_mut() else { return };
        let engine = &mut running.engine;
        match happening {
            Happening::Tick => {
                engine.tick(now, wall, &mut running.connections);
                let next = self.members[node].clock.takes_us(TICK.as_micros() as u64);
                self.send_to(node, next, Happening::Tick);
                if let Err(error) = self.follow_catalog(node) {
                    return self.died(node, &error);
                }
            }
            Happening::Message { from, payload, .. } => {
                let frame = split_frame(&payload).expect("a frame").expect("a whole frame");
                let assembler = &mut running.assemblers[from];
                match assembler.push(frame) {
                    Ok(Some(message)) if message.kind == Kind::Raft => engine.peer_message(message.payload),
                    Ok(Some(message)) if message.kind == Kind::Clock => engine.peer_clock(message.payload, now, wall),
                    Ok(Some(message)) if message.kind == Kind::Move => {
                        engine.peer_move(message.payload, now, wall, &mut running.connections);
                    }
                    _ => {}
                }
            }
            Happening::Stream { stream, parcel } => self.read(node, stream, parcel),
            Happening::BatchDone => {
                let Some(mut batch) = running.batch.take() else { return };
                if let Err(error) = running.log.write(&mut batch).and_then(|()| running.log.sync()) {
                    return self.died(node, &error.to_string());
                }
                running.log.pinned_by(1).into_iter().for_each(|group| engine.snapshot(ShardId(group)));
                engine.batch_written(batch);
            }
            Happening::SnapshotDone { shard, point, state } => {
                let Some(id) = engine.replica(shard).map(|r| r.id) else { return };
                let written = running.home.snapshots().write(shard, id, &point, state.pieces());
                let removed = written.map(|(bytes, replaced)| {
                    engine.snapshot_written(shard, &point, bytes);
                    replaced.remove()
                });
                match removed {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) | Err(error) if is_power_cut(&error.to_string()) => {
                        return self.died(node, &error.to_string());
                    }
                    // It goes with the next.
                    Ok(Err(_)) => {}
                    Err(_) => engine.snapshot_failed(shard),
                }
            }
            Happening::StateComes { from, from_life, shard, transfer, message, pieces } => {
                return self.state_comes(node, (from, from_life), shard, transfer, message, pieces);
            }
            Happening::StateDone { from, from_life, transfer, message, .. } => {
                return self.state_done(node, from, from_life, transfer, message);
            }
            Happening::StateSent { shard, to, arrived } => {
                engine.snapshot_sent(shard, to, arrived);
                self.tell(|| format!("node {node} hears that its state of shard {shard} arrived at {to}: {arrived}"));
            }
            Happening::LeasesOver => {
                // It is tried again with the next start.
                let _ = if running.home.kept_leases_once() { running.home.forget_leases() } else { Ok(()) };
            }
            Happening::Connected { to } => {
                let keeps = self.members[to].running.as_ref().is_some_and(|peer| peer.home.keeps_leases());
                let peer = self.catalog.nodes.keys().nth(to).expect("a node");
                let engine = &mut self.members[node].running.as_mut().expect("just seen").engine;
                engine.peer_keeps_leases(peer, keeps);
                engine.peer_connected(peer);
            }
            Happening::Lost { to, refused } => {
                let peer = self.catalog.nodes.keys().nth(to).expect("a node");
                engine.peer_lost(peer, refused);
            }
        }
        self.turn(node);
    }

    /// Takes what a proxy sent.
    fn read(&mut self, node: usize, stream: StreamId, parcel: Parcel) {
        let (now, wall) = self.node_now(node);
        let member = &mut self.members[node];
        let Some(running) = member.running.as_mut() else { return };
        let Parcel::Bytes(bytes) = parcel else {
            if let Some(key) = running.readers.remove(&stream).and_then(|reader| reader.key) {
                running.connections.remove(key);
            }
            return;
        };
        let mut reader = running.readers.remove(&stream).unwrap_or_default();
        reader.unread.extend_from_slice(&bytes);
        if self.tells {
            let now_us = self.now_us;
            frames(&reader.unread)
                .iter()
                .for_each(|frame| println!("{now_us:>9} node {node} stream {stream} gets {frame}"));
        }
        match take(running, &member.name, stream, &mut reader, now, wall) {
            Ok(out) => {
                running.readers.insert(stream, reader);
                if !out.is_empty() {
                    self.send_bytes(stream, 1, out);
                }
            }
            Err(reason) => {
                if let Some(key) = reader.key {
                    running.connections.remove(key);
                }
                let mut out = Vec::new();
                put_message(&mut out, Kind::Goodbye, |out| out.extend_from_slice(reason.as_bytes()));
                self.send_bytes(stream, 1, out);
                self.close_end(stream, 1);
                panic!("node {node} turns a proxy's connection away: {reason}");
            }
        }
    }

    /// A disk that fails takes the process with it.
    pub fn died(&mut self, node: usize, error: &str) {
        let known = is_power_cut(error) || ["os error 5", "os error 28"].iter().any(|e| error.contains(e));
        assert!(known, "node {node} does not go on with its disk: {error}");
        let power = is_power_cut(error) || self.random.per_mille(300);
        self.end(node, power);
        let delay = self.random.within(50_000, 1_500_000);
        self.schedule(delay, Due::Undo(Fault::Down { node }));
    }

    pub fn turn(&mut self, node: usize) {
        let (now, wall) = self.node_now(node);
        let Some(running) = self.members[node].running.as_mut() else { return };
        running.engine.turn(now, wall, &mut running.connections);
        #[cfg(feature = "failpoints")]
        if !self.pass_points(node, false) {
            return;
        }
        let running = self.members[node].running.as_mut().expect("it had its turn");
        if let Some(batch) = running.engine.take_batch() {
            running.batch = Some(batch);
            let extra = self.members[node].sync_extra_us;
            let took = self.random.within(100, 2_000) + if extra > 0 { self.random.within(1_000, extra) } else { 0 };
            self.send_to(node, took, Happening::BatchDone);
        }
        self.carry_out_events(node);
        // Its disk may have failed it.
        if self.members[node].running.is_none() {
            return;
        }
        self.carry_out_frames(node);
        self.flush_connections(node);
        #[cfg(feature = "failpoints")]
        if !self.pass_points(node, true) {
            return;
        }
        let running = self.members[node].running.as_ref().expect("just seen");
        let mut noted = 0;
        if self.tells {
            for replica in running.engine.replicas() {
                let group = &replica.group;
                let members = group.members();
                let now = format!(
                    "term {}, leads {}, voters {:?}, outgoing {:?}, learners {:?}",
                    group.term(),
                    group.leads_surely(),
                    members.voters,
                    members.voters_outgoing,
                    members.learners
                );
                if self.told.get(&(node, replica.shard)) != Some(&now) {
                    let (at, end) = (replica.applied(), group.last_index());
                    println!(
                        "{:>9} node {node} shard {} replica {} at {at} of {end}: {now}",
                        self.now_us, replica.shard, replica.id
                    );
                    self.told.insert((node, replica.shard), now);
                }
            }
        }
        for replica in running.engine.replicas() {
            noted ^= self.invariants.observe(node, self.now_us, replica);
        }
        self.note(noted);
    }

    fn flush_connections(&mut self, node: usize) {
        let running = self.members[node].running.as_mut().expect("just seen");
        let mut outs = Vec::new();
        for key in running.connections.take_dirty() {
            let Some(connection) = running.connections.get(key) else { continue };
            outs.push((connection.outlet.stream, std::mem::take(&mut connection.outlet.out)));
        }
        for (stream, out) in outs {
            if self.tells {
                frames(&out).iter().for_each(|frame| self.tell(|| format!("node {node} stream {stream} says {frame}")));
            }
            self.send_bytes(stream, 1, out);
        }
    }

    fn carry_out_events(&mut self, node: usize) {
        let (now, wall) = self.node_now(node);
        let running = self.members[node].running.as_mut().expect("just seen");
        for event in running.engine.take_events() {
            match event {
                Event::SendSnapshot { shard, to, node: name, message, state } => {
                    self.invariants.states_sent += 1;
                    self.transfers += 1;
                    let receiver = self.catalog.nodes.keys().position(|n| *n == name).expect("a node");
                    let (from_life, transfer) = (self.members[node].life, self.transfers);
                    let pieces: Vec<Vec<u8>> = state.pieces().collect();
                    self.invariants.state_leaves(shard, &message, &pieces);
                    self.tell(|| format!("node {node} sends its state of shard {shard} to node {receiver}"));
                    let delay = self.delay() + self.delay();
                    let blocked = self.blocks.contains_key(&(Host::Node(node), Host::Node(receiver)));
                    if blocked || self.random.per_mille(50) {
                        self.send_to(node, delay * 5, Happening::StateSent { shard, to, arrived: false });
                    } else {
                        let comes = Happening::StateComes { from: node, from_life, shard, transfer, message, pieces };
                        self.send_to(receiver, delay, comes);
                    }
                }
                Event::WriteSnapshot { shard, point, state } => {
                    self.invariants.snapshots += 1;
                    let took = self.random.within(500, 40_000);
                    self.send_to(node, took, Happening::SnapshotDone { shard, point, state });
                }
                Event::StatusChanged | Event::CatalogChanged(_) | Event::PeersChanged => {
                    let running = self.members[node].running.as_mut().expect("just seen");
                    gate::push_status(&running.engine, &mut running.connections, now, wall);
                }
                Event::LogForgotten(shard) => {
                    let running = self.members[node].running.as_mut().expect("just seen");
                    let removed = running.home.snapshots().remove_all(shard).map_err(HomeError::from);
                    if let Err(error) = removed.and_then(|()| running.home.end_removal(shard)) {
                        return self.died(node, &error.to_string());
                    }
                    running.removals.remove(&shard);
                }
                Event::Garbage(_) | Event::Marked { .. } => {}
            }
        }
    }

    fn carry_out_frames(&mut self, node: usize) {
        for to in self.neighbours(node) {
            let name = &self.members[to].name.clone();
            let running = self.members[node].running.as_mut().expect("just seen");
            let Some(outbox) = running.engine.peer(name).filter(|outbox| !outbox.frames.is_empty()) else { continue };
            let frames = std::mem::take(&mut outbox.frames);
            let mut rest = frames.as_slice();
            while let Some(frame) = split_frame(rest).expect("frames of the engine") {
                let (one, more) = rest.split_at(frame.consumed);
                rest = more;
                self.carry_frame(node, to, one.to_vec());
            }
        }
    }

    fn carry_frame(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        let delay = self.delay();
        let lost = self.random.per_mille(self.weather.loss_per_mille);
        let now_us = self.now_us;
        let block = self.blocks.get(&(Host::Node(from), Host::Node(to)));
        let link = &mut self.links[from][to];
        let arrival = (now_us + delay).max(link.last_arrival_us);
        if lost || block == Some(&Block::Lose) {
            return;
        }
        link.last_arrival_us = arrival;
        let epoch = link.epoch;
        self.note_vote(from, to, &payload);
        self.send_to(to, arrival - now_us, Happening::Message { from, epoch, payload });
    }

    fn state_comes(
        &mut self,
        node: usize,
        (from, from_life): (usize, u64),
        shard: ShardId,
        transfer: u64,
        message: Message,
        mut pieces: Vec<Vec<u8>>,
    ) {
        let point = snapshot_point(&message).expect("a state's message");
        let running = self.members[node].running.as_mut().expect("checked");
        let Ok(id) = running.engine.begin_receiving(shard, &point) else {
            return self.answer_transfer(from, from_life, shard, &message, false);
        };
        let rest = pieces.split_off(pieces.len() / 2);
        let started = running.home.snapshots().writer(shard, id, &point).and_then(|mut writer| {
            pieces.iter().try_for_each(|piece| writer.push(piece))?;
            Ok(writer)
        });
        let writer = match started {
            Ok(writer) => writer,
            Err(error) => return self.not_received(node, (from, from_life), shard, &message, &error.to_string()),
        };
        let mut loader = MachineLoader::new(shard);
        pieces.iter().for_each(|piece| loader.push(piece).expect("pieces of a state"));
        running.incoming.insert(transfer, Incoming { shard, writer, loader, rest });
        let took = self.random.within(500, 50_000);
        self.send_to(node, took, Happening::StateDone { from, from_life, shard, transfer, message });
    }

    fn state_done(&mut self, node: usize, from: usize, from_life: u64, transfer: u64, message: Message) {
        let running = self.members[node].running.as_mut().expect("checked");
        let Some(Incoming { shard, mut writer, mut loader, rest }) = running.incoming.remove(&transfer) else { return };
        let written = rest.iter().try_for_each(|piece| writer.push(piece)).and_then(|()| writer.finish());
        let written = written.and_then(|(bytes, replaced)| replaced.remove().map(|()| bytes));
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => return self.not_received(node, (from, from_life), shard, &message, &error.to_string()),
        };
        rest.iter().for_each(|piece| loader.push(piece).expect("pieces of a state"));
        let state = loader.finish().expect("a whole state");
        self.invariants.states_installed += 1;
        running.engine.snapshot_received(shard, message.clone(), state, bytes);
        self.answer_transfer(from, from_life, shard, &message, true);
        self.turn(node);
    }

    /// A state did not come to its end here.
    fn not_received(
        &mut self,
        node: usize,
        (from, from_life): (usize, u64),
        shard: ShardId,
        message: &Message,
        error: &str,
    ) {
        self.answer_transfer(from, from_life, shard, message, false);
        if is_power_cut(error) {
            return self.died(node, error);
        }
        self.members[node].running.as_mut().expect("checked").engine.stop_receiving(shard);
    }

    fn answer_transfer(&mut self, from: usize, from_life: u64, shard: ShardId, message: &Message, arrived: bool) {
        let (to, delay) = (ReplicaId(message.to), self.delay());
        let happening = Happening::StateSent { shard, to, arrived };
        self.schedule(delay, Due::AtNode { node: from, life: from_life, happening });
    }
}

/// Whether a disk stopped because its machine did.
fn is_power_cut(error: &str) -> bool {
    error.contains("the machine has stopped")
}

/// The requests, replies and refusals in what is sent, in words.
fn frames(bytes: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    let mut rest = if bytes.starts_with(&PREAMBLE) { &bytes[PREAMBLE.len()..] } else { bytes };
    while let Ok(Some(frame)) = split_frame(rest) {
        rest = &rest[frame.consumed..];
        match frame.kind {
            Kind::Request => told.extend(
                RequestHead::decode(frame.payload).map(|(head, body)| format!("{head:?} {}", body.escape_ascii())),
            ),
            Kind::Reply => told.extend(
                ReplyHead::decode(frame.payload).map(|(head, body)| format!("{head:?} {}", body.escape_ascii())),
            ),
            Kind::Refusal => told.extend(Refusal::decode(frame.payload).map(|refusal| format!("{refusal:?}"))),
            _ => {}
        }
    }
    told
}

/// Takes all whole frames of what came over a connection, as the shell does. Returns what is to be sent at once.
fn take(
    running: &mut Running,
    name: &pontoon::topology::NodeName,
    stream: StreamId,
    reader: &mut Reader,
    now: Moment,
    wall: LogTime,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let key = match reader.key {
        Some(key) => key,
        None => {
            let Some((json, taken)) = gate::greeting(&reader.unread, true, Kind::Hello)? else { return Ok(out) };
            reader.unread.drain(..taken);
            let hello: Hello = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
            let host = gate::Host {
                name,
                cluster: running.home.cluster(),
                incarnation: running.home.incarnation(),
                keeps_leases: running.home.keeps_leases(),
                catalog: running.engine.catalog().map(|c| &**c),
            };
            let welcome = gate::judge(host, &hello)?;
            let json = serde_json::to_vec(&welcome).map_err(|e| e.to_string())?;
            put_message(&mut out, Kind::Welcome, |out| out.extend_from_slice(&json));
            let key = running.connections.insert(stream, gate::dialect(&hello));
            reader.assembler = Some(Assembler::new(MESSAGE_BYTES_MAX));
            *reader.key.insert(key)
        }
    };
    let assembler = reader.assembler.as_mut().expect("made with the place");
    let mut consumed = 0;
    while let Some(frame) = split_frame(&reader.unread[consumed..]).map_err(|e| e.to_string())? {
        consumed += frame.consumed;
        let Some(message) = assembler.push(frame).map_err(|e| e.to_string())? else { continue };
        let (engine, connections) = (&mut running.engine, &mut running.connections);
        match message.kind {
            Kind::Request => gate::take_request(engine, connections, key, message.payload, now, wall),
            Kind::Heartbeat => Heartbeat::decode(message.payload)
                .map(|heartbeat| gate::take_heartbeat(engine, connections, key, heartbeat, now, wall)),
            Kind::Proxy => gate::take_report(connections, key, message.payload),
            // What nodes know comes from the catalog itself.
            Kind::Catalog => Ok(()),
            other => panic!("a proxy sends {other:?}"),
        }
        .map_err(|e| e.to_string())?;
        assembler.release();
    }
    reader.unread.drain(..consumed);
    Ok(out)
}

impl super::world::Link {
    fn cut(&mut self) {
        self.epoch += 1;
        self.held.clear();
    }
}
