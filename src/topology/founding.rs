//! The first catalog of a cluster: what `pontoon init` makes of a `shards.toml`.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::apportion;
use super::config::CATALOG_NAME;
use super::{
    Catalog, ClusterId, Epoch, Incarnation, LogIndex, NodeName, NodeRecord, ReplicaId, ReplicaRecord, Revision,
    SLOT_COUNT, ShardId, ShardName, ShardRecord, ShardsConfig, SlotRange,
};

/// The epoch under which slots are owned from the beginning.
const FIRST_EPOCH: Epoch = Epoch(1);

impl Catalog {
    /// The catalog of a new cluster: ids given out, slots divided by weight in the order of the file.
    ///
    /// The catalog's own group is born with one voter, so that forming it is an act of one node; its other members join
    /// later. Every other shard is born with all of its replicas.
    pub fn found(
        cluster: ClusterId,
        seed: u64,
        config: &ShardsConfig,
        incarnations: &BTreeMap<NodeName, Incarnation>,
    ) -> Self {
        let mut catalog = Self {
            cluster,
            revision: Revision(1),
            version: config.version,
            config_text: config.text.to_string(),
            seed,
            nodes: BTreeMap::new(),
            shards: Vec::new(),
            slots: Vec::new(),
            targets: Vec::new(),
            next_shard: ShardId::CATALOG,
            next_replica: ReplicaId(1),
            retired: BTreeSet::new(),
            balance: config.balance,
        };
        for node in &config.nodes {
            let incarnation = incarnations.get(&node.name).copied();
            catalog.nodes.insert(node.name.clone(), NodeRecord { incarnation, ..NodeRecord::of(node) });
        }
        catalog.add_shard(ShardName::new(CATALOG_NAME), 0, &config.catalog_members());
        catalog.shards[0].birth.truncate(1);
        for shard in &config.shards {
            catalog.add_shard(shard.name.clone(), shard.weight, &shard.nodes);
        }
        catalog.divide_slots();
        catalog
    }

    /// Adds a shard without slots: a fresh id, and a fresh replica on each of the nodes.
    pub(super) fn add_shard(&mut self, name: ShardName, weight: u32, nodes: &[NodeName]) {
        let replicas: Vec<_> = nodes.iter().map(|node| self.new_replica(node)).collect();
        self.shards.push(ShardRecord {
            id: self.next_shard,
            name,
            weight,
            birth: replicas.clone(),
            replicas,
            birth_slots: Vec::new(),
            closing: false,
            leaving: Vec::new(),
            leaving_since: Revision(0),
            members_at: LogIndex(0),
        });
        self.next_shard = self.next_shard.next();
    }

    /// A replica with an id that was never used.
    pub(super) fn new_replica(&mut self, node: &NodeName) -> ReplicaRecord {
        let id = self.next_replica;
        self.next_replica = id.next();
        ReplicaRecord { id, node: node.clone() }
    }

    fn divide_slots(&mut self) {
        let weights: Vec<u32> = self.shards.iter().map(|s| s.weight).collect();
        let mut first = 0;
        for (shard, count) in self.shards.iter_mut().zip(apportion(SLOT_COUNT as u32, &weights)) {
            if count == 0 {
                continue;
            }
            let range = SlotRange { first, last: first + (count - 1) as u16, owner: shard.id, epoch: FIRST_EPOCH };
            first += count as u16;
            shard.birth_slots.push(range);
            self.slots.push(range);
            self.targets.push(range.as_target());
        }
    }
}
