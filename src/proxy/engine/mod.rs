//! The part of a proxy worker that decides: bytes of clients and nodes in, bytes for clients and nodes out.
//!
//! Free of IO, clock and threads, so that the same code runs under sockets, in tests with fake nodes, and in a
//! simulation. The shell calls `client_*`, `node_*` and [`Engine::tick`], then [`Engine::settle`], then sends what
//! [`Engine::dirty_nodes`] and [`Engine::dirty_clients`] name and carries out [`Engine::take_orders`].
//!
//! The life of a request: a client's bytes are parsed where they lie (`request`); it takes a record (`flight`), its
//! place in the client's order of replies (`client`) and in the line of its shard (`line`); it is handed to a node's
//! output or waits (`dispatch`), and goes to another line when its slot has moved (`reroute`); its answer goes to the
//! client when all before it have gone (`answer`).
//!
//! Invariants: replies leave in the order of the requests; a request is answered exactly once; a write has one name
//! (`names`) under which it is handed over until it is answered or its deadline passes, and its shard executes it once.

mod account;
mod answer;
mod blocked;
mod client;
mod coin;
mod covering;
mod desk;
mod dispatch;
mod flight;
mod line;
mod link;
mod names;
mod news;
mod nodes;
pub use flight::FlightKey;
pub use nodes::LinkError;
mod recut;
mod request;
mod reroute;
mod scatter;
#[cfg(test)]
mod tests;
mod touched;
mod transactions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::control::health::{Health, HealthTimes};
use crate::control::routing::{NodeIndex, RoutingTable, ShardIndex};
use crate::frontend::{ClientView, Desk};
use crate::net::Moment;
use crate::protocol::identity::CancelHow;
use crate::protocol::request::{Limits, Span};
use crate::topology::{Catalog, LogTime, SessionId};

use super::limits::WorkerLimits;
use super::metrics::{NodeStats, ReadStats, ShardStats, WorkerStats};
use super::outbox::KEPT_BYTES_MAX;
use super::process::Process;
use client::Client;
pub(super) use coin::Coin;
pub(super) use desk::{Asked, is_secret};
use flight::Flights;
use link::Link;
use names::Names;
pub(super) use scatter::{Cut, PartReply, Scatter, merge_replies};

/// How many empty buffers are kept for the next client.
const POOLED_BUFFERS_MAX: usize = 1024;
/// What is due within this is worth a tick of its own.
const SOON: Duration = Duration::from_millis(20);

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds on clients and waits.
    pub limits: WorkerLimits,
    /// Bounds on one request.
    pub request_limits: Limits,
    /// How nodes are judged.
    pub health: HealthTimes,
    /// Reads prefer replicas in this zone.
    pub zone: Option<String>,
    /// What nodes log this proxy as.
    pub name: String,
    /// How many workers the proxy has.
    pub workers: usize,
    /// Seeds the choices among replicas and the jitter.
    pub seed: u64,
    /// Names this worker's writes, together with a number; its blocked clients have sessions next to it.
    pub session: SessionId,
}

/// What an engine shares with the rest of its process.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What this worker counts.
    pub stats: Arc<WorkerStats>,
    /// The process's numbers.
    pub process: Arc<Process>,
    /// What `CONFIG` and `SLOWLOG` are about.
    pub desk: Arc<Desk>,
}

