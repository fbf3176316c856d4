//! Clients whose blocking command has no answer yet.
//!
//! Such a request has a name of its own, so it may be sent again whatever becomes of nodes and connections: its shard
//! executes it once and says the same every time. It ends when the shard answers it. The client's own time-out and
//! `CLIENT UNBLOCK` are requests to the shard as well, right behind it in its line; what the client reads is what the
//! shard then says of the first: the nil, or what was popped before (DESIGN.md, R11).
//!
//! Meanwhile nothing more is taken from the client; its socket is still read, so that its end is noticed. The end of a
//! wait whose client is gone is told to the shard on behalf of nobody: by a client of the engine's own, without a socket.
//!
//! Invariant: a client is blocked as long as its blocking request is unanswered, and has at most one.

use std::time::Duration;

use super::client::Client;
use super::flight::{FlightKey, Purpose, State};
use super::{Engine, Order};
use crate::control::routing::ShardIndex;
use crate::frontend::Session;
use crate::net::Moment;
use crate::protocol::errors;
use crate::protocol::frame::{ReadLevel, RefusalReason};
use crate::protocol::identity::{Blocking, CancelHow, Identity};
use crate::protocol::reply::ReplyWriter;
use crate::proxy::metrics::{CommandClass, Outcome};
use crate::topology::{LogTime, SessionId, Slot, WriteId};

/// Bytes that are read of a blocked client, to wait for its answer.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// A deadline that no blocked client lives to see.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Its id.
const NOBODY: u64 = 0;

/// How long a shard is told of somebody who is gone: as long as it might take the name for a new one.
const GONE_PATIENCE: Duration = Duration::from_secs(120);
/// The client that asks for those who are gone.
pub fn nobody(now: Moment) -> Client {
    Client::new(Session::new(NOBODY, ReadLevel::Session, now), 0, now)
}

/// What a blocked client waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Its request.
    pub flight: FlightKey,
    /// The request that ends it, once there is one.
    pub cancel: Option<FlightKey>,
    /// How it is to end, once that is so.
    pub ending: Option<CancelHow>,
    /// When its time is over.
    pub until: Option<Moment>,
}

impl Engine {
    /// Makes a request one that blocks its client. It is not handed over yet.
    pub(super) fn block(&mut self, key: u32, flight_key: FlightKey, timeout: Option<Duration>) {
        let until = timeout.map(|timeout| self.now + timeout);
        let id = self.next_name(key);
        let flight = &mut self.flights[flight_key];
        flight.blocking = Some(Blocking::Wait);
        flight.identity = Some(Identity { id, low: id.sequence, born: LogTime(0) });
        flight.class = CommandClass::Blocking;
        flight.deadline = self.now + FOREVER;
        let client = &mut self.clients[key as usize];
        client.wait = Some(Box::new(Wait { flight: flight_key, cancel: None, ending: None, until }));
        if let Some(until) = until {
            self.timeouts.insert((until, key, client.id));
        }
        self.blocked += 1;
        self.stats.clients_blocked.set(self.blocked);
    }

    /// The name of a client's next blocking command. Each client is a session of its own, so that one that waits for long
    /// keeps no shard from forgetting the answers of the others.
    fn next_name(&mut self, key: u32) -> WriteId {
        let client = &mut self.clients[key as usize];
        client.sequence += 1;
        let session = SessionId(self.settings.session.0.wrapping_add(client.id.into()));
        WriteId { session, sequence: client.sequence }
    }

    /// A shard refused a request that has a name, and it is in its line again. Returns whether it has to be given up.
    pub(super) fn take_refused_name(&mut self, flight_key: FlightKey, reason: RefusalReason) -> bool {
        let flight = &self.flights[flight_key];
        if flight.blocking != Some(Blocking::Wait) {
            return false;
        }
        match reason {
            // What was never sent before was never executed.
            RefusalReason::Forgotten if flight.hands > 1 => return true,
            RefusalReason::Forgotten | RefusalReason::Cancelled => {}
            _ => return false,
        }
        let (key, low) = (flight.client, flight.identity.map_or(0, |identity| identity.low));
        let id = self.next_name(key);
        let flight = &mut self.flights[flight_key];
        flight.identity = Some(Identity { id, low: low.max(id.sequence), born: LogTime(0) });
        flight.hands = 0;
        let identity = flight.identity;
        if let Some(cancel) = self.clients[key as usize].wait.as_ref().and_then(|wait| wait.cancel)
            && self.flights[cancel].state != State::Handed
        {
            self.flights[cancel].identity = identity;
        }
        // The end of its old name came back before this did: it does not wait anew.
        if let Some(wait) = self.clients[key as usize].wait.as_ref().filter(|wait| wait.cancel.is_none())
            && let Some(how) = wait.ending
        {
            self.end_wait(key, how);
        }
        false
    }

