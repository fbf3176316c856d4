//! What the shards' leaders tell the catalog: which slots they own, who their members are, and that a closing one is empty.
//!
//! Invariants:
//! - An epoch only rises. A report may come late, twice or out of order and changes nothing then.
//! - A replica that leaves is dropped by a report that was made with knowledge of its leaving, and not before. Only then may its
//!   node destroy it (DESIGN.md, R16).
//! - A shard's record goes when it is closing and owns no slot, and never otherwise.

use super::{Catalog, CatalogOutcome, LogIndex, NodeName, ReplicaId, Revision, SLOT_COUNT, ShardId, SlotRange};

impl Catalog {
    pub(super) fn apply_owners(&mut self, shard: ShardId, owned: &[SlotRange]) -> CatalogOutcome {
        if shard == ShardId::CATALOG || self.shard(shard).is_none() {
            return self.refused(format!("there is no shard {shard} that could own slots"));
        }
        let is_sound = |range: &SlotRange| {
            range.owner == shard
                && range.first <= range.last
                && usize::from(range.last) < SLOT_COUNT
                && range.epoch.0 > 0
        };
        if !owned.iter().all(is_sound) {
            return self.refused(format!("shard {shard} reports slots that are none"));
        }
        let slots = raised(&self.slots, owned);
        if slots == self.slots {
            return CatalogOutcome::Same { version: self.version };
        }
        self.slots = slots;
        self.changed()
    }

    pub(super) fn apply_members(
        &mut self,
        shard: ShardId,
        index: LogIndex,
        revision: Revision,
        members: &[ReplicaId],
    ) -> CatalogOutcome {
        let version = self.version;
        if members.is_empty() || self.shard(shard).is_none() {
            return self.refused(format!("there is no shard {shard} with these members"));
        }
        let record = self.shards.iter_mut().find(|record| record.id == shard).expect("it is there");
        let is_old = index < record.members_at || revision < record.leaving_since;
        let all_there = record.leaving.iter().all(|replica| members.contains(&replica.id));
        if is_old || all_there {
            return CatalogOutcome::Same { version };
        }
        record.leaving.retain(|replica| members.contains(&replica.id));
        record.members_at = index;
        self.drop_empty_nodes();
        self.changed()
    }

    pub(super) fn apply_retire(&mut self, shard: ShardId) -> CatalogOutcome {
        let version = self.version;
        let Some(record) = self.shard(shard) else {
            let was_there = shard < self.next_shard;
            return if was_there {
                CatalogOutcome::Same { version }
            } else {
                self.refused(format!("there is no shard {shard}"))
            };
        };
        if !record.closing {
            return self.refused(format!("shard `{}` is not closing", record.name));
        }
        let slots = self.slot_count(shard);
        if slots > 0 {
            return self.refused(format!("shard `{}` owns {slots} slots", record.name));
        }
        self.shards.retain(|record| record.id != shard);
        self.drop_empty_nodes();
        self.changed()
    }

    pub(super) fn apply_evict(&mut self, node: &NodeName, evicted: bool) -> CatalogOutcome {
        let version = self.version;
        match self.nodes.get_mut(node) {
            None => self.unknown(node),
            Some(record) if record.evicted == evicted => CatalogOutcome::Same { version },
            Some(record) => {
                record.evicted = evicted;
                self.changed()
            }
        }
    }

    fn changed(&mut self) -> CatalogOutcome {
        self.revision = self.revision.next();
        CatalogOutcome::Accepted { version: self.version }
    }

    fn refused(&self, reason: String) -> CatalogOutcome {
        CatalogOutcome::Refused { version: self.version, reason }
    }
}

/// What is known of all slots after a report: of two ownerships of a slot, the one with the higher epoch.
fn raised(known: &[SlotRange], owned: &[SlotRange]) -> Vec<SlotRange> {
    let mut slots: Vec<SlotRange> = Vec::with_capacity(SLOT_COUNT);
    for range in known {
        slots.extend((range.first..=range.last).map(|slot| SlotRange { first: slot, last: slot, ..*range }));
    }
    for range in owned {
        for slot in &mut slots[usize::from(range.first)..=usize::from(range.last)] {
            if range.epoch > slot.epoch {
                (slot.owner, slot.epoch) = (range.owner, range.epoch);
            }
        }
    }
    slots.dedup_by(|next, run| {
        let joins = (next.owner, next.epoch) == (run.owner, run.epoch);
        if joins {
            run.last = next.last;
        }
        joins
    });
    slots
}
