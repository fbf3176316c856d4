//! One simulated node: the real engine, data directory, log and snapshots, on a disk of its own that outlives it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use pontoon::net::Entropy;
use pontoon::node::engine::{Engine, EngineOptions};
use pontoon::node::home::{Home, HomeError};
use pontoon::node::machine::MachineLoader;
use pontoon::protocol::frame::Assembler;
use pontoon::storage::{LogOptions, SegmentLog, SimulatedDisk, SnapshotWriter, WriteBatch};
use pontoon::topology::{Catalog, ClusterId, Incarnation, NodeName, ShardId, ShardsConfig, Slot, SlotRange};

use super::random::Random;
use super::world::Happening;

/// The shard under test.
pub const SHARD: ShardId = ShardId(1);
const DATA: &str = "/data";

/// A node, alive or not.
pub struct Member {
    pub name: NodeName,
    pub disk: SimulatedDisk,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset_ms: i64,
    /// Raised by each end of the process: what was meant for an earlier life is dropped.
    pub life: u64,
    pub started_us: u64,
    pub running: Option<Running>,
    pub paused: bool,
    /// What came in while paused.
    pub backlog: VecDeque<Happening>,
    /// How much longer each sync takes than on a good day.
    pub sync_extra_us: u64,
}

/// What a process has in memory.
pub struct Running {
    pub engine: Engine,
    pub home: Home,
    pub log: SegmentLog,
    /// The batch that the disk is working on.
    pub batch: Option<WriteBatch>,
    /// States that are coming in, by transfer.
    pub incoming: BTreeMap<u64, Incoming>,
    /// One for each node that sends to this one.
    pub assemblers: Vec<Assembler>,
}

/// A state that is coming in.
pub struct Incoming {
    pub writer: SnapshotWriter,
    pub loader: MachineLoader,
    pub rest: Vec<Vec<u8>>,
}

/// How the engines of a run behave: small limits, so that what is rare happens often.
#[derive(Clone, Copy)]
pub struct Limits {
    pub snapshot_entries: u64,
    pub window_bytes: usize,
}

impl Member {
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            name: NodeName::new(&format!("n{}", number + 1)),
            disk: SimulatedDisk::new(seed),
            wall_offset_ms: 0,
            life: 0,
            started_us: 0,
            running: None,
            paused: false,
            backlog: VecDeque::new(),
            sync_extra_us: 0,
        }
    }

    /// Starts the process on what the disk holds, the way the shell does.
    pub fn start(&mut self, catalog: &Arc<Catalog>, limits: Limits, random: &mut Random) -> Result<(), HomeError> {
        let entropy = Entropy::seeded(random.next());
        let log_options = LogOptions { segment_bytes: 32 << 10, zero_ahead_bytes: 4 << 10, salt: 0 };
        let (mut home, log) = Home::open_with(&self.disk.disk(), Path::new(DATA), &self.name, &entropy, log_options)?;
        let known = home.catalog()?;
        if known.is_none() {
            home.keep_catalog(catalog)?;
        }
        let replicas = home.restore_all(known.as_ref())?;
        let options = EngineOptions {
            window_bytes_max: limits.window_bytes,
            snapshot_bytes: 1 << 20,
            snapshot_entries: limits.snapshot_entries,
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(self.name.clone(), options, entropy.next());
        engine.adopt_catalog(Arc::clone(catalog));
        replicas.into_iter().for_each(|replica| engine.add_replica(replica));
        if engine.replica(SHARD).is_none() {
            let shard = catalog.shard(SHARD).expect("the shard under test");
            let record = shard.replica_on(&self.name).expect("each node has a replica");
            let mut replica = home.give_birth(catalog, shard, record.id)?;
            if shard.birth[0].id == record.id {
                replica.group.campaign();
            }
            engine.add_replica(replica);
        }
        let assemblers = (0..catalog.nodes.len()).map(|_| Assembler::new(64 << 20)).collect();
        self.running = Some(Running { engine, home, log, batch: None, incoming: BTreeMap::new(), assemblers });
        Ok(())
    }

    /// Ends the process. What its disk keeps is decided by the caller.
    pub fn end(&mut self) {
        self.running = None;
        self.life += 1;
        self.paused = false;
        self.backlog.clear();
    }
}

/// A cluster of one shard whose replicas are on all nodes, and which owns no more slots than these keys need.
pub fn catalog(nodes: usize, keys: &[String]) -> Arc<Catalog> {
    let names: Vec<String> = (1..=nodes).map(|n| format!("n{n}")).collect();
    let mut text = "version = 1\n".to_owned();
    for name in &names {
        text += &format!("[[node]]\nname = \"{name}\"\naddr = \"{name}:7000\"\n");
    }
    text += &format!("[[shard]]\nname = \"a\"\nnodes = {names:?}\n");
    let config = ShardsConfig::parse(&text, "shards.toml").expect("a valid file");
    let incarnations = names.iter().map(|n| (NodeName::new(n), Incarnation(1))).collect();
    let mut catalog = Catalog::found(ClusterId(7), 42, &config, &incarnations);
    let shard = catalog.shards.iter_mut().find(|s| s.id == SHARD).expect("one shard");
    let epoch = shard.birth_slots[0].epoch;
    let range = |key: &String| {
        let slot = Slot::of_key(key.as_bytes()).number();
        SlotRange { first: slot, last: slot, owner: SHARD, epoch }
    };
    shard.birth_slots = keys.iter().map(range).collect();
    Arc::new(catalog)
}
