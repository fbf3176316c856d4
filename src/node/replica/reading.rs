//! The reading half of a replica: which reads are answered at once, which wait and for what, which are refused, and how
//! fresh the state is known to be.
//!
//! Invariants:
//! - A follower that cannot answer soon hands `strong` reads back, and with them all later reads of the same clients: their
//!   proxies ask the leader, in order (R1).
//! - A read is answered from a state that has what its level promises, or it is refused: the proxy asks another replica.
//! - R4: a state is as fresh as the moment at which that question was asked whose answer is applied; never fresh at start.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Replica, Turn};
use crate::keyspace::{Read, ReadAt};
use crate::net::Moment;
use crate::node::answers::Ticket;
use crate::node::reads::WaitingRead;
use crate::planted::{self, Bug};
use crate::protocol::coverage;
use crate::protocol::frame::{ReadLevel, RefusalReason, RequestHead};
use crate::protocol::request::{Args, parse_array};
use crate::topology::{LogIndex, LogTime, SlotEpoch};

/// How far `any` reads may be behind (DESIGN.md, P3), unless the node is told otherwise.
pub const MAX_STALENESS: Duration = Duration::from_secs(5);
/// How long a replica is without a leader before it counts as orphaned: an election takes less.
const ORPHANED_AFTER: Duration = Duration::from_secs(2);
/// Reads that may wait in one shard; more are refused as `Busy`.
const READS_WAITING_MAX: usize = 200_000;
/// How long a `strong` read may wait at a follower: one that is cut off does not know it, and the leader could answer.
const FOLLOWER_PATIENCE: Duration = Duration::from_millis(400);

/// How a node's replicas are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How far `any` reads may be behind.
    pub max_staleness: Duration,
    /// Whether leaders answer `strong` reads by a lease (`node/lease.rs`), where all nodes of the shard keep it.
    pub lease: bool,
    /// Whether they go on, however old the state, where no leader is left to ask.
    pub orphan_reads: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_staleness: MAX_STALENESS, lease: false, orphan_reads: false }
    }
}

/// The requests of one client that keep their order.
pub(super) type Line = (u32, u32, u64, u32);

const fn line_of(ticket: &Ticket) -> Line {
    (ticket.connection, ticket.connection_generation, ticket.client, ticket.generation)
}

/// A read that is to be answered.
#[derive(Clone, Copy)]
struct Asked<'a> {
    body: &'a [u8],
    resp3: bool,
    covers: bool,
    at: Option<SlotEpoch>,
    ticket: Ticket,
    deadline: Moment,
}

/// The slot and the epoch that a proxy knows.
fn known(head: &RequestHead) -> Option<SlotEpoch> {
    head.slot
        .filter(|_| head.epoch.0 > 0 && !planted::is(Bug::EpochNotCompared))
        .map(|slot| SlotEpoch { slot, epoch: head.epoch })
}

impl Replica {
    pub(super) fn read(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        ticket: Ticket,
        deadline: Moment,
        turn: &mut Turn<'_>,
    ) {
        let leads = self.group.leads_surely();
        if head.after_writes && !leads {
            return self.refuse(ticket, RefusalReason::NotLeader, turn);
        }
        let wait = match head.level {
            _ if head.after_writes => true,
            // Without a leader there is nobody to ask; the proxy may know of one.
            ReadLevel::Strong if self.group.leader().is_none() => {
                return self.refuse(ticket, RefusalReason::Behind, turn);
            }
            ReadLevel::Strong if self.has_lease(head.floor, turn.now) => {
                self.counts.lease_reads += 1;
                false
            }
            ReadLevel::Strong => !(planted::is(Bug::StrongReadUnasked) && leads),
            ReadLevel::Session if planted::is(Bug::SessionBelowFloor) => false,
            // After a start the state may be as old as its snapshot, and a client without a floor would not notice.
            ReadLevel::Session if self.applied() >= head.floor && (leads || !self.starts()) => false,
            // What an earlier leader acknowledged is in a leader's log, and about to be applied.
            ReadLevel::Session if leads => true,
            ReadLevel::Any if self.is_fresh(turn.now) => false,
            ReadLevel::Any if self.is_orphan(turn.now) => {
                self.counts.orphan_reads += 1;
                false
            }
            ReadLevel::Session | ReadLevel::Any => return self.refuse(ticket, RefusalReason::Behind, turn),
        };
        if !wait {
            let asked = Asked { body, resp3: head.resp3, covers: head.covers, at: known(head), ticket, deadline };
            if self.deferred.contains(&line_of(&ticket)) {
                return self.defer_read(asked, turn);
            }
            let clock = self.clock(turn);
            self.answer_read(asked, clock, turn);
            return;
        }
        if self.reads.len() + self.reads_after_proposals.len() >= READS_WAITING_MAX {
            return self.refuse(ticket, RefusalReason::Busy, turn);
        }
        let (request, resp3, after_writes) = (body.to_vec(), head.resp3, head.after_writes);
        let (covers, at) = (head.covers, known(head));
        let floor = if head.level == ReadLevel::Any { LogIndex(0) } else { head.floor };
        let came = turn.now;
        let read = WaitingRead { ticket, request, resp3, covers, at, after_writes, floor, came, deadline };
        match head.level {
            level if after_writes => self.reads_after_proposals.push((level, self.proposals.len(), read)),
            ReadLevel::Strong => self.reads.ask(read),
            ReadLevel::Session | ReadLevel::Any => self.reads.wait_for(floor, read),
        }
    }

