//! Blocked clients: who waits for what is replicated state, and so is what became of it.
//!
//! A blocking command comes as [`Entry::Block`](super::Entry::Block) under a name of its own. It is executed at its
//! position of the log like the plain command; finding nothing, it joins the queues of its keys. Whatever an entry does
//! to keys, the clients that wait for them are served at its end ([`Keyspace::serve_waiters`]): keys in the order in
//! which they became ready, the clients of a key in the order in which they came, each by executing its command again,
//! as Redis 7.2 does. A served BLMOVE may make another key ready.
//!
//! Each answer is remembered under its name ([`remembered`](super::remembered)), so that a proxy that lost a connection or a leader asks again
//! and pops nothing twice. Time is the proxy's: it logs the end of the wait ([`Entry::Cancel`](super::Entry::Cancel)),
//! and the answer is what this state says, the nil or what was popped before.
//!
//! From the ground up: `waiting` (plain data) < this < `commands`; `stream` beside, for snapshots.

mod commands;
mod parting;
mod stream;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply::Applied;
use super::call::WriteCall;
use super::error::EntryError;
use super::random::Random;
use super::remembered::{Answer, RememberedUsage, Reply, Verdict};
use super::store::Keyspace;
use crate::protocol::command::{CommandSpec, resolve};
use crate::protocol::errors;
use crate::protocol::identity::{CancelHow, Identity};
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span, parse_array};
use crate::topology::{LogTime, Slot, WriteId};

use commands::attempt;
pub use commands::execute;
pub use stream::{BlockedLoader, BlockedPieces};
pub use waiting::Waiter;
use waiting::{Awaited, Waiting};

/// What a shard knows of blocked clients. Frozen in no time; the first change after that copies it.
#[derive(Clone, Debug, Default)]
pub struct Blocking {
    waiting: Arc<Waiting>,
    /// Keys that somebody waits for and that got a value in this entry, in order, each once. Empty between entries.
    ready: Vec<Box<[u8]>>,
    ready_set: BTreeSet<Box<[u8]>>,
    /// Answers of this entry to whom they are for. Not replicated.
    served: Vec<Served>,
    /// Who was let go unanswered, and the slot whose owner they are to ask. Not replicated.
    parted: Vec<(WriteId, Slot)>,
}

/// What became of a blocked client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The request.
    pub id: WriteId,
    /// What became of it.
    pub answer: Answer,
}

impl Blocking {
    /// Notes that a key got a value that somebody may wait for.
    #[inline]
    pub fn note_ready(&mut self, key: &[u8]) {
        if !self.waiting.is_empty() && self.waiting.has_key(key) && !self.ready_set.contains(key) {
            self.ready.push(key.into());
            self.ready_set.insert(key.into());
        }
    }

    /// Whether keys became ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl Keyspace {
    /// The answers that the last entries gave to blocked clients.
    pub fn take_served(&mut self) -> Vec<Served> {
        std::mem::take(&mut self.blocking.served)
    }

    /// All who wait, the first come first: name and slot.
    pub fn waiters(&self) -> impl Iterator<Item = (WriteId, Slot)> {
        self.blocking.waiting.waiters().map(|waiter| (waiter.id, waiter.slot()))
    }

    /// Whether the request of this name waits, and the slot that its answer belongs to.
    pub fn waiter_slot(&self, id: WriteId) -> Option<Slot> {
        self.blocking.waiting.find(id).map(Waiter::slot)
    }

    /// Whether the request of this name was executed or waits, so that asking again changes nothing.
    pub fn knows_write(&self, id: WriteId) -> bool {
        self.blocking.waiting.contains(id) || self.remembered.has(id)
    }

    /// Whether a write that comes now would be refused because nobody could tell what became of it.
    pub fn would_refuse(&self, identity: Identity, now: LogTime) -> bool {
        self.remembered.judge(identity, now.max(self.log_time)) == Verdict::Forgotten
    }

    /// Those who wait for keys of a slot: each key, and who waits for it in order.
    pub fn waiters_of(&self, slot: Slot) -> impl Iterator<Item = (&[u8], Vec<WriteId>)> {
        self.blocking.waiting.of_slot(slot)
    }

    /// How many clients wait.
    pub fn waiter_count(&self) -> u64 {
        self.blocking.waiting.len() as u64
    }

    /// How much is remembered of writes that may come again.
    pub const fn remembered_usage(&self) -> RememberedUsage {
        self.remembered.usage()
    }

    /// Whether a new log time would let something be forgotten.
    pub fn has_old_answers(&self, clock: LogTime) -> bool {
        self.remembered.has_old(clock)
    }

    /// Drops what is remembered and too old by now.
    pub(super) fn drop_old_answers(&mut self) {
        if self.remembered.has_old(self.log_time) {
            self.remembered.drop_old(self.log_time);
        }
    }

