//! All replicas of a node in one loop, without sockets, files or clock: requests, messages and ticks go in; messages,
//! records for the log, answers and [`Event`]s come out. The shell drives it, and so does the simulation.
//!
//! One turn: every replica with something to do proposes what came in as one piece and asks one question for all its
//! `strong` reads; what the groups want written goes into one batch for the log, so that one fsync serves all groups;
//! what is committed is applied and answered. Messages that acknowledge or vote leave only after their batch is on disk.
//!
//! Invariant: at most one batch is with the log; the next one gathers meanwhile.

mod clocks;
mod leaders;
mod moving;
mod peers;
mod removal;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::snapshots::Snapshots;
use super::admission::can_be_logged;
use super::answers::{Answers, Ticket};
use super::machine::{FrozenMachine, Machine};
use super::marks::Marked;
use super::memory::Memory;
use super::moves::{Bucket, MoveOptions, Waits};
use super::replica::{ReadOptions, Replica, Turn};
use crate::consensus::{
    Effects, HardState, Held, Message, SnapshotPoint, decode_message, encode_message, snapshot_point,
};
use crate::keyspace::Garbage;
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::frame::{Kind, RefusalReason, ReplicaStatus, RequestHead, put_message};
use crate::protocol::request::Span;
use crate::protocol::verification::MarkId;
use crate::storage::WriteBatch;
use crate::topology::{Catalog, CatalogCommand, LogTime, NodeName, ReplicaId, Revision, ShardId};

pub use clocks::Clocks;
pub use leaders::{HandOver, HandOvers};
use peers::Hurry;
pub use peers::PeerOutbox;

/// How long a tick is.
pub const TICK: Duration = Duration::from_millis(25);
/// Ticks between two sweeps of expired keys.
const SWEEP_TICKS: u64 = 4;
/// Ticks between two looks for requests past their deadline.
const EXPIRE_TICKS: u64 = 10;
/// Ticks between two looks for `strong` reads that wait for long at a follower.
const HAND_BACK_TICKS: u64 = 4;
/// The most ticks between two questions for freshness.
const PROBE_TICKS_MAX: u64 = 40;
/// Ticks between two steps of a membership change, and two looks for leaders in the wrong place.
const MEMBERS_TICKS: u64 = 4;
/// How long an operator's request may wait for its entry.
const CONTROL_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that may wait for a peer; a peer that takes none of them is out of reach.
const PEER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How far a leader's clock may be off, unless the node is told otherwise.
pub const CLOCK_OFF_MAX: Duration = Duration::from_secs(5);

/// How the engine behaves.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Bytes of entries that a group keeps in memory for slow followers.
    pub window_bytes_max: usize,
    /// Bytes of applied entries after which a replica's state is written as a snapshot, or the size of the last one, if
    /// that is larger.
    pub snapshot_bytes: u64,
    /// Entries after which it is written in any case.
    pub snapshot_entries: u64,
    /// Bytes above which writes that add are refused; zero: no limit. See [`Memory`].
    pub memory_bytes_max: u64,
    /// How replicas are read.
    pub reads: ReadOptions,
    /// How far the node's clock may be off the median of those that it hears of before it leads no more; zero: any way.
    pub clock_off_max: Duration,
    /// How slots are moved.
    pub moves: MoveOptions,
}

impl EngineOptions {
    /// Ticks between two questions for freshness: several fit the time for which an answer counts.
    fn probe_ticks(&self) -> u64 {
        let ticks = self.reads.max_staleness.as_millis() / 5 / TICK.as_millis();
        (ticks as u64).clamp(1, PROBE_TICKS_MAX)
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            window_bytes_max: 32 << 20,
            snapshot_bytes: 64 << 20,
            snapshot_entries: u64::MAX,
            memory_bytes_max: 0,
            reads: ReadOptions::default(),
            clock_off_max: CLOCK_OFF_MAX,
            moves: MoveOptions::default(),
        }
    }
}