    /// Whether a `strong` read may be answered at once: nobody else leads, and nothing is committed that is not applied. Not
    /// while others wait, whom it would overtake: one may be of the same client.
    fn has_lease(&mut self, floor: LogIndex, now: Moment) -> bool {
        if !self.lease.holds(self.group.reign(), now) {
            return false;
        }
        if self.lease.is_half_spent(now) {
            self.reads.probe();
        }
        self.reads.is_empty() && self.applied() >= self.group.committed().max(floor)
    }

    /// A leader's clock is what its next entry would say, so that a tick settles every expiry up to it.
    fn clock(&self, turn: &Turn<'_>) -> LogTime {
        self.leading.map_or(turn.wall, |l| l.at(turn.now, turn.wall, self.machine.log_time()))
    }

    /// `false`: it was refused, or is held.
    fn answer_read(&mut self, asked: Asked<'_>, clock: LogTime, turn: &mut Turn<'_>) -> bool {
        let Asked { body, resp3, covers, ticket, deadline, .. } = asked;
        if asked.at.is_some_and(|at| self.is_behind(at)) {
            return self.refuse_read(ticket, RefusalReason::Behind, turn);
        }
        turn.scratch.clear();
        turn.spans.clear();
        let split =
            if covers { coverage::split(body).map(|(wanted, body)| (Some(wanted), body)) } else { Ok((None, body)) };
        let read = match split {
            Ok((wanted, body)) if parse_array(body, turn.spans).is_ok() => {
                self.machine.read(wanted.as_ref(), Args::new(body, turn.spans), ReadAt { clock, resp3 }, turn.scratch)
            }
            _ => None,
        };
        match read {
            Some(Read::Answered) => {
                self.counts.reads += 1;
                turn.answers.reply(ticket, self.state_index, turn.scratch);
            }
            Some(Read::NotOwner(slot)) => {
                self.answer_elsewhere(ticket, slot, deadline, turn);
                return false;
            }
            Some(Read::Unsettled) if self.leading.is_some() && self.group.leads_surely() => {
                // The tick goes into the log first; the read then follows it.
                self.propose_tick(clock, turn.now);
                self.deferred.insert(line_of(&ticket));
                self.defer_read(asked, turn);
            }
            Some(Read::Unsettled) => return self.refuse_read(ticket, RefusalReason::ExpiryUnsettled, turn),
            None => return self.refuse_read(ticket, RefusalReason::NoReplica, turn),
        }
        true
    }

    /// Lets a read follow what is about to be proposed.
    fn defer_read(&mut self, asked: Asked<'_>, turn: &Turn<'_>) {
        let Asked { body, resp3, covers, at, ticket, deadline } = asked;
        let (request, floor, came) = (body.to_vec(), self.applied(), turn.now);
        let read = WaitingRead { ticket, request, resp3, covers, at, after_writes: true, floor, came, deadline };
        self.reads_after_proposals.push((ReadLevel::Session, self.proposals.len(), read));
    }

    fn refuse_read(&mut self, ticket: Ticket, reason: RefusalReason, turn: &mut Turn<'_>) -> bool {
        self.refuse(ticket, reason, turn);
        false
    }

