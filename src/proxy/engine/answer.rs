//! Answers on their way to the client: in the order of its requests, parts put together first.

use bytes::Bytes;

use super::Engine;
use super::covering::Cover;
use super::flight::{Flight, FlightKey, Purpose, State};
use super::scatter::{PartReply, Scatter, merge_replies};
use crate::control::routing::NodeIndex;
use crate::protocol::command::Merge;
use crate::protocol::coverage;
use crate::protocol::errors;
use crate::protocol::frame::{ReadLevel, ReplyHead};
use crate::protocol::reply::ReplyWriter;
use crate::protocol::reply_scan::{integer, is_error, is_null};
use crate::protocol::split;
use crate::proxy::metrics::{CommandClass, Outcome};
use crate::proxy::outbox::{COPY_BYTES_MAX, Outbox};
use crate::topology::SLOT_COUNT;

impl Engine {
    /// A node answered a request.
    pub(super) fn take_reply(&mut self, node: NodeIndex, head: ReplyHead, body: &[u8], large: Option<Bytes>) {
        let Some(key) = self.flights.find(head.id).filter(|k| self.is_handed_to(*k, node)) else { return };
        self.came_back(key);
        self.give_back_name(key);
        let flight = &self.flights[key];
        let (client_key, shard) = (flight.client, flight.shard);
        let merged = if flight.covers && self.note_covered(key, body).is_none() {
            Some(unexpected_reply())
        } else {
            self.flights[key].split.map(|merge| merge_split(body, merge))
        };
        let (body, large) = match &merged {
            Some(merged) => (&merged[..], None),
            None if self.flights[key].covers => without_slots(body, large),
            None => (body, large),
        };
        let outcome = if is_error(body) { Outcome::Error } else { Outcome::Ok };
        self.routing.merge_applied(shard, node, head.index);
        self.count_answer(key, outcome);
        self.note_if_slow(key);
        let client = &mut self.clients[client_key as usize];
        let at = client.line_at(shard);
        let line = &mut client.lines[at];
        line.remove(&mut self.flights, key);
        line.floor = line.floor.max(head.index);
        let flight = &self.flights[key];
        if flight.write || flight.strong {
            line.confirmed_at = line.confirmed_at.max(flight.handed_at);
        }
        let go_on = line.handed == 0 && (line.closed || line.waiting().is_some());
        if !line.closed {
            line.refusals = 0;
        }
        self.finish(key, body, large);
        if go_on {
            self.reopen_line(client_key, shard);
        }
    }

    /// Gives an answer to whom it is for. The request is in no line any more.
    pub(super) fn finish(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        if self.flights[key].holds {
            self.release(key);
        }
        if self.flights[key].transaction && (is_null(body) || body.starts_with(b"-EXECABORT ")) {
            self.stats.transactions_aborted.add(1);
        }
        if self.is_awaited(key) { self.finish_awaited(key, body, large) } else { self.deliver(key, body, large) }
    }

    /// Puts an answer into its place.
    pub(super) fn deliver(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        let flight = &mut self.flights[key];
        let client_key = flight.client;
        if flight.purpose == Purpose::Nobody {
            return self.finish_cancel(key);
        }
        let wakes = flight.blocking.is_some();
        if let Purpose::Part(whole) = flight.purpose {
            keep_reply(flight, body, large);
            let whole_flight = &mut self.flights[whole];
            let scatter = whole_flight.scatter.as_mut().expect("a part's whole is scattered");
            scatter.missing -= 1;
            if scatter.missing == 0 {
                self.gather(whole);
            }
            return;
        }
        if wakes {
            self.wake(client_key);
        }
        let flight = &mut self.flights[key];
        if self.clients[client_key as usize].first != key {
            return keep_reply(flight, body, large);
        }
        if !flight.muted {
            put_reply(self.output(client_key), body, large);
        }
        self.dismiss_first(client_key);
        self.pass_ready(client_key);
    }

    /// Sends the replies that are ready and first in order.
    pub(super) fn pass_ready(&mut self, client_key: u32) {
        loop {
            let first = self.clients[client_key as usize].first;
            let Some(key) = first.some().filter(|k| self.flights[*k].state == State::Ready) else { break };
            let flight = &mut self.flights[key];
            let (bytes, large) = (std::mem::take(&mut flight.bytes), flight.large.take());
            if !flight.muted {
                put_reply(self.output(client_key), &bytes, large);
            }
            self.flights[key].bytes = bytes;
            self.dismiss_first(client_key);
        }
        self.mark_client(client_key);
        self.consider_resuming(client_key);
    }

    fn dismiss_first(&mut self, client_key: u32) {
        let client = &mut self.clients[client_key as usize];
        let key = client.first;
        client.dismiss_first(&self.flights);
        self.flights.free(key);
    }

