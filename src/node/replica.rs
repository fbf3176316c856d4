//! One replica: a Raft group, the state machine it feeds, and the requests that wait for it.
//!
//! Invariants:
//! - Every ticket that comes in is answered exactly once, by the replica or by whoever removes it.
//! - A write is answered with success only from apply, at its own (index, term); one whose index was overwritten surely did
//!   not happen; one whose fate is out of sight is `Unknown`, never a guess.
//! - A read of a client that wrote is answered at its own place in the log: after the writes that came before it, before
//!   those that came after it (R1, R2).
//! - When a write is refused, every later write of the same client in the log is refused as well (R1): overwriting
//!   an index overwrites all that follow it.

mod moving;
mod reading;
mod writing;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answers::{Answers, Ticket};
use super::audit;
use super::blocked::Blocked;
use super::engine::{HandOvers, TICK};
use super::leader_time::LeaderTime;
use super::lease::Lease;
use super::machine::{Machine, Outcome};
use super::marks::Marked;
use super::memory::{InFlight, Memory};
use super::moves::Waits;
use super::points;
use super::pulse::Pulse;
use super::reads::{Reads, WaitingRead};
use crate::consensus::{Committed, Group, ProposeError, SnapshotPoint};
use crate::keyspace::{Entry, LOOK_AHEAD_ENTRIES, NEWS_AHEAD_MS};
use crate::net::Moment;
use crate::planted::{self, Bug};
use crate::protocol::control::ControlReply;
use crate::protocol::frame::{ReadLevel, RefusalReason, ReplicaStatus, RequestHead, Role};
use crate::protocol::request::Span;
use crate::protocol::verification::{MarkId, MarkPlace, Verdict};
use crate::topology::{Catalog, CatalogCommand, LogIndex, LogTime, ReplicaId, ShardId, Slot, Term};

pub use moving::{Letter, Moving};
pub use reading::{MAX_STALENESS, ReadOptions};

/// Writes that may wait for their entries in one shard; more are refused as `Busy`.
const WRITES_WAITING_MAX: usize = 200_000;
/// Keys that one sweep removes at most.
const SWEEP_KEYS_MAX: u32 = 256;
/// A leader whose clock is this far ahead of log time logs it, so that proxies can be told what time it is.
const SILENCE_MAX_MS: u64 = 20_000;
/// Slots that are swept in one go.
const SWEEP_SLOTS_MAX: usize = 64;

/// What the replica borrows while it works.
pub struct Turn<'a> {
    /// The monotonic clock.
    pub now: Moment,
    /// The wall clock.
    pub wall: LogTime,
    /// Where answers go.
    pub answers: &'a mut dyn Answers,
    /// For replies.
    pub scratch: &'a mut Vec<u8>,
    /// For the arguments of requests.
    pub spans: &'a mut Vec<Span>,
    /// Random bits for the next entry.
    pub seed: u64,
}

struct Proposal {
    data: Bytes,
    ticket: Option<Ticket>,
    deadline: Moment,
    in_flight: Option<InFlight>,
}

struct WaitingWrite {
    index: LogIndex,
    term: Term,
    ticket: Ticket,
    deadline: Moment,
    /// When it was proposed.
    since: Moment,
    /// Counts as used memory until the write is answered.
    _in_flight: Option<InFlight>,
}

/// Requests by how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Reads answered.
    pub reads: u64,
    /// Writes answered.
    pub writes: u64,
    /// Of these, those that were executed before and came again.
    pub repeated: u64,
    /// Requests refused.
    pub refusals: u64,
    /// Of the reads, those at level `any` that were answered from a state of unknown age: no leader was left to ask.
    pub orphan_reads: u64,
    /// Of the reads, those at level `strong` that were answered by the leader's lease.
    pub lease_reads: u64,
    /// Writes answered with an error because the node's memory was full.
    pub out_of_memory: u64,
}