    /// Answers the reads that what was applied makes possible.
    pub fn answer_reads(&mut self, turn: &mut Turn<'_>) {
        let applied = self.applied();
        while self.fresh_when_applied.front().is_some_and(|(index, _)| *index <= applied) {
            self.fresh = self.fresh_when_applied.pop_front().map(|(_, asked)| asked);
        }
        self.answer_reads_at(applied, turn);
        if !self.deferred.is_empty() && self.reads_after_proposals.is_empty() && !self.reads.follow_writes() {
            self.deferred.clear();
        }
    }

    pub(super) fn answer_reads_at(&mut self, applied: LogIndex, turn: &mut Turn<'_>) {
        while let Some(read) = self.reads.pop_ready(applied) {
            let asked = Asked {
                body: &read.request,
                resp3: read.resp3,
                covers: read.covers,
                at: read.at,
                ticket: read.ticket,
                deadline: read.deadline,
            };
            if !read.after_writes && self.deferred.contains(&line_of(&read.ticket)) {
                self.defer_read(asked, turn);
                continue;
            }
            // What it follows carried the time; to settle more would take it behind later writes of its client.
            let clock = if read.after_writes { self.machine.log_time() } else { self.clock(turn) };
            if !self.answer_read(asked, clock, turn) {
                self.refuse_behind(&[read.ticket], turn);
            }
        }
    }

    /// Refuses the waiting reads of the clients of whom others were refused. They would be answered at once and those others
    /// later, from a newer state: the client, who gets its answers in its own order, would go back in time (R1).
    pub(super) fn refuse_behind(&mut self, refused: &[Ticket], turn: &mut Turn<'_>) {
        let lines: BTreeSet<Line> = refused.iter().map(line_of).collect();
        for read in self.reads.remove(|r| lines.contains(&line_of(&r.ticket))) {
            self.refuse(read.ticket, RefusalReason::Superseded, turn);
        }
    }

    /// As a follower: lets go of reads that have waited for long.
    pub fn hand_back_reads(&mut self, turn: &mut Turn<'_>) {
        if self.leading.is_some() || self.reads.is_empty() {
            return;
        }
        let now = turn.now;
        let gone = self.reads.remove(|r| now.since(r.came) >= FOLLOWER_PATIENCE);
        let tickets: Vec<Ticket> = gone.iter().map(|r| r.ticket).collect();
        tickets.iter().for_each(|ticket| self.refuse(*ticket, RefusalReason::Behind, turn));
        self.refuse_behind(&tickets, turn);
    }

    /// The group confirmed `index` for the question of this context.
    pub fn confirmed(&mut self, context: u64, index: LogIndex) {
        if let Some(confirmed) = self.reads.confirmed(context, index) {
            self.fresh_when_applied.push_back((index, confirmed.asked));
            self.lease.confirmed(confirmed);
        }
    }

    /// Where the contexts of its questions begin.
    pub fn begin_questions_at(&mut self, context: u64) {
        self.reads.begin_at(context);
    }

    /// Whether the replica does not know yet how much it missed while it was away.
    pub fn starts(&self) -> bool {
        self.fresh.is_none()
    }

    /// Asks for a confirmed index, so that the replica knows how fresh it is.
    pub fn probe(&mut self) {
        if self.machine.is_readable() && self.group.leader().is_some() {
            self.reads.probe();
        }
    }

    /// Whether the replica can go on answering `any` for as long as what is told of it is believed.
    pub(super) fn is_fresh_for_long(&self, now: Moment) -> bool {
        self.is_fresh_within(self.reading.max_staleness / 2, now)
    }

    fn is_fresh(&self, now: Moment) -> bool {
        self.is_fresh_within(self.reading.max_staleness, now)
    }

    fn is_fresh_within(&self, span: Duration, now: Moment) -> bool {
        self.fresh.is_some_and(|asked| now.since(asked) <= span) || planted::is(Bug::AnyHoweverOld)
    }

    /// Whether `any` is answered here though nobody can say how old the state is.
    pub fn is_orphan(&self, now: Moment) -> bool {
        self.reading.orphan_reads
            && !self.is_fresh(now)
            && self.leaderless.is_some_and(|since| now.since(since) >= ORPHANED_AFTER)
    }

    /// Since when no leader has been known, if none is.
    pub const fn leaderless_since(&self) -> Option<Moment> {
        self.leaderless
    }

    /// Notes since when there has been no leader.
    pub fn note_leader(&mut self, now: Moment) {
        self.leaderless = match self.group.leader() {
            Some(_) => None,
            None => self.leaderless.or(Some(now)),
        };
    }
}
