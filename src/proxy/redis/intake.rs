//! From a client's bytes to requests on their way.
//!
//! Requests are parsed where they lie and go on as they came: a RESP array of byte strings is what servers read. Only the start of
//! one of which not all has come is kept. A limit stops parsing between two requests, and the client's socket is not
//! read; what stopped it later makes it go on.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Engine;
use super::client::Client;
use super::record::{Job, State};
use crate::control::routing::ShardIndex;
use crate::frontend::{Session, needs_views};
use crate::protocol::command::{
    CommandId, CommandSpec, Flag, Group, Merge, Route, resolve_with_foreign, stream_options,
};
use crate::protocol::errors;
use crate::protocol::frame::ReadLevel;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Form, Parsed, write_array};
use crate::proxy::engine::{Cut, FlightKey, LinkError, Order, Scatter};
use crate::proxy::metrics::CommandClass;
use crate::proxy::outbox::{COPY_BYTES_MAX, KEPT_BYTES_MAX, Outbox};
use crate::topology::Slot;

/// Bytes that are read of a client that waits in a blocking command.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Of a cursor, the bits that are the server's; above them is the shard.
const CURSOR_BITS: u32 = 48;
/// Commands that would promise what these servers do not keep.
const WAIT_REFUSED: &str = "ERR WAIT is not for shards of Redis servers: their connections serve many clients";
const SAVE_REFUSED: &str =
    "ERR SAVE is not for clients of a proxy: what is on the disks of these servers is theirs to say";

const PUBSUB_REFUSED: &str =
    "ERR pub/sub is not for shards of Redis servers: this proxy does not pass messages on; ask the servers themselves";

/// Whether a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was, and is answered or will be.
    Yes,
    /// Not yet: the client is stalled.
    Later,
}

impl Engine {
    /// A client came. `session` knows its address.
    pub fn client_opened(&mut self, session: Session, address: Option<SocketAddr>, local: Option<SocketAddr>) -> u32 {
        self.stats.connections_taken.add(1);
        self.stats.connections.set(self.client_count() as u64 + 1);
        let client = Client { address, local_address: local, ..Client::new(session, self.now) };
        self.clients.insert(client) as u32
    }

    /// Bytes from a client. It is not to be read again while [`Self::wants_input`] is false.
    pub fn client_data(&mut self, key: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        self.stats.bytes_in.add(bytes.len() as u64);
        if client.closing {
            return;
        }
        if client.blocked {
            // Taken as soon as what it waits for is answered.
            client.input.extend_from_slice(bytes);
            client.input_wanted = 0;
            return self.stall(key);
        }
        if client.input.is_empty() {
            let taken = self.take_requests(key, bytes, None);
            return self.keep_input(key, &bytes[taken..]);
        }
        client.input.extend_from_slice(bytes);
        if client.input.len() >= client.input_wanted {
            self.take_input(key);
        }
    }

    /// Whether a client's socket is to be read.
    pub fn wants_input(&self, key: u32) -> bool {
        self.clients.get(key as usize).is_some_and(|c| {
            // A client that waits is read on, so that its end is noticed.
            !c.closing && (!c.stalled || c.blocked && c.input.len() < INPUT_BYTES_MAX)
        })
    }

    /// A client will send nothing more; what it asked is still answered, unless it only waits.
    pub fn client_ended(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        if client.blocked {
            let id = client.id;
            self.forget_client(key);
            return self.orders.push(Order::CloseClient(key, id));
        }
        client.closing = true;
        self.close_if_done(key);
    }

    /// A client's connection broke.
    pub fn client_broke(&mut self, key: u32) {
        if self.clients.contains(key as usize) {
            self.forget_client(key);
        }
    }

    /// What is to be sent to a client.
    pub fn client_output(&self, key: u32) -> Option<&Outbox> {
        self.clients.get(key as usize).map(|c| &c.output)
    }

