//! The part of a proxy worker that decides where shards are groups of Redis servers: bytes of clients and servers in, bytes
//! for clients and servers out.
//!
//! It is beside [`engine`](super::engine), which speaks to Pontoon's own nodes, and is driven by the same shell through the same
//! calls (`core`). What both share is below them: parsing, the command table, the answers of the connection itself
//! (`frontend`), cuts and merges of requests over several shards, buffers, limits, figures. What they do not share is what makes the
//! other one large: here a write has no name under which it could be asked for again, slots do not move by themselves, and a
//! request goes on with the bytes that its client sent.
//!
//! The life of a request: a client's bytes are parsed where they lie (`intake`); it takes a record (`record`), its place in the
//! client's order of replies (`client`), and is copied behind what its shard's connection has to send (`route`). Replies come back
//! first in, first out (`link`, `replies`): the end of each is found in one pass, and it is copied behind what its client gets, or kept
//! in the record until the replies before it have gone.
//!
//! A connection per worker and server serves all clients; one more for those that speak RESP3, opened when one comes: so nothing is
//! translated, and each reads what its server says. Who watches or waits has a connection of its own (`own`).
//!
//! Who leads a group is what its servers and sentinels say (`group`, `roles`). Invariants: replies leave in the order of the
//! requests; a request is answered exactly once; a write that a server may have is never sent again; what a server
//! refused without carrying it out waits for a leader until its deadline, and never goes after a later request
//! of its client.

mod client;
mod desk;
mod group;
mod intake;
mod layout;
mod learned;
mod link;
mod own;
mod pause;
mod probe;
mod record;
mod refusal;
mod replies;
pub mod roles;
mod route;
#[cfg(test)]
mod tests;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::engine::{Coin, Order, Settings, Shared};
use super::metrics::WorkerStats;
use super::outbox::{KEPT_BYTES_MAX, Outbox};
use super::process::Process;
use crate::control::routing::NodeIndex;
use crate::frontend::{ClientView, Desk};
use crate::net::Moment;
use crate::protocol::request::Span;
use crate::topology::{LogTime, SLOT_COUNT};
use client::Client;
use group::{Server, Shard};
use learned::Learned;
use link::{Due, Link, Stage};
use record::Records;

/// How many empty buffers are kept for the next client.
const POOLED_BUFFERS_MAX: usize = 1024;
/// How often it is looked for requests that wait too long.
const DEADLINE_SCAN: Duration = Duration::from_millis(100);
/// No connection.
const NO_LINK: usize = usize::MAX;
/// No shard.
const NO_OWNER: u16 = u16::MAX;

/// One worker's decisions.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    stats: Arc<WorkerStats>,
    process: Arc<Process>,
    desk: Arc<Desk>,
    now: Moment,
    /// The wall clock at the last tick, and when that was.
    wall_then: LogTime,
    wall_read: Moment,
    coin: Coin,
    /// The shard of each slot.
    owners: Vec<u16>,
    /// The shards that have slots, in the order of the file.
    order: Vec<usize>,
    shards: Vec<Shard>,
    servers: Vec<Server>,
    links: Slab<Link>,
    /// Connections whose places are free when the shell has closed them.
    closed: Vec<usize>,
    clients: Slab<Client>,
    records: Records,
    learned: Learned,
    waiting: usize,
    waiting_bytes: usize,
    /// What all clients watch and queued.
    transaction_bytes: usize,
    stalled: u64,
    /// Clients that wait for an answer to a blocking command.
    blocked: u64,
    spans: Vec<Span>,
    side: Vec<u8>,
    reply: Vec<u8>,
    buffers: Vec<Vec<u8>>,
    no_output: Outbox,
    dirty_clients: Vec<u32>,
    dirty_links: Vec<NodeIndex>,
    /// Clients that may go on: place and id.
    resumable: Vec<(u32, u64)>,
    /// Clients that are looked at again with the next tick: place and id.
    postponed: Vec<(u32, u64)>,
    /// Whether what is known of groups has changed.
    recheck: bool,
    /// Connections of other workers, by the client that asked for them.
    views_for: Vec<(u64, Vec<ClientView>)>,
    paused_until: Moment,
    pause_writes_only: bool,
    /// From when on a request is slow.
    slow_from: Option<Duration>,
    next_deadline_scan: Moment,
    orders: Vec<Order>,
}