/// A replica on this node.
pub struct Replica {
    /// The group.
    pub shard: ShardId,
    /// The member of the group that this is.
    pub id: ReplicaId,
    /// The consensus part.
    pub group: Group,
    /// The state.
    pub machine: Machine,
    /// Why the replica stopped for good, if it did.
    pub failed: Option<String>,
    /// A received state whose snapshot message is in the group's hands, and the index that it stands for.
    pub staged: Option<(LogIndex, Machine)>,
    /// The index that the state stands at: behind the group's applied index while entries are being carried out.
    pub state_index: LogIndex,
    /// Whether a state for this replica is on its way from another node.
    pub receiving: bool,
    /// Bytes of entries applied since the last snapshot on disk.
    pub applied_bytes: u64,
    /// Entries applied since the last snapshot on disk.
    pub applied_entries: u64,
    /// The size of the last snapshot on disk.
    pub snapshot_bytes: u64,
    /// Snapshots written since the start.
    pub snapshots_written: u64,
    /// Snapshots for which there was no space, since the start.
    pub snapshots_failed: u64,
    /// What was answered since the start.
    pub counts: Counts,
    /// The node's memory.
    pub memory: Memory,
    /// How long the node's clients wait for writes.
    pub waits: Waits,
    /// What of it the state accounts for.
    pub accounted_bytes: u64,
    /// Comparisons with the other replicas since the start, and how the last one ended.
    pub verifications: (u64, Option<Verdict>),
    /// States at marks that the engine has not taken yet.
    pub marked: Vec<Marked>,
    /// Whether the log has nothing of the group that fits its state, and must be told where it starts.
    pub log_starts_afresh: bool,
    /// Whether the replica is in the engine's list of those with something to do.
    pub dirty: bool,
    /// The hard state as last given to the log.
    pub written: Option<crate::consensus::HardState>,
    /// A newer one that goes to the log with the next entries.
    pub unwritten: Option<crate::consensus::HardState>,
    proposals: Vec<Proposal>,
    writes: VecDeque<WaitingWrite>,
    /// Writes whose entries are no longer in this replica's log. They may be in another's, and still be committed.
    displaced: Vec<WaitingWrite>,
    reads: Reads,
    /// Reads that follow writes, and how many of the proposals came before each.
    reads_after_proposals: Vec<(ReadLevel, usize, WaitingRead)>,
    pub(super) leading: Option<LeaderTime>,
    /// When the index was asked for that proves how fresh the state is, and that index.
    fresh: Option<Moment>,
    fresh_when_applied: VecDeque<(LogIndex, Moment)>,
    /// Clients of whom a read waits for a tick: their later reads wait behind it, or they would go back in time (R1).
    deferred: BTreeSet<reading::Line>,
    /// How it is read.
    pub reading: ReadOptions,
    pub(super) lease: Lease,
    /// Since when no leader has been known.
    leaderless: Option<Moment>,
    /// Whether one of the proposals is a tick.
    tick_proposed: bool,
    /// The requests of blocked clients that this replica holds as leader.
    pub(super) blocked: Blocked,
    /// Slots on their way from here and to here.
    pub moving: moving::Moving,
    /// How much is written, and who could take over.
    pub pulse: Pulse,
    /// How often this leader gave its leadership away, and why.
    pub handed_over: HandOvers,
}

impl Replica {
    /// A replica that starts with this state at the group's applied point.
    pub fn new(shard: ShardId, id: ReplicaId, group: Group, machine: Machine, snapshot_bytes: u64) -> Self {
        Self {
            shard,
            id,
            state_index: group.applied().index,
            lease: Lease::new(TICK * group.lease_ticks() as u32),
            group,
            machine,
            failed: None,
            staged: None,
            receiving: false,
            applied_bytes: 0,
            applied_entries: 0,
            snapshot_bytes,
            snapshots_written: 0,
            snapshots_failed: 0,
            counts: Counts::default(),
            memory: Memory::default(),
            waits: Waits::default(),
            accounted_bytes: 0,
            verifications: (0, None),
            marked: Vec::new(),
            log_starts_afresh: false,
            dirty: true,
            written: None,
            unwritten: None,
            proposals: Vec::new(),
            writes: VecDeque::new(),
            displaced: Vec::new(),
            reads: Reads::default(),
            reads_after_proposals: Vec::new(),
            leading: None,
            fresh: None,
            fresh_when_applied: VecDeque::new(),
            deferred: BTreeSet::new(),
            reading: ReadOptions::default(),
            leaderless: None,
            tick_proposed: false,
            blocked: Blocked::default(),
            moving: moving::Moving::default(),
            pulse: Pulse::default(),
            handed_over: HandOvers::default(),
        }
    }

    /// The highest index whose effect is in the state.
    pub fn applied(&self) -> LogIndex {
        self.group.applied().index
    }

    /// Whether no more writes may wait.
    pub(super) fn is_full(&self) -> bool {
        self.writes.len() + self.proposals.len() >= WRITES_WAITING_MAX
    }

