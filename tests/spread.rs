//! What a large cluster's nodes and proxies tell each other while nothing happens, and how soon all know an edit: 1,000 shards of three
//! replicas on 30 nodes, and 100 proxies of one worker, by their real engines in virtual time over links that take 5 ms.
//!
//! `cargo test --release --test spread -- --ignored --nocapture` prints the table of `ARCHITECTURE.md`. Deliberately absent: the catalog's
//! own group; three nodes know the edit at once, and the others ask them as `node::cluster` does, four times a second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use pontoon::consensus::{Group, GroupOptions, HardState, Restored, SnapshotPoint};
use pontoon::control::health::HealthTimes;
use pontoon::control::routing::NodeIndex;
use pontoon::frontend::{Desk, Facts};
use pontoon::keyspace::Keyspace;
use pontoon::net::{Clock, Moment};
use pontoon::node::connections::{Connections, Dialect};
use pontoon::node::engine::{Engine, EngineOptions};
use pontoon::node::gate;
use pontoon::node::machine::Machine;
use pontoon::node::replica::Replica;
use pontoon::protocol::control::{Hello, PeerRole, Welcome};
use pontoon::protocol::frame::{Assembler, Heartbeat, Kind, PREAMBLE, put_message, split_frame, split_numbered};
use pontoon::protocol::request::Limits;
use pontoon::proxy::engine::{Engine as Proxy, Order, Settings, Shared};
use pontoon::proxy::limits::WorkerLimits;
use pontoon::proxy::metrics::WorkerStats;
use pontoon::proxy::outbox::SLICES_MAX;
use pontoon::proxy::process::Process;
use pontoon::topology::{
    Catalog, ClusterId, Incarnation, LogTime, NodeName, ReplicaId, Revision, SessionId, ShardId, ShardsConfig,
    SlotRange,
};

const NODES: usize = 30;
const SHARDS: usize = 1_000;
const PROXIES: usize = 100;
const STEP_MS: u64 = 5;
/// After that all is led and known.
const WARM_MS: u64 = 3_000;
const MEASURED_MS: u64 = 2_000;

fn file(version: u64) -> ShardsConfig {
    let mut text = format!("version = {version}\n");
    for node in 0..NODES {
        writeln!(text, "[[node]]\nname = \"n{node:02}\"\naddr = \"10.0.0.{node}:7001\"").unwrap();
    }
    for shard in 0..SHARDS {
        let nodes: Vec<String> = (0..3).map(|i| format!("n{:02}", (shard + i * 7) % NODES)).collect();
        writeln!(text, "[[shard]]\nname = \"s{shard}\"\nnodes = {nodes:?}").unwrap();
    }
    ShardsConfig::parse(&text, "shards.toml").unwrap()
}

fn name(node: usize) -> NodeName {
    NodeName::new(&format!("n{node:02}"))
}

/// Messages and bytes, by what they are and who sends them.
#[derive(Default)]
struct Traffic(BTreeMap<(&'static str, &'static str), (u64, u64)>);

impl Traffic {
    fn note(&mut self, from: &'static str, kind: Kind, bytes: usize) {
        let what = match kind {
            Kind::Raft => "Raft",
            Kind::Clock => "clocks",
            Kind::Heartbeat => "heartbeats",
            Kind::Status => "statuses",
            Kind::Catalog => "catalogs",
            _ => "others",
        };
        let sum = self.0.entry((from, what)).or_default();
        *sum = (sum.0 + 1, sum.1 + bytes as u64);
    }

    fn print(&self, ms: u64) {
        for ((from, what), (messages, bytes)) in &self.0 {
            let (messages, bytes) = (messages * 1000 / ms, bytes * 1000 / ms);
            println!("| {from} | {what} | {messages} | {bytes} |");
        }
    }
}

struct Node {
    engine: Engine,
    connections: Connections<usize>,
    /// Of the proxies, and of the nodes that ask for catalogs.
    keys: Vec<usize>,
}

