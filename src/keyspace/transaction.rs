//! Transactions: what `WATCH` reads, and how a logged transaction is applied.
//!
//! All or nothing: first the ownership of every slot that is touched, then the versions of the watched keys, and only
//! then the requests, each by the same path as one that came alone. An error of one of them does not stop the others, as
//! in Redis. All live in the entry's one log time.

use super::apply::Applied;
use super::call::{CommandResult, ReadCall};
use super::error::EntryError;
use super::named::record_slot;
use super::random::Random;
use super::store::Keyspace;
use crate::protocol::command::{Route, resolve};
use crate::protocol::identity::Identity;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Span};
use crate::protocol::transaction::{Transaction, next_request, split};
use crate::topology::Slot;

/// `WATCH` as its shard answers it: the version of each key.
pub fn watch(call: &mut ReadCall<'_>) -> CommandResult {
    let keys = call.args.from(1);
    call.reply.array(keys.len());
    for key in keys {
        let version = call.keyspace.version_of(key).unwrap_or_default();
        call.reply.integer(version as i64);
    }
    Ok(())
}

impl Keyspace {
    /// Applies a transaction; see the module.
    pub(super) fn apply_transaction(
        &mut self,
        identity: Option<Identity>,
        body: &[u8],
        spans: &mut Vec<Span>,
        seed: u64,
        resp3: bool,
        out: &mut Vec<u8>,
    ) -> Result<Applied, EntryError> {
        let transaction = split(body, spans).map_err(|_| EntryError::Malformed("not a transaction"))?;
        let slot = identity.and_then(|_| record_slot_of(&transaction, spans));
        Ok(self.once(identity, slot, out, |keyspace, out| keyspace.carry_out(&transaction, spans, seed, resp3, out)))
    }

    fn carry_out(
        &mut self,
        transaction: &Transaction<'_>,
        spans: &mut Vec<Span>,
        seed: u64,
        resp3: bool,
        out: &mut Vec<u8>,
    ) -> Applied {
        if let Some(slot) = self.foreign_slot_of_transaction(transaction, spans) {
            return Applied::NotOwner(slot);
        }
        // A field that expired has changed its hash.
        transaction.watched().for_each(|(key, _)| self.remove_if_expired(key));
        let mut reply = ReplyWriter::new(out, resp3);
        if transaction.watched().any(|(key, version)| self.version_of(key) != Some(version)) {
            reply.null_array();
            return Applied::Reply;
        }
        reply.array(transaction.count());
        let (mut rest, mut seeds) = (transaction.requests(), Random::new(seed));
        while let Some(request) = next_request(&mut rest, spans) {
            self.apply_parsed(Args::new(request, spans), seeds.next(), resp3, out);
        }
        Applied::Reply
    }

    fn foreign_slot_of_transaction(&self, transaction: &Transaction<'_>, spans: &mut Vec<Span>) -> Option<Slot> {
        let watched = transaction.watched().map(|(key, _)| Slot::of_key(key)).find(|&slot| !self.admits(slot));
        if watched.is_some() {
            return watched;
        }
        let mut rest = transaction.requests();
        while let Some(request) = next_request(&mut rest, spans) {
            let args = Args::new(request, spans);
            // What the table does not know is answered by an error in its place.
            let foreign = resolve(args).ok().and_then(|spec| match spec.route {
                // It is about all keys, or it would be about half of them as soon as there is another shard (R15).
                Route::EveryShard(_) => Slot::all().find(|slot| !self.admits(*slot)),
                _ => self.foreign_slot(spec, args),
            });
            if foreign.is_some() {
                return foreign;
            }
        }
        None
    }
}