/// What the engine cannot do itself.
pub enum Event {
    /// Send a state and then its message to a replica that is too far behind.
    SendSnapshot {
        /// The group.
        shard: ShardId,
        /// The receiver.
        to: ReplicaId,
        /// The node of the receiver.
        node: NodeName,
        /// The message that goes with it.
        message: Message,
        /// The state.
        state: FrozenMachine,
    },
    /// Write a state to disk, then call [`Engine::snapshot_written`].
    WriteSnapshot {
        /// The group.
        shard: ShardId,
        /// What it stands for.
        point: SnapshotPoint,
        /// The state.
        state: FrozenMachine,
    },
    /// Read the state that a replica had at a mark.
    Marked {
        /// The group.
        shard: ShardId,
        /// The state.
        marked: Marked,
    },
    /// Free this on another thread.
    Garbage(Garbage),
    /// The catalog has a new revision.
    CatalogChanged(Arc<Catalog>),
    /// Tell the proxies: a replica's role changed.
    StatusChanged,
    /// There is a node to talk to that there was no need to talk to before.
    PeersChanged,
    /// The log has durably forgotten a shard whose replica was removed.
    LogForgotten(ShardId),
}

/// The replicas of one node.
pub struct Engine {
    options: EngineOptions,
    node: NodeName,
    /// In boxes: a turn takes a replica out and puts it back, and the map would move it and those beside it each time.
    replicas: BTreeMap<ShardId, Box<Replica>>,
    dirty: Vec<ShardId>,
    spares_messages: bool,
    catalog: Option<Arc<Catalog>>,
    homes: BTreeMap<ReplicaId, NodeName>,
    peers: BTreeMap<NodeName, PeerOutbox>,
    lost_peers: BTreeMap<NodeName, Hurry>,
    /// The connected nodes that keep leases.
    lease_keepers: BTreeSet<NodeName>,
    clocks: Clocks,
    /// What this node may send of slots that move.
    bucket: Bucket,
    /// How long clients wait for writes.
    waits: Waits,
    /// Whether slots come to or go from shards here, when that was looked at.
    slots_move: bool,
    /// When the last tick came.
    ticked: Option<Moment>,
    /// Messages about moves between shards whose leaders are both here.
    letters: VecDeque<Vec<u8>>,
    memory: Memory,
    batch: WriteBatch,
    /// Requests that came since the last batch was taken.
    requests: usize,
    parts: Vec<(ShardId, Held)>,
    in_flight: Option<Vec<(ShardId, Held)>>,
    forgetting: removal::Forgetting,
    events: Vec<Event>,
    effects: Effects,
    scratch: Vec<u8>,
    spans: Vec<Span>,
    ticks: u64,
    /// Which shards' states are to be written, and which is.
    snapshots: Snapshots,
    random: u64,
}

impl Engine {
    /// A node without replicas. `seed`: where the random bits of entries start.
    pub fn new(node: NodeName, options: EngineOptions, seed: u64) -> Self {
        Self {
            options,
            node,
            replicas: BTreeMap::new(),
            dirty: Vec::new(),
            spares_messages: false,
            catalog: None,
            homes: BTreeMap::new(),
            peers: BTreeMap::new(),
            lost_peers: BTreeMap::new(),
            lease_keepers: BTreeSet::new(),
            clocks: Clocks::default(),
            bucket: Bucket::new(options.moves.bytes_per_second),
            waits: Waits::default(),
            slots_move: false,
            ticked: None,
            letters: VecDeque::new(),
            memory: Memory::new(options.memory_bytes_max),
            batch: WriteBatch::default(),
            requests: 0,
            parts: Vec::new(),
            in_flight: None,
            forgetting: removal::Forgetting::default(),
            events: Vec::new(),
            effects: Effects::default(),
            scratch: Vec::new(),
            spans: Vec::new(),
            ticks: 0,
            snapshots: Snapshots::default(),
            random: seed | 1,
        }
    }

    /// Adds a replica. Its state and its group stand at the same index.
    pub fn add_replica(&mut self, mut replica: Replica) {
        let shard = replica.shard;
        replica.memory = self.memory.clone();
        replica.waits = self.waits.clone();
        replica.reading = self.options.reads;
        replica.moving.configure(self.options.moves);
        replica.look_at_slots();
        replica.begin_questions_at(self.next_random());
        replica.account();
        if replica.log_starts_afresh {
            let start = replica.group.applied();
            self.batch.reset(shard.0, start.index.0, start.term.0);
        }
        self.dirty.push(shard);
        self.replicas.insert(shard, Box::new(replica));
        if shard == ShardId::CATALOG {
            self.follow_catalog_machine();
        }
    }

