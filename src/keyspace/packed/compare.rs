//! Two trees side by side: what an earlier and a later state of one collection have in common. Copies share the leaves that were
//! not changed since, so most of two such states is known to be the same without a look at it.

use std::collections::BTreeMap;

use super::Packed;
use super::leaf::Leaf;

/// Leaves on each side among which a shared one is looked for at first; and by how much more each time that there is none.
const WINDOW_LEAVES: usize = 8;
const WINDOW_FACTOR: usize = 8;
/// No more than so many.
const WINDOW_LEAVES_MAX: usize = WINDOW_LEAVES * WINDOW_FACTOR * WINDOW_FACTOR;

impl<const PREFIX: usize, const PARTS: usize> Packed<PREFIX, PARTS> {
    /// How many items from `index` on are the same as those of `other` from `other_index` on. Stops early when `visits`,
    /// which counts down items and shared leaves, is used up.
    pub fn same_from(&self, index: usize, other: &Self, other_index: usize, visits: &mut usize) -> usize {
        let mut same = 0;
        while *visits > 0 {
            let (Some((mine, at)), Some((theirs, other_at))) =
                (self.leaf_of(index + same), other.leaf_of(other_index + same))
            else {
                break;
            };
            let count = (mine.len() - at).min(theirs.len() - other_at);
            if std::ptr::eq(mine, theirs) && at == other_at {
                *visits -= 1;
                same += count;
                continue;
            }
            let is_same = |n: &usize| {
                let (mine, theirs) = (mine.item::<PREFIX>(at + n), theirs.item::<PREFIX>(other_at + n));
                mine.prefix() == theirs.prefix() && mine.parts::<PARTS>() == theirs.parts::<PARTS>()
            };
            let equal = (0..count).take_while(is_same).count();
            *visits = visits.saturating_sub(equal + 1);
            same += equal;
            if equal < count {
                break;
            }
        }
        same
    }

    /// Where both trees go on with the same leaf: the first such place in `other` from `other_index` on, here from `index` on. Where
    /// there is none among as many leaves as are looked at: what is behind these, on both sides, so that a search costs little in
    /// however large a tree. Each leaf that is looked at counts `visits` down.
    pub fn next_shared(&self, index: usize, other: &Self, other_index: usize, visits: &mut usize) -> (usize, usize) {
        let mut window = WINDOW_LEAVES;
        loop {
            let mut ends = (self.len().max(index), other.len().max(other_index));
            let mut mine: BTreeMap<*const Leaf, (usize, usize)> = BTreeMap::new();
            for (seen, (leaf, start, at)) in self.leaves_from(index).enumerate() {
                if seen == window {
                    ends.0 = start;
                    break;
                }
                mine.insert(std::ptr::from_ref(leaf), (start, at));
            }
            let mut seen = 0;
            let mut found = None;
            for (leaf, other_start, other_at) in other.leaves_from(other_index) {
                if seen == window {
                    ends.1 = other_start;
                    break;
                }
                seen += 1;
                if let Some((start, at)) = mine.get(&std::ptr::from_ref(leaf)) {
                    // One of them may be in the middle of it already.
                    let from = other_at.max(*at);
                    found = Some((start + from - at, other_start + from - other_at));
                    break;
                }
            }
            *visits = visits.saturating_sub(mine.len() + seen);
            if found.is_some() || mine.len() < window && seen < window || window >= WINDOW_LEAVES_MAX {
                return found.unwrap_or(ends);
            }
            window = window.saturating_mul(WINDOW_FACTOR);
        }
    }

    /// The leaves from the item at `index` on: each with the index at which it is met, and the place there.
    fn leaves_from(&self, mut index: usize) -> impl Iterator<Item = (&Leaf, usize, usize)> {
        std::iter::from_fn(move || {
            let (leaf, at) = self.leaf_of(index)?;
            let met = index;
            index += leaf.len() - at;
            Some((leaf, met, at))
        })
    }
}
