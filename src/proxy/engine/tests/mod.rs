//! The engine among nodes that do as the story says: no socket, no clock, every byte through the real frames.

mod blocked;
mod desk;
mod moves;
mod news;
mod retries;
mod stories;
mod swaps;
mod transactions;
mod wandering;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::nodes::LinkError;
use super::{Engine, Order, Settings, Shared};
use crate::control::health::HealthTimes;
use crate::control::routing::NodeIndex;
use crate::control::routing::tests::FILE;
use crate::frontend::{Desk, Facts, Session};
use crate::net::{Clock, Moment};
use crate::protocol::control::Welcome;
use crate::protocol::frame::{
    Assembler, Heartbeat, Kind, NodeStatus, PREAMBLE, ReadLevel, Refusal, RefusalReason, ReplicaStatus, ReplyHead,
    RequestHead, Role, put_message, split_frame, split_numbered,
};
use crate::protocol::request::Limits;
use crate::proxy::limits::WorkerLimits;
use crate::proxy::metrics::WorkerStats;
use crate::proxy::outbox::{Outbox, SLICES_MAX};
use crate::proxy::process::Process;
use crate::topology::{
    Catalog, ClusterId, Incarnation, LogIndex, LogTime, NodeName, ReplicaId, Revision, SessionId, ShardId,
    ShardsConfig, Slot, Term,
};

/// A request as a node got it.
#[derive(Clone, Debug)]
struct Got {
    head: RequestHead,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct FakeNode {
    connected: bool,
    input: Vec<u8>,
    got: Vec<Got>,
    heartbeats: u64,
    /// The revisions with which it was asked for a newer catalog.
    asked: Vec<Revision>,
    /// Those of the catalogs that it was given.
    given: Vec<Revision>,
    /// What the proxy said last of itself.
    report: Option<crate::protocol::control::ProxyReport>,
}

struct World {
    engine: Engine,
    now: Moment,
    nodes: Vec<FakeNode>,
    outputs: BTreeMap<u32, Vec<u8>>,
    closed: Vec<u32>,
    resumed: Vec<u32>,
    catalog: Arc<Catalog>,
    leaders: [(usize, u64); 2],
    next_client: u64,
    /// Whether followers say that they know no leader, so that `strong` reads are the leaders' alone.
    lone_leaders: bool,
    /// How many bytes a socket takes per turn.
    write_bytes_max: usize,
}

impl World {
    fn with(limits: WorkerLimits) -> Self {
        let config = ShardsConfig::parse(FILE, "test").unwrap();
        let catalog = Arc::new(Catalog::found(ClusterId(7), 1, &config, &BTreeMap::new()));
        let settings = Settings {
            limits,
            request_limits: Limits::default(),
            health: HealthTimes::default(),
            zone: None,
            name: "test".to_owned(),
            workers: 1,
            seed: 42,
            session: SessionId(1 << 64),
        };
        let engine = Engine::new(settings, shared(), Moment::default());
        let mut world = Self {
            engine,
            now: Moment::default(),
            nodes: (0..3).map(|_| FakeNode::default()).collect(),
            outputs: BTreeMap::new(),
            closed: Vec::new(),
            resumed: Vec::new(),
            catalog,
            leaders: [(0, 1), (1, 1)],
            next_client: 1,
            lone_leaders: false,
            write_bytes_max: usize::MAX,
        };
        world.engine.learn_catalog(&world.catalog.clone());
        world.tick(1);
        (0..3).for_each(|node| world.push_status(node));
        world.turn();
        world
    }

    /// The engine forgets what it heard of the shards' leaders.
    fn stranger(&mut self) {
        let engine = Engine::new(self.engine.settings.clone(), shared(), self.now);
        *self = Self { engine, nodes: (0..3).map(|_| FakeNode::default()).collect(), ..Self::new() };
        self.engine.learn_catalog(&self.catalog.clone());
        self.tick(1);
    }

    /// All nodes up; node 0 leads shard 1, node 1 leads shard 2.
    fn new() -> Self {
        Self::with(WorkerLimits::default())
    }

    fn tick(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.engine.tick(self.now, LogTime(1));
        self.turn();
    }

