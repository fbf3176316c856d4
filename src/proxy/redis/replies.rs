//! Bytes of servers: where each reply ends, whose it is, and on to the client in the order of its requests.

use bytes::Bytes;

use super::Engine;
use super::group::first_line;
use super::link::{Due, Stage, Use};
use super::record::{Job, Record, State};
use super::refusal::Refusal;
use super::roles::Role;
use crate::control::routing::NodeIndex;
use crate::protocol::errors;
use crate::protocol::frame::RefusalReason;
use crate::protocol::reply_scan::{integer, is_error};
use crate::proxy::engine::{FlightKey, LinkError, PartReply, merge_replies};
use crate::proxy::metrics::Outcome;
use crate::proxy::outbox::{COPY_BYTES_MAX, KEPT_BYTES_MAX, Outbox};

impl Engine {
    /// Bytes from a server.
    pub fn node_data(&mut self, node: NodeIndex, bytes: &[u8]) {
        let key = node.at();
        let Some(link) = self.links.get_mut(key) else { return };
        if matches!(link.stage, Stage::Opening | Stage::Closed) {
            return;
        }
        link.heard = self.now;
        if link.input.is_empty() {
            match self.take_replies(key, bytes, None) {
                Ok(taken) => self.keep_rest(key, &bytes[taken..]),
                Err(reason) => self.give_up_link(key, &reason),
            }
            return;
        }
        link.input.extend_from_slice(bytes);
        if link.input.len() >= link.scan.bytes_min() {
            let input = std::mem::take(&mut link.input);
            self.take_kept(key, input);
        }
        let kept = self.links.get(key).map_or(0, |link| link.input.len());
        if kept > self.settings.limits.reply_bytes_max {
            self.give_up_link(key, &LinkError::Socket("a reply is too long".to_owned()));
        }
    }

    /// Replies of which the first was kept until it is whole.
    fn take_kept(&mut self, key: usize, mut input: Vec<u8>) {
        if input.len() <= KEPT_BYTES_MAX {
            let taken = self.take_replies(key, &input, None);
            match taken {
                Ok(taken) => {
                    input.drain(..taken);
                    match self.links.get_mut(key) {
                        Some(link) if !input.is_empty() => link.input = input,
                        _ => self.pool_buffer(input),
                    }
                }
                Err(reason) => self.give_up_link(key, &reason),
            }
            return;
        }
        // Large replies go on as they are: their bytes are shared, not copied.
        let input = Bytes::from(input);
        match self.take_replies(key, &input, Some(&input)) {
            // Nobody else has the bytes, so they are not copied.
            Ok(0) => {
                if let Some(link) = self.links.get_mut(key) {
                    link.input = Vec::from(input);
                }
            }
            Ok(taken) => {
                let rest = input.slice(taken..);
                drop(input);
                self.keep_rest(key, &rest);
            }
            Err(reason) => self.give_up_link(key, &reason),
        }
    }

    fn keep_rest(&mut self, key: usize, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let mut buffer = self.buffers.pop().unwrap_or_default();
        if let Some(link) = self.links.get_mut(key) {
            // As much as is known to come, within reason: memory follows the bytes.
            let wanted = link.scan.bytes_min().min(rest.len().saturating_mul(16)).max(rest.len());
            buffer.reserve(wanted);
            buffer.extend_from_slice(rest);
            link.input = buffer;
        }
    }

    fn take_replies(&mut self, key: usize, buffer: &[u8], shared: Option<&Bytes>) -> Result<usize, LinkError> {
        let mut taken = 0;
        while taken < buffer.len() {
            let Some(link) = self.links.get_mut(key).filter(|link| link.stage != Stage::Closed) else {
                return Ok(buffer.len());
            };
            let rest = &buffer[taken..];
            let end = link.scan.end(rest).map_err(|bad| LinkError::Socket(bad.to_string()))?;
            let Some(end) = end else { break };
            // A push on a connection that asked for none concerns nobody.
            if rest[0] != b'>' {
                let large = shared.filter(|_| end > COPY_BYTES_MAX).map(|shared| shared.slice(taken..taken + end));
                self.take_reply(key, &rest[..end], large)?;
            }
            taken += end;
        }
        Ok(taken)
    }

