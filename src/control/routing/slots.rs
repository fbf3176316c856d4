//! Which shard has each slot, by the highest epoch that was heard of, and in which order that changed.
//!
//! News of moving slots come in any order and from anybody: catalogs, and shards that refuse a request. An epoch is given to
//! one owner for ever and later owners have higher ones, so the higher one is the newer, whoever says it (DESIGN.md,
//! section 6). Changes are counted, so that who looked when can tell whether to look again by one comparison.
//!
//! Invariant: the epoch of a slot never falls.

use super::ShardIndex;
use crate::topology::{Epoch, SLOT_COUNT, Slot};

/// The owner and the epoch of each slot.
#[derive(Debug)]
pub struct Slots {
    owners: Box<[ShardIndex]>,
    epochs: Box<[Epoch]>,
    changed_at: Box<[u64]>,
    changes: u64,
}

impl Slots {
    /// Nothing is known of any slot.
    pub fn new() -> Self {
        Self {
            owners: vec![ShardIndex::NONE; SLOT_COUNT].into_boxed_slice(),
            epochs: vec![Epoch(0); SLOT_COUNT].into_boxed_slice(),
            changed_at: vec![0; SLOT_COUNT].into_boxed_slice(),
            changes: 0,
        }
    }

    /// The owner of a slot as far as known.
    pub fn owner(&self, slot: Slot) -> Option<ShardIndex> {
        Some(self.owners[slot.index()]).filter(|owner| *owner != ShardIndex::NONE)
    }

    /// The epoch of its ownership.
    pub fn epoch(&self, slot: Slot) -> Epoch {
        self.epochs[slot.index()]
    }

    /// How many changes there were. What a slot had first is none: nobody asked for it before.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The number of a slot's last change; zero if there was none.
    pub fn changed_at(&self, slot: Slot) -> u64 {
        self.changed_at[slot.index()]
    }

    /// Something else changed that requests have to follow.
    pub const fn count_change(&mut self) {
        self.changes += 1;
    }

    /// Takes over who has a slot, if that is news; who had it before.
    pub fn merge(&mut self, slot: Slot, owner: ShardIndex, epoch: Epoch) -> Option<Option<ShardIndex>> {
        let at = slot.index();
        let before = self.owner(slot);
        if before.is_some() && epoch <= self.epochs[at] {
            return None;
        }
        (self.owners[at], self.epochs[at]) = (owner, epoch);
        if before.is_some() {
            self.changes += 1;
            self.changed_at[at] = self.changes;
        }
        Some(before)
    }
}
