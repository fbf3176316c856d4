//! From a client's bytes to requests in flight.
//!
//! Requests are parsed where they lie; only the start of one of which not all has come is kept. A limit stops parsing
//! between two requests and the client's socket is not read; what stopped it later makes it go on.

use std::net::SocketAddr;

use bytes::Bytes;

use super::client::Client;
use super::flight::{FlightKey, Purpose, State};
use super::scatter::{Cut, Scatter};
use super::{Engine, Order, blocked};
use crate::control::routing::ShardIndex;
use crate::frontend::{Session, needs_views, transaction};
use crate::protocol::command::{CommandSpec, Merge, Route, blocking_timeout, resolve};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::{Args, Form, Parsed};
use crate::proxy::metrics::CommandClass;
use crate::proxy::outbox::{COPY_BYTES_MAX, KEPT_BYTES_MAX, Outbox};
use crate::topology::Slot;

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
        let client = Client::new(session, self.routing.changes(), self.now);
        let client = Client { address, local_address: local, ..client };
        self.clients.insert(client) as u32
    }

    /// Bytes from a client. It is not to be read again while [`Self::wants_input`] is false.
    pub fn client_data(&mut self, key: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        self.stats.bytes_in.add(bytes.len() as u64);
        if client.closing {
            return;
        }
        if client.wait.is_some() {
            return self.keep_more_input(key, bytes);
        }
        if client.input.is_empty() {
            // What waits for a catalog waits from when it came, not each after the other.
            client.uncharted_since = None;
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
            let has_room = c.wait.is_none() || c.input.len() < blocked::INPUT_BYTES_MAX;
            !c.stalled && !c.closing && has_room
        })
    }

    /// A client will send nothing more; what it asked is still answered.
    pub fn client_ended(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        if client.wait.is_some() {
            return self.blocked_client_ended(key);
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
        if client.output.is_empty() && client.first.some().is_none() {
            let buffer = client.output.take_buffer();
            self.pool_buffer(buffer);
        }
        self.consider_resuming(key);
        self.close_if_done(key);
    }

    /// Closes idle clients now and the others as soon as they are answered; new bytes are not read.
    pub fn drain(&mut self) {
        let keys: Vec<_> = self.real_clients().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.client_ended(key));
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
        let gone = self.abandon_wait(key);
        self.forget_cancels(key);
        let client = &mut self.clients[key as usize];
        if std::mem::take(&mut client.stalled) {
            self.stalled -= 1;
        }
        self.transaction_bytes -= client.transaction_bytes;
        client.awaited = None;
        let input = std::mem::take(&mut client.input);
        let mut next = client.first.some();
        while let Some(flight) = next {
            next = self.flights[flight].next_in_order.some();
            let parts = self.flights[flight].scatter.take().map(|s| s.parts).unwrap_or_default();
            parts.into_iter().for_each(|part| self.forget_flight(part));
            self.forget_flight(flight);
        }
        self.pool_buffer(input);
        self.clients.remove(key as usize);
        self.stats.connections.set(self.client_count() as u64);
        gone.into_iter().for_each(|gone| self.tell_gone(gone));
    }

    pub(super) fn forget_flight(&mut self, key: FlightKey) {
        let flight = &self.flights[key];
        match flight.state {
            State::Handed => {
                self.came_back(key);
                self.leave_line(key);
            }
            State::Waiting | State::Refused => self.leave_line(key),
            State::Scattered | State::Ready | State::Free => {}
        }
        // Whatever becomes of it now, nobody waits for it.
        self.give_back_name(key);
        self.flights.free(key);
    }

    /// Looks at a client again that a limit stopped.
    pub(super) fn consider_resuming(&mut self, key: u32) {
        let Some(client) = self.clients.get(key as usize).filter(|c| c.stalled && !c.closing) else { return };
        if self.has_room(client) {
            let id = client.id;
            self.resumable.push((key, id));
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

    fn has_room(&self, client: &Client) -> bool {
        let limits = &self.settings.limits;
        let room_to_wait = self.waiting < limits.waiting_requests_max && self.waiting_bytes < limits.waiting_bytes_max;
        client.awaited.is_none()
            && client.held == 0
            && client.in_flight < limits.pipeline_depth_max
            && client.in_flight_bytes < limits.in_flight_bytes_max
            && client.output.waiting_bytes() < limits.output_bytes_max
            && (client.waiting == 0 || room_to_wait)
    }

    fn stall(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        if !std::mem::replace(&mut client.stalled, true) {
            self.stalled += 1;
        }
        // Answers to this client alone do not make room for waiting requests.
        if client.waiting > 0 {
            let id = client.id;
            self.postponed.push((key, id));
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

    /// Keeps what a client sends while nothing is taken from it.
    fn keep_more_input(&mut self, key: u32, bytes: &[u8]) {
        if self.clients[key as usize].input.is_empty() {
            return self.keep_input(key, bytes);
        }
        self.clients[key as usize].input.extend_from_slice(bytes);
    }

    fn keep_input(&mut self, key: u32, rest: &[u8]) {
        if !rest.is_empty() && self.wants_or_stalled(key) {
            let mut buffer = self.pooled_buffer();
            buffer.extend_from_slice(rest);
            self.clients[key as usize].input = buffer;
        }
    }

    fn wants_or_stalled(&self, key: u32) -> bool {
        self.clients.get(key as usize).is_some_and(|c| !c.closing)
    }

    /// Takes the requests that `buffer` starts with; returns how many bytes they are.
    fn take_requests(&mut self, key: u32, buffer: &[u8], shared: Option<&Bytes>) -> usize {
        let (mut spans, mut side) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.side));
        let mut taken = 0;
        loop {
            let client = &self.clients[key as usize];
            if client.closing {
                taken = buffer.len();
                break;
            }
            if taken == buffer.len() || client.wait.is_some() {
                break;
            }
            if !self.has_room(client) {
                self.stall(key);
                break;
            }
            let rest = &buffer[taken..];
            let limits = &self.settings.request_limits;
            match self.clients[key as usize].parser.parse(rest, limits, &mut spans, &mut side) {
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
                    self.clients[key as usize].input_wanted = bytes_min;
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
        if self.routing.cluster().is_some() {
            self.clients[key as usize].uncharted_since = None;
        }
        taken
    }

    fn take_request(&mut self, key: u32, args: Args<'_>, large: Option<Bytes>) -> Taken {
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                let mut reply = Vec::new();
                transaction::complain(error, args, &mut self.clients[key as usize].session, &mut reply);
                self.complain_here(key, |out| out.extend_from_slice(&reply));
                self.weigh_transaction(key);
                return Taken::Yes;
            }
        };
        if self.is_paused(key, spec) {
            return self.postpone(key);
        }
        self.clients[key as usize].session.note(spec, self.now);
        let taken = self.take_resolved(key, spec, args, large);
        if taken == Taken::Yes {
            self.stats.requests.add(1);
        }
        taken
    }

    fn take_resolved(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>, large: Option<Bytes>) -> Taken {
        if let Some(taken) = self.take_of_transaction(key, spec, args) {
            return taken;
        }
        match spec.route {
            Route::Connection => self.take_connection(key, spec, args),
            Route::OneShard => self.take_one_shard(key, spec, args, large),
            Route::Split(merge) => self.take_split(key, spec, args, merge, large),
            Route::EveryShard(merge) => self.take_covering(key, spec, args, merge),
            Route::Cursor => self.take_cursor(key, spec, args),
        }
    }

    fn take_connection(&mut self, key: u32, spec: &'static CommandSpec, args: Args<'_>) -> Taken {
        if needs_views(spec) && self.settings.workers > 1 && !self.has_views(key) {
            let id = self.clients[key as usize].id;
            self.orders.push(Order::CollectViews(key, id));
            return Taken::Later;
        }
        self.stats.answered_here.add(1);
        if self.wants_keys(spec, args) {
            self.take_info(key, args)
        } else {
            self.answer_here(key, spec, args)
        }
        Taken::Yes
    }

    /// Lets a client try again with the next tick.
    pub(super) fn postpone(&mut self, key: u32) -> Taken {
        let id = self.clients[key as usize].id;
        self.postponed.push((key, id));
        Taken::Later
    }

    fn take_one_shard(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>, large: Option<Bytes>) -> Taken {
        let timeout = if spec.is_blocking() { blocking_timeout(spec, args) } else { Ok(None) };
        let timeout = match timeout {
            Ok(timeout) => timeout,
            Err(text) => {
                self.error_here(key, text);
                return Taken::Yes;
            }
        };
        let (mut first, mut many): (Option<(Slot, ShardIndex)>, bool) = (None, false);
        for position in spec.key_positions(args) {
            let slot = Slot::of_key(args.get(position));
            let Some(shard) = self.routing.owner(slot) else { return self.no_owner(key) };
            match first {
                None => first = Some((slot, shard)),
                Some((known_slot, known)) if known == shard => many |= known_slot != slot,
                Some(_) => {
                    self.stats.cross_slot.add(1);
                    self.error_here(key, errors::CROSS_SLOT);
                    return Taken::Yes;
                }
            }
        }
        // A command without keys that one shard answers may go to any.
        let Some((slot, shard)) = first.map(|(slot, shard)| (Some(slot), shard)).or_else(|| self.any_shard()) else {
            return self.no_owner(key);
        };
        let slots = spec.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        if many && self.has_strays_of(key, slots) {
            return self.postpone(key);
        }
        let flight = self.prepare(key, spec, args.bytes(), large);
        self.flights[flight].many = many;
        // Without keys there is an error to be had, and nothing to wait for.
        if spec.is_blocking() && slot.is_some() {
            self.block(key, flight, timeout);
        }
        self.launch(flight, shard, slot);
        Taken::Yes
    }

    fn any_shard(&self) -> Option<(Option<Slot>, ShardIndex)> {
        self.routing.owners().next().map(|shard| (None, shard))
    }

    fn take_split(
        &mut self,
        key: u32,
        spec: &CommandSpec,
        args: Args<'_>,
        merge: Merge,
        large: Option<Bytes>,
    ) -> Taken {
        let step = spec.key_step();
        let Some(cut) = Cut::new(args, step, |slot| self.routing.owner(slot)) else { return self.no_owner(key) };
        if !cut.is_of_one_slot() && self.has_strays_of(key, cut.slots().iter().copied()) {
            return self.postpone(key);
        }
        if let [part] = &cut.parts[..] {
            if spec.is_write() && !cut.is_of_one_slot() {
                let (mut body, split) = (Vec::new(), Some(merge));
                let parts = cut.write_split(args, 0, &mut body);
                let large = (body.len() > COPY_BYTES_MAX).then(|| Bytes::from(std::mem::take(&mut body)));
                let flight = self.prepare(key, spec, &body, large);
                (self.flights[flight].split, self.flights[flight].parts) = (split, parts);
                self.flights[flight].many = part.many;
                self.launch(flight, part.shard, Some(part.slot));
            } else {
                let flight = self.prepare(key, spec, args.bytes(), large);
                self.flights[flight].many = part.many;
                self.launch(flight, part.shard, Some(part.slot));
            }
            return Taken::Yes;
        }
        let whole = self.claim(key, spec);
        let scatter = Scatter::new(merge, spec.is_write(), cut.parts.len(), 0);
        self.enlist_scatter(key, whole, scatter, args.bytes().len());
        for (index, part) in cut.parts.iter().enumerate() {
            let flight = self.claim_part(key, spec, whole);
            if spec.is_write() {
                self.fill_split(flight, args, &cut, index, merge);
            } else {
                let mut bytes = std::mem::take(&mut self.flights[flight].bytes);
                cut.write_part(args, index, &mut bytes);
                self.flights[flight].bytes = bytes;
            }
            self.flights[flight].many = part.many;
            self.launch(flight, part.shard, Some(part.slot));
        }
        if let Some(scatter) = self.flights[whole].scatter.as_mut() {
            scatter.part_of_key = cut.part_of_key;
        }
        Taken::Yes
    }

    /// Makes a flight the part of a write that is for one shard: by slot, so that each slot's write has its own name (R10).
    fn fill_split(&mut self, key: FlightKey, args: Args<'_>, cut: &Cut, part: usize, merge: Merge) {
        let flight = &mut self.flights[key];
        let mut bytes = std::mem::take(&mut flight.bytes);
        let parts = cut.write_split(args, part, &mut bytes);
        (flight.split, flight.parts) = if parts > 1 { (Some(merge), parts) } else { (None, 0) };
        if bytes.len() > COPY_BYTES_MAX {
            flight.large = Some(Bytes::from(bytes));
        } else {
            flight.bytes = bytes;
        }
    }

    /// A cursor's upper bits are the slot at which the scan goes on.
    fn take_cursor(&mut self, key: u32, spec: &CommandSpec, args: Args<'_>) -> Taken {
        let cursor = std::str::from_utf8(args.get(1)).ok().and_then(|text| text.parse::<u64>().ok());
        let slot = cursor.and_then(|c| u16::try_from(c >> 48).ok()).and_then(Slot::new);
        let Some(slot) = slot else {
            self.error_here(key, errors::INVALID_CURSOR);
            return Taken::Yes;
        };
        let Some(shard) = self.routing.owner(slot) else { return self.no_owner(key) };
        self.launch_whole(key, spec, shard, Some(slot), args.bytes(), None);
        Taken::Yes
    }

    /// Before a catalog is known requests wait, bounded in time; with one, a slot without an owner is an error.
    pub(super) fn no_owner(&mut self, key: u32) -> Taken {
        let taken = self.wait_for_owner(key);
        if taken == Taken::Yes {
            self.error_here(key, errors::NO_OWNER);
        }
        taken
    }

    /// Whether a request without a known owner waited long enough.
    pub(super) fn wait_for_owner(&mut self, key: u32) -> Taken {
        let client = &mut self.clients[key as usize];
        let since = *client.uncharted_since.get_or_insert(self.now);
        if self.now.since(since) < self.settings.limits.request_deadline {
            return self.postpone(key);
        }
        Taken::Yes
    }

    fn launch_whole(
        &mut self,
        key: u32,
        spec: &CommandSpec,
        shard: ShardIndex,
        slot: Option<Slot>,
        bytes: &[u8],
        large: Option<Bytes>,
    ) {
        let flight_key = self.prepare(key, spec, bytes, large);
        self.launch(flight_key, shard, slot);
    }

    /// A request that is not cut, in its client's order of replies.
    pub(super) fn prepare(&mut self, key: u32, spec: &CommandSpec, bytes: &[u8], large: Option<Bytes>) -> FlightKey {
        let flight_key = self.claim(key, spec);
        let flight = &mut self.flights[flight_key];
        flight.muted = !self.clients[key as usize].session.starts_request();
        flight.cost_bytes = large.as_ref().map_or(bytes.len(), Bytes::len);
        flight.large = large.or_else(|| (bytes.len() > COPY_BYTES_MAX).then(|| Bytes::copy_from_slice(bytes)));
        if flight.large.is_none() {
            flight.bytes.extend_from_slice(bytes);
        }
        self.clients[key as usize].enlist(&mut self.flights, flight_key);
        flight_key
    }

    pub(super) fn claim(&mut self, key: u32, spec: &CommandSpec) -> FlightKey {
        let client = &mut self.clients[key as usize];
        let came = client.uncharted_since.unwrap_or(self.now);
        let flight_key = self.flights.claim(key, self.now, came + self.settings.limits.request_deadline);
        let flight = &mut self.flights[flight_key];
        flight.write = spec.is_write();
        flight.resp3 = client.session.resp3();
        flight.level = client.session.reads_now();
        flight.class = if flight.write { CommandClass::Write } else { CommandClass::Read };
        flight_key
    }

    pub(super) fn claim_part(&mut self, key: u32, spec: &CommandSpec, whole: FlightKey) -> FlightKey {
        let flight_key = self.claim(key, spec);
        self.flights[flight_key].purpose = Purpose::Part(whole);
        self.flights[flight_key].class = CommandClass::Multi;
        let scatter = self.flights[whole].scatter.as_mut().expect("parts are missing, so it is scattered");
        scatter.parts.push(flight_key);
        flight_key
    }

    pub(super) fn enlist_scatter(&mut self, key: u32, whole: FlightKey, scatter: Scatter, cost_bytes: usize) {
        let flight = &mut self.flights[whole];
        flight.state = State::Scattered;
        flight.muted = !scatter.info && !self.clients[key as usize].session.starts_request();
        flight.cost_bytes = cost_bytes;
        flight.scatter = Some(Box::new(scatter));
        self.clients[key as usize].enlist(&mut self.flights, whole);
    }

    /// Puts a request into its line and hands it over if it can be.
    pub(super) fn launch(&mut self, flight_key: FlightKey, shard: ShardIndex, slot: Option<Slot>) {
        let client_key = self.flights[flight_key].client;
        let shard = match slot.filter(|_| self.may_be_astray(client_key)) {
            Some(slot) => self.line_of_slot(client_key, slot).unwrap_or(shard),
            None => shard,
        };
        let flight = &mut self.flights[flight_key];
        flight.shard = shard;
        flight.slot = slot;
        if matches!(flight.purpose, Purpose::Part(_)) {
            flight.cost_bytes = flight.body().len();
        }
        self.waiting += 1;
        self.waiting_bytes += flight.cost_bytes;
        let client = &mut self.clients[client_key as usize];
        client.waiting += 1;
        let at = client.line_at(shard);
        client.lines[at].append(&mut self.flights, flight_key);
        self.dispatch(client_key, at);
    }

    /// Answers a request in its place in the order of replies.
    pub(super) fn reply_here(&mut self, key: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.clients[key as usize].first.some().is_none() {
            self.output(key).put_with(write);
            return self.mark_client(key);
        }
        let flight_key = self.flights.claim(key, self.now, self.now);
        let flight = &mut self.flights[flight_key];
        write(&mut flight.bytes);
        flight.state = State::Ready;
        self.clients[key as usize].enlist(&mut self.flights, flight_key);
    }

    /// As [`Self::reply_here`], unless the client wants no reply.
    pub(super) fn complain_here(&mut self, key: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.clients[key as usize].session.starts_request() {
            self.reply_here(key, write);
        }
    }

    fn error_here(&mut self, key: u32, text: &str) {
        self.complain_here(key, |out| ReplyWriter::new(out, false).error(text));
    }

    /// Closes clients that do not read what they asked for.
    pub(super) fn cut_slow_readers(&mut self) {
        let limits = &self.settings.limits;
        let late: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, c)| c.output.waiting_bytes() > limits.output_bytes_hard_max)
            .filter(|(_, c)| self.now.since(c.progress) >= limits.unread_max)
            .map(|(key, c)| (key as u32, c.id, c.output.waiting_bytes()))
            .collect();
        for (key, id, bytes) in late {
            tracing::warn!(client = id, unread_bytes = bytes, "client disconnected: it does not read its replies");
            self.forget_client(key);
            self.orders.push(Order::CloseClient(key, id));
        }
    }
}