    #[inline]
    fn take_reply(&mut self, key: usize, body: &[u8], large: Option<Bytes>) -> Result<(), LinkError> {
        let link = &mut self.links[key];
        let Some(expected) = link.due.front_mut() else {
            return Err(LinkError::Socket("it answered what nobody asked".to_owned()));
        };
        if expected.replies > 1 {
            expected.replies -= 1;
            if link.queue_error.is_none() && Refusal::of(body).is_some() {
                link.queue_error = Some(body.to_vec());
            }
            // Between `MULTI` and `EXEC` no array comes: it is the answer to `ROLE` before them.
            link.demoted |= matches!(Role::parse(body), Some(Role::Replica { .. }));
            return Ok(());
        }
        let due = expected.due;
        link.due.pop_front();
        if let Due::Request(request, serial) = due {
            let (queue_error, demoted) = (link.queue_error.take(), std::mem::take(&mut link.demoted));
            if self.records.is(request, serial) {
                let transaction_refused = queue_error.filter(|_| body.starts_with(b"-EXECABORT"));
                match transaction_refused {
                    _ if demoted => self.take_error(request, key, Refusal::READ_ONLY, body, None),
                    Some(error) => self.take_error(request, key, &error, body, None),
                    None if body[0] == b'-' => self.take_error(request, key, body, body, large),
                    None => self.take_answer(request, key, body, large),
                }
            }
        } else {
            self.take_own_answer(key, due, body)?;
        }
        if let Some(link) =
            self.links.get_mut(key).filter(|link| (link.draining || link.leaving) && link.due.is_empty())
        {
            link.draining = false;
            self.recheck = true;
            if link.leaving {
                self.give_up_link(key, &LinkError::Moved);
            }
        }
        Ok(())
    }

    /// The answer to something that the proxy asked by itself.
    fn take_own_answer(&mut self, key: usize, due: Due, body: &[u8]) -> Result<(), LinkError> {
        match due {
            Due::Request(..) | Due::Alive(_) | Due::Nothing => return Ok(()),
            Due::Auth if is_error(body) => return Err(LinkError::Goodbye(first_line(body))),
            Due::Auth => return Ok(()),
            Due::Hello if is_error(body) => {
                let text = first_line(body);
                if !text.starts_with("ERR unknown command") && !text.starts_with("NOPROTO") {
                    return Err(LinkError::Goodbye(text));
                }
                let link = &mut self.links[key];
                self.servers[link.server].resp2_only = true;
                // The other connection serves all; one of a client's own goes on as it is.
                if link.usage == Use::Shared {
                    self.recheck = true;
                    return Err(LinkError::Moved);
                }
                link.resp3 = false;
            }
            Due::Hello => {}
            // A server that is old or strict about it says nothing of itself; any other error is a refusal.
            Due::Id if is_error(body) && !body.starts_with(b"-ERR unknown") && !body.starts_with(b"-NOPERM") => {
                return Err(LinkError::Goodbye(first_line(body)));
            }
            Due::Id => self.links[key].remote_id = integer(body).unwrap_or(0),
            Due::Role(asked) => self.take_role(key, asked, body)?,
            Due::Layout(number) => {
                self.take_layout(number, body);
                return Ok(());
            }
        }
        let link = &mut self.links[key];
        let greeted = !link.due.iter().any(|e| matches!(e.due, Due::Auth | Due::Hello | Due::Id | Due::Role(_)));
        if link.stage == Stage::Greeting && greeted {
            link.stage = Stage::Open;
            self.recheck = true;
            let (server, resp3) = (link.server, link.resp3);
            let pending = std::mem::take(&mut link.pending);
            if self.servers[server].lanes[0] != key {
                self.end_pause(server, resp3);
            }
            for request in pending {
                self.hand(key, request);
            }
            if link_is_unwanted(&self.links[key], &self.clients) {
                self.give_up_link(key, &LinkError::Moved);
            }
        }
        Ok(())
    }

