//! Commands over all keys, for the slots that they are wanted for: FLUSHALL, FLUSHDB, DBSIZE, KEYS, RANDOMKEY (DESIGN.md, R15).
//!
//! A part answers for exactly those of the wanted slots that are owned here at its position of the log, and says which they
//! were: slots that are frozen, on their way here, or elsewhere are left to be asked for again.
//!
//! The record of a flush belongs to the first slot that it is wanted for, and moves with it: asked for again under its name, wherever
//! that slot is by then, it says what it covered the first time. Without that slot nothing is flushed.

use super::apply::{Applied, Read, ReadAt};
use super::call::{CommandError, CommandResult, NOT_OF_A_SHARD, ReadCall};
use super::error::EntryError;
use super::keys;
use super::store::Keyspace;
use crate::protocol::command::{CommandId, resolve};
use crate::protocol::coverage::{self, SlotRuns};
use crate::protocol::identity::Identity;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span, parse_array};

impl Keyspace {
    /// Answers a command that changes nothing for the wanted slots that are owned here: which they are, then the reply.
    pub fn read_covering(&self, wanted: &SlotRuns, args: Args<'_>, at: ReadAt, out: &mut Vec<u8>) -> Read {
        let covered = self.covered(wanted);
        coverage::put(out, &covered);
        let mut reply = ReplyWriter::new(out, at.resp3);
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                error.write(args, out);
                return Read::Answered;
            }
        };
        let now_ms = at.clock.max(self.log_time()).get();
        let done = match spec.id {
            CommandId::DbSize => {
                reply.integer(self.key_count(&covered) as i64);
                Ok(())
            }
            CommandId::Keys => {
                let mut call = ReadCall { keyspace: self, args, reply, now_ms, logged: None };
                keys::keys_of(&mut call, covered.slots());
                return Read::Answered;
            }
            CommandId::RandomKey => {
                let total = self.key_count(&covered);
                let mut call = ReadCall { keyspace: self, args, reply, now_ms, logged: None };
                keys::random_key_of(&mut call, total, |slot| covered.contains(slot));
                return Read::Answered;
            }
            _ => Err(NOT_OF_A_SHARD.into()),
        };
        write_error(done, &mut reply);
        Read::Answered
    }

    /// Applies a command for the wanted slots that are owned here, and appends which they are and the reply.
    pub(super) fn apply_covering(
        &mut self,
        identity: Option<Identity>,
        body: &[u8],
        spans: &mut Vec<Span>,
        resp3: bool,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        let (wanted, request) = coverage::split(body).map_err(|_| EntryError::Malformed("no slots to be covered"))?;
        parse_array(request, spans).map_err(|_| EntryError::Malformed("not one RESP array"))?;
        let args = Args::new(request, spans);
        let record = wanted.slots().next();
        Ok(self.once(identity, record, out, |keyspace, out| keyspace.cover(&wanted, args, resp3, out)))
    }

    fn cover(&mut self, wanted: &SlotRuns, args: Args<'_>, resp3: bool, out: &mut Vec<u8>) -> Applied {
        if !resolve(args).is_ok_and(|spec| matches!(spec.id, CommandId::FlushAll | CommandId::FlushDb)) {
            // Who asks in the log for what changes nothing gets it as of this position.
            let at = ReadAt { clock: self.log_time(), resp3 };
            self.read_covering(wanted, args, at, out);
            return Applied::Reply;
        }
        let covered = self.covered(wanted);
        coverage::put(out, &covered);
        let mut reply = ReplyWriter::new(out, resp3);
        let done = keys::check_flush(args);
        if done.is_ok() {
            let occupied: Vec<_> = covered.slots().filter(|slot| self.occupied().contains(*slot)).collect();
            self.clear(occupied);
            reply.ok();
        }
        write_error(done, &mut reply);
        Applied::Reply
    }

    /// The wanted slots that are owned.
    fn covered(&self, wanted: &SlotRuns) -> SlotRuns {
        SlotRuns::of(wanted.slots().filter(|slot| self.admits(*slot)))
    }

    fn key_count(&self, slots: &SlotRuns) -> u64 {
        if slots.len() == self.owned().len() {
            return self.usage().keys;
        }
        let occupied = slots.slots().filter(|slot| self.occupied().contains(*slot));
        occupied.filter_map(|slot| self.slot_usage_of(slot)).map(|(keys, _)| keys).sum()
    }
}

fn write_error(done: CommandResult, reply: &mut ReplyWriter<'_>) {
    if let Err(error) = done {
        CommandError::write(&error, reply);
    }
}
