//! Answers that are not simply passed on: cursors, and what goes on a connection of the client's own (`WATCH`, transactions
//! that watch, blocking commands).
//!
//! A client that watches or waits has a connection of its own to the leader of the shard, since servers tell apart who watches and
//! who waits by connections. It gets one when it needs it, from those that are idle if there is one, and gives it back as
//! soon as nothing is watched. Requests on it and on the lane of all clients never overtake each other: the client's
//! earlier requests are answered before one goes there, and it is answered before later ones are taken.

use bytes::Bytes;

use super::Engine;
use super::link::{Due, Stage};
use super::record::{Job, State};
use crate::protocol::command::{CommandId, resolve_with_foreign};
use crate::protocol::errors;
use crate::protocol::identity::CancelHow;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::reply_scan::{array_elements, is_error, is_null};
use crate::protocol::request::{Args, Span, parse_array, write_array};
use crate::proxy::engine::{FlightKey, LinkError};
use crate::proxy::outbox::COPY_BYTES_MAX;
use crate::topology::Slot;

impl Engine {
    /// Puts an answer into its place that the client does not read as it is, or that others wait for.
    pub(super) fn answer_specially(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        let record = &mut self.records[key];
        let (client_key, shard, own) = (record.client, record.shard, record.own);
        let mut reply = Vec::new();
        match std::mem::replace(&mut record.job, Job::Plain) {
            Job::Cursor => self.retag(shard, body, &mut reply),
            Job::Watch(keys) => self.finish_watch(client_key, &keys, body, &mut reply),
            Job::Exec(plan) => {
                if is_null(body) || body.starts_with(b"-EXECABORT ") {
                    self.stats.transactions_aborted.add(1);
                }
                self.merge_here(client_key, &plan, large.as_deref().unwrap_or(body), &mut reply);
            }
            Job::Block => {
                self.set_blocked(client_key, false);
                reply.extend_from_slice(large.as_deref().unwrap_or(body));
            }
            Job::Plain | Job::Part(_) | Job::Scatter(_) => reply.extend_from_slice(large.as_deref().unwrap_or(body)),
        }
        let client = &mut self.clients[client_key as usize];
        if client.awaited == Some(key) {
            client.awaited = None;
        }
        if own && !client.watching {
            self.release_own(client_key);
        }
        let large = (reply.len() > COPY_BYTES_MAX).then(|| Bytes::from(std::mem::take(&mut reply)));
        self.deliver(key, &reply, large);
        self.consider_resuming(client_key);
    }

    /// A page of a scan, with a cursor that says which shard is next.
    fn retag(&self, shard: usize, body: &[u8], out: &mut Vec<u8>) {
        let mut spans = Vec::new();
        let elements = array_elements(body, &mut spans).ok().flatten();
        let [cursor, keys] = &spans[..] else { return out.extend_from_slice(body) };
        let cursor = &body[cursor.start as usize..cursor.end as usize];
        let digits = cursor.split(|byte| *byte == b'\n').nth(1).and_then(|line| line.strip_suffix(b"\r"));
        let own = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        let mut writer = ReplyWriter::new(out, false);
        match own.filter(|_| elements.is_some()).and_then(|own| self.next_cursor(shard, own)) {
            Some(next) => {
                writer.array(2);
                writer.bulk(next.to_string().as_bytes());
                writer.raw(&body[keys.start as usize..keys.end as usize]);
            }
            None => writer.error(errors::UNEXPECTED_REPLY),
        }
    }

    fn finish_watch(&mut self, key: u32, keys: &[Box<[u8]>], body: &[u8], reply: &mut Vec<u8>) {
        let client = &mut self.clients[key as usize];
        if is_error(body) {
            client.session.transaction_mut().watch_failed();
            reply.extend_from_slice(body);
        } else {
            // The server knows what is watched, and since when: here they only have a place.
            let mut versions = Vec::new();
            let mut writer = ReplyWriter::new(&mut versions, false);
            writer.array(keys.len());
            keys.iter().for_each(|_| writer.integer(0));
            client.session.transaction_mut().watched_at(keys, &versions, reply);
            client.watching = true;
            let slots: Vec<Slot> = keys.iter().map(|key| Slot::of_key(key)).collect();
            self.end_moved_watch(key, &slots);
        }
        self.weigh_transaction(key);
    }