    /// An error reply: about the request, or about the server. `error` is what was refused, `body` what the client reads.
    fn take_error(&mut self, key: FlightKey, link: usize, error: &[u8], body: &[u8], large: Option<Bytes>) {
        let Some(refusal) = Refusal::of(error) else { return self.take_answer(key, link, body, large) };
        let (server, record) = (self.links[link].server, &self.records[key]);
        let (shard, any, guarded) = (record.shard, record.any, record.own && !matches!(record.job, Job::Block));
        let reason = if refusal == Refusal::NotLeader { RefusalReason::NotLeader } else { RefusalReason::Loading };
        self.stats.retries(reason).add(1);
        if refusal == Refusal::Cluster {
            let error = self.cluster_node_error(server);
            return self.take_answer(key, link, error.as_bytes(), None);
        }
        if any && refusal != Refusal::NotLeader && self.shards[shard].leader != Some(server) {
            return self.repeat(key, server);
        }
        if self.shards[shard].leader == Some(server) {
            self.doubt(shard);
            self.servers[server].role = None;
        }
        // What is watched is known to the server alone, and it leads no more.
        if guarded {
            let error = format!("-{}\r\n", errors::EXEC_UNGUARDED);
            self.take_answer(key, link, error.as_bytes(), None);
            return self.give_up_link(link, &LinkError::Moved);
        }
        if let Some(link) = self.links.get_mut(link).filter(|link| link.usage == Use::Shared) {
            link.draining = true;
        }
        self.park_refused(key);
    }

    fn cluster_node_error(&mut self, server: usize) -> String {
        let (addr, shard) = (&self.servers[server].addr, self.shard_name(self.servers[server].shard));
        let text = format!(
            "ERR server {addr} of shard {shard} is a node of a Redis Cluster, which a file of Redis shards cannot name"
        );
        if self.servers[server].trouble.as_ref() != Some(&text) {
            tracing::error!("{text}");
            self.servers[server].trouble = Some(text.clone());
        }
        format!("-{text}\r\n")
    }

    /// A server answered a request.
    #[inline]
    fn take_answer(&mut self, key: FlightKey, link: usize, body: &[u8], large: Option<Bytes>) {
        if self.clients[self.records[key].client as usize].refused > 0 && self.is_stale(key) {
            return self.park_refused(key);
        }
        let outcome = if is_error(body) { Outcome::Error } else { Outcome::Ok };
        self.count_answer(key, outcome);
        let record = &self.records[key];
        let (shard, client, sequence) = (record.shard, record.client, record.sequence);
        if !record.write {
            self.count_read(shard, self.links[link].server);
        }
        if self.clients[client as usize].refused > 0 {
            self.forsake_refused(client, shard, sequence);
        }
        self.answer(key, body, large);
    }

    #[inline]
    pub(super) fn count_answer(&mut self, key: FlightKey, outcome: Outcome) {
        let record = &self.records[key];
        let took = self.now.since(record.born);
        self.shards[record.shard].stats.latencies(record.class, outcome).record(took);
        if self.slow_from.is_some_and(|slow| took >= slow) {
            self.note_slow(key, took);
        }
    }

    /// Puts an answer into its place. The request is in no queue any more.
    #[inline]
    pub(super) fn answer(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        match self.records[key].job {
            Job::Plain => self.deliver(key, body, large),
            Job::Part(whole) => {
                keep_reply(&mut self.records[key], body, large);
                self.part_answered(whole);
            }
            _ => self.answer_specially(key, body, large),
        }
    }