struct World {
    now_ms: u64,
    nodes: Vec<Node>,
    proxies: Vec<Proxy>,
    /// The revisions that they know.
    known: Vec<Revision>,
    traffic: Traffic,
    /// What arrives at the next step: at proxies from nodes, and at nodes from proxies.
    to_proxies: Vec<(usize, usize, Vec<u8>)>,
    to_nodes: Vec<(usize, usize, Vec<u8>)>,
}

impl World {
    fn new(catalog: &Arc<Catalog>) -> Self {
        let nodes = (0..NODES).map(|node| new_node(node, catalog)).collect();
        let proxies = (0..PROXIES).map(|proxy| new_proxy(proxy, catalog)).collect();
        let (to_proxies, to_nodes) = (Vec::new(), Vec::new());
        let known = vec![Revision(0); PROXIES];
        Self { now_ms: 10_000, nodes, proxies, known, traffic: Traffic::default(), to_proxies, to_nodes }
    }

    fn now(&self) -> (Moment, LogTime) {
        (Moment::at(Duration::from_millis(self.now_ms)), LogTime(1_000_000 + self.now_ms))
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        let (now, wall) = self.now();
        self.nodes_act(now, wall);
        self.nodes_ask(now, wall);
        self.proxies_act(now, wall);
    }

    fn nodes_act(&mut self, now: Moment, wall: LogTime) {
        let mut carried = Vec::new();
        for (from, node) in self.nodes.iter_mut().enumerate() {
            if (self.now_ms + from as u64 * STEP_MS).is_multiple_of(25) {
                node.engine.tick(now, wall, &mut node.connections);
            }
            node.engine.turn(now, wall, &mut node.connections);
            while let Some(batch) = node.engine.take_batch() {
                node.engine.batch_written(batch);
                node.engine.turn(now, wall, &mut node.connections);
            }
            node.engine.take_events();
            for (to, outbox) in node.engine.peers_mut() {
                let to: usize = to.as_str()[1..].parse().unwrap();
                carried.push((to, std::mem::take(&mut outbox.frames)));
            }
        }
        for (to, frames) in carried {
            let (mut assembler, mut rest) = (Assembler::new(64 << 20), frames.as_slice());
            while let Some(frame) = split_frame(rest).unwrap() {
                self.traffic.note("nodes to nodes", frame.kind, frame.consumed);
                rest = &rest[frame.consumed..];
                let Some(message) = assembler.push(frame).unwrap() else { continue };
                match message.kind {
                    Kind::Raft => self.nodes[to].engine.peer_message(message.payload),
                    Kind::Clock => self.nodes[to].engine.peer_clock(message.payload, now, wall),
                    _ => {}
                }
            }
        }
    }

    /// Nodes that are no members of the catalog ask one that is.
    fn nodes_ask(&mut self, now: Moment, wall: LogTime) {
        for node in 3..NODES {
            if !(self.now_ms + node as u64 * 35).is_multiple_of(250) {
                continue;
            }
            let mut asked = Vec::new();
            let heartbeat = Heartbeat { sequence: 1, revision: self.nodes[node].engine.revision(), known: 0 };
            heartbeat.put(&mut asked);
            self.traffic.note("nodes to nodes", Kind::Heartbeat, asked.len());
            let member = &mut self.nodes[node % 3];
            let key = member.keys[PROXIES + node];
            gate::take_heartbeat(&member.engine, &mut member.connections, key, heartbeat, now, wall);
            let answer = std::mem::take(&mut member.connections.get(key).unwrap().outlet.out);
            let (mut assembler, mut rest) = (Assembler::new(64 << 20), answer.as_slice());
            while let Some(frame) = split_frame(rest).unwrap() {
                self.traffic.note("nodes to nodes", frame.kind, frame.consumed);
                rest = &rest[frame.consumed..];
                if let Some(message) = assembler.push(frame).unwrap().filter(|m| m.kind == Kind::Catalog) {
                    let (_, json) = split_numbered(message.payload).unwrap();
                    self.nodes[node].engine.adopt_catalog(Catalog::decode(json).unwrap().into());
                }
            }
        }
    }

