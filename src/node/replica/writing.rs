//! The writing half of a replica: which writes are proposed, and which are turned away before that.
//!
//! Whether a write is executed is decided where its entry is applied (R5). What is decided here is only what apply must not look
//! at: memory, the pace of a copy; and that the requests for slots which are decided about elsewhere wait.

use super::{Proposal, Replica, Turn};
use crate::keyspace::{Entry, Keyspace};
use crate::net::Moment;
use crate::node::answers::Ticket;
use crate::node::leader_time::LeaderTime;
use crate::node::memory;
use crate::planted::{self, Bug};
use crate::protocol::command::{Route, resolve};
use crate::protocol::errors;
use crate::protocol::frame::{RefusalReason, RequestHead};
use crate::protocol::identity::Blocking;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span, parse_array};
use crate::protocol::{split, transaction};
use crate::topology::Slot;

impl Replica {
    pub(super) fn write(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        ticket: Ticket,
        deadline: Moment,
        turn: &mut Turn<'_>,
    ) {
        let Some(leading) = self.leading.filter(|_| self.group.leads()) else {
            return self.refuse(ticket, RefusalReason::NotLeader, turn);
        };
        if self.is_full() {
            return self.refuse(ticket, RefusalReason::Busy, turn);
        }
        if let Some(slot) = head.slot {
            if self.moving.is_frozen(slot) {
                return self.answer_elsewhere(ticket, slot, deadline, turn);
            }
            if let Some(foreign) = self.foreign_on_arrival(head, body, turn.spans) {
                return self.turn_away(ticket, foreign, deadline, turn);
            }
            // One that blocks asks for little and may wait for long.
            if head.blocking.is_none() && !self.moving.admits(slot, body.len(), turn.now) {
                return self.refuse(ticket, RefusalReason::Busy, turn);
            }
        }
        // One that comes again may have been taken: it must not be told that it was not.
        if self.memory.is_full() && !head.retried && !self.was_taken(head) {
            let adds = match head {
                _ if head.covers => |_: &[u8], _: &mut Vec<_>| false,
                _ if head.transaction => memory::transaction_adds,
                _ if head.split => memory::split_adds,
                _ => memory::adds,
            };
            if adds(body, turn.spans) {
                return self.reject(head, body, ticket, deadline, leading, turn);
            }
        }
        let time = leading.at(turn.now, turn.wall, self.machine.log_time());
        // Apply decides (R5). But what it refuses, later writes of the client would have overtaken (R1).
        if head.blocking.is_none() && !head.retried && self.is_forgotten(head, time) {
            self.propose_tick(time, turn.now);
            return self.refuse(ticket, RefusalReason::Forgotten, turn);
        }
        let mut data = Vec::with_capacity(body.len() + 64);
        let (seed, resp3) = (turn.seed, head.resp3);
        let seen = self.machine.keyspace().map_or(0, Keyspace::ownership);
        let entry = match (head.blocking, head.identity, head.slot) {
            (Some(Blocking::Wait), Some(identity), _) => {
                Entry::Block { time, seed, resp3, identity, seen, request: body }
            }
            (Some(Blocking::Cancel(how)), Some(identity), Some(slot)) => {
                Entry::Cancel { time, how, resp3, slot, identity }
            }
            (_, identity, _) if head.covers => Entry::Cover { time, seed, resp3, identity, seen, body },
            (_, Some(identity), _) if head.split => Entry::Split { time, seed, resp3, identity, seen, body },
            (_, identity, _) if head.transaction => Entry::Exec { time, seed, resp3, identity, seen, body },
            (_, identity, _) => Entry::Write { time, seed, resp3, identity, seen, request: body },
        };
        entry.encode(&mut data);
        let in_flight = Some(self.memory.carry(data.len()));
        let mut ticket = Some(ticket);
        if planted::is(Bug::AnsweredBeforeMajority) && body.starts_with(b"*3\r\n$3\r\nSET\r\n") {
            ticket.take().into_iter().for_each(|ticket| turn.answers.reply(ticket, self.state_index, b"+OK\r\n"));
        }
        self.proposals.push(Proposal { data: data.into(), ticket, deadline, in_flight });
    }

