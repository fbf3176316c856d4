//! What a file changes when the catalog accepts it.
//!
//! Nothing of what a file takes away vanishes at once. A shard that it does not have any more is closing until it owns no slots,
//! a replica is leaving until the group is known to be without it, a node is kept with its address until nothing is there;
//! `reports` ends each of these. A later file may want a replica or a node back while it leaves: then it stays what it was. A
//! shard that is closing never comes back: its name is free at once, and another shard may have it.

use std::collections::BTreeSet;

use super::assignment::assign;
use super::{Catalog, NodeName, NodeRecord, ReplicaRecord, ShardConfig, ShardId, ShardsConfig};

impl Catalog {
    /// Makes the catalog what the file says.
    pub(super) fn accept(&mut self, wanted: &ShardsConfig) {
        self.revision = self.revision.next();
        self.version = wanted.version;
        self.config_text = wanted.text.to_string();
        self.balance = wanted.balance;
        self.accept_nodes(wanted);
        let shares = self.shares();
        self.accept_shards(wanted);
        self.set_replicas(ShardId::CATALOG, &self.catalog_nodes(wanted));
        let wanted_shares = self.shares();
        // Slots that are on their way go on, unless the shares changed.
        if wanted_shares != shares {
            self.targets = assign(&self.slots, &wanted_shares);
        }
        self.drop_empty_nodes();
    }

    /// The shards that slots are divided over, with their weights.
    fn shares(&self) -> Vec<(ShardId, u32)> {
        self.data_shards().iter().filter(|shard| !shard.closing).map(|shard| (shard.id, shard.weight)).collect()
    }

    fn accept_nodes(&mut self, wanted: &ShardsConfig) {
        for (name, record) in &mut self.nodes {
            record.leaving = wanted.node(name).is_none();
        }
        for node in &wanted.nodes {
            let known = self.nodes.get(&node.name);
            let (incarnation, evicted) = known.map_or((None, false), |record| (record.incarnation, record.evicted));
            let record = NodeRecord { incarnation, evicted, ..NodeRecord::of(node) };
            self.nodes.insert(node.name.clone(), record);
        }
    }

    fn accept_shards(&mut self, wanted: &ShardsConfig) {
        for shard in self.shards.iter_mut().filter(|shard| shard.id != ShardId::CATALOG) {
            shard.closing |= wanted.shard(&shard.name).is_none();
        }
        for ShardConfig { name, nodes, weight } in &wanted.shards {
            match self.shards.iter_mut().find(|shard| shard.name == *name && !shard.closing) {
                Some(shard) => {
                    shard.weight = *weight;
                    let id = shard.id;
                    self.set_replicas(id, nodes);
                }
                None => self.add_shard(name.clone(), *weight, nodes),
            }
        }
    }

    /// Who is to hold the catalog: the nodes that the file names. Where it names none, the present ones as far as the file has them, and its
    /// first nodes beside them.
    fn catalog_nodes(&self, wanted: &ShardsConfig) -> Vec<NodeName> {
        if let Some(named) = &wanted.catalog_nodes {
            return named.clone();
        }
        let count = wanted.catalog_members().len();
        let present = self.catalog_shard().replicas.iter().map(|replica| &replica.node);
        let kept: Vec<_> = present.filter(|node| wanted.node(node).is_some()).collect();
        let others = wanted.nodes.iter().map(|node| &node.name).filter(|node| !kept.contains(node));
        kept.iter().copied().chain(others).take(count).cloned().collect()
    }

    /// A replica on each of the nodes: the one that is there, or a fresh one. All others leave.
    fn set_replicas(&mut self, shard: ShardId, nodes: &[NodeName]) {
        let Some(at) = self.shards.iter().position(|s| s.id == shard) else { return };
        let wanted = nodes.iter().map(|node| match self.shards[at].any_replica_on(node).cloned() {
            Some(replica) => replica,
            None => self.new_replica(node),
        });
        let wanted: Vec<ReplicaRecord> = wanted.collect();
        let record = &mut self.shards[at];
        let is_wanted = |replica: &ReplicaRecord| wanted.contains(replica);
        if record.replicas.iter().any(|replica| !is_wanted(replica)) {
            record.leaving_since = self.revision;
        }
        record.leaving = record.all_replicas().filter(|replica| !is_wanted(replica)).cloned().collect();
        record.replicas = wanted;
    }

    /// Nodes that the file does not have go when nothing is there any more. Should such a name come back, it must not meet its
    /// past.
    pub(super) fn drop_empty_nodes(&mut self) {
        let in_use: BTreeSet<&NodeName> =
            self.shards.iter().flat_map(|shard| shard.all_replicas()).map(|replica| &replica.node).collect();
        let gone = |name: &NodeName, record: &NodeRecord| record.leaving && !in_use.contains(name);
        let gone: Vec<NodeName> =
            self.nodes.iter().filter(|(name, record)| gone(name, record)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.retired.extend(self.nodes.remove(&name).and_then(|record| record.incarnation));
        }
    }
}
