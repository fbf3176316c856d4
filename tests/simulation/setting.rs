//! What a seed decides before anything happens: how many nodes, shards, proxies and clients, and how small their limits.

use std::sync::Arc;

use pontoon::topology::{Catalog, ClusterId, Incarnation, ShardsConfig, SlotRange};

use super::edits::{Draft, used_slots};
use super::random::Random;

/// How the nodes of a run behave: small limits, so that what is rare happens often.
#[derive(Clone, Copy)]
pub struct Limits {
    /// How often in a thousand times a node that starts keeps leases.
    pub leases_per_mille: u64,
    pub snapshot_entries: u64,
    pub window_bytes: usize,
}

pub struct Setting {
    pub catalog: Arc<Catalog>,
    /// The nodes of each shard at first.
    pub shards: Vec<Vec<usize>>,
    pub nodes: usize,
    pub proxies: usize,
    pub clients: usize,
    pub limits: Limits,
    /// How long a proxy tries.
    pub deadline_us: u64,
    /// A client waits this long at most between two requests.
    pub think_max_us: u64,
    /// Every leader gives its leadership away this often.
    pub transfer_every_us: Option<u64>,
}

impl Setting {
    pub fn of(random: &mut Random) -> Self {
        let nodes = random.within(3, 5) as usize;
        let shards = if random.per_mille(300) { 3 } else { 2 };
        let replicas = if nodes == 5 && random.per_mille(300) { 5 } else { 3 };
        let shards: Vec<Vec<usize>> =
            (0..shards).map(|shard| (0..replicas).map(|i| (shard + i) % nodes).collect()).collect();
        Self {
            catalog: catalog(nodes, &shards),
            shards,
            nodes,
            proxies: [1, 2, 2, 3, 3][random.below(5)],
            clients: random.within(4, 9) as usize,
            limits: Limits {
                leases_per_mille: [0, 0, 1000, 1000, 700][random.below(5)],
                snapshot_entries: random.within(10, 400),
                window_bytes: random.within(300, 20_000) as usize,
            },
            deadline_us: [1_500_000, 3_000_000, 10_000_000][random.below(3)],
            think_max_us: random.within(10_000, 80_000),
            transfer_every_us: random.per_mille(150).then_some(2_000_000),
        }
    }
}

#[cfg(feature = "failpoints")]
impl Setting {
    /// Two shards on three nodes each, led from different ones, and some clients: for runs that are about one thing.
    pub fn of_two_shards(nodes: usize) -> Self {
        let shards: Vec<Vec<usize>> = (0..2).map(|shard| (0..3).map(|i| (shard + i) % nodes).collect()).collect();
        Self {
            catalog: catalog(nodes, &shards),
            shards,
            nodes,
            proxies: 2,
            clients: 5,
            limits: Limits { leases_per_mille: 0, snapshot_entries: 60, window_bytes: 4_000 },
            deadline_us: 3_000_000,
            think_max_us: 15_000,
            transfer_every_us: None,
        }
    }
}

/// Shards on neighbouring nodes, which own no more slots than the workload needs.
fn catalog(nodes: usize, shards: &[Vec<usize>]) -> Arc<Catalog> {
    let config = ShardsConfig::parse(&Draft::new(shards).text(nodes), "shards.toml").expect("a valid file");
    let incarnations = config.nodes.iter().map(|node| (node.name.clone(), Incarnation(1))).collect();
    let mut catalog = Catalog::found(ClusterId(7), 42, &config, &incarnations);
    let slots = used_slots();
    let owners: Vec<_> = slots.iter().map(|slot| catalog.owner(*slot).id).collect();
    for shard in &mut catalog.shards[1..] {
        let epoch = shard.birth_slots[0].epoch;
        let own = slots.iter().zip(&owners).filter(|(_, owner)| **owner == shard.id);
        shard.birth_slots = own
            .map(|(slot, _)| SlotRange { first: slot.number(), last: slot.number(), owner: shard.id, epoch })
            .collect();
    }
    Arc::new(catalog)
}