    fn proxies_act(&mut self, now: Moment, wall: LogTime) {
        for (proxy, node, bytes) in std::mem::take(&mut self.to_proxies) {
            self.proxies[proxy].at(now);
            self.proxies[proxy].node_data(NodeIndex(node as u32), &bytes);
        }
        for (proxy, node, bytes) in std::mem::take(&mut self.to_nodes) {
            self.node_hears(proxy, node, &bytes, now, wall);
        }
        for proxy in 0..PROXIES {
            let engine = &mut self.proxies[proxy];
            engine.at(now);
            if (self.now_ms + proxy as u64 * STEP_MS).is_multiple_of(20) {
                engine.tick(now, wall);
            }
            engine.settle();
            for order in engine.take_orders() {
                match order {
                    Order::Connect(node, _) => engine.node_connected(node),
                    Order::CatalogLearned(catalog) => self.known[proxy] = catalog.revision,
                    _ => {}
                }
            }
            for node in engine.dirty_nodes() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut bytes = Vec::new();
                loop {
                    let count = engine.node_output(node).slices(&mut slices);
                    let some: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
                    if some.is_empty() {
                        break;
                    }
                    slices = [IoSlice::new(&[]); SLICES_MAX];
                    engine.node_sent(node, some.len());
                    bytes.extend(some);
                }
                self.to_nodes.push((proxy, node.at(), bytes));
            }
        }
    }

    fn node_hears(&mut self, proxy: usize, at: usize, bytes: &[u8], now: Moment, wall: LogTime) {
        let node = &mut self.nodes[at];
        let mut rest = bytes.strip_prefix(PREAMBLE.as_slice()).unwrap_or(bytes);
        let mut assembler = Assembler::new(64 << 20);
        while let Some(frame) = split_frame(rest).unwrap() {
            self.traffic.note("proxies to nodes", frame.kind, frame.consumed);
            rest = &rest[frame.consumed..];
            let Some(message) = assembler.push(frame).unwrap() else { continue };
            let key = node.keys[proxy];
            match message.kind {
                Kind::Hello => {
                    let welcome = Welcome {
                        cluster: Some(ClusterId(7)),
                        node: name(at),
                        incarnation: Incarnation(1),
                        keeps_leases: false,
                    };
                    let out = &mut node.connections.get(key).unwrap().outlet.out;
                    put_message(out, Kind::Welcome, |out| out.extend(serde_json::to_vec(&welcome).unwrap()));
                }
                Kind::Heartbeat => {
                    let heartbeat = Heartbeat::decode(message.payload).unwrap();
                    gate::take_heartbeat(&node.engine, &mut node.connections, key, heartbeat, now, wall);
                }
                Kind::Catalog => {
                    let (_, json) = split_numbered(message.payload).unwrap();
                    node.engine.adopt_catalog(Catalog::decode(json).unwrap().into());
                }
                _ => {}
            }
        }
        let out = std::mem::take(&mut node.connections.get(node.keys[proxy]).unwrap().outlet.out);
        let mut rest = out.as_slice();
        while let Some(frame) = split_frame(rest).unwrap() {
            self.traffic.note("nodes to proxies", frame.kind, frame.consumed);
            rest = &rest[frame.consumed..];
        }
        if !out.is_empty() {
            self.to_proxies.push((proxy, at, out));
        }
    }

    fn pass(&mut self, ms: u64) {
        (0..ms / STEP_MS).for_each(|_| self.step());
    }
}

