//! Writes that have a name: each is executed once, and asked for again gets what it was answered the first time
//! (DESIGN.md, section 9).
//!
//! A write is judged at its own place in the log (R5), in this order: whether the slot of its first key is here, which its
//! record belongs to and moves with; what is remembered of it; whether the other slots are here (R10); then it is
//! executed, and its reply is remembered, be it an error. What is refused leaves nothing behind.

use super::apply::Applied;
use super::entry::rejected;
use super::error::EntryError;
use super::random::Random;
use super::remembered::{Answer, Reply, Verdict};
use super::store::Keyspace;
use crate::protocol::command::resolve;
use crate::protocol::errors;
use crate::protocol::identity::Identity;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span};
use crate::protocol::split::{self, Part};
use crate::topology::{Slot, WriteId};

impl Keyspace {
    /// Executes a write whose record belongs to `slot`, unless it was executed before.
    pub(super) fn once(
        &mut self,
        identity: Option<Identity>,
        slot: Option<Slot>,
        out: &mut Vec<u8>,
        execute: impl FnOnce(&mut Self, &mut Vec<u8>) -> Applied,
    ) -> Applied {
        let Some(identity) = identity else { return execute(self, out) };
        if let Some(slot) = slot.filter(|slot| !self.admits(*slot)) {
            return Applied::NotOwner(slot);
        }
        self.remembered.hear(identity, self.log_time);
        if let Some(known) = self.known(identity, out) {
            return known;
        }
        let start = out.len();
        let applied = execute(self, out);
        if applied == Applied::Reply {
            let answer = Answer::Reply(Reply::new(&out[start..]));
            self.remembered.keep(identity.id, slot, answer, self.log_time);
        }
        applied
    }

    /// What is known of a write that came before; none: it is new.
    pub(super) fn known(&self, identity: Identity, out: &mut Vec<u8>) -> Option<Applied> {
        match self.remembered.judge(identity, self.log_time) {
            Verdict::New => None,
            Verdict::Forgotten => Some(Applied::Forgotten),
            Verdict::Answered(Answer::Gone) => Some(Applied::Cancelled),
            Verdict::Answered(Answer::Reply(reply)) => {
                out.extend_from_slice(&reply);
                Some(Applied::Repeated)
            }
        }
    }

    /// Applies the parts of a split command, each under a name of its own, with one reply for each. All of them or none:
    /// a slot that is not here or a part that nobody knows about any more refuses them all.
    pub(super) fn apply_split(
        &mut self,
        identity: Identity,
        body: &[u8],
        spans: &mut Vec<Span>,
        seed: u64,
        resp3: bool,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        split::check(body, spans).map_err(|_| EntryError::Malformed("not a split command"))?;
        let (mut rest, mut too_long, key_bytes_max) = (body, false, self.limits.key_bytes_max as usize);
        while let Some(Part { ordinal, request }) = split::next_part(&mut rest, spans) {
            let args = Args::new(request, spans);
            let Ok(spec) = resolve(args) else { continue };
            if let Some(slot) = self.foreign_slot(spec, args) {
                return Ok(Applied::NotOwner(slot));
            }
            if self.remembered.judge(part_of(identity, ordinal), self.log_time) == Verdict::Forgotten {
                return Ok(Applied::Forgotten);
            }
            too_long |= spec.key_positions(args).any(|position| args.get(position).len() > key_bytes_max);
        }
        let (mut rest, mut seeds, mut all) = (body, Random::new(seed), Applied::Repeated);
        while let Some(Part { ordinal, request }) = split::next_part(&mut rest, spans) {
            let (args, seed) = (Args::new(request, spans), seeds.next());
            let applied = self.once(Some(part_of(identity, ordinal)), record_slot(args), out, |keyspace, out| {
                if too_long {
                    // None of the keys is set where one of them cannot be.
                    ReplyWriter::new(out, resp3).error(&errors::too_large("the key", key_bytes_max));
                    return Applied::Reply;
                }
                keyspace.apply_parsed(args, seed, resp3, out)
            });
            if applied == Applied::Reply {
                all = Applied::Reply;
            }
        }
        Ok(all)
    }

    /// Keeps the error for want of memory as the answer to each part, unless it was answered before.
    pub(super) fn apply_reject(
        &mut self,
        identity: Identity,
        transaction: bool,
        parts: &[u8],
        out: &mut Vec<u8>,
    ) -> Applied {
        let parts = || rejected(parts).flatten();
        if let Some((_, slot)) = parts().find(|(_, slot)| !self.has(*slot)) {
            return Applied::NotOwner(slot);
        }
        let forgotten =
            |ordinal| self.remembered.judge(part_of(identity, ordinal), self.log_time) == Verdict::Forgotten;
        if parts().any(|(ordinal, _)| forgotten(ordinal)) {
            return Applied::Forgotten;
        }
        let text = errors::OUT_OF_MEMORY;
        let text = if transaction { &errors::exec_abort(text) } else { text };
        let mut all = Applied::Repeated;
        for (ordinal, slot) in parts() {
            let applied = self.once(Some(part_of(identity, ordinal)), Some(slot), out, |_, out| {
                ReplyWriter::new(out, false).error(text);
                Applied::Reply
            });
            match applied {
                Applied::Repeated => {}
                Applied::Reply => all = Applied::Reply,
                other => return other,
            }
        }
        all
    }
}

/// The slot that a request's record belongs to: that of its first key.
pub fn record_slot(args: Args<'_>) -> Option<Slot> {
    let first = resolve(args).ok()?.key_positions(args).next()?;
    Some(Slot::of_key(args.get(first)))
}

fn part_of(identity: Identity, ordinal: u32) -> Identity {
    let WriteId { session, sequence } = identity.id;
    Identity { id: WriteId { session, sequence: sequence + u64::from(ordinal) }, ..identity }
}

#[cfg(test)]
mod tests;
