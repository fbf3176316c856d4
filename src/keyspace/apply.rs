//! The two ways into the state: [`Keyspace::apply`] for log entries, [`Keyspace::read`] for everything that changes
//! nothing.
//!
//! Apply reads nothing but entry and state (DESIGN.md, R6): raise log time, look the command up, judge the ownership of
//! every key (R5), remove those of its keys that are expired (R8), execute. A command that is refused for ownership
//! leaves no trace but the time.

use super::call::{CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use super::entry::Entry;
use super::error::EntryError;
use super::named::record_slot;
use super::random::Random;
use super::store::Keyspace;
use super::{bits, blocking, hashes, keys, lists, sets, sorted_sets, strings, transaction};
use crate::planted::{self, Bug};
use crate::protocol::command::{CommandId, CommandSpec, Group, resolve};
use crate::protocol::errors;
use crate::protocol::identity::Identity;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span, parse_array};
use crate::protocol::verification::MarkId;
use crate::topology::{LogTime, Slot, WriteId};

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was executed; the reply was appended, be it an error.
    Reply,
    /// It was executed before; the reply that it got then was appended.
    Repeated,
    /// A key's slot is not owned here: nothing changed, nothing was appended.
    NotOwner(Slot),
    /// It was no client's request.
    Nothing,
    /// The state as it is now is to be compared with that of the other replicas.
    Mark(MarkId),
    /// A blocking command that found nothing: its answer comes with a later entry, under this name.
    Waits(WriteId),
    /// It is so old that nobody knows what became of it, or its sender said that it is answered: nothing changed.
    Forgotten,
    /// A blocking command whose client was taken for gone: it got nothing.
    Cancelled,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The reply was appended, be it an error.
    Answered,
    /// A key's slot is not owned here; nothing was appended.
    NotOwner(Slot),
    /// A key expires between log time and the reader's clock: only a new log time can tell; nothing was appended.
    Unsettled,
}

/// Who reads, and when.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// The reader's clock; log time wins where it is later.
    pub clock: LogTime,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
}

impl Keyspace {
    /// Applies one entry and appends the reply to `out`. An error stops the replica.
    pub fn apply(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<Applied, EntryError> {
        self.log_time = self.log_time.max(entry.time());
        self.drop_old_answers();
        let mut spans = std::mem::take(&mut self.spans);
        self.seen = entry.seen();
        self.request_bytes = entry.request_bytes();
        let result = self.apply_one(entry, &mut spans, out);
        self.seen = u64::MAX;
        self.spans = spans;
        if self.blocking.has_ready() {
            self.serve_waiters();
        }
        result
    }

    fn apply_one(
        &mut self,
        entry: &Entry<'_>,
        spans: &mut Vec<Span>,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        match *entry {
            Entry::Tick { .. } => Ok(Applied::Nothing),
            Entry::Mark { id, .. } => Ok(Applied::Mark(id)),
            Entry::Sweep { slot, keys_max, .. } => {
                self.sweep(slot, keys_max);
                Ok(Applied::Nothing)
            }
            Entry::Write { seed, resp3, identity, request, .. } => {
                self.apply_request(identity, request, spans, seed, resp3, out)
            }
            Entry::Split { seed, resp3, identity, body, .. } => {
                self.apply_split(identity, body, spans, seed, resp3, out)
            }
            Entry::Reject { transaction, identity, parts, .. } => {
                Ok(self.apply_reject(identity, transaction, parts, out))
            }
            Entry::Block { seed, resp3, identity, request, .. } => {
                self.apply_block(identity, seed, resp3, request, spans, out)
            }
            Entry::Exec { seed, resp3, identity, body, .. } => {
                self.apply_transaction(identity, body, spans, seed, resp3, out)
            }
            Entry::Cover { resp3, identity, body, .. } => self.apply_covering(identity, body, spans, resp3, out),
            Entry::Move { step, .. } => {
                self.apply_step(&step);
                Ok(Applied::Nothing)
            }
            Entry::Cancel { how, resp3, slot, identity, .. } => Ok(self.apply_cancel(identity, how, resp3, slot)),
        }
    }

    /// Answers a command that changes nothing.
    pub fn read(&self, args: Args<'_>, at: ReadAt, out: &mut Vec<u8>) -> Read {
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                error.write(args, out);
                return Read::Answered;
            }
        };
        let now_ms = at.clock.max(self.log_time).get();
        if let Some(slot) = self.foreign_slot(spec, args) {
            return Read::NotOwner(slot);
        }
        let settles = planted::is(Bug::ExpiryByOwnClock);
        if !settles && spec.key_positions(args).any(|position| self.is_unsettled(args.get(position), now_ms)) {
            return Read::Unsettled;
        }
        self.answer(spec, args, now_ms, None, ReplyWriter::new(out, at.resp3));
        Read::Answered
    }

    fn apply_request(
        &mut self,
        identity: Option<Identity>,
        request: &[u8],
        spans: &mut Vec<Span>,
        seed: u64,
        resp3: bool,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        parse_array(request, spans).map_err(|_| EntryError::Malformed("not one RESP array"))?;
        let args = Args::new(request, spans);
        let slot = identity.and_then(|_| record_slot(args));
        Ok(self.once(identity, slot, out, |keyspace, out| keyspace.apply_parsed(args, seed, resp3, out)))
    }

    /// Applies one request, alone or one of a transaction.
    pub(super) fn apply_parsed(&mut self, args: Args<'_>, seed: u64, resp3: bool, out: &mut Vec<u8>) -> Applied {
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                error.write(args, out);
                return Applied::Reply;
            }
        };
        let mut reply = ReplyWriter::new(out, resp3);
        if let Some(slot) = self.foreign_slot(spec, args) {
            return Applied::NotOwner(slot);
        }
        if !spec.is_write() {
            // A read in the log sees exactly its position: its clock is log time.
            self.answer(spec, args, self.log_time.get(), Some(seed), reply);
            return Applied::Reply;
        }
        let keys = || spec.key_positions(args).map(|position| args.get(position));
        if keys().any(|key| key.len() > self.limits.key_bytes_max as usize) {
            reply.error(&errors::too_large("the key", self.limits.key_bytes_max as usize));
            return Applied::Reply;
        }
        keys().for_each(|key| self.remove_if_expired(key));
        let mut call = WriteCall { keyspace: self, args, reply, random: Random::new(seed) };
        let done = if spec.is_blocking() { blocking::execute(spec, &mut call) } else { execute_write(spec, &mut call) };
        if let Err(error) = done {
            error.write(&mut call.reply);
        }
        Applied::Reply
    }

    /// A slot that a request is about and that is not owned here.
    pub(super) fn foreign_slot(&self, spec: &CommandSpec, args: Args<'_>) -> Option<Slot> {
        let of_keys = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        let of_cursor = if spec.id == CommandId::Scan { keys::scan_slot(args) } else { None };
        of_keys.chain(of_cursor).find(|&slot| !self.admits(slot))
    }

    fn answer(&self, spec: &CommandSpec, args: Args<'_>, now_ms: u64, logged: Option<u64>, reply: ReplyWriter<'_>) {
        let mut call = ReadCall { keyspace: self, args, reply, now_ms, logged };
        if let Err(error) = execute_read(spec, &mut call) {
            error.write(&mut call.reply);
        }
    }
}

