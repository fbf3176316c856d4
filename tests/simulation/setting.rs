//! What a seed decides before anything happens: how many nodes, shards, proxies and clients, and how small their limits.

use std::sync::Arc;

use pontoon::topology::{Catalog, ClusterId, Incarnation, NodeName, ShardsConfig, Slot, SlotRange};

use super::random::Random;
use super::workload;

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
        Self {
            catalog: catalog(nodes, shards, replicas),
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

/// Shards on neighbouring nodes, which own no more slots than the workload needs.
fn catalog(nodes: usize, shards: usize, replicas: usize) -> Arc<Catalog> {
    let names: Vec<String> = (1..=nodes).map(|n| format!("n{n}")).collect();
    let mut text = "version = 1\n".to_owned();
    for name in &names {
        text += &format!("[[node]]\nname = \"{name}\"\naddr = \"{name}:7000\"\nzone = \"{name}\"\n");
    }
    for shard in 0..shards {
        let homes: Vec<&String> = (0..replicas).map(|i| &names[(shard + i) % nodes]).collect();
        text += &format!("[[shard]]\nname = \"s{shard}\"\nnodes = {homes:?}\n");
    }
    let config = ShardsConfig::parse(&text, "shards.toml").expect("a valid file");
    let incarnations = names.iter().map(|n| (NodeName::new(n), Incarnation(1))).collect();
    let mut catalog = Catalog::found(ClusterId(7), 42, &config, &incarnations);
    let mut slots: Vec<Slot> = workload::tags().map(|(_, tag)| Slot::of_key(tag.as_bytes())).collect();
    slots.sort_unstable();
    slots.dedup();
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