    /// Applies a blocking command: answers it, or lets it wait.
    pub(super) fn apply_block(
        &mut self,
        identity: Identity,
        seed: u64,
        resp3: bool,
        request: &[u8],
        spans: &mut Vec<Span>,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        parse_array(request, spans).map_err(|_| EntryError::Malformed("not one RESP array"))?;
        let args = Args::new(request, spans);
        let spec = match resolve(args) {
            Ok(spec) if spec.is_blocking() => spec,
            Ok(_) => return Err(EntryError::Malformed("a command that does not block")),
            Err(error) => {
                error.write(args, out);
                return Ok(Applied::Reply);
            }
        };
        if let Some(slot) = self.foreign_slot(spec, args) {
            return Ok(Applied::NotOwner(slot));
        }
        self.remembered.hear(identity, self.log_time);
        if self.blocking.waiting.contains(identity.id) {
            return Ok(Applied::Waits(identity.id));
        }
        if let Some(known) = self.known(identity, out) {
            return Ok(known);
        }
        let start = out.len();
        let slot = spec.key_positions(args).next().map_or(Slot::of_key(b""), |at| Slot::of_key(args.get(at)));
        let key_bytes_max = self.limits.key_bytes_max as usize;
        if spec.key_positions(args).any(|position| args.get(position).len() > key_bytes_max) {
            ReplyWriter::new(out, resp3).error(&errors::too_large("the key", key_bytes_max));
        } else if !self.try_to_serve(spec, args, seed, resp3, out) {
            let waiter = Waiter::new(identity.id, resp3, spec, args, request);
            if self.blocking.waiting.has_room_for(&waiter) {
                Arc::make_mut(&mut self.blocking.waiting).add(waiter);
                return Ok(Applied::Waits(identity.id));
            }
            ReplyWriter::new(out, resp3).error(errors::TOO_MANY_BLOCKED);
        }
        self.remember(identity.id, slot, Answer::Reply(Reply::new(&out[start..])));
        Ok(Applied::Reply)
    }

    /// Applies the end of a wait. Where the request is not known, its end is remembered: it may be on its way.
    pub(super) fn apply_cancel(&mut self, identity: Identity, how: CancelHow, resp3: bool, slot: Slot) -> Applied {
        let waits = self.blocking.waiting.contains(identity.id);
        // Whoever waits for a frozen slot is on the way to another shard, and so must the end of the wait be.
        let slot = self.waiter_slot(identity.id).unwrap_or(slot);
        if !self.has(slot) {
            return Applied::NotOwner(slot);
        }
        self.remembered.hear(identity, self.log_time);
        if !waits && self.remembered.judge(identity, self.log_time) != Verdict::New {
            return Applied::Nothing;
        }
        let waiter = if waits { Arc::make_mut(&mut self.blocking.waiting).remove(identity.id) } else { None };
        let (slot, resp3) = waiter.map_or((slot, resp3), |waiter| (waiter.slot(), waiter.resp3));
        let mut reply = Vec::new();
        let answer = match how {
            CancelHow::Gone => Answer::Gone,
            CancelHow::Timeout => {
                ReplyWriter::new(&mut reply, resp3).null_array();
                Answer::Reply(Reply::new(&reply))
            }
            CancelHow::Unblocked => {
                ReplyWriter::new(&mut reply, resp3).error(errors::UNBLOCKED);
                Answer::Reply(Reply::new(&reply))
            }
        };
        self.remember(identity.id, slot, answer.clone());
        self.blocking.served.push(Served { id: identity.id, answer });
        Applied::Nothing
    }

    /// Serves the clients that wait for the keys that became ready, and for those that become ready by that.
    pub(super) fn serve_waiters(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        while self.blocking.has_ready() {
            self.blocking.ready_set.clear();
            for key in std::mem::take(&mut self.blocking.ready) {
                self.serve_key(&key, &mut spans);
            }
        }
        self.spans = spans;
    }

    fn serve_key(&mut self, key: &[u8], spans: &mut Vec<Span>) {
        let mut after = None;
        loop {
            self.remove_if_expired(key);
            let Some(there) = self.peek(key).and_then(|record| commands::offered(&record.value)) else { return };
            let Some((number, waiter)) = self.blocking.waiting.next_for(key, after) else { return };
            after = Some(number);
            if waiter.awaited == there {
                self.serve(&waiter, spans);
            }
        }
    }

    /// Executes a waiting command again, and lets its client go unless it still finds nothing.
    fn serve(&mut self, waiter: &Waiter, spans: &mut Vec<Span>) {
        if parse_array(&waiter.request, spans).is_err() {
            return;
        }
        let args = Args::new(&waiter.request, spans);
        let Ok(spec) = resolve(args) else { return };
        if let Some(slot) = self.foreign_slot(spec, args) {
            return self.let_go(waiter.id, slot);
        }
        let mut reply = Vec::new();
        // No blocking command chooses at random.
        if self.try_to_serve(spec, args, 0, waiter.resp3, &mut reply) {
            Arc::make_mut(&mut self.blocking.waiting).remove(waiter.id);
            let answer = Answer::Reply(Reply::new(&reply));
            self.remember(waiter.id, waiter.slot(), answer.clone());
            self.blocking.served.push(Served { id: waiter.id, answer });
        }
    }

    /// Executes a blocking command as it is now; `false`: there is nothing for it, and nothing was written.
    fn try_to_serve(&mut self, spec: &CommandSpec, args: Args<'_>, seed: u64, resp3: bool, out: &mut Vec<u8>) -> bool {
        spec.key_positions(args).for_each(|position| self.remove_if_expired(args.get(position)));
        let start = out.len();
        let reply = ReplyWriter::new(out, resp3);
        let mut call = WriteCall { keyspace: self, args, reply, random: Random::new(seed) };
        match attempt(spec, &mut call) {
            Ok(served) => served,
            Err(error) => {
                out.truncate(start);
                error.write(&mut ReplyWriter::new(out, resp3));
                true
            }
        }
    }

    fn remember(&mut self, id: WriteId, slot: Slot, answer: Answer) {
        self.remembered.keep(id, Some(slot), answer, self.log_time);
    }
}