fn new_node(node: usize, catalog: &Arc<Catalog>) -> Node {
    let mut engine = Engine::new(name(node), EngineOptions::default(), 7 + node as u64);
    engine.adopt_catalog(Arc::clone(catalog));
    for (shard, record) in catalog.replicas_on(&name(node)).filter(|(shard, _)| shard.id != ShardId::CATALOG) {
        let place = shard.place(record.id);
        let options = GroupOptions {
            heartbeat_ticks: 2,
            lease_ticks: 18,
            election_ticks: 24 + 4 * place,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 256,
            uncommitted_bytes_max: 64 << 20,
            committed_bytes_max: 1 << 20,
            quiet_ticks: 0,
            keeps_leases: false,
            boot_nonce: node as u64 + 1,
        };
        let start = SnapshotPoint::birth(shard.birth.iter().map(|replica| -> ReplicaId { replica.id }));
        let restored = Restored { start, hard_state: HardState::default(), entries: Vec::new() };
        let mut group = Group::restore(record.id, options, restored).unwrap();
        if shard.birth[0].id == record.id {
            group.campaign();
        }
        let mut keyspace = Keyspace::new(1);
        shard
            .birth_slots
            .iter()
            .flat_map(SlotRange::slots)
            .for_each(|slot| keyspace.own(slot, shard.birth_slots[0].epoch));
        engine.add_replica(Replica::new(shard.id, record.id, group, Machine::Data(keyspace.into()), 0));
    }
    let peers: Vec<NodeName> = engine.peer_names().cloned().collect();
    peers.iter().for_each(|peer| engine.peer_connected(peer));
    let mut connections = Connections::default();
    let hello = Hello { role: PeerRole::Proxy, cluster: None, name: "p".to_owned(), incarnation: None, to: None };
    let mut keys: Vec<usize> = (0..PROXIES).map(|proxy| connections.insert(proxy, gate::dialect(&hello))).collect();
    keys.extend((0..NODES).map(|other| connections.insert(PROXIES + other, Dialect::Control)));
    Node { engine, connections, keys }
}

fn new_proxy(proxy: usize, catalog: &Catalog) -> Proxy {
    let settings = Settings {
        limits: WorkerLimits::default(),
        request_limits: Limits::default(),
        health: HealthTimes::default(),
        zone: None,
        name: format!("p{proxy}"),
        workers: 1,
        seed: 1_000_003 * proxy as u64,
        session: SessionId(proxy as u128 + 1),
    };
    let stats = Arc::new(WorkerStats::default());
    let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), Clock::system()));
    let now = Moment::at(Duration::from_millis(10_000 + proxy as u64));
    let mut engine = Proxy::new(settings, Shared { stats, process, desk: Arc::new(Desk::default()) }, now);
    engine.seed_nodes(catalog.nodes.keys().map(|node| (node.clone(), catalog.addr(node).unwrap().to_owned(), None)));
    engine
}

#[test]
#[ignore = "a measurement, for an optimized build"]
fn spread() {
    let incarnations = (0..NODES).map(|node| (name(node), Incarnation(1))).collect();
    let mut catalog = Catalog::found(ClusterId(7), 42, &file(1), &incarnations);
    println!("the catalog: {} bytes", catalog.encode().len());
    let mut world = World::new(&Arc::new(catalog.clone()));
    world.pass(WARM_MS);
    let led = world.nodes.iter().flat_map(|node| node.engine.replicas()).filter(|r| r.group.leads_surely()).count();
    assert_eq!(led, SHARDS);
    assert!(world.known.iter().all(|known| *known == catalog.revision), "not all proxies know the catalog");
    world.traffic = Traffic::default();
    world.pass(MEASURED_MS);
    println!("| who | what | messages/s | bytes/s |\n| --- | --- | --- | --- |");
    world.traffic.print(MEASURED_MS);
    world.traffic = Traffic::default();
    catalog.revision = catalog.revision.next();
    let (edit, began) = (Arc::new(catalog), world.now_ms);
    (0..3).for_each(|member| world.nodes[member].engine.adopt_catalog(Arc::clone(&edit)));
    let (mut nodes_ms, mut proxies_ms) = (None, None);
    while (nodes_ms.is_none() || proxies_ms.is_none()) && world.now_ms < began + 20_000 {
        world.step();
        let knows = |revision: Revision| revision == edit.revision;
        let passed = Some(world.now_ms - began);
        if nodes_ms.is_none() && world.nodes.iter().all(|node| knows(node.engine.revision())) {
            nodes_ms = passed;
        }
        if proxies_ms.is_none() && world.known.iter().all(|known| knows(*known)) {
            proxies_ms = passed;
        }
    }
    world.pass(5_000);
    println!("an edit is known to all nodes after {nodes_ms:?} ms, to all proxies after {proxies_ms:?} ms");
    for ((from, what), (messages, bytes)) in world.traffic.0.iter().filter(|((_, what), _)| *what == "catalogs") {
        println!("{what} for it, {from}: {messages} frames, {bytes} bytes");
    }
    assert!(nodes_ms.is_some() && proxies_ms.is_some());
}
