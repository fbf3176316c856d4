//! A simulated proxy: the real engine of one worker, with simulated sockets to clients and nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use pontoon::control::health::HealthTimes;
use pontoon::control::routing::NodeIndex;
use pontoon::frontend::{Desk, Facts, Session};
use pontoon::net::Moment;
use pontoon::protocol::frame::ReadLevel;
use pontoon::protocol::request::Limits;
use pontoon::proxy::engine::{Engine, LinkError, Order, Settings, Shared};
use pontoon::proxy::limits::WorkerLimits;
use pontoon::proxy::metrics::WorkerStats;
use pontoon::proxy::outbox::{Outbox, SLICES_MAX};
use pontoon::proxy::process::Process;
use pontoon::topology::{LogTime, SessionId};

use super::clock::{MachineClock, standing};
use super::streams::{Host, Parcel, StreamId};
use super::world::{Due, World};

/// Between two ticks while something waits for a moment, and otherwise.
const TICK_SOON_US: u64 = 4_000;
const TICK_US: u64 = 20_000;

/// What comes to a proxy.
pub enum ProxyHappening {
    Tick,
    Stream { stream: StreamId, parcel: Parcel },
    Opened { node: NodeIndex, attempt: u64 },
    Refused { node: NodeIndex, attempt: u64 },
}

/// A proxy, alive or not.
pub struct Proxy {
    pub clock: MachineClock,
    pub life: u64,
    pub running: Option<Running>,
    pub paused: bool,
    /// When it last could not do anything.
    pub hindered_us: u64,
    backlog: VecDeque<ProxyHappening>,
}

/// What a process has in memory.
pub struct Running {
    engine: Engine,
    links: BTreeMap<u32, Link>,
    clients: BTreeMap<u32, ClientSocket>,
    /// What each connection is for.
    places: BTreeMap<StreamId, Place>,
    next_client: u64,
    /// Sockets that took not all of what is to be sent.
    full: BTreeSet<u32>,
}

#[derive(Clone, Copy)]
enum Place {
    Node(NodeIndex),
    Client(u32),
}

#[derive(Default)]
struct Link {
    /// Which of the tries to connect counts.
    attempt: u64,
    stream: Option<StreamId>,
}

struct ClientSocket {
    id: u64,
    stream: StreamId,
    /// What the engine does not want yet.
    unread: Vec<u8>,
    ended: bool,
}

impl Proxy {
    pub fn new() -> Self {
        let (clock, backlog) = (MachineClock::new(), VecDeque::new());
        Self { clock, life: 0, running: None, paused: false, hindered_us: 0, backlog }
    }
}

impl World {
    fn proxy_now(&self, proxy: usize) -> (Moment, LogTime) {
        let clock = &self.proxies[proxy].clock;
        (clock.now(self.now_us), clock.wall(self.now_us))
    }

