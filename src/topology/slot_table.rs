//! From a slot to its owner in one step, for routing: built from a catalog, never changed.

use std::fmt;

use super::{Catalog, SLOT_COUNT, Slot, SlotRange};

/// The owner of every slot. 32 KiB and the ranges; share it.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotTable {
    ranges: Box<[SlotRange]>,
    /// Of each slot, the position of its range.
    position: Box<[u16]>,
}

impl SlotTable {
    /// The slots of a valid catalog.
    pub fn of(catalog: &Catalog) -> Self {
        let mut position = vec![0; SLOT_COUNT];
        for (i, range) in catalog.slots.iter().enumerate() {
            // There are no more ranges than slots, so the position fits.
            position[usize::from(range.first)..=usize::from(range.last)].fill(i as u16);
        }
        Self { ranges: catalog.slots.as_slice().into(), position: position.into() }
    }

    /// The run of slots that this one is in: its owner and epoch.
    pub fn range(&self, slot: Slot) -> &SlotRange {
        &self.ranges[usize::from(self.position[slot.index()])]
    }

    /// All runs in order.
    pub fn ranges(&self) -> &[SlotRange] {
        &self.ranges
    }
}

impl fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.ranges).finish()
    }
}