    /// All parts of a request are answered: their replies become one.
    fn gather(&mut self, whole: FlightKey) {
        if self.asks_on(whole) {
            return;
        }
        let scatter = self.flights[whole].scatter.take().expect("it was scattered");
        let replies: Vec<_> = scatter
            .parts
            .iter()
            .filter(|part| !self.flights[**part].probe || is_error(self.flights[**part].body()))
            .map(|part| {
                let part = &self.flights[*part];
                PartReply { shard: &self.routing.shard(part.shard).name, bytes: part.body() }
            })
            .collect();
        let mut merged = Vec::new();
        if scatter.info {
            let keys = replies.iter().filter_map(|r| integer(r.bytes)).sum::<i64>();
            merged = self.finish_info(whole, keys.unsigned_abs());
        } else {
            put_whole(&scatter, &replies, &mut merged);
        }
        scatter.parts.iter().for_each(|part| self.flights.free(*part));
        let large = (merged.len() > COPY_BYTES_MAX).then(|| Bytes::from(std::mem::take(&mut merged)));
        self.finish(whole, &merged, large);
    }

    /// The client's output, with a buffer.
    pub(super) fn output(&mut self, client_key: u32) -> &mut Outbox {
        let client = &mut self.clients[client_key as usize];
        if client.output.is_empty() && !client.output.has_buffer() {
            client.progress = self.now;
            let buffer = self.buffers.pop().unwrap_or_default();
            client.output = Outbox::reusing(buffer);
        }
        &mut client.output
    }

    /// Notes that a client has replies to send.
    pub(super) fn mark_client(&mut self, client_key: u32) {
        let client = &mut self.clients[client_key as usize];
        if !client.dirty && (!client.output.is_empty() || client.closing) {
            client.dirty = true;
            self.dirty_clients.push(client_key);
        }
    }

    pub(super) fn count_answer(&mut self, key: FlightKey, outcome: Outcome) {
        let flight = &self.flights[key];
        let shard = &self.shard_stats[flight.shard.at()];
        shard.latencies(flight.class, outcome).record(self.now.since(flight.born));
        if !flight.write && matches!(outcome, Outcome::Ok | Outcome::Error) && flight.class != CommandClass::Connection
        {
            self.count_read(flight.shard.at(), flight.node);
        }
    }

    fn count_read(&mut self, shard: usize, node: NodeIndex) {
        let of_shard = &mut self.read_stats[shard];
        if let Some((_, stats)) = of_shard.iter().find(|(n, _)| *n == node) {
            return stats.reads.add(1);
        }
        let names = (self.routing.shards()[shard].name.clone(), self.routing.node(node).name.clone());
        let stats = self.stats.add_reads(names.0, names.1);
        stats.reads.add(1);
        of_shard.push((node, stats));
    }
}

/// The reply to all of a request. Of a command over all keys that was not carried out for all slots it says for how many.
fn put_whole(scatter: &Scatter, replies: &[PartReply<'_>], out: &mut Vec<u8>) {
    let left = scatter.cover.as_deref().map_or(0, Cover::left_count);
    let is_failed = match replies {
        [only] if scatter.cover.is_some() => {
            out.extend_from_slice(only.bytes);
            is_error(only.bytes)
        }
        _ => merge_replies(scatter, replies, out),
    };
    let is_enough = left == 0 || scatter.merge == Merge::AnyOne && !is_null(out);
    if is_failed && scatter.write && left > 0 && replies.len() > 1 {
        out.truncate(out.len() - 2);
        out.extend_from_slice(format!("; {left} of {SLOT_COUNT} slots are left\r\n").as_bytes());
    } else if !is_failed && !is_enough {
        out.clear();
        ReplyWriter::new(out, false).error(&errors::not_covered(scatter.write, left));
    }
}

fn unexpected_reply() -> Vec<u8> {
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, false).error(errors::UNEXPECTED_REPLY);
    reply
}

/// The reply behind the slots that it is about.
fn without_slots(body: &[u8], large: Option<Bytes>) -> (&[u8], Option<Bytes>) {
    let start = coverage::split(body).map_or(0, |(_, reply)| body.len() - reply.len());
    (&body[start..], large.map(|large| large.slice(start..)))
}

/// The reply to a split command, put together from those to its parts.
fn merge_split(replies: &[u8], merge: Merge) -> Vec<u8> {
    let mut merged = Vec::new();
    if split::merge(replies, merge, &mut merged).is_err() {
        merged = unexpected_reply();
    }
    merged
}

fn keep_reply(flight: &mut Flight, body: &[u8], large: Option<Bytes>) {
    flight.bytes.clear();
    flight.state = State::Ready;
    flight.large = large;
    if flight.large.is_none() {
        flight.bytes.extend_from_slice(body);
    }
}

fn put_reply(output: &mut Outbox, body: &[u8], large: Option<Bytes>) {
    match large {
        Some(large) => output.put_shared(large),
        None => output.put(body),
    }
}

/// What a client reads whose request was given up.
pub(super) fn failure_text(outcome: Outcome, flight: &Flight, has_leader: bool) -> &'static str {
    match outcome {
        Outcome::Unknown => errors::OUTCOME_UNKNOWN,
        _ if flight.write => errors::NOT_SENT,
        _ if has_leader || flight.state == State::Handed => errors::READ_TIMED_OUT,
        _ if flight.level == ReadLevel::Any => errors::NOT_FRESH,
        _ => errors::NO_LEADER_TO_READ,
    }
}