/// Something that only the shell can do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Open a connection to this node; report with [`Engine::node_connected`] or [`Engine::node_lost`].
    Connect(NodeIndex, String),
    /// Close the connection to this node, or stop opening it. The engine counts it as lost already.
    Disconnect(NodeIndex),
    /// Close this client (place and id). The engine has forgotten it already, and the place may be another's by now.
    CloseClient(u32, u64),
    /// This client may be read again.
    ResumeClient(u32),
    /// A newer catalog was learned.
    CatalogLearned(Arc<Catalog>),
    /// A client (place and id) asks for the connections of all workers; report with [`Engine::take_views`].
    CollectViews(u32, u64),
    /// All workers are to close the clients with these ids.
    Kill(Vec<u64>),
    /// All workers are to take no requests until then, or only reads.
    Pause(Moment, bool),
    /// The worker of this client is to end its wait.
    Unblock(u64, CancelHow),
}

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
    routing: RoutingTable,
    catalog: Option<(Arc<Catalog>, Vec<u8>)>,
    news: news::News,
    /// What nodes were told of the file.
    told_trouble: Option<String>,
    links: Vec<Link>,
    node_stats: Vec<Arc<NodeStats>>,
    shard_stats: Vec<Arc<ShardStats>>,
    /// Whether the figures of a shard are to be seen.
    shown: Vec<bool>,
    read_stats: Vec<Vec<(NodeIndex, Arc<ReadStats>)>>,
    clients: Slab<Client>,
    flights: Flights,
    names: Names,
    /// The node of each shard's leader as last seen.
    leaders: Vec<Option<NodeIndex>>,
    /// Leaders of old whose requests are to be recalled.
    deposed: Vec<(ShardIndex, NodeIndex)>,
    waiting: usize,
    waiting_bytes: usize,
    /// What all clients watch and queued.
    transaction_bytes: usize,
    stalled: u64,
    spans: Vec<Span>,
    side: Vec<u8>,
    reply: Vec<u8>,
    buffers: Vec<Vec<u8>>,
    dirty_clients: Vec<u32>,
    dirty_nodes: Vec<NodeIndex>,
    /// Lines that wait for a node or a moment: the client's place and id, the shard.
    listed: Vec<(u32, u64, ShardIndex)>,
    /// Clients that may go on: place and id.
    resumable: Vec<(u32, u64)>,
    /// Clients that are looked at again with the next tick: place and id.
    postponed: Vec<(u32, u64)>,
    /// Whether listed lines are to be looked at before their moment.
    recheck: bool,
    /// Connections of other workers, by the client that asked for them.
    views_for: Vec<(u64, Vec<ClientView>)>,
    /// When waits end: the moment, the client's place and id.
    timeouts: BTreeSet<(Moment, u32, u64)>,
    /// Clients that wait for an answer to a blocking command.
    blocked: u64,
    /// The client that ends the waits of those who are gone. There from the start: in the place of a client that has gone
    /// it would get what that one's socket still has to tell.
    nobody: u32,
    paused_until: Moment,
    pause_writes_only: bool,
    next_deadline_scan: Moment,
    orders: Vec<Order>,
}