    pub fn start_proxy(&mut self, proxy: usize) {
        let limits = WorkerLimits {
            request_deadline: std::time::Duration::from_micros(self.deadline_us),
            ..WorkerLimits::default()
        };
        // Strong reads go to followers where one is near and the leader is not.
        let near = self.random.below(2 * self.catalog.nodes.len());
        let zone = self.catalog.nodes.keys().nth(near).map(ToString::to_string);
        let settings = Settings {
            limits,
            request_limits: Limits::default(),
            health: HealthTimes::default(),
            zone,
            name: format!("p{proxy}"),
            workers: 1,
            seed: self.random.next(),
            session: SessionId(u128::from(self.random.next()) << 64 | u128::from(self.random.next())),
        };
        let stats = Arc::new(WorkerStats::default());
        let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), standing()));
        let shared = Shared { stats, process, desk: Arc::new(Desk::default()) };
        let (now, wall) = self.proxy_now(proxy);
        let mut engine = Engine::new(settings, shared, now);
        engine.tick(now, wall);
        let nodes = self.catalog.nodes.iter();
        let addr = |name| self.catalog.addr(name).expect("a node of the catalog").to_owned();
        engine.seed_nodes(nodes.map(|(name, _)| (name.clone(), addr(name), None)));
        self.proxies[proxy].running = Some(Running {
            engine,
            links: BTreeMap::new(),
            clients: BTreeMap::new(),
            places: BTreeMap::new(),
            next_client: 0,
            full: BTreeSet::new(),
        });
        self.tell_proxy(proxy, 0, ProxyHappening::Tick);
    }

    /// The process is killed.
    pub fn end_proxy(&mut self, proxy: usize) {
        let it = &mut self.proxies[proxy];
        it.running = None;
        it.life += 1;
        it.paused = false;
        // Its clients still have to hear that their connections are gone.
        it.hindered_us = self.now_us;
        it.backlog.clear();
        self.end_streams_of(Host::Proxy(proxy));
    }

    pub fn resume_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].hindered_us = self.now_us;
        self.proxies[proxy].paused = false;
        while let Some(happening) = self.proxies[proxy].backlog.pop_front() {
            self.proxy_handles(proxy, happening);
        }
    }

    fn tell_proxy(&mut self, proxy: usize, delay_us: u64, happening: ProxyHappening) {
        let life = self.proxies[proxy].life;
        self.schedule(delay_us, Due::AtProxy { proxy, life, happening });
    }

    pub fn proxy_gets(&mut self, proxy: usize, stream: StreamId, parcel: Parcel) {
        self.proxy_takes(proxy, self.proxies[proxy].life, ProxyHappening::Stream { stream, parcel });
    }

    /// Brings something to a proxy, unless it was meant for an earlier life.
    pub fn proxy_takes(&mut self, proxy: usize, life: u64, happening: ProxyHappening) {
        let it = &mut self.proxies[proxy];
        if it.life != life || it.running.is_none() {
            return;
        }
        if it.paused {
            it.backlog.push_back(happening);
        } else {
            self.proxy_handles(proxy, happening);
        }
    }

    fn proxy_handles(&mut self, proxy: usize, happening: ProxyHappening) {
        let (now, wall) = self.proxy_now(proxy);
        let Some(mut running) = self.proxies[proxy].running.take() else { return };
        running.engine.at(now);
        match happening {
            ProxyHappening::Tick => {
                running.engine.tick(now, wall);
                let soon = running.engine.is_waiting();
                let next = self.proxies[proxy].clock.takes_us(if soon { TICK_SOON_US } else { TICK_US });
                self.tell_proxy(proxy, next, ProxyHappening::Tick);
            }
            ProxyHappening::Opened { node, attempt } => {
                let counts = running.links.get(&node.0).is_some_and(|link| link.attempt == attempt);
                // Whoever was there may be gone by now, and then nobody answers.
                if counts && self.members[node.at()].running.is_some() {
                    let stream = self.open_stream(Host::Proxy(proxy), Host::Node(node.at()));
                    running.links.get_mut(&node.0).expect("just seen").stream = Some(stream);
                    running.places.insert(stream, Place::Node(node));
                    running.engine.node_connected(node);
                }
            }
            ProxyHappening::Refused { node, attempt } => {
                if running.links.get(&node.0).is_some_and(|link| link.attempt == attempt) {
                    running.engine.node_lost(node, &LinkError::Socket("refused".to_owned()));
                }
            }
            ProxyHappening::Stream { stream, parcel } => running.get(stream, parcel, now),
        }
        self.proxy_turn(proxy, &mut running);
        self.proxies[proxy].running = Some(running);
    }

    fn proxy_turn(&mut self, proxy: usize, running: &mut Running) {
        loop {
            running.engine.settle();
            let orders = running.engine.take_orders();
            let mut nodes = running.engine.dirty_nodes();
            nodes.extend(std::mem::take(&mut running.full).into_iter().map(NodeIndex));
            let clients = running.engine.dirty_clients();
            let idle = orders.is_empty() && clients.is_empty();
            orders.into_iter().for_each(|order| self.carry_out_order(proxy, running, order));
            nodes.into_iter().for_each(|node| self.flush_to_node(running, node));
            clients.into_iter().for_each(|key| self.flush_to_client(running, key));
            if idle && !running.engine.is_unsettled() && !running.engine.has_dirty_nodes() {
                return;
            }
        }
    }

    fn carry_out_order(&mut self, proxy: usize, running: &mut Running, order: Order) {
        match order {
            Order::Connect(node, _) => self.connect(proxy, running, node),
            Order::Disconnect(node) => {
                let link = running.links.entry(node.0).or_default();
                link.attempt += 1;
                if let Some(stream) = link.stream.take() {
                    running.places.remove(&stream);
                    self.close_end(stream, 0);
                }
            }
            Order::CloseClient(key, id) => {
                if running.clients.get(&key).is_some_and(|socket| socket.id == id) {
                    let socket = running.clients.remove(&key).expect("just seen");
                    running.places.remove(&socket.stream);
                    self.close_end(socket.stream, 1);
                }
            }
            Order::ResumeClient(key) => running.feed(key),
            Order::CatalogLearned(_) => {}
            Order::CollectViews(key, id) => running.engine.take_views(key, id, Vec::new()),
            Order::Kill(ids) => running.engine.kill(&ids),
            Order::Unblock(id, how) => running.engine.unblock(id, how),
            Order::Pause(until, writes_only) => running.engine.pause(until, writes_only),
        }
    }

    fn connect(&mut self, proxy: usize, running: &mut Running, node: NodeIndex) {
        let link = running.links.entry(node.0).or_default();
        link.attempt += 1;
        link.stream = None;
        let attempt = link.attempt;
        let (here, there) = (Host::Proxy(proxy), Host::Node(node.at()));
        let delay = self.delay() + self.delay();
        let blocked = self.blocks.contains_key(&(here, there)) || self.blocks.contains_key(&(there, here));
        if blocked || self.is_off(there) {
            // Nobody answers.
        } else if self.members[node.at()].running.is_some() {
            self.tell_proxy(proxy, delay, ProxyHappening::Opened { node, attempt });
        } else {
            self.tell_proxy(proxy, delay, ProxyHappening::Refused { node, attempt });
        }
    }

    fn flush_to_node(&mut self, running: &mut Running, node: NodeIndex) {
        let Some(stream) = running.links.get(&node.0).and_then(|link| link.stream) else { return };
        loop {
            let bytes = first_bytes(running.engine.node_output(node), self.room(stream, 0));
            if bytes.is_empty() {
                break;
            }
            running.engine.node_sent(node, bytes.len());
            self.send_bytes(stream, 0, bytes);
        }
        if !running.engine.node_output(node).is_empty() {
            running.full.insert(node.0);
        }
    }

    fn flush_to_client(&mut self, running: &mut Running, key: u32) {
        loop {
            let (Some(output), Some(socket)) = (running.engine.client_output(key), running.clients.get(&key)) else {
                return;
            };
            let (bytes, stream) = (first_bytes(output, usize::MAX), socket.stream);
            running.engine.client_sent(key, bytes.len());
            if bytes.is_empty() {
                return;
            }
            self.send_bytes(stream, 1, bytes);
        }
    }
}

