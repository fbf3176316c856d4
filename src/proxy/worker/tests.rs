//! The shell around an engine that does as it is told, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;
use crate::control::health::HealthTimes;
use crate::frontend::{Desk, Facts, Session};
use crate::protocol::identity::CancelHow;
use crate::protocol::request::Limits;
use crate::proxy::core::Course;
use crate::proxy::limits::WorkerLimits;
use crate::proxy::outbox::Outbox;
use crate::proxy::process::Process;
use crate::topology::{LogTime, SessionId};

const NODE: NodeIndex = NodeIndex(0);
const OTHER: NodeIndex = NodeIndex(1);
/// Nobody can be connected to there: the kernel refuses at once.
const NOWHERE: &str = "255.255.255.255:1";

/// Notes what it is told.
#[derive(Default)]
struct Scripted {
    orders: Vec<Order>,
    /// What is ordered when this node is lost.
    on_loss: Vec<Order>,
    lost: Vec<NodeIndex>,
    clients: usize,
    dirty: Vec<u32>,
    output: Outbox,
    nothing: Outbox,
    /// How many bytes were sent, each time.
    sent: Vec<usize>,
    heard: Vec<u8>,
}

impl Core for Scripted {
    fn make(_: Settings, _: Shared, _: Moment) -> Self {
        Self::default()
    }
    fn set_course(&mut self, _: Course) {}
    fn at(&mut self, _: Moment) {}
    fn tick(&mut self, _: Moment, _: LogTime) {}
    fn settle(&mut self) {}
    fn is_unsettled(&self) -> bool {
        !self.orders.is_empty()
    }
    fn is_waiting(&self) -> bool {
        true
    }
    fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }
    fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }
    fn client_count(&self) -> usize {
        self.clients
    }
    fn client_opened(&mut self, _: Session, _: Option<SocketAddr>, _: Option<SocketAddr>) -> u32 {
        self.clients += 1;
        self.clients as u32 - 1
    }
    fn client_data(&mut self, _: u32, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
    }
    fn wants_input(&self, _: u32) -> bool {
        true
    }
    fn client_ended(&mut self, _: u32) {}
    fn client_broke(&mut self, _: u32) {}
    fn client_output(&self, _: u32) -> Option<&Outbox> {
        Some(&self.output)
    }
    fn client_sent(&mut self, _: u32, count: usize) {
        self.output.advance(count);
        self.sent.push(count);
    }
    fn dirty_clients(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }
    fn reuse_dirty_clients(&mut self, _: Vec<u32>) {}
    fn node_connected(&mut self, _: NodeIndex) {}
    fn node_lost(&mut self, node: NodeIndex, _: &LinkError) {
        self.lost.push(node);
        self.orders.append(&mut self.on_loss);
    }
    fn node_data(&mut self, _: NodeIndex, _: &[u8]) {}
    fn node_output(&self, _: NodeIndex) -> &Outbox {
        &self.nothing
    }
    fn node_sent(&mut self, _: NodeIndex, _: usize) {}
    fn has_dirty_nodes(&self) -> bool {
        false
    }
    fn dirty_nodes(&mut self) -> Vec<NodeIndex> {
        Vec::new()
    }
    fn reuse_dirty_nodes(&mut self, _: Vec<NodeIndex>) {}
    fn views(&self) -> Vec<ClientView> {
        Vec::new()
    }
    fn take_views(&mut self, _: u32, _: u64, _: Vec<ClientView>) {}
    fn kill(&mut self, _: &[u64]) {}
    fn pause(&mut self, _: Moment, _: bool) {}
    fn unblock(&mut self, _: u64, _: CancelHow) {}
    fn drain(&mut self) {}
    fn is_drained(&self) -> bool {
        true
    }
}