impl Engine {
    /// An engine without clients that knows no nodes.
    pub fn new(settings: Settings, shared: Shared, now: Moment) -> Self {
        let Shared { stats, process, desk } = shared;
        let mut clients = Slab::new();
        let nobody = clients.insert(blocked::nobody(now)) as u32;
        Self {
            routing: RoutingTable::new(settings.zone.clone()),
            coin: Coin::new(settings.seed),
            settings,
            stats,
            process,
            desk,
            now,
            wall_then: LogTime(0),
            wall_read: now,
            catalog: None,
            news: news::News::default(),
            told_trouble: None,
            links: Vec::new(),
            node_stats: Vec::new(),
            shard_stats: Vec::new(),
            shown: Vec::new(),
            read_stats: Vec::new(),
            clients,
            flights: Flights::default(),
            names: Names::new(),
            leaders: Vec::new(),
            deposed: Vec::new(),
            waiting: 0,
            waiting_bytes: 0,
            transaction_bytes: 0,
            stalled: 0,
            spans: Vec::new(),
            side: Vec::new(),
            reply: Vec::new(),
            buffers: Vec::new(),
            dirty_clients: Vec::new(),
            dirty_nodes: Vec::new(),
            listed: Vec::new(),
            resumable: Vec::new(),
            postponed: Vec::new(),
            recheck: false,
            views_for: Vec::new(),
            timeouts: BTreeSet::new(),
            blocked: 0,
            nobody,
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

    /// What is known of the cluster.
    pub const fn routing(&self) -> &RoutingTable {
        &self.routing
    }

    /// The newest catalog that was learned.
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalog.as_ref().map(|(catalog, _)| catalog)
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len() - 1
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

    /// Whether a client has replies to send.
    pub fn has_dirty_clients(&self) -> bool {
        !self.dirty_clients.is_empty()
    }

    /// Whether a node has bytes to be sent.
    pub fn has_dirty_nodes(&self) -> bool {
        !self.dirty_nodes.is_empty()
    }

    /// Nodes with bytes to be sent, each once.
    pub fn dirty_nodes(&mut self) -> Vec<NodeIndex> {
        let list = std::mem::take(&mut self.dirty_nodes);
        list.iter().for_each(|node| self.links[node.at()].dirty = false);
        list
    }

    /// Gives the list back, for its memory.
    pub fn reuse_dirty_nodes(&mut self, mut list: Vec<NodeIndex>) {
        if self.dirty_nodes.is_empty() {
            list.clear();
            self.dirty_nodes = list;
        }
    }

    /// What the shell has to do.
    pub fn take_orders(&mut self) -> Vec<Order> {
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

    /// Whether requests wait for a moment, so that ticks should come soon.
    pub fn is_waiting(&self) -> bool {
        !self.listed.is_empty()
            || !self.postponed.is_empty()
            || self.next_timeout().is_some_and(|left| left < SOON)
            || self.links.iter().any(|l| !l.health.is_up())
    }

    /// Catches up on what became possible in this turn: waiting lines, clients that may be read again.
    pub fn settle(&mut self) {
        if self.recheck {
            self.recheck = false;
            self.follow_leaders();
            self.go_on_with_lines();
        }
        while let Some((key, id)) = self.resumable.pop() {
            self.resume_client(key, id);
        }
    }

    /// Lets time pass: heartbeats, reconnects, deadlines, slow readers.
    pub fn tick(&mut self, now: Moment, wall: LogTime) {
        self.now = now;
        (self.wall_then, self.wall_read) = (wall, now);
        self.tick_nodes();
        self.expire_waits();
        self.recheck |= !self.listed.is_empty();
        if now >= self.next_deadline_scan {
            self.next_deadline_scan = now + dispatch::DEADLINE_SCAN;
            self.expire_flights();
            self.cut_slow_readers();
            self.report();
            self.tell_trouble();
        }
        // Each once: one that is stalled again by both of its reasons would be there twice as often with each tick.
        self.postponed.sort_unstable();
        self.postponed.dedup();
        self.resumable.append(&mut self.postponed);
    }

    fn report(&self) {
        let stats = &self.stats;
        stats.connections.set(self.client_count() as u64);
        stats.in_flight.set(self.flights.used() as u64);
        stats.waiting.set(self.waiting as u64);
        stats.stalled.set(self.stalled);
        stats.names_open.set(self.names.span() as u64);
        stats.transaction_bytes.set(self.transaction_bytes as u64);
        stats.revision.set(self.routing.revision().0);
        stats.config_version.set(self.catalog.as_ref().map_or(0, |(catalog, _)| catalog.version));
        stats.ready.set(u64::from(self.routing.is_ready()));
        for (node, stats) in self.routing.nodes().iter().zip(&self.node_stats) {
            stats.in_flight.set(u64::from(node.in_flight));
        }
    }

    fn pooled_buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    fn pool_buffer(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && self.buffers.len() < POOLED_BUFFERS_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn new_link(&mut self, node: NodeIndex) {
        debug_assert_eq!(node.at(), self.links.len());
        self.links.push(Link::new(Health::new(self.settings.health, self.now)));
        self.node_stats.push(self.stats.add_node(self.routing.node(node).name.clone()));
    }
}