impl Running {
    /// Takes what came over a connection; one that is not known is a new client's.
    fn get(&mut self, stream: StreamId, parcel: Parcel, now: Moment) {
        match (self.places.get(&stream).copied(), parcel) {
            (Some(Place::Node(node)), Parcel::Bytes(bytes)) => self.engine.node_data(node, &bytes),
            (Some(Place::Node(node)), Parcel::Closed) => {
                self.places.remove(&stream);
                self.links.get_mut(&node.0).expect("it has a connection").stream = None;
                self.engine.node_lost(node, &LinkError::Socket("closed by the node".to_owned()));
            }
            (Some(Place::Client(key)), Parcel::Bytes(bytes)) => {
                self.clients.get_mut(&key).expect("it has a connection").unread.extend(bytes);
                self.feed(key);
            }
            (Some(Place::Client(key)), Parcel::Closed) => {
                self.clients.get_mut(&key).expect("it has a connection").ended = true;
                self.feed(key);
            }
            (None, Parcel::Bytes(bytes)) => {
                self.next_client += 1;
                let id = self.next_client;
                let key = self.engine.client_opened(Session::new(id, ReadLevel::Session, now), None, None);
                self.places.insert(stream, Place::Client(key));
                self.clients.insert(key, ClientSocket { id, stream, unread: bytes, ended: false });
                self.feed(key);
            }
            (None, Parcel::Closed) => {}
        }
    }

    /// Gives the engine what a client sent, as far as it wants it.
    fn feed(&mut self, key: u32) {
        let Some(socket) = self.clients.get_mut(&key) else { return };
        if !socket.unread.is_empty() && self.engine.wants_input(key) {
            let bytes = std::mem::take(&mut socket.unread);
            self.engine.client_data(key, &bytes);
        }
        // Its connection is closed both ways: nobody would read an answer.
        if self.clients.get(&key).is_some_and(|socket| socket.ended) {
            let socket = self.clients.remove(&key).expect("just seen");
            self.places.remove(&socket.stream);
            self.engine.client_broke(key);
        }
    }
}

fn first_bytes(outbox: &Outbox, bytes_max: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    slices[..count].iter().flat_map(|s| s.iter().copied()).take(bytes_max).collect()
}