fn worker() -> (Worker<Scripted>, SocketAddr) {
    let settings = Settings {
        limits: WorkerLimits::default(),
        request_limits: Limits::default(),
        health: HealthTimes::default(),
        zone: None,
        name: "test".to_owned(),
        workers: 1,
        seed: 1,
        session: SessionId(1),
    };
    let (clock, stats) = (Clock::system(), Arc::new(WorkerStats::default()));
    let process = Arc::new(Process::new(vec![stats.clone()], Facts::default(), clock.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (post, mail) = postbox().unwrap();
    let options = WorkerOptions {
        number: 0,
        settings,
        listener,
        clock,
        shared: Shared { stats, process, desk: Arc::new(Desk::default()) },
        catalog: Arc::default(),
        mail,
        peers: vec![post],
        reads: ReadLevel::Session,
    };
    (Worker::new(options).unwrap(), address)
}

/// Turns until `holds`.
fn turn_until(worker: &mut Worker<Scripted>, holds: impl Fn(&Worker<Scripted>) -> bool) {
    for _ in 0..10_000 {
        if holds(worker) {
            return;
        }
        worker.turn().unwrap();
    }
    panic!("it never came");
}

#[test]
fn what_failed_at_once_is_told_when_all_orders_are_carried_out() {
    let (mut worker, _) = worker();
    worker.engine.on_loss = vec![Order::Disconnect(OTHER)];
    worker.engine.orders = vec![
        Order::Connect(NODE, NOWHERE.to_owned()),
        Order::Connect(OTHER, NOWHERE.to_owned()),
        Order::Disconnect(OTHER),
    ];
    worker.settle();
    assert_eq!(worker.engine.lost, [NODE], "the other one was given up by a later order");
    assert!(worker.engine.has_orders(), "what follows from it comes after the orders before it");
}

#[test]
fn a_name_that_leads_nowhere_is_a_lost_node() {
    let (mut worker, _) = worker();
    worker.engine.orders = vec![Order::Connect(NODE, "no port".to_owned())];
    turn_until(&mut worker, |worker| worker.engine.lost == [NODE]);
    worker.engine.orders = vec![Order::Connect(NODE, "no port".to_owned())];
    turn_until(&mut worker, |worker| worker.engine.lost == [NODE, NODE]);
}

#[test]
fn once_nobody_waits_to_be_accepted_descriptors_are_not_looked_for_any_more() {
    let (mut worker, _) = worker();
    worker.exhausted_until = Some(worker.now);
    worker.accept_after_exhaustion();
    assert_eq!(worker.exhausted_until, None);
}

#[test]
fn a_client_that_reads_nothing_makes_no_progress() {
    let (mut worker, address) = worker();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    turn_until(&mut worker, |worker| worker.engine.heard == b"x");
    worker.engine.output.put(&vec![b'y'; 16 << 20]);
    // As if it were told again and again that there is room, until there is none.
    let is_full = (0..1_000).any(|_| {
        let before = worker.engine.sent.len();
        worker.clients[0].as_mut().unwrap().blocked = false;
        worker.engine.dirty = vec![0];
        worker.turn().unwrap();
        worker.engine.sent.len() == before
    });
    assert!(is_full, "a write that found no room was told as one that sent something: {:?}", worker.engine.sent.last());
    assert!(worker.clients[0].as_ref().unwrap().blocked && !worker.engine.output.is_empty());
    let all: usize = worker.engine.sent.iter().sum::<usize>() + worker.engine.output.waiting_bytes();
    let reader = std::thread::spawn(move || client.read_exact(&mut vec![0; all]));
    turn_until(&mut worker, |worker| worker.engine.output.is_empty());
    reader.join().unwrap().unwrap();
}

#[test]
fn what_is_told_of_a_socket_that_had_this_place_before_costs_no_reads_for_ever() {
    let (mut worker, address) = worker();
    let mut client = TcpStream::connect(address).unwrap();
    turn_until(&mut worker, |worker| !worker.clients.is_empty());
    worker.client_ready(0, Ready { token: 0, readable: true, writable: false, ended: true });
    client.write_all(b"x").unwrap();
    turn_until(&mut worker, |worker| worker.engine.heard == b"x");
    assert!(!worker.clients[0].as_ref().unwrap().inflow.is_readable());
}
