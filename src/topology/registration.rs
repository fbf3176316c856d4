//! Which data directory acts under a node's name.
//!
//! Invariants:
//! - A name has one incarnation at a time. One that was replaced, or whose node was removed, is retired for ever: two
//!   directories can follow each other under a name, and never take turns.
//! - With a new incarnation all replicas of the node get fresh ids. The old ids are never used again: a voter that lost
//!   its log cannot vote as if it still had it (RELIABILITY.md, B12), and none of the new replicas is one of its shard's
//!   first members, so no shard is formed a second time, empty. A shard whose only replica is lost stays lost.

use super::{Catalog, CatalogOutcome, Incarnation, NodeName};

impl Catalog {
    /// Whether this incarnation may never act again.
    pub fn is_retired(&self, incarnation: Incarnation) -> bool {
        self.retired.contains(&incarnation)
    }

    pub(super) fn apply_register(&mut self, name: &NodeName, incarnation: Incarnation) -> CatalogOutcome {
        let (version, retired) = (self.version, self.is_retired(incarnation));
        let Some(record) = self.nodes.get_mut(name) else { return self.unknown(name) };
        match record.incarnation {
            Some(known) if known == incarnation => CatalogOutcome::Same { version },
            _ if retired => self.retired_for_ever(name, incarnation),
            Some(known) => {
                let reason = format!("node `{name}` is known with incarnation {known}, and this is {incarnation}");
                CatalogOutcome::Refused { version, reason }
            }
            None => {
                record.incarnation = Some(incarnation);
                self.revision = self.revision.next();
                CatalogOutcome::Accepted { version }
            }
        }
    }

    pub(super) fn apply_replace(&mut self, name: &NodeName, old: Incarnation, new: Incarnation) -> CatalogOutcome {
        let (version, retired) = (self.version, self.is_retired(new));
        let Some(record) = self.nodes.get_mut(name) else { return self.unknown(name) };
        match record.incarnation {
            Some(known) if known == new => return CatalogOutcome::Same { version },
            _ if retired => return self.retired_for_ever(name, new),
            Some(known) if known == old => record.incarnation = Some(new),
            _ => {
                let reason = format!("node `{name}` is no longer known with incarnation {old}");
                return CatalogOutcome::Refused { version, reason };
            }
        }
        self.retired.insert(old);
        for shard in &mut self.shards {
            for replica in shard.replicas.iter_mut().filter(|replica| replica.node == *name) {
                replica.id = self.next_replica;
                self.next_replica = self.next_replica.next();
            }
            // What was to leave is gone with its disk.
            shard.leaving.retain(|replica| replica.node != *name);
        }
        self.drop_empty_nodes();
        self.revision = self.revision.next();
        CatalogOutcome::Accepted { version }
    }

    pub(super) fn unknown(&self, name: &NodeName) -> CatalogOutcome {
        let reason = format!("the accepted shards.toml has no node `{name}`");
        CatalogOutcome::Refused { version: self.version, reason }
    }

    fn retired_for_ever(&self, name: &NodeName, incarnation: Incarnation) -> CatalogOutcome {
        let reason =
            format!("node `{name}`: incarnation {incarnation} was replaced by another and may never act again");
        CatalogOutcome::Refused { version: self.version, reason }
    }
}