    fn turn(&mut self) {
        loop {
            self.engine.settle();
            let nodes = self.engine.dirty_nodes();
            let clients = self.engine.dirty_clients();
            let orders = self.engine.take_orders();
            if nodes.is_empty() && clients.is_empty() && orders.is_empty() {
                return;
            }
            nodes.into_iter().for_each(|node| self.send_to_node(node));
            clients.into_iter().for_each(|client| self.send_to_client(client));
            orders.into_iter().for_each(|order| self.carry_out(order));
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Connect(node, _) if self.nodes[node.at()].connected => self.engine.node_connected(node),
            Order::Connect(..) => {}
            Order::Disconnect(node) => self.nodes[node.at()].input.clear(),
            Order::CloseClient(client, _) => self.closed.push(client),
            Order::ResumeClient(client) => self.resumed.push(client),
            Order::CollectViews(..) => panic!("there is one worker"),
            Order::Kill(ids) => self.engine.kill(&ids),
            Order::Unblock(id, how) => self.engine.unblock(id, how),
            Order::Pause(until, writes_only) => self.engine.pause(until, writes_only),
            Order::CatalogLearned(_) => self.nodes.iter_mut().for_each(|n| n.connected = true),
        }
    }

    fn send_to_node(&mut self, node: NodeIndex) {
        let bytes = take(self.engine.node_output(node), self.write_bytes_max);
        self.engine.node_sent(node, bytes.len());
        self.nodes[node.at()].input.extend(bytes);
        self.read_node(node.at());
    }

    fn read_node(&mut self, node: usize) {
        let mut input = std::mem::take(&mut self.nodes[node].input);
        if input.starts_with(&PREAMBLE) {
            input.drain(..PREAMBLE.len());
        }
        let mut assembler = Assembler::new(1 << 30);
        let (mut taken, mut whole) = (0, 0);
        while let Some(frame) = split_frame(&input[taken..]).unwrap() {
            taken += frame.consumed;
            let Some(message) = assembler.push(frame).unwrap() else { continue };
            whole = taken;
            match message.kind {
                Kind::Hello => {
                    let name = NodeName::new(&format!("n{}", node + 1));
                    let (cluster, incarnation) = (Some(ClusterId(7)), Incarnation(1));
                    let welcome = Welcome { cluster, node: name, incarnation, keeps_leases: false };
                    let json = serde_json::to_vec(&welcome).unwrap();
                    self.feed(node, |out| put_message(out, Kind::Welcome, |out| out.extend(json)));
                }
                Kind::Request => {
                    let (head, body) = RequestHead::decode(message.payload).unwrap();
                    self.nodes[node].got.push(Got { head, body: body.to_vec() });
                }
                Kind::Heartbeat => {
                    let heartbeat = Heartbeat::decode(message.payload).unwrap();
                    self.nodes[node].heartbeats = heartbeat.sequence;
                    self.nodes[node].asked.extend(Some(heartbeat.revision).filter(|told| *told != Revision(u64::MAX)));
                }
                Kind::Proxy => self.nodes[node].report = Some(serde_json::from_slice(message.payload).unwrap()),
                Kind::Catalog => {
                    let (revision, _) = split_numbered(message.payload).unwrap();
                    self.nodes[node].given.push(Revision(revision));
                }
                other => panic!("{other:?}"),
            }
        }
        input.drain(..whole);
        self.nodes[node].input = input;
    }

    fn feed(&mut self, node: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.engine.at(self.now);
        self.engine.node_data(NodeIndex(node as u32), &bytes);
    }

    /// The node says how its replicas are: those of the leaders lead, all have applied the same.
    fn status(&self, node: usize, applied: u64) -> NodeStatus {
        let replicas = (0..2).map(|shard| {
            let (leader, term) = self.leaders[shard];
            let id = |node: usize| ReplicaId(4 + shard as u64 * 3 + node as u64);
            ReplicaStatus {
                shard: ShardId(shard as u64 + 1),
                replica: id(node),
                role: if leader == node { Role::Leader } else { Role::Follower },
                readable: true,
                fresh: true,
                orphan: false,
                leases: false,
                term: Term(term),
                leader: Some(id(leader)).filter(|_| leader == node || !self.lone_leaders),
                applied: LogIndex(applied),
                committed: LogIndex(applied),
                log_time: LogTime(1 + self.now.since(Moment::default()).as_millis() as u64),
            }
        });
        let (base, version, progress) = (0, 1, Vec::new());
        NodeStatus { sequence: 0, revision: Revision(1), base, version, replicas: replicas.collect(), progress }
    }

    fn push_status(&mut self, node: usize) {
        let status = self.status(node, 10);
        self.feed(node, |out| status.put(out));
    }