    /// Requests that wait: writes, reads.
    pub fn waiting(&self) -> (usize, usize) {
        (
            self.writes.len() + self.displaced.len() + self.proposals.len(),
            self.reads.len() + self.reads_after_proposals.len(),
        )
    }

    /// Takes a request of a proxy or a client.
    pub fn request(&mut self, head: &RequestHead, body: &[u8], ticket: Ticket, turn: &mut Turn<'_>) {
        if self.failed.is_some() || !self.machine.is_readable() {
            return self.refuse(ticket, RefusalReason::Loading, turn);
        }
        if head.remaining_ms == 0 {
            return self.refuse(ticket, RefusalReason::DeadlinePassed, turn);
        }
        let deadline = turn.now + Duration::from_millis(u64::from(head.remaining_ms));
        if head.write {
            self.write(head, body, ticket, deadline, turn);
        } else {
            self.read(head, body, ticket, deadline, turn);
        }
    }

    /// Takes commands for the catalog's log; only shard 0 gets any. Who sent them hears what became of the last.
    pub fn catalog_commands(
        &mut self,
        commands: &[CatalogCommand],
        ticket: Ticket,
        deadline: Moment,
        turn: &mut Turn<'_>,
    ) {
        if !self.group.leads_surely() {
            return self.refuse(ticket, RefusalReason::NotLeader, turn);
        }
        let last = commands.len().saturating_sub(1);
        for (number, command) in commands.iter().enumerate() {
            let data = Bytes::from(serde_json::to_vec(command).expect("a command is plain data"));
            let ticket = (number == last).then_some(ticket);
            self.proposals.push(Proposal { data, ticket, deadline, in_flight: None });
        }
    }

    /// Takes an operator's wish to compare the replicas.
    pub fn mark(&mut self, id: MarkId, ticket: Ticket, deadline: Moment, turn: &mut Turn<'_>) {
        if self.failed.is_some() || !matches!(self.machine, Machine::Data(_)) {
            return self.refuse(ticket, RefusalReason::Loading, turn);
        }
        let Some(leading) = self.leading.filter(|_| self.group.leads()) else {
            return self.refuse(ticket, RefusalReason::NotLeader, turn);
        };
        let time = leading.at(turn.now, turn.wall, self.machine.log_time());
        let mut data = Vec::with_capacity(32);
        Entry::Mark { time, id }.encode(&mut data);
        self.proposals.push(Proposal { data: data.into(), ticket: Some(ticket), deadline, in_flight: None });
    }

    /// Tells the node how much the state holds by now.
    pub fn account(&mut self) {
        let bytes = self.machine.bytes() + self.moving.aside_bytes(&self.machine);
        self.memory.account(std::mem::replace(&mut self.accounted_bytes, bytes), bytes);
    }

    /// Whether something came in that has not been proposed or asked.
    pub fn has_unproposed(&self) -> bool {
        !self.proposals.is_empty() || !self.reads_after_proposals.is_empty()
    }

    /// Gives what came in since the last turn to the group: writes in one piece, then the question for `strong` reads, which may be
    /// [asked of fewer](crate::consensus::Group::read_index).
    pub fn propose(&mut self, spares: bool, turn: &mut Turn<'_>) {
        let before_first = self.group.last_index();
        if self.proposals.is_empty() || self.propose_writes(turn) {
            for (level, behind, mut read) in std::mem::take(&mut self.reads_after_proposals) {
                read.floor = read.floor.max(LogIndex(before_first.0 + behind as u64));
                match level {
                    ReadLevel::Strong => self.reads.ask(read),
                    ReadLevel::Session | ReadLevel::Any => self.reads.wait_for(read.floor, read),
                }
            }
        }
        if let Some(context) = self.reads.next_question(turn.now, self.group.reign()) {
            self.group.read_index(context, spares);
        }
    }

    fn propose_tick(&mut self, time: LogTime, now: Moment) {
        if !std::mem::replace(&mut self.tick_proposed, true) {
            self.propose_own(&Entry::Tick { time }, now);
        }
    }

    pub(super) fn propose_own(&mut self, entry: &Entry<'_>, now: Moment) {
        let mut data = Vec::with_capacity(32);
        entry.encode(&mut data);
        let deadline = now + Duration::from_secs(60);
        self.proposals.push(Proposal { data: data.into(), ticket: None, deadline, in_flight: None });
    }