fn execute_write(spec: &CommandSpec, call: &mut WriteCall<'_>) -> CommandResult {
    match spec.group {
        Group::List => lists::write(spec.id, call),
        Group::Set => sets::write(spec.id, call),
        Group::Hash => hashes::write(spec.id, call),
        Group::SortedSet => sorted_sets::write(spec.id, call),
        _ => write_other(spec.id, call),
    }
}

fn execute_read(spec: &CommandSpec, call: &mut ReadCall<'_>) -> CommandResult {
    match spec.group {
        Group::List => lists::read(spec.id, call),
        Group::Set => sets::read(spec.id, call),
        Group::Hash => hashes::read(spec.id, call),
        Group::SortedSet => sorted_sets::read(spec.id, call),
        _ => read_other(spec.id, call),
    }
}

#[rustfmt::skip]
fn write_other(id: CommandId, call: &mut WriteCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::Set => strings::set(call),
        C::SetNx => strings::setnx(call),
        C::SetEx => strings::setex(call, strings::Unit::Seconds),
        C::PSetEx => strings::setex(call, strings::Unit::Milliseconds),
        C::GetSet => strings::getset(call),
        C::GetDel => strings::getdel(call),
        C::GetEx => strings::getex(call),
        C::MSet => strings::mset(call),
        C::MSetNx => strings::msetnx(call),
        C::Append => strings::append(call),
        C::SetRange => strings::setrange(call),
        C::Incr => strings::incr(call, 1),
        C::Decr => strings::incr(call, -1),
        C::IncrBy => strings::incrby(call),
        C::DecrBy => strings::decrby(call),
        C::IncrByFloat => strings::incrbyfloat(call),
        C::SetBit => bits::setbit(call),
        C::BitOp => bits::bitop(call),
        C::BitField => bits::bitfield(call),
        C::Del | C::Unlink => keys::del(call),
        C::Expire => keys::expire(call, keys::EXPIRE),
        C::PExpire => keys::expire(call, keys::PEXPIRE),
        C::ExpireAt => keys::expire(call, keys::EXPIREAT),
        C::PExpireAt => keys::expire(call, keys::PEXPIREAT),
        C::Persist => keys::persist(call),
        C::Rename => keys::rename(call),
        C::Restore => keys::restore(call),
        C::RenameNx => keys::renamenx(call),
        C::Copy => keys::copy(call),
        C::Sort => keys::sort(call),
        C::FlushAll | C::FlushDb => keys::flush(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

#[rustfmt::skip]
fn read_other(id: CommandId, call: &mut ReadCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::Get => strings::get(call),
        C::MGet => strings::mget(call),
        C::StrLen => strings::strlen(call),
        C::GetRange | C::SubStr => strings::getrange(call),
        C::Lcs => strings::lcs(call),
        C::GetBit => bits::getbit(call),
        C::BitCount => bits::bitcount(call),
        C::BitPos => bits::bitpos(call),
        C::BitFieldRo => bits::bitfield_ro(call),
        C::Exists => keys::exists(call, false),
        C::Touch => keys::exists(call, true),
        C::Ttl => keys::ttl(call, keys::TTL),
        C::PTtl => keys::ttl(call, keys::PTTL),
        C::ExpireTime => keys::ttl(call, keys::EXPIRETIME),
        C::PExpireTime => keys::ttl(call, keys::PEXPIRETIME),
        C::Type => keys::type_of(call),
        C::Object => keys::object(call),
        C::Memory => keys::memory(call),
        C::RandomKey => keys::randomkey(call),
        C::Dump => keys::dump_key(call),
        C::Keys => keys::keys(call),
        C::Scan => keys::scan(call),
        C::SortRo => keys::sort_ro(call),
        C::DbSize => keys::dbsize(call),
        C::Watch => transaction::watch(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}
