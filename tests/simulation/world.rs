//! Virtual time: one queue of happenings, in an order that the seed alone decides; and who is there for things to happen to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pontoon::topology::{Catalog, ShardId};

use super::edits::Draft;
use super::faults::Fault;
use super::invariants::Invariants;
use super::member::Member;
use super::node::Happening;
use super::proxy::{Proxy, ProxyHappening};
use super::random::{Random, mixed};
use super::setting::{Limits, Setting};
use super::streams::{Host, Parcel, Stream, StreamId};
use super::voter::Voter;

/// What happens at a time.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub enum Due {
    AtNode {
        node: usize,
        life: u64,
        happening: Happening,
    },
    AtProxy {
        proxy: usize,
        life: u64,
        happening: ProxyHappening,
    },
    Parcel {
        stream: StreamId,
        end: usize,
        parcel: Parcel,
    },
    Thaw {
        stream: StreamId,
        end: usize,
    },
    Client {
        client: usize,
    },
    /// A client looks whether what it asked at that time, over that connection, is answered.
    Patience {
        operation: u64,
    },
    NextFault,
    Transfers,
    Undo(Fault),
}

/// What a link does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Lose,
    Hold,
}

/// One direction between two nodes: frames in order, each of which arrives or not.
#[derive(Default)]
pub struct Link {
    /// Raised when the connection breaks: what was under way is gone.
    pub epoch: u64,
    pub last_arrival_us: u64,
    pub held: Vec<(u64, Vec<u8>)>,
}

/// How a network is on a good or bad day.
#[derive(Clone, Copy)]
pub struct Weather {
    pub delay_min_us: u64,
    pub delay_max_us: u64,
    pub loss_per_mille: u64,
}

pub const FAIR: Weather = Weather { delay_min_us: 100, delay_max_us: 2_000, loss_per_mille: 0 };

pub struct World {
    pub now_us: u64,
    pub random: Random,
    pub catalog: Arc<Catalog>,
    pub draft: Draft,
    pub limits: Limits,
    pub deadline_us: u64,
    pub members: Vec<Member>,
    pub proxies: Vec<Proxy>,
    pub links: Vec<Vec<Link>>,
    pub streams: BTreeMap<StreamId, Stream>,
    pub next_stream: StreamId,
    /// Directions in which nothing comes through.
    pub blocks: BTreeMap<(Host, Host), Block>,
    /// Who hears no new revision of the catalog.
    pub deaf: BTreeSet<usize>,
    /// Who loses its power when it votes.
    pub voter: Option<Voter>,
    /// How many partitions there were.
    pub partitions: u64,
    pub weather: Weather,
    pub invariants: Invariants,
    /// Since when the machines' clocks say different times.
    pub clocks_true_until_us: u64,
    /// What has gone wrong, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// A running hash of all that happened.
    pub trace: u64,
    pub transfers: u64,
    /// Whether all is told as it happens, for whoever looks into one seed.
    pub tells: bool,
    /// What was told of each replica last.
    pub told: BTreeMap<(usize, ShardId), String>,
    /// What is to go wrong at which point of a handoff.
    #[cfg(feature = "failpoints")]
    pub trap: Option<super::handoff::Trap>,
    queue: BTreeMap<(u64, u64), Due>,
    scheduled: u64,
}

impl World {
    pub fn new(random: Random, setting: &Setting) -> Self {
        let count = setting.nodes;
        let mut random = random;
        let members = (0..count).map(|n| Member::new(n, random.next())).collect();
        let links = (0..count).map(|_| (0..count).map(|_| Link::default()).collect()).collect();
        Self {
            now_us: 0,
            random,
            catalog: Arc::clone(&setting.catalog),
            draft: Draft::new(&setting.shards),
            limits: setting.limits,
            deadline_us: setting.deadline_us,
            members,
            proxies: (0..setting.proxies).map(|_| Proxy::new()).collect(),
            links,
            streams: BTreeMap::new(),
            next_stream: 0,
            blocks: BTreeMap::new(),
            deaf: BTreeSet::new(),
            voter: None,
            partitions: 0,
            weather: FAIR,
            invariants: Invariants::default(),
            clocks_true_until_us: u64::MAX,
            faults: BTreeMap::new(),
            trace: 0,
            transfers: 0,
            tells: std::env::var_os("PONTOON_TELL").is_some(),
            told: BTreeMap::new(),
            #[cfg(feature = "failpoints")]
            trap: None,
            queue: BTreeMap::new(),
            scheduled: 0,
        }
    }

    pub fn schedule(&mut self, delay_us: u64, due: Due) {
        self.scheduled += 1;
        self.queue.insert((self.now_us + delay_us, self.scheduled), due);
    }

    /// The next happening, its time having come.
    pub fn next(&mut self) -> Due {
        let ((at, number), due) = self.queue.pop_first().expect("ticks never end");
        self.now_us = at;
        self.note(at ^ number.rotate_left(32));
        due
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>9} {}", self.now_us, what());
        }
    }

    pub fn note(&mut self, what: u64) {
        self.trace = mixed(self.trace.rotate_left(5) ^ what);
    }

    pub fn send_to(&mut self, node: usize, delay_us: u64, happening: Happening) {
        let life = self.members[node].life;
        self.schedule(delay_us, Due::AtNode { node, life, happening });
    }

    pub fn delay(&mut self) -> u64 {
        let Weather { delay_min_us, delay_max_us, .. } = self.weather;
        // One in fifty waits much longer.
        let stretch = if self.random.per_mille(20) { 10 } else { 1 };
        self.random.within(delay_min_us, delay_max_us) * stretch
    }

    /// The data shards.
    pub fn shards(&self) -> Vec<ShardId> {
        self.catalog.data_shards().iter().map(|shard| shard.id).collect()
    }

    /// Whether nobody at this address answers anything, not even by a reset.
    pub fn is_off(&self, host: Host) -> bool {
        matches!(host, Host::Node(node) if self.members[node].off)
    }

    /// Nothing comes through from one host to another.
    pub fn part(&mut self, from: Host, to: Host, block: Block) {
        if from != to {
            self.blocks.insert((from, to), block);
        }
    }

    /// All hosts hear each other again.
    pub fn join_all(&mut self) {
        for (from, to) in std::mem::take(&mut self.blocks).into_keys() {
            if let (Host::Node(from), Host::Node(to)) = (from, to) {
                self.let_go(from, to);
            }
            self.release(from, to);
        }
    }

    /// Who leads a shard, as far as anybody knows: the leader of the highest term.
    pub fn leader(&self, shard: ShardId) -> Option<usize> {
        let replicas =
            self.members.iter().enumerate().filter_map(|(n, m)| Some((n, m.running.as_ref()?.engine.replica(shard)?)));
        let leaders = replicas.filter(|(_, replica)| replica.group.leads_surely());
        leaders.max_by_key(|(_, replica)| replica.group.term()).map(|(node, _)| node)
    }

    /// Those who have replicas of a shard.
    pub fn homes(&self, shard: ShardId) -> Vec<usize> {
        let Some(record) = self.catalog.shard(shard) else { return Vec::new() };
        (0..self.members.len()).filter(|n| record.replica_on(&self.members[*n].name).is_some()).collect()
    }

    /// Nodes that may be told of each other.
    pub fn neighbours(&self, node: usize) -> BTreeSet<usize> {
        (0..self.members.len()).filter(|other| *other != node).collect()
    }

    pub fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }
}
