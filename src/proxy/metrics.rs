//! What a worker counts. One thread writes, any thread reads; nothing here locks on the path of a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::protocol::frame::RefusalReason;
use crate::topology::{NodeName, ShardName};

/// Commands as metrics group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandClass {
    /// Reads of one shard.
    Read,
    /// Writes to one shard.
    Write,
    /// Parts of commands over several shards.
    Multi,
    /// Answered by the proxy itself.
    Connection,
    /// Commands whose clients may wait.
    Blocking,
}

impl CommandClass {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Multi, Self::Connection, Self::Blocking];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Multi => "multi",
            Self::Connection => "connection",
            Self::Blocking => "blocking",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a reply.
    Ok,
    /// With an error reply of the shard.
    Error,
    /// Past its deadline, surely not applied.
    TimedOut,
    /// A write that may or may not take effect.
    Unknown,
}

impl Outcome {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::TimedOut, Self::Unknown];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }
}

/// A number that one thread writes.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Adds, without a locked instruction.
    pub fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency buckets.
pub const BUCKETS_US: [u64; 16] = [
    100, 200, 400, 800, 1_500, 3_000, 6_000, 12_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 3_000_000,
    10_000_000,
];

/// Latencies in fixed buckets; the last bucket has no bound.
#[derive(Debug, Default)]
pub struct Latencies {
    buckets: [Figure; BUCKETS_US.len() + 1],
    sum_us: Figure,
}

impl Latencies {
    /// Counts one.
    pub fn record(&self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|b| us <= *b).unwrap_or(BUCKETS_US.len());
        self.buckets[bucket].add(1);
        self.sum_us.add(us);
    }

    /// The count of each bucket, and the sum.
    pub fn read(&self) -> ([u64; BUCKETS_US.len() + 1], u64) {
        (std::array::from_fn(|i| self.buckets[i].get()), self.sum_us.get())
    }
}

/// What a worker counts per shard.
#[derive(Debug)]
pub struct ShardStats {
    /// The shard's label.
    pub name: ShardName,
    latencies: [[Latencies; Outcome::ALL.len()]; CommandClass::ALL.len()],
}

impl ShardStats {
    /// Nothing counted yet.
    pub fn new(name: ShardName) -> Self {
        Self { name, latencies: Default::default() }
    }

    /// The latencies of one kind of request.
    pub const fn latencies(&self, class: CommandClass, outcome: Outcome) -> &Latencies {
        &self.latencies[class as usize][outcome as usize]
    }
}

/// What a worker counts per node.
#[derive(Debug)]
pub struct NodeStats {
    /// The node.
    pub name: NodeName,
    /// Connections that were lost or could not be made.
    pub failures: Figure,
    /// Whether requests can be sent to it.
    pub up: Figure,
    /// The last round trip of a heartbeat.
    pub round_trip_us: Figure,
    /// Requests that it has not answered.
    pub in_flight: Figure,
}

/// Reads that a node answered for a shard.
#[derive(Debug)]
pub struct ReadStats {
    /// The shard.
    pub shard: ShardName,
    /// The node of the replica.
    pub node: NodeName,
    /// How many.
    pub reads: Figure,
}

const REASONS: usize = 16;

/// All that one worker counts.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Open client connections.
    pub connections: Figure,
    /// Client connections ever taken.
    pub connections_taken: Figure,
    /// Client connections turned away because of a limit.
    pub connections_rejected: Figure,
    /// Requests of any class.
    pub requests: Figure,
    /// Requests that the proxy answered itself.
    pub answered_here: Figure,
    /// Requests not answered yet.
    pub in_flight: Figure,
    /// Requests that wait for a node.
    pub waiting: Figure,
    /// Clients that are not read because of a limit.
    pub stalled: Figure,
    /// Clients that wait for an answer to a blocking command.
    pub clients_blocked: Figure,
    /// Bytes from clients.
    pub bytes_in: Figure,
    /// Bytes to clients.
    pub bytes_out: Figure,
    /// Requests refused because their keys are of several shards.
    pub cross_slot: Figure,
    /// Requests that went on to where their slots had moved.
    pub reroutes: Figure,
    /// Refusals that told of a slot's whereabouts what was not known.
    pub moves_learned: Figure,
    /// Transactions sent to their shard or carried out here.
    pub transactions: Figure,
    /// Transactions that did nothing: a watched key was changed, or a request could not be queued.
    pub transactions_aborted: Figure,
    /// Bytes that clients watch and queued.
    pub transaction_bytes: Figure,
    /// Names of writes from the lowest that is needed on: what shards may have to remember of this worker.
    pub names_open: Figure,
    /// The revision of the catalog.
    pub revision: Figure,
    /// The version of the file that it accepted.
    pub config_version: Figure,
    /// One when every shard has a leader that can be reached.
    pub ready: Figure,
    /// How often a server of a group was found to lead that did not before.
    pub leader_changes: Figure,
    /// Requests sent to a server again because the connection before broke, or a replica did not answer.
    pub repeats: Figure,
    retries: [Figure; REASONS],
    shards: Mutex<Vec<Arc<ShardStats>>>,
    nodes: Mutex<Vec<Arc<NodeStats>>>,
    reads: Mutex<Vec<Arc<ReadStats>>>,
}

impl WorkerStats {
    /// Requests sent again after a refusal of this kind.
    pub const fn retries(&self, reason: RefusalReason) -> &Figure {
        &self.retries[reason as usize % REASONS]
    }

    /// Counts for one more shard from now on.
    pub fn add_shard(&self, name: ShardName) -> Arc<ShardStats> {
        add(&self.shards, ShardStats::new(name))
    }

    /// Counts for one more node from now on.
    pub fn add_node(&self, name: NodeName) -> Arc<NodeStats> {
        let (failures, up, round_trip_us, in_flight) = Default::default();
        add(&self.nodes, NodeStats { name, failures, up, round_trip_us, in_flight })
    }

    /// Counts for one more replica from now on.
    pub fn add_reads(&self, shard: ShardName, node: NodeName) -> Arc<ReadStats> {
        add(&self.reads, ReadStats { shard, node, reads: Figure::default() })
    }

    /// All shards counted for.
    pub fn shards(&self) -> Vec<Arc<ShardStats>> {
        read(&self.shards)
    }

    /// All nodes counted for.
    pub fn nodes(&self) -> Vec<Arc<NodeStats>> {
        read(&self.nodes)
    }

    /// All replicas counted for.
    pub fn reads(&self) -> Vec<Arc<ReadStats>> {
        read(&self.reads)
    }
}

fn add<T>(list: &Mutex<Vec<Arc<T>>>, item: T) -> Arc<T> {
    let item = Arc::new(item);
    list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(item.clone());
    item
}

fn read<T>(list: &Mutex<Vec<Arc<T>>>) -> Vec<Arc<T>> {
    list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}