    /// `false`: nothing was proposed, and all are refused, the reads that follow them as well.
    fn propose_writes(&mut self, turn: &mut Turn<'_>) -> bool {
        self.tick_proposed = false;
        let proposals = std::mem::take(&mut self.proposals);
        let proposed = self.group.propose(proposals.iter().map(|p| p.data.clone()));
        let (first, term) = match proposed {
            Ok(proposed) => proposed,
            Err(error) => {
                let reason = match error {
                    ProposeError::NotLeader => RefusalReason::NotLeader,
                    ProposeError::Full => RefusalReason::Busy,
                };
                for proposal in proposals {
                    proposal.ticket.into_iter().for_each(|ticket| self.refuse(ticket, reason, turn));
                }
                // What was to follow those writes must not be answered without them (R1).
                for (_, _, read) in std::mem::take(&mut self.reads_after_proposals) {
                    self.refuse(read.ticket, reason, turn);
                }
                return false;
            }
        };
        for (proposal, index) in proposals.into_iter().zip(first.0..) {
            if let Some(ticket) = proposal.ticket {
                let index = LogIndex(index);
                let (deadline, in_flight) = (proposal.deadline, proposal.in_flight);
                self.writes.push_back(WaitingWrite {
                    index,
                    term,
                    ticket,
                    deadline,
                    since: turn.now,
                    _in_flight: in_flight,
                });
            }
        }
        true
    }

    /// Entries from `first` on were replaced by others of `term`. That alone promises nothing: the new leader may fall
    /// before it commits, and one of five that still has the old entries may lead next. What is committed decides.
    pub fn overwritten(&mut self, first: LogIndex, term: Term) {
        while self.writes.back().is_some_and(|w| w.index >= first && w.term != term) {
            self.displaced.extend(self.writes.pop_back());
        }
    }

    /// Applies committed entries and answers who waits for them.
    pub fn apply(&mut self, committed: &[Committed], turn: &mut Turn<'_>) {
        for (at, entry) in committed.iter().enumerate() {
            if at % LOOK_AHEAD_ENTRIES == 0 && committed.len() > at + 1 {
                let ahead = &committed[at..committed.len().min(at + LOOK_AHEAD_ENTRIES)];
                self.machine.look_ahead(ahead.iter().map(|entry| &entry.data[..]));
            }
            self.answer_reads_at(LogIndex(entry.index.0.saturating_sub(1)), turn);
            self.applied_bytes += entry.data.len() as u64 + 32;
            self.applied_entries += 1;
            let mut outcome = Outcome::Nothing;
            turn.scratch.clear();
            if !entry.data.is_empty() && self.failed.is_none() {
                let audited = audit::before(&self.machine, &entry.data);
                match self.machine.apply(&entry.data, turn.scratch) {
                    Ok(Outcome::Mark(id)) => outcome = self.marked_at(id, entry, turn),
                    Ok(done) => outcome = done,
                    Err(error) => self.fail(format!("index {}: {error}", entry.index)),
                }
                points::applied(self, &entry.data, outcome);
                if let Some(before) = audited {
                    before.tell(&self.machine, (self.shard, self.id), entry.index);
                }
            }
            self.answer_write(entry, outcome, turn);
            self.answer_displaced(entry, outcome, turn);
            self.answer_blocked(entry.index, outcome, turn);
            if outcome == Outcome::Moved {
                self.step_applied(turn);
            }
            self.answer_parted(turn);
            self.state_index = entry.index;
        }
    }

    /// Freezes the state just after a mark. A replica that starts comes by marks that nobody asks about any more.
    fn marked_at(&mut self, id: MarkId, entry: &Committed, turn: &mut Turn<'_>) -> Outcome {
        if let Machine::Data(keyspace) = &self.machine
            && !self.starts()
        {
            self.marked.push(Marked { id, index: entry.index, state: keyspace.freeze() });
        }
        let place = ControlReply::Marked(MarkPlace { index: entry.index, term: entry.term });
        serde_json::to_writer(&mut *turn.scratch, &place).expect("numbers are JSON, and memory takes them");
        Outcome::Reply
    }

    fn answer_write(&mut self, entry: &Committed, outcome: Outcome, turn: &mut Turn<'_>) {
        while self.writes.front().is_some_and(|w| w.index <= entry.index) {
            let write = self.writes.pop_front().expect("just seen");
            if (write.index, write.term) != (entry.index, entry.term) {
                self.refuse(write.ticket, RefusalReason::Dropped, turn);
            } else {
                self.answer_applied(&write, entry.index, outcome, turn);
            }
        }
    }