    /// Notes that bytes were sent to a client.
    pub fn client_sent(&mut self, key: u32, count: usize) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        self.stats.bytes_out.add(count as u64);
        client.output.advance(count);
        client.progress = self.now;
        if client.output.is_empty() && client.is_answered() {
            let buffer = client.output.take_buffer();
            self.pool_buffer(buffer);
        }
        self.consider_resuming(key);
        self.close_if_done(key);
    }

    /// Closes idle clients now and the others as soon as they are answered; new bytes are not read.
    pub fn drain(&mut self) {
        let keys: Vec<u32> = self.clients.iter().map(|(key, _)| key as u32).collect();
        keys.into_iter().for_each(|key| self.client_ended(key));
    }

    /// Whether no client is left.
    pub fn is_drained(&self) -> bool {
        self.clients.is_empty()
    }

    fn close_if_done(&mut self, key: u32) {
        if let Some(client) = self.clients.get(key as usize).filter(|c| c.closing && c.is_done()) {
            let id = client.id;
            self.forget_client(key);
            self.orders.push(Order::CloseClient(key, id));
        }
    }

    /// Frees all that a client has.
    pub(super) fn forget_client(&mut self, key: u32) {
        self.set_blocked(key, false);
        let client = &mut self.clients[key as usize];
        if std::mem::take(&mut client.stalled) {
            self.stalled -= 1;
        }
        self.transaction_bytes -= client.transaction_bytes;
        let input = std::mem::take(&mut client.input);
        let (mut next, own) = (client.first.some(), client.own);
        while let Some(record) = next {
            next = self.records[record].next.some();
            if let Job::Scatter(scatter) = std::mem::replace(&mut self.records[record].job, Job::Plain) {
                scatter.parts.iter().for_each(|part| self.forget_record(*part));
            }
            self.forget_record(record);
        }
        // The server is to notice that nobody waits or watches any more.
        if let Some(own) = own {
            self.clients[key as usize].own = None;
            self.give_up_link(own, &LinkError::Moved);
        }
        self.pool_buffer(input);
        self.clients.remove(key as usize);
        self.stats.connections.set(self.client_count() as u64);
    }

    fn forget_record(&mut self, key: FlightKey) {
        if self.records[key].state == State::Waiting {
            self.withdraw_anywhere(key);
        }
        self.records.free(key);
    }

    /// Looks at a client again that a limit stopped.
    #[inline]
    pub(super) fn consider_resuming(&mut self, key: u32) {
        let Some(client) = self.clients.get(key as usize).filter(|c| c.stalled && !c.closing) else { return };
        if self.has_room(client) {
            self.resumable.push((key, client.id));
        }
    }

    pub(super) fn resume_client(&mut self, key: u32, id: u64) {
        let Some(client) = self.clients.get_mut(key as usize).filter(|c| c.id == id && c.stalled) else { return };
        client.stalled = false;
        self.stalled -= 1;
        self.take_input(key);
        if self.wants_input(key) {
            self.orders.push(Order::ResumeClient(key));
        }
    }

    #[inline]
    fn has_room(&self, client: &Client) -> bool {
        let limits = &self.settings.limits;
        client.in_flight < limits.pipeline_depth_max
            && client.awaited.is_none()
            && (!client.draining || client.is_answered())
            && client.in_flight_bytes < limits.in_flight_bytes_max
            && client.output.waiting_bytes() < limits.output_bytes_max
            && (client.waiting == 0
                || self.waiting < limits.waiting_requests_max && self.waiting_bytes < limits.waiting_bytes_max)
    }

    fn stall(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        if !std::mem::replace(&mut client.stalled, true) {
            self.stalled += 1;
        }
        // Answers to this client alone do not make room for waiting requests.
        if client.waiting > 0 {
            self.postponed.push((key, client.id));
        }
    }

    /// Parses what is kept of a client's input.
    fn take_input(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        let mut input = std::mem::take(&mut client.input);
        if input.len() <= KEPT_BYTES_MAX {
            let taken = self.take_requests(key, &input, None);
            input.drain(..taken);
            match self.clients.get_mut(key as usize) {
                Some(client) if !input.is_empty() => client.input = input,
                _ => self.pool_buffer(input),
            }
            return;
        }
        // Large requests go on as they are: their bytes are shared, not copied.
        let input = Bytes::from(input);
        let taken = self.take_requests(key, &input, Some(&input));
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        let rest = input.slice(taken..);
        drop(input);
        client.input = Vec::from(rest);
    }

    fn keep_input(&mut self, key: u32, rest: &[u8]) {
        if rest.is_empty() || self.clients.get(key as usize).is_none_or(|c| c.closing) {
            return;
        }
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.extend_from_slice(rest);
        self.clients[key as usize].input = buffer;
    }

    /// Takes the requests that `buffer` starts with; returns how many bytes they are.
    fn take_requests(&mut self, key: u32, buffer: &[u8], shared: Option<&Bytes>) -> usize {
        let (mut spans, mut side) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.side));
        let limits = self.settings.request_limits;
        let mut taken = 0;
        while taken < buffer.len() {
            let client = &self.clients[key as usize];
            if client.closing {
                taken = buffer.len();
                break;
            }
            if !self.has_room(client) {
                self.stall(key);
                break;
            }
            let rest = &buffer[taken..];
            let client = &mut self.clients[key as usize];
            client.draining = false;
            match client.parser.parse(rest, &limits, &mut spans, &mut side) {
                Ok(Parsed::Request { consumed, form }) => {
                    let bytes = if form == Form::InPlace { &rest[..consumed] } else { &side };
                    let large = shared.filter(|_| form == Form::InPlace && consumed > COPY_BYTES_MAX);
                    let large = large.map(|s| s.slice(taken..taken + consumed));
                    if self.take_request(key, Args::new(bytes, &spans), large) == Taken::Later {
                        self.stall(key);
                        break;
                    }
                    taken += consumed;
                }
                Ok(Parsed::Empty { consumed }) => taken += consumed,
                Ok(Parsed::Incomplete { bytes_min }) => {
                    client.input_wanted = bytes_min;
                    break;
                }
                Err(error) => {
                    self.reply_here(key, |out| error.write(out));
                    self.clients[key as usize].closing = true;
                    self.mark_client(key);
                }
            }
        }
        (self.spans, self.side) = (spans, side);
        taken
    }

    #[inline]
    fn take_request(&mut self, key: u32, args: Args<'_>, large: Option<Bytes>) -> Taken {
        let spec = match resolve_with_foreign(args) {
            Ok(spec) => spec,
            Err(error) => match self.take_unresolved(key, args, error) {
                Ok(spec) => spec,
                Err(taken) => return taken,
            },
        };
        if self.now < self.paused_until && self.is_paused(key, spec) {
            return self.postpone(key);
        }
        let session = &mut self.clients[key as usize].session;
        session.note(spec, self.now);
        let transactional = spec.group == Group::Transactions || session.transaction().is_some();
        let taken = match transactional.then(|| self.take_of_transaction(key, spec, args)).flatten() {
            Some(taken) => taken,
            None => self.take_ordinary(key, spec, args, large),
        };
        if taken == Taken::Yes {
            self.stats.requests.add(1);
        }
        taken
    }

    #[inline]
    fn take_ordinary(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, large: Option<Bytes>) -> Taken {
        match spec.route {
            Route::OneShard if spec.is_blocking() || is_blocking_foreign(spec, args) => {
                self.take_blocking(key, spec, args)
            }
            Route::OneShard => self.take_one_shard(key, spec, args, large),
            Route::Split(merge) => self.take_split(key, spec, args, merge, large),
            Route::Connection => self.take_connection(key, spec, args),
            Route::EveryShard(merge) => self.take_every_shard(key, spec, args, merge),
            Route::Cursor => self.take_cursor(key, spec, args),
        }
    }

    fn take_connection(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) -> Taken {
        if needs_views(spec) && self.settings.workers > 1 && !self.has_views(key) {
            let id = self.clients[key as usize].id;
            self.orders.push(Order::CollectViews(key, id));
            return Taken::Later;
        }
        // What comes behind it goes on other connections: it must not overtake what came before.
        if matches!(spec.id, CommandId::Hello | CommandId::Reset) && !self.clients[key as usize].is_answered() {
            self.clients[key as usize].draining = true;
            return Taken::Later;
        }
        self.stats.answered_here.add(1);
        match spec.id {
            CommandId::Wait => self.error_here(key, WAIT_REFUSED),
            CommandId::Save => self.error_here(key, SAVE_REFUSED),
            CommandId::Foreign => self.error_here(key, PUBSUB_REFUSED),
            _ if self.wants_keys(spec, args) => self.take_info(key, args),
            _ => self.answer_here(key, spec, args),
        }
        self.settle_own(key);
        Taken::Yes
    }

    /// Lets a client try again with the next tick.
    pub(super) fn postpone(&mut self, key: u32) -> Taken {
        let id = self.clients[key as usize].id;
        self.postponed.push((key, id));
        Taken::Later
    }

    /// The shard of all keys of a request, and the slot of the first.
    ///
    /// # Errors
    /// The keys are of several shards.
    #[inline]
    pub(super) fn place(
        &self,
        spec: &CommandSpec,
        args: Args<'_>,
    ) -> Result<Option<(usize, Option<Slot>)>, &'static str> {
        let mut found: Option<(usize, Slot)> = None;
        for position in spec.key_positions(args) {
            let slot = Slot::of_key(args.get(position));
            let Some(shard) = self.owner(slot) else { return Ok(None) };
            match found {
                None => found = Some((shard, slot)),
                Some((known, _)) if known == shard => {}
                Some(_) => return Err(errors::CROSS_SLOT),
            }
        }
        // A command without keys that one shard answers may go to any.
        Ok(match found {
            Some((shard, slot)) => Some((shard, Some(slot))),
            None => self.order.first().map(|shard| (*shard, None)),
        })
    }

    #[inline]
    fn take_one_shard(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>, large: Option<Bytes>) -> Taken {
        match self.place(spec, args) {
            Ok(Some((shard, slot))) => {
                let record = self.prepare(key, spec, args.bytes(), large);
                self.launch(record, shard, slot);
            }
            Ok(None) => self.error_here(key, errors::NO_OWNER),
            Err(text) => self.refuse_cross_slot(key, text),
        }
        Taken::Yes
    }

    pub(super) fn refuse_cross_slot(&mut self, key: u32, text: &str) {
        self.stats.cross_slot.add(1);
        self.error_here(key, text);
    }

    fn take_blocking(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>) -> Taken {
        let (shard, slot) = match self.place(spec, args) {
            Ok(Some(place)) => place,
            Ok(None) => {
                self.error_here(key, errors::NO_OWNER);
                return Taken::Yes;
            }
            Err(text) => {
                self.refuse_cross_slot(key, text);
                return Taken::Yes;
            }
        };
        if self.must_drain(key) {
            return Taken::Later;
        }
        let record = self.prepare(key, spec, args.bytes(), None);
        let it = &mut self.records[record];
        (it.job, it.own, it.any, it.class) = (Job::Block, true, false, CommandClass::Blocking);
        self.clients[key as usize].awaited = Some(record);
        self.set_blocked(key, true);
        self.launch(record, shard, slot);
        Taken::Yes
    }

    /// Whether a request has to wait until all before it are answered: it goes on another connection than those.
    pub(super) fn must_drain(&mut self, key: u32) -> bool {
        let client = &mut self.clients[key as usize];
        client.draining = !client.is_answered();
        client.draining
    }

    fn take_split(
        &mut self,
        key: u32,
        spec: &CommandSpec,
        args: Args<'_>,
        merge: Merge,
        large: Option<Bytes>,
    ) -> Taken {
        if args.len() <= 1 + spec.key_step() {
            return self.take_one_shard(key, spec, args, large);
        }
        let owner = |slot| self.owner(slot).map(|shard| ShardIndex(shard as u32));
        let Some(cut) = Cut::new(args, spec.key_step(), owner) else {
            self.error_here(key, errors::NO_OWNER);
            return Taken::Yes;
        };
        if let [part] = &cut.parts[..] {
            let record = self.prepare(key, spec, args.bytes(), large);
            self.launch(record, part.shard.0 as usize, Some(part.slot));
            return Taken::Yes;
        }
        let whole = self.enlist_scatter(key, spec, args.bytes().len());
        let mut scatter = Scatter::new(merge, spec.is_write(), cut.parts.len(), 0);
        for (index, part) in cut.parts.iter().enumerate() {
            let record = self.claim_part(key, spec, whole);
            scatter.parts.push(record);
            let mut bytes = std::mem::take(&mut self.records[record].bytes);
            cut.write_part(args, index, &mut bytes);
            self.fill(record, bytes);
            self.records[record].shard = part.shard.0 as usize;
            self.records[record].slot = Some(part.slot);
        }
        scatter.part_of_key = cut.part_of_key;
        self.launch_parts(whole, scatter);
        Taken::Yes
    }

    fn fill(&mut self, record: FlightKey, bytes: Vec<u8>) {
        let record = &mut self.records[record];
        if bytes.len() > COPY_BYTES_MAX {
            record.large = Some(Bytes::from(bytes));
        } else {
            record.bytes = bytes;
        }
    }

    fn launch_parts(&mut self, whole: FlightKey, scatter: Scatter) {
        let parts = scatter.parts.clone();
        self.records[whole].job = Job::Scatter(Box::new(scatter));
        parts.into_iter().for_each(|part| self.dispatch(part));
    }

    fn take_every_shard(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>, merge: Merge) -> Taken {
        match self.order[..] {
            [] => self.error_here(key, errors::NO_OWNER),
            [shard] => {
                let record = self.prepare(key, spec, args.bytes(), None);
                self.launch(record, shard, None);
            }
            _ => {
                let coin = self.coin.toss();
                self.scatter_to_all(key, spec, args.bytes(), merge, coin, false);
            }
        }
        Taken::Yes
    }

    /// Sends the same request to every shard that has slots.
    pub(super) fn scatter_to_all(
        &mut self,
        key: u32,
        spec: &CommandSpec,
        request: &[u8],
        merge: Merge,
        coin: u64,
        info: bool,
    ) -> FlightKey {
        let whole = self.enlist_scatter(key, spec, request.len());
        let shards = self.order.clone();
        let mut scatter = Scatter { info, ..Scatter::new(merge, spec.is_write(), shards.len(), coin) };
        for shard in shards {
            let record = self.claim_part(key, spec, whole);
            scatter.parts.push(record);
            self.records[record].bytes.extend_from_slice(request);
            (self.records[record].shard, self.records[record].slot) = (shard, None);
        }
        self.launch_parts(whole, scatter);
        whole
    }

    /// A cursor's upper bits are the shard at which the scan goes on. Only its leader knows the rest.
    fn take_cursor(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>) -> Taken {
        let cursor = std::str::from_utf8(args.get(1)).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(cursor) = cursor else {
            self.error_here(key, errors::INVALID_CURSOR);
            return Taken::Yes;
        };
        let place = (cursor >> CURSOR_BITS) as usize;
        let shard = if cursor == 0 { self.order.first().copied() } else { place.checked_sub(1) };
        let Some(shard) = shard.filter(|shard| self.order.contains(shard)) else {
            let text = if self.order.is_empty() { errors::NO_OWNER } else { errors::INVALID_CURSOR };
            self.error_here(key, text);
            return Taken::Yes;
        };
        let servers_own = (cursor & ((1 << CURSOR_BITS) - 1)).to_string();
        let mut request = Vec::new();
        let words: Vec<&[u8]> = [args.name(), servers_own.as_bytes()].into_iter().chain(args.from(2)).collect();
        write_array(&mut request, words.into_iter());
        let record = self.prepare(key, spec, &request, None);
        (self.records[record].job, self.records[record].any) = (Job::Cursor, false);
        self.launch(record, shard, None);
        Taken::Yes
    }

    /// The cursor that follows one of a shard's own: none, if that was the end of the last shard.
    pub(super) fn next_cursor(&self, shard: usize, servers_own: u64) -> Option<u64> {
        if servers_own >> CURSOR_BITS != 0 {
            return None;
        }
        let tagged = |shard: usize, own: u64| (shard as u64 + 1) << CURSOR_BITS | own;
        if servers_own != 0 {
            return Some(tagged(shard, servers_own));
        }
        let at = self.order.iter().position(|other| *other == shard);
        let next = at.and_then(|at| self.order.get(at + 1));
        Some(next.map_or(0, |next| tagged(*next, 0)))
    }

    /// A request that is not cut, in its client's order of replies.
    #[inline]
    pub(super) fn prepare(&mut self, key: u32, spec: &CommandSpec, bytes: &[u8], large: Option<Bytes>) -> FlightKey {
        let client = &mut self.clients[key as usize];
        let record_key = self.records.claim(key, self.now);
        let record = &mut self.records[record_key];
        record.write = spec.is_write();
        record.class = if record.write { CommandClass::Write } else { CommandClass::Read };
        record.resp3 = client.session.resp3();
        record.any = !record.write && client.session.reads_now() == ReadLevel::Any;
        record.muted = !client.session.starts_request();
        record.cost_bytes = bytes.len();
        if bytes.len() > COPY_BYTES_MAX {
            record.large = Some(large.unwrap_or_else(|| Bytes::copy_from_slice(bytes)));
        } else {
            record.bytes.extend_from_slice(bytes);
        }
        client.enlist(&mut self.records, record_key);
        record_key
    }

    fn claim_part(&mut self, key: u32, spec: &CommandSpec, whole: FlightKey) -> FlightKey {
        let session = &self.clients[key as usize].session;
        let record_key = self.records.claim(key, self.now);
        let record = &mut self.records[record_key];
        record.job = Job::Part(whole);
        record.write = spec.is_write();
        record.class = CommandClass::Multi;
        record.resp3 = session.resp3();
        record.any = !record.write && session.reads_now() == ReadLevel::Any;
        record_key
    }

    fn enlist_scatter(&mut self, key: u32, spec: &CommandSpec, cost_bytes: usize) -> FlightKey {
        let client = &mut self.clients[key as usize];
        let record_key = self.records.claim(key, self.now);
        let record = &mut self.records[record_key];
        record.state = State::Scattered;
        record.write = spec.is_write();
        record.muted = !client.session.starts_request();
        record.cost_bytes = cost_bytes;
        client.enlist(&mut self.records, record_key);
        record_key
    }

    /// Sends a request on its way to a shard.
    #[inline]
    pub(super) fn launch(&mut self, record_key: FlightKey, shard: usize, slot: Option<Slot>) {
        let record = &mut self.records[record_key];
        record.shard = shard;
        record.slot = slot;
        self.dispatch(record_key);
    }

    /// Answers a request in its place in the order of replies.
    pub(super) fn reply_here(&mut self, key: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.clients[key as usize].is_answered() {
            self.output(key).put_with(write);
            return self.mark_client(key);
        }
        let record_key = self.records.claim(key, self.now);
        let record = &mut self.records[record_key];
        write(&mut record.bytes);
        record.state = State::Ready;
        self.clients[key as usize].enlist(&mut self.records, record_key);
    }

    /// As [`Self::reply_here`], unless the client wants no reply.
    pub(super) fn complain_here(&mut self, key: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.clients[key as usize].session.starts_request() {
            self.reply_here(key, write);
        }
    }

    pub(super) fn error_here(&mut self, key: u32, text: &str) {
        self.complain_here(key, |out| ReplyWriter::new(out, false).error(text));
    }

    /// Closes clients that do not read what they asked for.
    pub(super) fn cut_slow_readers(&mut self) {
        let limits = &self.settings.limits;
        let late = self.clients.iter().filter(|(_, c)| {
            c.output.waiting_bytes() > limits.output_bytes_hard_max && self.now.since(c.progress) >= limits.unread_max
        });
        let late: Vec<_> = late.map(|(key, c)| (key as u32, c.id, c.output.waiting_bytes())).collect();
        for (key, id, bytes) in late {
            tracing::warn!(client = id, unread_bytes = bytes, "client disconnected: it does not read its replies");
            self.forget_client(key);
            self.orders.push(Order::CloseClient(key, id));
        }
    }
}

/// Whether a client may have to wait for a command that only servers know.
fn is_blocking_foreign(spec: &CommandSpec, args: Args<'_>) -> bool {
    spec.id == CommandId::Foreign && (spec.flags.has(Flag::Blocking) || is_blocking_read(spec, args))
}

/// Reads of streams say among their options whether they wait; what they name after `GROUP` may be any word.
fn is_blocking_read(spec: &CommandSpec, args: Args<'_>) -> bool {
    spec.name.starts_with("xread")
        && (stream_options(args)..args.len()).take_while(|at| !args.is(*at, "streams")).any(|at| args.is(at, "block"))
}