    /// Another node leads a shard from now on, and says so.
    fn elect(&mut self, shard: usize, node: usize) {
        self.leaders[shard] = (node, self.leaders[shard].1 + 1);
        self.push_status(node);
        self.turn();
    }

    fn client(&mut self) -> u32 {
        let id = self.next_client;
        self.next_client += 1;
        let key = self.engine.client_opened(Session::new(id, ReadLevel::Session, self.now), None, None);
        self.outputs.insert(key, Vec::new());
        key
    }

    fn level(&mut self, client: u32, level: ReadLevel) {
        self.send(client, &["CLIENT", "READS", level.name()]);
        let output = self.outputs.get_mut(&client).unwrap();
        if output.ends_with(b"+OK\r\n") {
            output.truncate(output.len() - 5);
        }
    }

    /// From now on the client's reads go to the leaders.
    fn read_at_leaders(&mut self, client: u32) {
        self.lone_leaders = true;
        (0..3).for_each(|node| self.push_status(node));
        self.level(client, ReadLevel::Strong);
    }

    fn send(&mut self, client: u32, words: &[&str]) {
        let mut bytes = Vec::new();
        crate::protocol::request::write_array(&mut bytes, words.iter().map(|w| w.as_bytes()));
        self.send_raw(client, &bytes);
    }

    fn send_raw(&mut self, client: u32, bytes: &[u8]) {
        self.engine.at(self.now);
        self.engine.client_data(client, bytes);
        self.turn();
    }

    fn send_to_client(&mut self, client: u32) {
        let Some(output) = self.engine.client_output(client) else { return };
        let bytes = take(output, self.write_bytes_max);
        self.engine.client_sent(client, bytes.len());
        self.outputs.entry(client).or_default().extend(bytes);
    }

    fn read(&mut self, client: u32) -> String {
        String::from_utf8(std::mem::take(self.outputs.get_mut(&client).unwrap())).unwrap()
    }

    /// Takes the oldest request that a node got.
    fn take(&mut self, node: usize) -> Got {
        assert!(!self.nodes[node].got.is_empty(), "node {node} got no request");
        self.nodes[node].got.remove(0)
    }

    /// The node that got a request, where only one did.
    fn only(&self) -> usize {
        let with: Vec<_> = (0..3).filter(|n| !self.nodes[*n].got.is_empty()).collect();
        assert_eq!(with.len(), 1, "nodes with requests: {with:?}");
        with[0]
    }

    fn reply(&mut self, node: usize, got: &Got, index: u64, reply: &str) {
        let head = ReplyHead { id: got.head.id, index: LogIndex(index) };
        self.feed(node, |out| {
            put_message(out, Kind::Reply, |out| {
                head.encode(out);
                out.extend(reply.as_bytes());
            });
        });
        self.turn();
    }

    fn refuse(&mut self, node: usize, got: &Got, reason: RefusalReason, leader: Option<ReplicaId>) {
        self.feed(node, |out| Refusal { id: got.head.id, reason, leader, moved: None }.put(out));
        self.turn();
    }

    /// The connection to a node breaks, and cannot be made again.
    fn cut(&mut self, node: usize) {
        self.nodes[node] = FakeNode::default();
        self.engine.at(self.now);
        self.engine.node_lost(NodeIndex(node as u32), &LinkError::Socket("cut".into()));
        self.turn();
    }

    fn mend(&mut self, node: usize) {
        self.nodes[node].connected = true;
        for _ in 0..30 {
            self.tick(100);
        }
        self.push_status(node);
        self.turn();
    }

    fn nothing_left(&self) {
        assert_eq!(self.engine.flights.used(), 0);
        assert_eq!((self.engine.waiting, self.engine.waiting_bytes), (0, 0));
        assert!(self.engine.routing.nodes().iter().all(|n| n.in_flight == 0));
    }
}

fn shared() -> Shared {
    let stats = Arc::new(WorkerStats::default());
    let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), Clock::system()));
    Shared { stats, process, desk: Arc::new(Desk::default()) }
}

/// A key of the shard with this number, 0 or 1.
fn key_of(shard: usize, number: usize) -> String {
    (0..)
        .map(|i| format!("k{number}.{i}"))
        .find(|k| (Slot::of_key(k.as_bytes()).index() >= 8192) == (shard == 1))
        .unwrap()
}

fn take(outbox: &Outbox, bytes_max: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    slices[..count].iter().flat_map(|s| s.iter().copied()).take(bytes_max).collect()
}
