//! What a shard remembers of a slot for ever, however it was moved.

use crate::topology::{Epoch, ShardId};

/// The past of one slot, in one shard. An epoch of zero: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The highest epoch under which the shard owned it.
    pub taken: Epoch,
    /// The highest epoch of an attempt to bring it here that was refused.
    pub refused: Epoch,
    /// The highest epoch that the shard gave to anything as the slot's owner; at least `taken`.
    pub highest: Epoch,
    /// The shard's ownership counter when the slot came last.
    pub gained: u64,
    /// Where it went, under which epoch; none while it is here, or if it never was.
    pub gone: Option<(ShardId, Epoch)>,
}

impl Past {
    /// The slot is owned under this epoch.
    pub fn own(&mut self, epoch: Epoch) {
        self.taken = self.taken.max(epoch);
        self.highest = self.highest.max(epoch);
        self.gone = None;
    }

    /// The attempt of this epoch is refused, unless it succeeded.
    pub fn refuse(&mut self, epoch: Epoch) {
        if self.taken < epoch {
            self.refused = self.refused.max(epoch);
        }
    }

    /// A fresh epoch.
    pub fn next_epoch(&mut self) -> Epoch {
        self.highest = self.highest.next();
        self.highest
    }
}
