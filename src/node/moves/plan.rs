//! Which slots to begin with next: of those that this shard owns and the catalog gives to others, a batch for the target that has
//! the fewest on the way.
//!
//! A slot is given away only once the catalog knows this shard as its owner, under its present epoch. So a shard that is behind does
//! not send back what it was just given by a revision that it has not heard of.

use std::collections::BTreeMap;

use super::State;
use crate::protocol::moves::MOVE_SLOTS_MAX;
use crate::topology::{Catalog, Epoch, Revision, ShardId, Slot};

/// Bytes of a batch, unless one slot has more.
const BATCH_BYTES_MAX: u64 = 2 << 20;

/// A slot that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The slot.
    pub slot: Slot,
    /// Its epoch here.
    pub epoch: Epoch,
    /// Where it is to go.
    pub to: ShardId,
}

/// What one revision of the catalog wants of a shard.
#[derive(Debug, Default)]
pub struct Plan {
    revision: Revision,
    wanted: Vec<Wanted>,
}

impl Plan {
    /// Makes it the plan of this catalog. Returns whether that is a newer one.
    pub fn follow(&mut self, shard: ShardId, catalog: &Catalog) -> bool {
        if catalog.revision <= self.revision {
            return false;
        }
        let of_range = |range: crate::topology::assignment::TargetRange| {
            (range.first..=range.last).filter_map(Slot::new).map(move |slot| (slot, range.shard))
        };
        let wanted = catalog.moves_wanted(shard).into_iter().flat_map(of_range);
        self.wanted = wanted.map(|(slot, to)| Wanted { slot, to, epoch: catalog.range_of(slot).epoch }).collect();
        self.revision = catalog.revision;
        true
    }

    /// The revision that it is of.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The slots that are still here and to go.
    pub fn left<'a, S: State>(&'a self, state: &'a S) -> impl Iterator<Item = Wanted> + 'a {
        self.wanted.iter().copied().filter(|wanted| state.owns(wanted.slot).is_some())
    }

    /// The next batch. `is_busy`: slots that are under way; `is_free`: shards that may get more; `under_way`: batches for each.
    pub fn next_batch<S: State>(
        &self,
        state: &S,
        is_busy: impl Fn(Slot) -> bool,
        is_free: impl Fn(&ShardId) -> bool,
        under_way: &BTreeMap<ShardId, usize>,
    ) -> Option<(ShardId, Vec<Slot>)> {
        let may_go = |wanted: &&Wanted| state.owns(wanted.slot) == Some(wanted.epoch) && !is_busy(wanted.slot);
        let mut firsts: BTreeMap<ShardId, Wanted> = BTreeMap::new();
        for wanted in self.wanted.iter().filter(|wanted| is_free(&wanted.to)).filter(may_go) {
            firsts.entry(wanted.to).or_insert(*wanted);
        }
        let load = |to: &ShardId| under_way.get(to).copied().unwrap_or(0);
        let first = firsts.into_values().min_by_key(|wanted| load(&wanted.to))?;
        let same = self.wanted.iter().filter(|w| w.to == first.to && w.slot >= first.slot).filter(may_go);
        let (mut slots, mut bytes) = (Vec::new(), 0);
        for wanted in same.take(MOVE_SLOTS_MAX) {
            bytes += state.usage(wanted.slot).bytes;
            if bytes > BATCH_BYTES_MAX && !slots.is_empty() {
                break;
            }
            slots.push(wanted.slot);
        }
        Some((first.to, slots))
    }
}