    /// Ends the waits whose time is over.
    pub(super) fn expire_waits(&mut self) {
        while let Some((_, key, id)) = self.timeouts.first().copied().filter(|(at, ..)| *at <= self.now) {
            self.timeouts.pop_first();
            if self.clients.get(key as usize).is_some_and(|client| client.id == id) {
                self.end_wait(key, CancelHow::Timeout);
            }
        }
    }

    /// How soon a wait ends by itself.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.timeouts.first().map(|(at, ..)| at.since(self.now))
    }

    /// `CLIENT UNBLOCK`: the client with this id, if it is one of this worker, waits no longer.
    pub fn unblock(&mut self, id: u64, how: CancelHow) {
        let found = self.clients.iter().find(|(_, client)| client.id == id && client.wait.is_some());
        if let Some(key) = found.map(|(key, _)| key as u32) {
            self.end_wait(key, how);
        }
    }

    /// Asks the shard to end a client's wait; what it says then is the client's answer.
    fn end_wait(&mut self, key: u32, how: CancelHow) {
        let Some(wait) = self.clients[key as usize].wait.as_deref().copied() else { return };
        if wait.cancel.is_some() {
            return;
        }
        let waiting = &self.flights[wait.flight];
        let (shard, slot, identity) = (waiting.shard, waiting.slot, waiting.identity);
        if waiting.hands == 0 {
            // No shard knows of it.
            let mut reply = Vec::new();
            let mut writer = ReplyWriter::new(&mut reply, waiting.resp3);
            if how == CancelHow::Unblocked {
                writer.error(errors::UNBLOCKED)
            } else {
                writer.null_array()
            }
            self.leave_line(wait.flight);
            self.count_answer(wait.flight, Outcome::Ok);
            return self.finish(wait.flight, &reply, None);
        }
        let deadline = self.now + self.settings.limits.request_deadline;
        self.flights[wait.flight].deadline = deadline;
        let Some(cancel) = self.claim_cancel(key, how, identity) else { return };
        self.flights[cancel].resp3 = self.flights[wait.flight].resp3;
        if let Some(wait) = self.clients[key as usize].wait.as_mut() {
            (wait.cancel, wait.ending) = (Some(cancel), Some(how));
        }
        self.launch(cancel, shard, slot);
        if slot.is_some_and(|slot| self.routing.owner(slot) != Some(shard)) {
            // The old owner would tell it, unless it is in trouble; the new one knows of the wait what the old one knew.
            self.recall_those(|f| f.blocking == Some(Blocking::Wait) && f.identity == identity, |_| true);
        }
    }

    fn claim_cancel(&mut self, key: u32, how: CancelHow, identity: Option<Identity>) -> Option<FlightKey> {
        let identity = identity?;
        self.clients[key as usize].cancels += 1;
        let flight_key = self.flights.claim(key, self.now, self.now + self.settings.limits.request_deadline);
        let flight = &mut self.flights[flight_key];
        flight.purpose = Purpose::Nobody;
        flight.write = true;
        flight.blocking = Some(Blocking::Cancel(how));
        flight.identity = Some(identity);
        flight.class = CommandClass::Blocking;
        Some(flight_key)
    }

    /// A request that ends a wait came back. If the wait has another name by now, it is asked for again.
    pub(super) fn finish_cancel(&mut self, cancel: FlightKey) {
        // Not when it was born: that is the request's own.
        let name = |identity: Option<Identity>| identity.map(|identity| identity.id);
        let (key, asked) = (self.flights[cancel].client, name(self.flights[cancel].identity));
        let how = match self.flights[cancel].blocking {
            Some(Blocking::Cancel(how)) => how,
            _ => CancelHow::Gone,
        };
        self.free_cancel(cancel);
        let Some(wait) = self.clients[key as usize].wait.as_mut().filter(|w| w.cancel == Some(cancel)) else { return };
        wait.cancel = None;
        if name(self.flights[wait.flight].identity) != asked {
            self.end_wait(key, how);
        }
    }

    /// A blocking request has its answer: its client goes on.
    pub(super) fn wake(&mut self, key: u32) {
        let Some(wait) = self.forget_wait(key) else { return };
        if let Some(cancel) = wait.cancel.filter(|cancel| self.flights[*cancel].state != State::Handed) {
            self.leave_line(cancel);
            self.free_cancel(cancel);
        }
        // As after a limit: what it sent meanwhile is taken, then its socket is read as before.
        let client = &mut self.clients[key as usize];
        if !std::mem::replace(&mut client.stalled, true) {
            self.stalled += 1;
        }
        let id = client.id;
        self.resumable.push((key, id));
    }

    fn free_cancel(&mut self, cancel: FlightKey) {
        self.clients[self.flights[cancel].client as usize].cancels -= 1;
        self.flights.free(cancel);
    }

    /// The client goes away, and its requests that end a wait with it.
    pub(super) fn forget_cancels(&mut self, key: u32) {
        if self.clients[key as usize].cancels > 0 {
            let cancels = self.flights.select(|flight| flight.client == key && flight.purpose == Purpose::Nobody);
            cancels.into_iter().for_each(|cancel| self.forget_flight(cancel));
        }
    }

    fn forget_wait(&mut self, key: u32) -> Option<Wait> {
        let client = &mut self.clients[key as usize];
        let wait = *client.wait.take()?;
        if let Some(until) = wait.until {
            self.timeouts.remove(&(until, key, client.id));
        }
        self.blocked -= 1;
        self.stats.clients_blocked.set(self.blocked);
        Some(wait)
    }

    /// The client goes away. What its shard is to be told is returned, and told once nothing of the client is left.
    pub(super) fn abandon_wait(&mut self, key: u32) -> Option<(ShardIndex, Option<Slot>, Identity)> {
        let wait = self.forget_wait(key)?;
        let flight = &self.flights[wait.flight];
        Some((flight.shard, flight.slot, flight.identity.filter(|_| flight.hands > 0)?))
    }

    /// Tells a shard that nobody waits for this any more.
    pub(super) fn tell_gone(&mut self, (shard, slot, identity): (ShardIndex, Option<Slot>, Identity)) {
        let shard = slot.and_then(|slot| self.routing.owner(slot)).unwrap_or(shard);
        if let Some(cancel) = self.claim_cancel(self.nobody, CancelHow::Gone, Some(identity)) {
            self.flights[cancel].deadline = self.now + GONE_PATIENCE;
            self.launch(cancel, shard, slot);
        }
    }

    /// What the shard is to be told of a request that is given up: whoever waits under its name would get elements for
    /// nobody.
    pub(super) fn given_up_wait(&self, key: FlightKey) -> Option<(ShardIndex, Option<Slot>, Identity)> {
        let flight = &self.flights[key];
        let waits = flight.blocking == Some(Blocking::Wait) && flight.hands > 0;
        Some((flight.shard, flight.slot, flight.identity.filter(|_| waits)?))
    }

    /// Whether every client is gone, and the shards know of all that waited.
    pub fn is_drained(&self) -> bool {
        self.client_count() == 0 && self.clients[self.nobody as usize].cancels == 0
    }

    /// The clients that have a socket.
    pub(super) fn real_clients(&self) -> impl Iterator<Item = (u32, &Client)> {
        self.clients.iter().map(|(key, client)| (key as u32, client)).filter(|(_, client)| client.id != NOBODY)
    }

    /// A blocked client closed its end: as Redis does, it is let go at once.
    pub(super) fn blocked_client_ended(&mut self, key: u32) {
        let id = self.clients[key as usize].id;
        self.forget_client(key);
        self.orders.push(Order::CloseClient(key, id));
    }
}