    /// Gives the client its answer, when all before it have gone.
    #[inline]
    pub(super) fn deliver(&mut self, key: FlightKey, body: &[u8], large: Option<Bytes>) {
        let record = &mut self.records[key];
        let client_key = record.client;
        let client = &mut self.clients[client_key as usize];
        if client.first != key {
            return keep_reply(record, body, large);
        }
        let muted = record.muted;
        if !muted {
            let output = self.output(client_key);
            match large {
                Some(large) => output.put_shared(large),
                None => output.put(body),
            }
        }
        self.dismiss_first(client_key);
        self.pass_ready(client_key);
    }

    /// Sends the replies that are ready and first in order.
    pub(super) fn pass_ready(&mut self, client_key: u32) {
        loop {
            let first = self.clients[client_key as usize].first;
            let Some(key) = first.some().filter(|key| self.records[*key].state == State::Ready) else { break };
            let record = &mut self.records[key];
            let (bytes, large) = (std::mem::take(&mut record.bytes), record.large.take());
            if !record.muted {
                let output = self.output(client_key);
                match large {
                    Some(large) => output.put_shared(large),
                    None => output.put(&bytes),
                }
            }
            self.records[key].bytes = bytes;
            self.dismiss_first(client_key);
        }
        self.mark_client(client_key);
        self.consider_resuming(client_key);
    }

    #[inline]
    fn dismiss_first(&mut self, client_key: u32) {
        let client = &mut self.clients[client_key as usize];
        let key = client.first;
        client.dismiss_first(&self.records);
        self.records.free(key);
    }

    fn part_answered(&mut self, whole: FlightKey) {
        let Job::Scatter(scatter) = &mut self.records[whole].job else { unreachable!("a part's whole is scattered") };
        scatter.missing -= 1;
        if scatter.missing > 0 {
            return;
        }
        let Job::Scatter(scatter) = std::mem::replace(&mut self.records[whole].job, Job::Plain) else { return };
        let mut merged = self.buffers.pop().unwrap_or_default();
        let records = &self.records;
        let part =
            |key: &FlightKey| PartReply { shard: self.shard_name(records[*key].shard), bytes: records[*key].body() };
        if scatter.info {
            let keys = scatter.parts.iter().filter_map(|part| integer(records[*part].body())).sum::<i64>();
            self.finish_info(whole, keys.unsigned_abs(), &mut merged);
        } else {
            let replies: Vec<_> = scatter.parts.iter().map(part).collect();
            merge_replies(&scatter, &replies, &mut merged);
        }
        scatter.parts.iter().for_each(|part| self.records.free(*part));
        if merged.len() > COPY_BYTES_MAX {
            let large = Bytes::from(merged);
            self.deliver(whole, &[], Some(large));
        } else {
            self.deliver(whole, &merged, None);
            self.pool_buffer(merged);
        }
    }

    /// The client's output, with a buffer.
    #[inline]
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
    #[inline]
    pub(super) fn mark_client(&mut self, client_key: u32) {
        let client = &mut self.clients[client_key as usize];
        if !client.dirty && (!client.output.is_empty() || client.closing) {
            client.dirty = true;
            self.dirty_clients.push(client_key);
        }
    }

    /// What is to be sent to a server.
    pub fn node_output(&self, node: NodeIndex) -> &Outbox {
        self.links.get(node.at()).map_or(&self.no_output, |link| &link.outbox)
    }

    /// Notes that bytes were sent to a server.
    pub fn node_sent(&mut self, node: NodeIndex, count: usize) {
        if let Some(link) = self.links.get_mut(node.at()) {
            link.outbox.advance(count);
        }
    }
}

/// Whether the client for which a connection was opened has gone meanwhile.
fn link_is_unwanted(link: &super::link::Link, clients: &slab::Slab<super::client::Client>) -> bool {
    matches!(link.usage, Use::Own(Some(client)) if clients.get(client as usize).is_none_or(|client| client.own.is_none()))
}

#[inline]
fn keep_reply(record: &mut Record, body: &[u8], large: Option<Bytes>) {
    record.bytes.clear();
    record.state = State::Ready;
    record.large = large;
    if record.large.is_none() {
        record.bytes.extend_from_slice(body);
    }
}