    /// A slot of a write that is not served here as far as is applied. Whatever apply would say of the write, it is turned away
    /// now: if the slot is about to come, apply would refuse this one, which was proposed before, and take the next one of
    /// its client, proposed after (R1). A write of several slots that may have been taken is for apply alone: only there
    /// its record is looked up.
    fn foreign_on_arrival(&self, head: &RequestHead, body: &[u8], spans: &mut Vec<Span>) -> Option<Slot> {
        let keyspace = self.machine.keyspace()?;
        let is_foreign = |slot: &Slot| keyspace.owns(*slot).is_none();
        if head.slot.as_ref().is_some_and(is_foreign) {
            return head.slot;
        }
        let may_come = keyspace.imports().next().is_some() || self.moving.has_frozen();
        if !may_come || head.retried || matches!(head.blocking, Some(Blocking::Cancel(_))) {
            return None;
        }
        slots_of(head, body, spans).into_iter().find(is_foreign)
    }

    fn turn_away(&mut self, ticket: Ticket, slot: Slot, deadline: Moment, turn: &mut Turn<'_>) {
        if !self.moving.is_frozen(slot) && self.whereabouts(slot).is_none() {
            // It never was here, and its import is not applied yet.
            return self.refuse(ticket, RefusalReason::Behind, turn);
        }
        self.answer_elsewhere(ticket, slot, deadline, turn);
    }

    /// Refuses a write for want of memory. One that has a name gets this answer through the log, in its place among the
    /// others of its client: if it comes again when there is room, it is not executed behind them.
    fn reject(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        ticket: Ticket,
        deadline: Moment,
        leading: LeaderTime,
        turn: &mut Turn<'_>,
    ) {
        self.counts.out_of_memory += 1;
        if let Some(identity) = head.identity {
            let parts = memory::rejected_parts(head, body, turn.spans);
            if !parts.is_empty() {
                let time = leading.at(turn.now, turn.wall, self.machine.log_time());
                let mut data = Vec::with_capacity(64 + parts.len());
                let transaction = head.transaction;
                Entry::Reject { time, transaction, identity, parts: &parts }.encode(&mut data);
                self.proposals.push(Proposal { data: data.into(), ticket: Some(ticket), deadline, in_flight: None });
                return;
            }
        }
        self.answer_out_of_memory(head.transaction, ticket, turn);
    }

    /// An answer like any other: what the client sends after it is taken.
    fn answer_out_of_memory(&mut self, transaction: bool, ticket: Ticket, turn: &mut Turn<'_>) {
        turn.scratch.clear();
        let text = errors::OUT_OF_MEMORY;
        let text = if transaction { &errors::exec_abort(text) } else { text };
        ReplyWriter::new(turn.scratch, false).error(text);
        turn.answers.reply(ticket, self.state_index, turn.scratch);
    }
}

/// The slots of a write's keys.
fn slots_of(head: &RequestHead, body: &[u8], spans: &mut Vec<Span>) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut add = |args: Args<'_>| {
        if let Ok(spec) = resolve(args) {
            slots.extend(spec.key_positions(args).map(|position| Slot::of_key(args.get(position))));
            // In a transaction it is about all keys.
            slots.extend(Slot::all().filter(|_| head.transaction && matches!(spec.route, Route::EveryShard(_))));
        }
    };
    if head.transaction {
        let Ok(sent) = transaction::split(body, spans) else { return slots };
        let mut rest = sent.requests();
        while let Some(request) = transaction::next_request(&mut rest, spans) {
            add(Args::new(request, spans));
        }
        slots.extend(sent.watched().map(|(key, _)| Slot::of_key(key)));
    } else if head.split {
        let mut rest = body;
        while let Some(part) = split::next_part(&mut rest, spans) {
            add(Args::new(part.request, spans));
        }
    } else if parse_array(body, spans).is_ok() {
        add(Args::new(body, spans));
    }
    slots
}