    /// An entry can no longer be committed once its index is taken, or an earlier one by a later term.
    fn answer_displaced(&mut self, entry: &Committed, outcome: Outcome, turn: &mut Turn<'_>) {
        if self.displaced.is_empty() {
            return;
        }
        for write in std::mem::take(&mut self.displaced) {
            if (write.index, write.term) == (entry.index, entry.term) {
                self.answer_applied(&write, entry.index, outcome, turn);
            } else if write.index <= entry.index || write.term < entry.term {
                self.refuse(write.ticket, RefusalReason::Dropped, turn);
            } else {
                self.displaced.push(write);
            }
        }
    }

    fn answer_applied(&mut self, write: &WaitingWrite, index: LogIndex, outcome: Outcome, turn: &mut Turn<'_>) {
        let (ticket, deadline) = (write.ticket, write.deadline);
        if self.failed.is_some() {
            return self.refuse(ticket, RefusalReason::Unknown, turn);
        }
        self.counts.writes += 1;
        self.waits.note(turn.now.since(write.since));
        self.counts.repeated += u64::from(outcome == Outcome::Repeated);
        match outcome {
            Outcome::Reply | Outcome::Repeated => turn.answers.reply(ticket, index, turn.scratch),
            Outcome::Waits(id) => self.hold_blocked(id, ticket, turn),
            Outcome::Refused(reason) => self.refuse(ticket, reason, turn),
            Outcome::NotOwner(slot) => self.answer_elsewhere(ticket, slot, deadline, turn),
            Outcome::Nothing | Outcome::Moved | Outcome::Mark(_) => turn.answers.reply(ticket, index, b""),
        }
    }

    /// The state was replaced by the staged one at `point`: nobody can tell what became of the writes up to there (R12).
    pub fn installed(&mut self, point: &SnapshotPoint, turn: &mut Turn<'_>) {
        match self.staged.take_if(|(index, _)| *index == point.index) {
            Some((index, machine)) => (self.state_index, self.machine) = (index, machine),
            None => self.fail(format!("a snapshot at index {} was accepted without its state", point.index)),
        }
        (self.applied_bytes, self.applied_entries) = (0, 0);
        let displaced = std::mem::take(&mut self.displaced);
        for write in std::mem::take(&mut self.writes).into_iter().chain(displaced) {
            let surely_not = write.index > point.index && write.term < point.term;
            let reason = if surely_not || planted::is(Bug::DroppedBySnapshot) {
                RefusalReason::Dropped
            } else {
                RefusalReason::Unknown
            };
            self.refuse(write.ticket, reason, turn);
        }
        // Whatever became of them by then is in the new state: they ask again (R12).
        self.release_blocked(turn);
        self.step_applied(turn);
    }

    /// Notices that leadership came or went. Returns whether it did.
    pub fn follow_leadership(&mut self, turn: &mut Turn<'_>) -> bool {
        let leads = self.group.leads_surely();
        if leads == self.leading.is_some() {
            return false;
        }
        self.leading = leads.then(|| LeaderTime::start(turn.now, turn.wall, self.machine.log_time()));
        self.moving.leadership_changed();
        if leads {
            self.await_blocked(turn.now);
            self.log_clock(turn);
        } else {
            self.release_blocked(turn);
            self.release_held(turn);
            self.tick_proposed = false;
            for proposal in std::mem::take(&mut self.proposals) {
                proposal.ticket.into_iter().for_each(|ticket| self.refuse(ticket, RefusalReason::NotLeader, turn));
            }
            for (_, _, read) in std::mem::take(&mut self.reads_after_proposals) {
                self.refuse(read.ticket, RefusalReason::NotLeader, turn);
            }
            let refused: Vec<Ticket> = self.reads.remove(|r| r.after_writes).into_iter().map(|r| r.ticket).collect();
            refused.iter().for_each(|ticket| self.refuse(*ticket, RefusalReason::NotLeader, turn));
            self.refuse_behind(&refused, turn);
            self.deferred.clear();
        }
        true
    }

    /// Tells whoever waits that the replica is no more. What was proposed may still take effect.
    pub fn dissolve(&mut self, turn: &mut Turn<'_>) {
        self.release_blocked(turn);
        let writes = std::mem::take(&mut self.writes).into_iter().chain(std::mem::take(&mut self.displaced));
        for write in writes.collect::<Vec<_>>() {
            self.refuse(write.ticket, RefusalReason::Unknown, turn);
        }
        for proposal in std::mem::take(&mut self.proposals) {
            proposal.ticket.into_iter().for_each(|ticket| self.refuse(ticket, RefusalReason::NotLeader, turn));
        }
        let behind_writes = std::mem::take(&mut self.reads_after_proposals).into_iter().map(|(_, _, read)| read);
        for read in behind_writes.chain(self.reads.remove(|_| true)).collect::<Vec<_>>() {
            self.refuse(read.ticket, RefusalReason::NoReplica, turn);
        }
        self.memory.account(std::mem::take(&mut self.accounted_bytes), 0);
    }