    /// Slots got other groups: of what is watched elsewhere nobody can say any more whether it changed.
    pub(super) fn review_watches(&mut self) {
        let watching = self.clients.iter().filter(|(_, client)| client.watching);
        for key in watching.map(|(key, _)| key as u32).collect::<Vec<_>>() {
            let slots = self.clients[key as usize].session.transaction().map(|it| it.slots().collect::<Vec<_>>());
            self.end_moved_watch(key, &slots.unwrap_or_default());
        }
    }

    /// Ends what a client watches if these slots are not of the group where its own connection leads.
    fn end_moved_watch(&mut self, key: u32, slots: &[Slot]) {
        let client = &mut self.clients[key as usize];
        let Some(own) = client.own else { return };
        let group = self.links.get(own).map(|link| self.servers[link.server].shard);
        if slots.iter().all(|slot| group == Some(usize::from(self.owners[slot.index()]))) {
            return;
        }
        (client.watching, client.watch_moved) = (false, true);
        self.give_up_link(own, &LinkError::Moved);
    }

    /// Gives a client's own connection back if nothing is watched on it any more.
    pub(super) fn settle_own(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        client.watch_moved &= client.session.transaction().is_some();
        if client.watching && client.session.transaction().is_none() && client.awaited.is_none() {
            self.release_own(key);
        }
    }

    pub(super) fn set_blocked(&mut self, key: u32, blocked: bool) {
        let client = &mut self.clients[key as usize];
        if std::mem::replace(&mut client.blocked, blocked) != blocked {
            self.blocked = if blocked { self.blocked + 1 } else { self.blocked - 1 };
            self.stats.clients_blocked.set(self.blocked);
        }
    }

    /// `CLIENT UNBLOCK`: the client with this id, if it is one of this worker, waits no longer.
    pub fn unblock(&mut self, id: u64, how: CancelHow) {
        let found = self.clients.iter().find(|(_, client)| client.id == id && client.blocked);
        let Some((_, client)) = found else { return };
        let (Some(awaited), own) = (client.awaited, client.own) else { return };
        let record = &self.records[awaited];
        match own.and_then(|own| self.links.get(own)) {
            // The server decides: it may have popped something for the client already.
            Some(link) if record.state == State::Handed && link.stage == Stage::Open => {
                let Some(lane) = self.lane_of(link.server, false) else { return };
                let (remote, word) = (link.remote_id.to_string(), unblock_word(how));
                let mut request = Vec::new();
                let words: [&[u8]; 4] = [b"CLIENT", b"UNBLOCK", remote.as_bytes(), word];
                write_array(&mut request, words.into_iter());
                self.links[lane].put(&request, Due::Nothing, 1);
                self.mark_link(lane);
            }
            _ if record.state == State::Waiting => {
                let reply = unblocked_reply(record.body(), record.resp3, how);
                self.withdraw_anywhere(awaited);
                self.answer(awaited, &reply, None);
            }
            _ => {}
        }
    }
}

const fn unblock_word(how: CancelHow) -> &'static [u8] {
    match how {
        CancelHow::Unblocked => b"ERROR",
        _ => b"TIMEOUT",
    }
}

/// What a client reads whose request no server has.
fn unblocked_reply(request: &[u8], resp3: bool, how: CancelHow) -> Vec<u8> {
    let (mut reply, mut spans): (Vec<u8>, Vec<Span>) = (Vec::new(), Vec::new());
    let mut writer = ReplyWriter::new(&mut reply, resp3);
    let spec =
        parse_array(request, &mut spans).ok().and_then(|()| resolve_with_foreign(Args::new(request, &spans)).ok());
    let is_one = spec.is_some_and(|spec| matches!(spec.id, CommandId::BLMove | CommandId::BRPopLPush));
    match how {
        CancelHow::Unblocked => writer.error(errors::UNBLOCKED),
        _ if is_one => writer.null(),
        _ => writer.null_array(),
    }
    reply
}
