//! Turns of the proxy's engine over groups of Redis servers, without sockets: what a worker does between reading and writing.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use pontoon::control::health::HealthTimes;
use pontoon::control::routing::NodeIndex;
use pontoon::frontend::{Desk, Facts, Session};
use pontoon::net::{Clock, Moment};
use pontoon::protocol::frame::ReadLevel;
use pontoon::protocol::request::{Limits, parse_first};
use pontoon::proxy::engine::{Order, Settings, Shared};
use pontoon::proxy::limits::WorkerLimits;
use pontoon::proxy::metrics::WorkerStats;
use pontoon::proxy::outbox::{Outbox, SLICES_MAX};
use pontoon::proxy::process::Process;
use pontoon::proxy::redis::Engine;
use pontoon::topology::{LogTime, SessionId, ShardsFile};

use crate::Meter;
use crate::cases::{OPERATIONS, Work};

const GROUPS: usize = 3;
/// Until the proxy knows who leads its groups.
const TICKS_MAX: usize = 1_000;

struct Proxy {
    engine: Engine,
    now: Moment,
    clients: Vec<u32>,
    /// Bytes that each client got.
    received: BTreeMap<u32, usize>,
}

impl Proxy {
    fn new(clients: usize) -> Self {
        let settings = Settings {
            limits: WorkerLimits::default(),
            request_limits: Limits::default(),
            health: HealthTimes::default(),
            zone: None,
            name: "bench".to_owned(),
            workers: 1,
            seed: 42,
            session: SessionId(1),
        };
        let stats = Arc::new(WorkerStats::default());
        let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), Clock::system()));
        let shared = Shared { stats, process, desk: Arc::new(Desk::default()) };
        let (engine, now) = (Engine::new(settings, shared, Moment::default()), Moment::default());
        let mut proxy = Self { engine, now, clients: Vec::new(), received: BTreeMap::new() };
        let mut text = "version = 1\n".to_owned();
        for group in 0..GROUPS {
            text += &format!("[[shard]]\nname = 'r{group}'\nkind = 'redis'\nservers = ['h:{}']\n", group + 1);
        }
        let Ok(ShardsFile::Redis(config)) = ShardsFile::parse(&text, "shards.toml") else { panic!("{text}") };
        proxy.engine.follow(&Arc::new(config));
        let off = Meter { is_on: false };
        let is_ready = |proxy: &mut Self| {
            proxy.now = proxy.now + Duration::from_millis(10);
            proxy.engine.tick(proxy.now, LogTime(1));
            proxy.turn(&off);
            proxy.engine.is_ready()
        };
        assert!((0..TICKS_MAX).any(|_| is_ready(&mut proxy)), "nobody leads");
        for number in 0..clients as u64 {
            let session = Session::new(number + 1, ReadLevel::Session, proxy.now);
            let client = proxy.engine.client_opened(session, None, None);
            proxy.clients.push(client);
        }
        proxy
    }

    /// Until nothing is left to do.
    fn turn(&mut self, meter: &Meter) {
        loop {
            let (engine, now) = (&mut self.engine, self.now);
            let (orders, nodes, clients) = meter.count(|| {
                engine.at(now);
                engine.settle();
                (engine.take_orders(), engine.dirty_nodes(), engine.dirty_clients())
            });
            if orders.is_empty() && nodes.is_empty() && clients.is_empty() && !engine.is_unsettled() {
                return;
            }
            for order in orders {
                if let Order::Connect(node, _) = order {
                    engine.node_connected(node);
                }
            }
            let replies: Vec<(NodeIndex, Vec<u8>)> = nodes
                .iter()
                .map(|node| {
                    let requests = bytes(engine.node_output(*node));
                    meter.count(|| engine.node_sent(*node, requests.len()));
                    (*node, answers(&requests))
                })
                .collect();
            for client in &clients {
                let length = engine.client_output(*client).map_or(0, |output| bytes(output).len());
                *self.received.entry(*client).or_default() += length;
                meter.count(|| engine.client_sent(*client, length));
            }
            meter.count(|| {
                engine.reuse_dirty_nodes(nodes);
                engine.reuse_dirty_clients(clients);
                replies.iter().for_each(|(node, reply)| engine.node_data(*node, reply));
            });
        }
    }
}

fn bytes(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
}

/// What servers say to whole requests.
fn answers(mut requests: &[u8]) -> Vec<u8> {
    let value = format!("$100\r\n{}\r\n", "x".repeat(100));
    let (mut out, mut spans) = (String::new(), Vec::new());
    while let Ok(end) = parse_first(requests, &mut spans) {
        match &requests[spans[0].start as usize..spans[0].end as usize] {
            b"GET" => out += &value,
            b"MGET" => out += &format!("*{}\r\n{}", spans.len() - 1, value.repeat(spans.len() - 1)),
            b"ROLE" => out += "*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n",
            _ => out += "+OK\r\n",
        }
        requests = &requests[end..];
    }
    out.into_bytes()
}

/// `OPERATIONS` requests of so many clients, of each so many in one piece, with answers of some length.
pub fn turns(of: fn(usize) -> Vec<u8>, clients: usize, depth: usize, answer_bytes: usize) -> Work {
    let mut proxy = Proxy::new(clients);
    let pieces: Vec<Vec<u8>> =
        (0..OPERATIONS / depth).map(|at| (0..depth).flat_map(|i| of(at * depth + i)).collect()).collect();
    Box::new(move |meter| {
        proxy.received.clear();
        for round in pieces.chunks(clients) {
            let (engine, keys) = (&mut proxy.engine, &proxy.clients);
            meter.count(|| keys.iter().zip(round).for_each(|(client, piece)| engine.client_data(*client, piece)));
            proxy.turn(meter);
        }
        assert_eq!(proxy.received.values().sum::<usize>(), OPERATIONS * answer_bytes, "each was answered");
    })
}