impl Engine {
    /// An engine without clients that knows no servers.
    pub fn new(settings: Settings, shared: Shared, now: Moment) -> Self {
        let Shared { stats, process, desk } = shared;
        Self {
            coin: Coin::new(settings.seed),
            settings,
            stats,
            process,
            slow_from: desk.parameters.slow_from_microseconds().map(Duration::from_micros),
            desk,
            now,
            wall_then: LogTime(0),
            wall_read: now,
            owners: vec![NO_OWNER; SLOT_COUNT],
            order: Vec::new(),
            shards: Vec::new(),
            servers: Vec::new(),
            links: Slab::new(),
            closed: Vec::new(),
            clients: Slab::new(),
            records: Records::default(),
            learned: Learned::default(),
            waiting: 0,
            waiting_bytes: 0,
            transaction_bytes: 0,
            stalled: 0,
            blocked: 0,
            spans: Vec::new(),
            side: Vec::new(),
            reply: Vec::new(),
            buffers: Vec::new(),
            no_output: Outbox::default(),
            dirty_clients: Vec::new(),
            dirty_links: Vec::new(),
            resumable: Vec::new(),
            postponed: Vec::new(),
            recheck: false,
            views_for: Vec::new(),
            paused_until: Moment::default(),
            pause_writes_only: false,
            next_deadline_scan: now,
            orders: Vec::new(),
        }
    }

    /// Tells the time; called before bytes are, once per turn.
    pub const fn at(&mut self, now: Moment) {
        self.now = now;
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Clients with replies to send, each once.
    pub fn dirty_clients(&mut self) -> Vec<u32> {
        let mut list = std::mem::take(&mut self.dirty_clients);
        list.retain(|key| self.clients.get_mut(*key as usize).is_some_and(|c| std::mem::take(&mut c.dirty)));
        list
    }

    /// Gives the list back, for its memory.
    pub fn reuse_dirty_clients(&mut self, mut list: Vec<u32>) {
        if self.dirty_clients.is_empty() {
            list.clear();
            self.dirty_clients = list;
        }
    }

    /// Whether a server has bytes to be sent.
    pub fn has_dirty_nodes(&self) -> bool {
        !self.dirty_links.is_empty()
    }

    /// Connections with bytes to be sent, each once.
    pub fn dirty_nodes(&mut self) -> Vec<NodeIndex> {
        let mut list = std::mem::take(&mut self.dirty_links);
        list.retain(|link| self.links.get_mut(link.at()).is_some_and(|link| std::mem::take(&mut link.dirty)));
        list
    }

    /// Gives the list back, for its memory.
    pub fn reuse_dirty_nodes(&mut self, mut list: Vec<NodeIndex>) {
        if self.dirty_links.is_empty() {
            list.clear();
            self.dirty_links = list;
        }
    }

    /// What the shell has to do, at once.
    pub fn take_orders(&mut self) -> Vec<Order> {
        for key in self.closed.drain(..) {
            self.links.remove(key);
        }
        std::mem::take(&mut self.orders)
    }

    /// Whether there is something for the shell to do.
    pub fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Whether [`Self::settle`] or the shell has more to do.
    pub fn is_unsettled(&self) -> bool {
        !self.resumable.is_empty() || !self.orders.is_empty() || self.recheck
    }

    /// Whether something waits for a moment, so that ticks should come soon.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0 || !self.postponed.is_empty()
    }

    /// Catches up on what became possible in this turn: waiting requests, clients that may be read again.
    pub fn settle(&mut self) {
        if self.recheck {
            self.recheck = false;
            (0..self.shards.len()).for_each(|shard| self.review(shard));
            self.stats.ready.set(u64::from(self.is_ready()));
        }
        while let Some((key, id)) = self.resumable.pop() {
            self.resume_client(key, id);
        }
    }

    /// Lets time pass: questions to servers, reconnects, deadlines, slow readers.
    pub fn tick(&mut self, now: Moment, wall: LogTime) {
        self.now = now;
        (self.wall_then, self.wall_read) = (wall, now);
        self.tick_servers();
        self.recheck |= self.waiting > 0;
        if now >= self.next_deadline_scan {
            self.next_deadline_scan = now + DEADLINE_SCAN;
            self.recheck = true;
            self.expire_requests();
            self.cut_slow_readers();
            self.report();
        }
        self.postponed.sort_unstable();
        self.postponed.dedup();
        self.resumable.append(&mut self.postponed);
    }

    fn report(&mut self) {
        self.slow_from = self.desk.parameters.slow_from_microseconds().map(Duration::from_micros);
        let stats = &self.stats;
        stats.connections.set(self.client_count() as u64);
        stats.in_flight.set(self.records.used() as u64);
        stats.waiting.set(self.waiting as u64);
        stats.stalled.set(self.stalled);
        stats.transaction_bytes.set(self.transaction_bytes as u64);
        let requests = |link: &Link| link.due.iter().filter(|e| matches!(e.due, Due::Request(..))).count() as u64;
        for server in &self.servers {
            let lanes = server.lanes.iter().filter_map(|lane| self.links.get(*lane));
            let open = lanes.filter(|link| link.stage == Stage::Open);
            server.stats.in_flight.set(open.map(requests).sum());
        }
    }

    fn pool_buffer(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && self.buffers.len() < POOLED_BUFFERS_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