    /// The replica of a shard.
    pub fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.replicas.get(&shard).map(Box::as_ref)
    }

    /// The replica of a shard, to change it; it gets its turn afterwards.
    pub fn replica_mut(&mut self, shard: ShardId) -> Option<&mut Replica> {
        self.mark(shard);
        self.replicas.get_mut(&shard).map(Box::as_mut)
    }

    /// All replicas, by shard.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values().map(Box::as_ref)
    }

    /// The memory that the replicas share.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What the cluster has agreed on, as far as this node knows.
    pub const fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalog.as_ref()
    }

    /// The revision of that; zero: nothing is known.
    pub fn revision(&self) -> Revision {
        self.catalog.as_ref().map_or(Revision(0), |c| c.revision)
    }

    /// Takes one message of a replica on another node.
    pub fn peer_message(&mut self, payload: &[u8]) {
        let Some((shard, bytes)) = payload.split_first_chunk::<8>() else { return };
        let shard = ShardId(u64::from_le_bytes(*shard));
        match (decode_message(Bytes::copy_from_slice(bytes)), self.replicas.get_mut(&shard)) {
            // A snapshot comes with its state, on a connection of its own.
            // What was meant for an earlier replica of this node must not be answered by the one that replaces it.
            (Ok(message), Some(replica)) if ReplicaId(message.to) != replica.id => {}
            (Ok(message), Some(replica)) if replica.failed.is_none() && snapshot_point(&message).is_none() => {
                replica.group.step(message);
                self.mark(shard);
            }
            (Err(error), _) => tracing::warn!(%shard, "message dropped: {error}"),
            _ => {}
        }
    }

    /// Whether a proxy's request may be taken, by what `admission` says.
    pub fn can_be_logged(&mut self, head: &RequestHead, body: &[u8]) -> bool {
        can_be_logged(head, body, &mut self.spans)
    }

    /// Takes a request of a proxy or a client.
    pub fn request(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        ticket: Ticket,
        now: Moment,
        wall: LogTime,
        answers: &mut dyn Answers,
    ) {
        let seed = self.next_random();
        self.requests += 1;
        let Some(replica) = self.replicas.get_mut(&head.shard) else {
            return answers.refuse(ticket, RefusalReason::NoReplica, None);
        };
        let (scratch, spans) = (&mut self.scratch, &mut self.spans);
        replica.request(head, body, ticket, &mut Turn { now, wall, answers, scratch, spans, seed });
        self.mark(head.shard);
    }

    /// Takes commands for the catalog; the ticket is answered with what became of the last.
    pub fn catalog_commands(
        &mut self,
        commands: &[CatalogCommand],
        ticket: Ticket,
        now: Moment,
        wall: LogTime,
        answers: &mut dyn Answers,
    ) {
        let Some(replica) = self.replicas.get_mut(&ShardId::CATALOG) else {
            return answers.refuse(ticket, RefusalReason::NoReplica, None);
        };
        let (scratch, spans) = (&mut self.scratch, &mut self.spans);
        let mut turn = Turn { now, wall, answers, scratch, spans, seed: 0 };
        replica.catalog_commands(commands, ticket, now + CONTROL_PATIENCE, &mut turn);
        self.mark(ShardId::CATALOG);
    }

    /// Takes an operator's wish to compare the replicas of a shard.
    pub fn log_mark(
        &mut self,
        (shard, id): (ShardId, MarkId),
        ticket: Ticket,
        now: Moment,
        wall: LogTime,
        answers: &mut dyn Answers,
    ) {
        let Some(replica) = self.replicas.get_mut(&shard) else {
            return answers.refuse(ticket, RefusalReason::NoReplica, None);
        };
        let (scratch, spans) = (&mut self.scratch, &mut self.spans);
        replica.mark(id, ticket, now + CONTROL_PATIENCE, &mut Turn { now, wall, answers, scratch, spans, seed: 0 });
        self.mark(shard);
    }

    /// Lets one tick pass.
    pub fn tick(&mut self, now: Moment, wall: LogTime, answers: &mut dyn Answers) {
        self.ticks += 1;
        if let Some(before) = self.ticked.replace(now) {
            self.pace_moves(now.since(before).saturating_sub(TICK), now);
        }
        self.hurry_elections();
        if self.ticks.is_multiple_of(clocks::TELL_TICKS) {
            self.follow_clocks(now, wall);
        }
        if self.ticks.is_multiple_of(MEMBERS_TICKS) {
            self.place_leaders(now);
        }
        let (ticks, probe_ticks) = (self.ticks, self.options.probe_ticks());
        let due = |every: u64| ticks.is_multiple_of(every);
        for replica in self.replicas.values_mut() {
            let (scratch, spans) = (&mut self.scratch, &mut self.spans);
            let mut turn = Turn { now, wall, answers, scratch, spans, seed: 0 };
            if replica.failed.is_some() {
                replica.release_blocked(&mut turn);
                continue;
            }
            replica.group.tick();
            replica.note_leader(now);
            let keeps = |id| {
                let home = self.homes.get(id);
                home.is_some_and(|home| *home == self.node || self.lease_keepers.contains(home))
            };
            let all_keep = self.options.reads.lease && replica.group.members().voters.iter().all(keeps);
            replica.lease.tick(all_keep, now, wall);
            if due(SWEEP_TICKS) {
                replica.sweep(&turn);
            }
            if due(EXPIRE_TICKS) {
                replica.expire_waiting(&mut turn);
                replica.cancel_gone(&turn);
            }
            if due(HAND_BACK_TICKS) {
                replica.hand_back_reads(&mut turn);
            }
            if due(probe_ticks) || replica.starts() {
                replica.probe();
            }
            if due(MEMBERS_TICKS)
                && let Some(catalog) = &self.catalog
            {
                replica.reconcile_members(catalog);
            }
            if !replica.dirty {
                replica.dirty = true;
                self.dirty.push(replica.shard);
            }
        }
        if due(moving::LOOK_TICKS) {
            self.look_at_moves(now, wall, answers);
        }
    }

    /// Whether processors are short: messages are saved then, though an answer may come later when another node stops.
    pub const fn spare_messages(&mut self, spares: bool) {
        self.spares_messages = spares;
    }

    /// Does what there is to do.
    pub fn turn(&mut self, now: Moment, wall: LogTime, answers: &mut dyn Answers) {
        loop {
            while let Some(shard) = self.dirty.pop() {
                self.run(shard, now, wall, answers);
            }
            if self.deliver_letters(now, wall, answers) {
                continue;
            }
            if self.in_flight.is_some() || !self.batch.is_empty() || self.parts.is_empty() {
                return;
            }
            // Nothing to write: what the parts hold need not wait.
            let parts = std::mem::take(&mut self.parts);
            self.complete(parts);
        }
    }

    /// The batch to write and sync now, if there is one and none is under way.
    pub fn take_batch(&mut self) -> Option<WriteBatch> {
        if self.in_flight.is_some() || self.batch.is_empty() {
            return None;
        }
        let mut parts = std::mem::take(&mut self.parts);
        if planted::is(Bug::AcknowledgedBeforeSync) {
            self.complete(std::mem::take(&mut parts));
        }
        self.in_flight = Some(parts);
        self.requests = 0;
        self.forgetting_taken();
        Some(std::mem::take(&mut self.batch))
    }

    /// How many requests came since the last batch was taken: others like them come while this one is written.
    pub const fn requests_since_batch(&self) -> usize {
        self.requests
    }

    /// The batch under way is on disk.
    pub fn batch_written(&mut self, mut batch: WriteBatch) {
        if self.batch.is_empty() {
            batch.clear();
            self.batch = batch;
        }
        self.forgetting_written();
        if let Some(parts) = self.in_flight.take() {
            self.complete(parts);
        }
    }

    /// Whether a state with this message is meant for the replica that is here, not for an earlier one of this node.
    pub fn is_for(&self, shard: ShardId, message: &Message) -> bool {
        self.replicas.get(&shard).is_some_and(|replica| replica.id == ReplicaId(message.to))
    }

    /// Whether a state that stands for `point` is of use to a shard's replica. Returns the replica, if so.
    ///
    /// # Errors
    /// It is of no use, and why.
    pub fn begin_receiving(&mut self, shard: ShardId, point: &SnapshotPoint) -> Result<ReplicaId, &'static str> {
        let replica = self.replicas.get_mut(&shard).ok_or("no replica of that shard here")?;
        if replica.applied() >= point.index || replica.failed.is_some() {
            return Err("the replica has no use for it");
        }
        // Two of the same index would be written to one file.
        if replica.receiving || self.snapshots.is_writing(shard) {
            return Err("the replica is writing another state");
        }
        replica.receiving = true;
        Ok(replica.id)
    }

    /// A state that [`begin_receiving`](Self::begin_receiving) let in did not come to its end.
    pub fn stop_receiving(&mut self, shard: ShardId) {
        if let Some(replica) = self.replicas.get_mut(&shard) {
            replica.receiving = false;
        }
    }

    /// A state from another node is on disk and in memory; the message says where it stands.
    pub fn snapshot_received(&mut self, shard: ShardId, message: Message, state: Machine, bytes: u64) {
        let Some(replica) = self.replicas.get_mut(&shard) else { return };
        replica.receiving = false;
        let point = snapshot_point(&message);
        replica.group.step(message);
        // The group may have no use for it any more; it is on disk for the next start all the same.
        if let Some(point) = point.filter(|p| replica.group.takes_snapshot(p.index)) {
            replica.staged = Some((point.index, state));
            replica.snapshot_bytes = bytes;
        }
        self.mark(shard);
    }

    /// A snapshot on its way to a replica arrived, or did not.
    pub fn snapshot_sent(&mut self, shard: ShardId, to: ReplicaId, arrived: bool) {
        if let Some(replica) = self.replicas.get_mut(&shard) {
            replica.group.report_snapshot(to, arrived);
            self.mark(shard);
        }
    }

    /// What the shell has to do.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How the replicas are that proxies route to.
    pub fn statuses(&self, now: Moment, wall: LogTime) -> impl Iterator<Item = ReplicaStatus> + '_ {
        self.replicas.values().filter(|r| r.shard != ShardId::CATALOG).map(move |r| r.status(now, wall))
    }

    fn mark(&mut self, shard: ShardId) {
        if let Some(replica) = self.replicas.get_mut(&shard).filter(|r| !r.dirty) {
            replica.dirty = true;
            self.dirty.push(shard);
        }
    }

    fn run(&mut self, shard: ShardId, now: Moment, wall: LogTime, answers: &mut dyn Answers) {
        let Some(mut replica) = self.replicas.remove(&shard) else { return };
        replica.dirty = false;
        let mut effects = std::mem::take(&mut self.effects);
        let (mut scratch, mut spans) = (std::mem::take(&mut self.scratch), std::mem::take(&mut self.spans));
        let mut turn = Turn { now, wall, answers, scratch: &mut scratch, spans: &mut spans, seed: 0 };
        replica.propose(self.spares_messages, &mut turn);
        while replica.failed.is_none() && replica.group.collect(&mut effects) {
            self.carry_out(&mut replica, &mut effects, &mut turn);
        }
        if replica.follow_leadership(&mut turn) {
            self.leadership_changed(&replica);
        }
        replica.account();
        replica.answer_reads(&mut turn);
        self.drive_moves(&mut replica, &mut turn);
        replica.group.compact(self.options.window_bytes_max);
        let due = self.options.snapshot_bytes.max(replica.snapshot_bytes);
        let snapshot = replica.applied_bytes > due || replica.applied_entries > self.options.snapshot_entries;
        let more = replica.has_unproposed() && !replica.dirty;
        (self.effects, self.scratch, self.spans) = (effects, scratch, spans);
        self.replicas.insert(shard, replica);
        if snapshot {
            self.snapshot(shard);
        }
        if more {
            self.mark(shard);
        }
    }

    fn carry_out(&mut self, replica: &mut Replica, effects: &mut Effects, turn: &mut Turn<'_>) {
        let shard = replica.shard;
        for message in effects.messages.drain(..) {
            self.send(replica, message);
        }
        if let Some(point) = effects.snapshot.take() {
            tracing::info!(%shard, index = %point.index, "state received");
            replica.installed(&point, turn);
            self.batch.reset(shard.0, point.index.0, point.term.0);
            self.catalog_applied(replica);
        }
        if let Some(first) = effects.entries.first() {
            replica.overwritten(first.index, first.term);
        }
        let has_entries = !effects.entries.is_empty();
        for entry in effects.entries.drain(..) {
            self.batch.entry(shard.0, entry.index.0, entry.term.0, entry.kind, &entry.data);
        }
        if let Some(state) = effects.hard_state.take().or(replica.unwritten) {
            self.write_hard_state(replica, state, has_entries);
        }
        self.parts.extend(effects.held.drain(..).map(|held| (shard, held)));
        for answer in effects.reads.drain(..) {
            replica.confirmed(answer.context, answer.index);
        }
        if replica.follow_leadership(turn) {
            self.leadership_changed(replica);
        }
        if !effects.committed.is_empty() {
            replica.apply(&effects.committed, turn);
            effects.committed.clear();
            self.events.extend(replica.machine.take_garbage().map(Event::Garbage));
            self.events.extend(replica.marked.drain(..).map(|marked| Event::Marked { shard, marked }));
            self.catalog_applied(replica);
        }
    }

    /// A higher commit index alone is not worth a sync; it goes along with the next entries.
    fn write_hard_state(&mut self, replica: &mut Replica, state: HardState, has_entries: bool) {
        let vote = |s: HardState| (s.term, s.vote);
        let voted = replica.written.map(vote) != Some(vote(state)) && !planted::is(Bug::VoteNotSynced);
        if has_entries || voted {
            self.batch.state(replica.shard.0, &state.encode());
            replica.written = Some(state);
            replica.unwritten = None;
        } else {
            replica.unwritten = Some(state);
        }
    }

    fn complete(&mut self, parts: Vec<(ShardId, Held)>) {
        for (shard, held) in parts {
            let Some(mut replica) = self.replicas.remove(&shard) else { continue };
            for message in held.messages {
                self.send(&mut replica, message);
            }
            replica.group.persisted(held.number);
            self.replicas.insert(shard, replica);
            self.mark(shard);
        }
    }

    fn send(&mut self, replica: &mut Replica, message: Message) {
        let to = ReplicaId(message.to);
        let Some(node) = self.homes.get(&to) else { return };
        if let Some(point) = snapshot_point(&message) {
            let (shard, node) = (replica.shard, node.clone());
            // A message that waited for the disk, or was made while entries were applied, names another state.
            match replica.machine.freeze().filter(|_| replica.state_index == point.index) {
                Some(state) => self.events.push(Event::SendSnapshot { shard, to, node, message, state }),
                None => replica.group.report_snapshot(to, false),
            }
            return;
        }
        let Some(outbox) = self.peers.get_mut(node) else { return };
        if !outbox.connected || outbox.frames.len() > PEER_BYTES_MAX {
            return;
        }
        put_message(&mut outbox.frames, Kind::Raft, |out| {
            out.extend_from_slice(&replica.shard.0.to_le_bytes());
            encode_message(&message, out);
        });
    }

    fn leadership_changed(&mut self, replica: &Replica) {
        let (shard, term) = (replica.shard, replica.group.term());
        if replica.group.leads_surely() {
            tracing::info!(%shard, replica = %replica.id, %term, "leads");
        } else {
            tracing::info!(%shard, replica = %replica.id, %term, leader = ?replica.group.leader(), "leads no more");
        }
        self.events.push(Event::StatusChanged);
    }

    fn catalog_applied(&mut self, replica: &Replica) {
        if let Some(catalog) = replica.catalog().filter(|c| c.revision > self.revision()) {
            self.adopt_catalog(Arc::clone(catalog));
        }
    }

    fn follow_catalog_machine(&mut self) {
        let found = self.replicas.get(&ShardId::CATALOG).and_then(|r| r.catalog().cloned());
        found.into_iter().for_each(|catalog| self.adopt_catalog(catalog));
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
