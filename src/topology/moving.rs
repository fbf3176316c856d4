//! The words of slots that move between shards (DESIGN.md, section 10), shared by state machine, node, catalog and proxy.

use serde::{Deserialize, Serialize};

use super::{Epoch, ShardId, Slot};

/// A slot under an ownership, or under an attempt at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotEpoch {
    /// The slot.
    pub slot: Slot,
    /// The epoch.
    pub epoch: Epoch,
}

/// Who serves a slot, or will in a moment, as far as somebody knows. Of two, the one with the higher epoch is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The slot.
    pub slot: Slot,
    /// The shard.
    pub owner: ShardId,
    /// The epoch of its ownership.
    pub epoch: Epoch,
}

/// Names one attempt to move some slots to one shard, for ever: its source counts them in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MoveId {
    /// The shard that gives the slots away.
    pub source: ShardId,
    /// Its number among the moves of that shard.
    pub number: u64,
}

impl std::fmt::Display for MoveId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.source, self.number)
    }
}
