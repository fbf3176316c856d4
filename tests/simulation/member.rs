//! One simulated node: the real engine, data directory, log, snapshots and proxies' connections, on a disk of its own that
//! outlives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use pontoon::net::Entropy;
use pontoon::node::connections::Connections;
use pontoon::node::engine::{Engine, EngineOptions};
use pontoon::node::home::{Home, HomeError};
use pontoon::node::machine::MachineLoader;
use pontoon::node::replica::ReadOptions;
use pontoon::protocol::frame::Assembler;
use pontoon::storage::{LogOptions, SegmentLog, SimulatedDisk, SnapshotWriter, WriteBatch};
use pontoon::topology::{Catalog, NodeName, ShardId};

use super::clock::MachineClock;
use super::node::Happening;
use super::random::Random;
use super::setting::Limits;
use super::streams::StreamId;

const DATA: &str = "/data";

/// A node, alive or not.
pub struct Member {
    pub name: NodeName,
    pub disk: SimulatedDisk,
    pub clock: MachineClock,
    /// Raised by each end of the process: what was meant for an earlier life is dropped.
    pub life: u64,
    pub running: Option<Running>,
    /// Whether the machine is off, and not its process alone.
    pub off: bool,
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
    /// The connections of proxies.
    pub connections: Connections<StreamId>,
    pub readers: BTreeMap<StreamId, Reader>,
    /// Shards of which something is being destroyed.
    pub removals: BTreeSet<ShardId>,
}

/// What came over a connection and is not taken yet.
#[derive(Default)]
pub struct Reader {
    /// Its place, once it was let in.
    pub key: Option<usize>,
    pub unread: Vec<u8>,
    pub assembler: Option<Assembler>,
}

/// A state that is coming in.
pub struct Incoming {
    pub shard: ShardId,
    pub writer: SnapshotWriter,
    pub loader: MachineLoader,
    pub rest: Vec<Vec<u8>>,
}

impl Member {
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            name: NodeName::new(&format!("n{}", number + 1)),
            disk: SimulatedDisk::new(seed),
            clock: MachineClock::new(),
            life: 0,
            running: None,
            off: true,
            paused: false,
            backlog: VecDeque::new(),
            sync_extra_us: 0,
        }
    }

    /// Starts the process on what the disk holds, the way the shell does. `first`: the catalog that it knows if it never knew one.
    pub fn start(&mut self, first: &Arc<Catalog>, limits: Limits, random: &mut Random) -> Result<(), HomeError> {
        let entropy = Entropy::seeded(random.next());
        let log_options =
            LogOptions { segment_bytes: 32 << 10, zero_ahead_bytes: 4 << 10, freed_bytes: 1 << 10, salt: 0 };
        let (mut home, log) = Home::open_with(&self.disk.disk(), Path::new(DATA), &self.name, &entropy, log_options)?;
        let lease = random.per_mille(limits.leases_per_mille);
        if lease {
            home.keep_leases()?;
        }
        let catalog = match home.catalog()? {
            Some(known) => Arc::new(known),
            None => {
                home.keep_catalog(first)?;
                Arc::clone(first)
            }
        };
        let replicas = home.restore_all(Some(&catalog))?;
        let leftovers = home.leftovers(&catalog)?;
        let options = EngineOptions {
            window_bytes_max: limits.window_bytes,
            snapshot_bytes: 1 << 20,
            snapshot_entries: limits.snapshot_entries,
            reads: ReadOptions { lease, ..ReadOptions::default() },
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(self.name.clone(), options, entropy.next());
        engine.adopt_catalog(Arc::clone(&catalog));
        // Half of all lives are short of processors.
        engine.spare_messages(self.life.is_multiple_of(2));
        replicas.into_iter().for_each(|replica| engine.add_replica(replica));
        for shard in &leftovers {
            engine.forget_log(*shard);
        }
        self.running = Some(Running {
            engine,
            home,
            log,
            batch: None,
            incoming: BTreeMap::new(),
            assemblers: (0..catalog.nodes.len()).map(|_| Assembler::new(64 << 20)).collect(),
            connections: Connections::default(),
            readers: BTreeMap::new(),
            removals: leftovers.into_iter().collect(),
        });
        self.off = false;
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