/// The slot that a transaction's record belongs to: that of the first key that it names; where it names none and is about all keys, the
/// first of all.
fn record_slot_of(transaction: &Transaction<'_>, spans: &mut Vec<Span>) -> Option<Slot> {
    if let Some((key, _)) = transaction.watched().next() {
        return Some(Slot::of_key(key));
    }
    let (mut rest, mut is_about_all) = (transaction.requests(), false);
    while let Some(request) = next_request(&mut rest, spans) {
        let args = Args::new(request, spans);
        let slot = record_slot(args);
        if slot.is_some() {
            return slot;
        }
        is_about_all |= resolve(args).is_ok_and(|spec| matches!(spec.route, Route::EveryShard(_)));
    }
    Slot::all().next().filter(|_| is_about_all)
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;
    use crate::protocol::request::write_array;
    use crate::protocol::transaction::put;
    use crate::topology::{Epoch, LogTime};

    fn keyspace() -> Keyspace {
        let mut keyspace = Keyspace::new(7);
        Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
        keyspace
    }

    fn requests(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            write_array(&mut bytes, words.into_iter());
        }
        bytes
    }

    fn exec_at(keyspace: &mut Keyspace, time: u64, watched: &[(&str, u64)], lines: &[&str]) -> (Applied, String) {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        put(&mut body, watched.iter().map(|(key, version)| (key.as_bytes(), *version)), &requests(lines));
        let entry = Entry::Exec { seen: 0, time: LogTime(time), seed: 1, resp3: false, identity: None, body: &body };
        let applied = keyspace.apply(&entry, &mut out).unwrap();
        (applied, String::from_utf8(out).unwrap())
    }

    fn exec(keyspace: &mut Keyspace, watched: &[(&str, u64)], lines: &[&str]) -> String {
        let (applied, reply) = exec_at(keyspace, 1, watched, lines);
        assert_eq!(applied, Applied::Reply);
        reply
    }

    fn set(keyspace: &mut Keyspace, line: &str) {
        let request = requests(&[line]);
        let entry =
            Entry::Write { seen: 0, time: LogTime(1), seed: 1, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut Vec::new()).unwrap();
    }

    #[test]
    fn requests_are_answered_in_order_and_an_error_does_not_stop_the_others() {
        let mut keyspace = keyspace();
        let reply = exec(&mut keyspace, &[], &["SET a x", "INCR a", "NOSUCH", "APPEND a y", "GET a", "GET"]);
        assert_eq!(
            reply,
            "*6\r\n+OK\r\n-ERR value is not an integer or out of range\r\n\
             -ERR unknown command 'NOSUCH', with args beginning with: \r\n:2\r\n$2\r\nxy\r\n\
             -ERR wrong number of arguments for 'get' command\r\n"
        );
        assert_eq!(exec(&mut keyspace, &[], &[]), "*0\r\n");
    }

    #[test]
    fn a_watched_key_that_changed_stops_all_of_it() {
        let mut keyspace = keyspace();
        set(&mut keyspace, "SET a 1");
        let (a, absent) = (keyspace.version_of(b"a").unwrap(), keyspace.version_of(b"absent").unwrap());
        assert_eq!(exec(&mut keyspace, &[("a", a), ("absent", absent)], &["INCR b"]), "*1\r\n:1\r\n");
        set(&mut keyspace, "SET a 1");
        assert_eq!(exec(&mut keyspace, &[("a", a)], &["INCR b"]), "*-1\r\n", "set to the same is set");
        set(&mut keyspace, "SET absent 1");
        assert_eq!(exec(&mut keyspace, &[("absent", absent)], &["INCR b"]), "*-1\r\n");
        set(&mut keyspace, "DEL absent");
        assert_eq!(exec(&mut keyspace, &[("absent", absent)], &["INCR b"]), "*-1\r\n", "it came and went");
        assert_eq!(exec(&mut keyspace, &[], &["GET b"]), "*1\r\n$1\r\n1\r\n");
    }

    #[test]
    fn an_expired_key_is_absent_to_those_who_watch_it() {
        let mut keyspace = keyspace();
        set(&mut keyspace, "SET a 1 PX 100");
        let alive = keyspace.version_of(b"a").unwrap();
        assert_eq!(exec_at(&mut keyspace, 99, &[("a", alive)], &["EXISTS a"]).1, "*1\r\n:1\r\n");
        assert_eq!(exec_at(&mut keyspace, 101, &[("a", alive)], &["SET b 1"]).1, "*-1\r\n");
        let gone = keyspace.version_of(b"a").unwrap();
        assert_eq!(exec_at(&mut keyspace, 101, &[("a", gone)], &["SET b 1"]).1, "*1\r\n+OK\r\n");
    }

    #[test]
    fn one_foreign_slot_anywhere_changes_nothing() {
        let mut keyspace = Keyspace::new(7);
        let foreign = Slot::of_key(b"foreign");
        keyspace.own(Slot::of_key(b"mine"), Epoch(1));
        for lines in [&["SET mine 1", "SET foreign 1"][..], &["SET mine 1", "NOSUCH", "MGET mine foreign"]] {
            assert_eq!(exec_at(&mut keyspace, 1, &[], lines), (Applied::NotOwner(foreign), String::new()));
        }
        // Ownership comes before the watches: the other shard is to judge those.
        assert_eq!(exec_at(&mut keyspace, 1, &[("mine", 99), ("foreign", 0)], &[]).0, Applied::NotOwner(foreign));
        let first = Applied::NotOwner(Slot::new(0).unwrap());
        for line in ["SCAN 0", "FLUSHALL", "DBSIZE", "KEYS *", "RANDOMKEY"] {
            assert_eq!(exec_at(&mut keyspace, 1, &[], &["SET mine 1", line]).0, first, "{line}");
        }
        assert_eq!(keyspace.usage().keys, 0);
    }

    #[test]
    fn a_malformed_transaction_changes_nothing_and_stops_the_replica() {
        let mut keyspace = keyspace();
        let mut body = Vec::new();
        put(&mut body, std::iter::empty(), &[&requests(&["SET a 1"])[..], b"*1\r\n"].concat());
        let entry = Entry::Exec { seen: 0, time: LogTime(1), seed: 1, resp3: false, identity: None, body: &body };
        assert!(matches!(keyspace.apply(&entry, &mut Vec::new()), Err(EntryError::Malformed(_))));
        assert_eq!(keyspace.usage().keys, 0);
    }
}