    /// Lets go of requests whose deadline has passed. A proposed write may still take effect.
    pub fn expire_waiting(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.expire_held(turn);
        for read in self.reads.remove(|r| r.deadline <= now) {
            self.refuse(read.ticket, RefusalReason::DeadlinePassed, turn);
        }
        if self.writes.iter().any(|w| w.deadline <= now) {
            let (gone, stay): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut self.writes).into_iter().partition(|w| w.deadline <= now);
            self.writes = stay;
            gone.iter().for_each(|w| self.refuse(w.ticket, RefusalReason::Unknown, turn));
        }
        for write in self.displaced.extract_if(.., |w| w.deadline <= now).collect::<Vec<_>>() {
            self.refuse(write.ticket, RefusalReason::Unknown, turn);
        }
    }

    /// As leader: removes expired keys in bounded steps.
    pub fn sweep(&mut self, turn: &Turn<'_>) {
        let (Some(leading), Machine::Data(keyspace)) = (self.leading, &self.machine) else { return };
        if self.is_full() {
            return;
        }
        let time = leading.at(turn.now, turn.wall, keyspace.log_time());
        let due: Vec<Slot> = keyspace.due_sweeps(time, SWEEP_SLOTS_MAX);
        let forgets = keyspace.has_old_answers(time);
        self.log_clock(turn);
        for slot in due {
            self.propose_own(&Entry::Sweep { time, slot, keys_max: SWEEP_KEYS_MAX }, turn.now);
        }
        if forgets {
            self.propose_tick(time, turn.now);
        }
    }

    /// As leader: logs the time if log time has stood still for long.
    fn log_clock(&mut self, turn: &Turn<'_>) {
        let (Some(leading), Some(keyspace)) = (self.leading, self.machine.keyspace()) else { return };
        let time = leading.at(turn.now, turn.wall, keyspace.log_time());
        if time.0 > keyspace.log_time().0 + SILENCE_MAX_MS {
            self.propose_tick(time, turn.now);
        }
    }

    /// What time it is for those who send writes: what the next entry would say, since nothing may have been written for
    /// long; but never far ahead of what is committed (R9). Zero: it is about to be logged, and told then.
    fn told_time(&self, now: Moment, wall: LogTime) -> LogTime {
        let log_time = self.machine.log_time();
        let time = self.leading.map_or(log_time, |leading| leading.at(now, wall, log_time));
        if time.0 > log_time.0 + NEWS_AHEAD_MS { LogTime(0) } else { time }
    }

    /// What heartbeats say of this replica.
    pub fn status(&self, now: Moment, wall: LogTime) -> ReplicaStatus {
        let role = if self.group.leads_surely() {
            Role::Leader
        } else if self.group.votes() {
            Role::Follower
        } else {
            Role::Learner
        };
        ReplicaStatus {
            shard: self.shard,
            replica: self.id,
            role,
            readable: self.failed.is_none() && self.machine.is_readable(),
            fresh: self.is_fresh_for_long(now),
            orphan: self.is_orphan(now),
            leases: self.lease.is_allowed() && self.group.reign().is_some(),
            term: self.group.term(),
            leader: self.group.leader(),
            applied: self.applied(),
            committed: self.group.committed(),
            log_time: self.told_time(now, wall),
        }
    }

    /// Stops the replica for good; the node's other replicas go on.
    pub fn fail(&mut self, reason: String) {
        tracing::error!(shard = %self.shard, replica = %self.id, "replica stopped: {reason}");
        self.failed = Some(reason);
    }

    /// The catalog, on a replica of shard 0.
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        match &self.machine {
            Machine::Catalog(catalog) => Some(catalog),
            Machine::Empty | Machine::Data(_) => None,
        }
    }

    /// The point that a snapshot taken now stands for.
    pub fn point(&self) -> SnapshotPoint {
        self.group.applied().clone()
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, turn: &mut Turn<'_>) {
        self.counts.refusals += 1;
        turn.answers.refuse(ticket, reason, self.group.leader());
    }
}

#[cfg(test)]
mod tests;
