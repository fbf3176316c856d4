//! An ordered map of height two whose copies are cheap: what every slot, and later every big collection, is made of.
//!
//! A directory (`Vec`) of shared chunks, each a sorted `Vec` of at most [`CHUNK_ITEMS_MAX`] items. A clone copies the
//! directory only, one reference count per chunk, so a slot of a million keys is frozen without a pause; the first
//! write into a chunk that a clone still shares copies that chunk and nothing else.
//!
//! An item holds its own key, and the order is given with each call as `order(item) -> item cmp wanted`, as
//! `binary_search_by` takes it: so an item may pack key and value as tightly as it likes.
//!
//! Invariants: no chunk is empty; items ascend strictly by the caller's order, which is one and the same for the life
//! of the map; `len` is the sum of the chunks' lengths.

use std::cmp::Ordering;
use std::sync::Arc;

/// A chunk is split in two before it would hold more items than this.
pub const CHUNK_ITEMS_MAX: usize = 128;
/// A chunk smaller than this looks for a neighbour to join.
const CHUNK_ITEMS_SPARSE: usize = CHUNK_ITEMS_MAX / 4;

/// An ordered copy-on-write map (see the module).
#[derive(Debug)]
pub struct ChunkMap<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Clone for ChunkMap<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<T> Default for ChunkMap<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> ChunkMap<T> {
    /// How many items there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The chunks in order, for walkers that keep a place of their own.
    pub fn chunks(&self) -> &[Arc<Vec<T>>] {
        &self.chunks
    }

    /// The wanted item.
    pub fn find(&self, order: impl Fn(&T) -> Ordering) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(&order)?)?;
        chunk.binary_search_by(order).ok().map(|at| &chunk[at])
    }

    /// The least item.
    pub fn first(&self) -> Option<&T> {
        self.chunks.first()?.first()
    }

    /// The greatest item.
    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// The item with `rank` items below it. Costs a step per chunk.
    pub fn nth(&self, mut rank: usize) -> Option<&T> {
        for chunk in &self.chunks {
            match chunk.get(rank) {
                Some(item) => return Some(item),
                None => rank -= chunk.len(),
            }
        }
        None
    }

    /// All items, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The wanted item, or the one that follows its place, and all after it, ascending.
    pub fn range_from(&self, order: impl Fn(&T) -> Ordering) -> impl Iterator<Item = &T> {
        let chunk = self.chunk_of(&order).unwrap_or(0);
        let skip = self.chunks.get(chunk).map_or(0, |items| items.partition_point(|item| order(item).is_lt()));
        self.chunks[chunk..].iter().flat_map(|chunk| chunk.iter()).skip(skip)
    }

    /// The chunk that holds the wanted item if any does; none when it would be before all chunks.
    #[inline]
    fn chunk_of(&self, order: &impl Fn(&T) -> Ordering) -> Option<usize> {
        // Most slots have one chunk: its first item need not be looked at beforehand.
        if self.chunks.len() == 1 {
            return Some(0);
        }
        self.chunks.partition_point(|chunk| order(&chunk[0]).is_le()).checked_sub(1)
    }
}

impl<T: Clone> ChunkMap<T> {
    /// The wanted item, to be changed in ways that keep its place in the order.
    pub fn find_mut(&mut self, order: impl Fn(&T) -> Ordering) -> Option<&mut T> {
        let chunk = self.chunk_of(&order)?;
        let at = self.chunks[chunk].binary_search_by(order).ok()?;
        Some(&mut Arc::make_mut(&mut self.chunks[chunk])[at])
    }

    /// Puts `item` at the place that `order` says; gives back the item that had this place.
    pub fn insert(&mut self, item: T, order: impl Fn(&T) -> Ordering) -> Option<T> {
        if self.chunks.is_empty() {
            self.push_last(item);
            return None;
        }
        let chunk = self.chunk_of(&order).unwrap_or(0);
        match self.chunks[chunk].binary_search_by(order) {
            Ok(at) => Some(std::mem::replace(&mut Arc::make_mut(&mut self.chunks[chunk])[at], item)),
            Err(at) => {
                self.insert_at(chunk, at, item);
                None
            }
        }
    }

    /// Adds an item that is greater than all others, filling chunks up: for loading in order, after which comes [`fit`](Self::fit).
    pub fn push_last(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_ITEMS_MAX => push(Arc::make_mut(chunk), item),
            _ => self.chunks.push(Arc::new(vec![item])),
        }
        self.len += 1;
    }

    /// Gives back what room the last chunk has too much after items were pushed.
    pub fn fit(&mut self) {
        // One that is shared is somebody's frozen copy: to shrink it would be to copy it.
        let Some(items) = self.chunks.last_mut().and_then(Arc::get_mut) else { return };
        if items.capacity() - items.len() > items.len() / 8 {
            items.shrink_to_fit();
        }
    }

    /// Takes the wanted item out.
    pub fn remove(&mut self, order: impl Fn(&T) -> Ordering) -> Option<T> {
        let chunk = self.chunk_of(&order)?;
        let at = self.chunks[chunk].binary_search_by(order).ok()?;
        let items = Arc::make_mut(&mut self.chunks[chunk]);
        let item = items.remove(at);
        self.len -= 1;
        if items.is_empty() {
            self.chunks.remove(chunk);
        } else if items.len() < CHUNK_ITEMS_SPARSE {
            self.join_with_next(chunk.saturating_sub(1));
            self.join_with_next(chunk);
        }
        Some(item)
    }

    fn insert_at(&mut self, chunk: usize, at: usize, item: T) {
        let items = Arc::make_mut(&mut self.chunks[chunk]);
        self.len += 1;
        if items.len() < CHUNK_ITEMS_MAX {
            make_room(items);
            return items.insert(at, item);
        }
        let mut upper: Vec<T> = items.drain(CHUNK_ITEMS_MAX / 2..).collect();
        let (half, at) = match at.checked_sub(items.len()) {
            Some(at) => (&mut upper, at),
            None => (&mut *items, at),
        };
        make_room(half);
        half.insert(at, item);
        items.shrink_to_fit();
        self.chunks.insert(chunk + 1, Arc::new(upper));
    }

    /// Joins a chunk with its right neighbour where both fit well into one.
    fn join_with_next(&mut self, chunk: usize) {
        let (Some(left), Some(right)) = (self.chunks.get(chunk), self.chunks.get(chunk + 1)) else { return };
        if left.len() + right.len() > CHUNK_ITEMS_MAX / 2 {
            return;
        }
        let right = self.chunks.remove(chunk + 1);
        let left = Arc::make_mut(&mut self.chunks[chunk]);
        left.reserve_exact(right.len());
        match Arc::try_unwrap(right) {
            Ok(items) => left.extend(items),
            Err(shared) => left.extend(shared.iter().cloned()),
        }
    }
}

/// Grows by an eighth, not by doubling: most memory of a node is in these vectors.
fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(4));
    }
}

/// Grows by doubling: more is about to come, and each growth copies the chunk.
fn push<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(7).min(CHUNK_ITEMS_MAX - items.len()));
    }
    items.push(item);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Pairs = ChunkMap<(u16, u32)>;

    fn check(map: &Pairs, model: &BTreeMap<u16, u32>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().copied().eq(model.iter().map(|(&k, &v)| (k, v))));
        assert!(map.chunks().iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_ITEMS_MAX));
        assert_eq!(map.first().map(|p| p.0), model.keys().next().copied());
        assert_eq!(map.last().map(|p| p.0), model.keys().next_back().copied());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u32),
        Remove(u16),
        Change(u16, u32),
        Freeze,
        RemoveRange(u16, u16),
        InsertRange(u16, u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..2000_u16;
        let step = prop_oneof![
            6 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k, v)),
            4 => key.clone().prop_map(Step::Remove),
            2 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Step::Change(k, v)),
            1 => Just(Step::Freeze),
            1 => (key.clone(), 0..400_u16).prop_map(|(k, n)| Step::RemoveRange(k, n)),
            1 => (key, 0..400_u16).prop_map(|(k, n)| Step::InsertRange(k, n)),
        ];
        proptest::collection::vec(step, 0..120)
    }

    fn insert(map: &mut Pairs, model: &mut BTreeMap<u16, u32>, key: u16, value: u32) {
        let old = map.insert((key, value), |item| item.0.cmp(&key));
        assert_eq!(old.map(|item| item.1), model.insert(key, value));
    }

    fn remove(map: &mut Pairs, model: &mut BTreeMap<u16, u32>, key: u16) {
        assert_eq!(map.remove(|item| item.0.cmp(&key)).map(|item| item.1), model.remove(&key));
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_and_frozen_copies_never_change(steps in steps(), probe in 0..2100_u16) {
            let (mut map, mut model) = (Pairs::default(), BTreeMap::new());
            let mut frozen = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => insert(&mut map, &mut model, key, value),
                    Step::Remove(key) => remove(&mut map, &mut model, key),
                    Step::Change(key, value) => {
                        let found = map.find_mut(|item| item.0.cmp(&key)).map(|item| item.1 = value);
                        prop_assert_eq!(found, model.get_mut(&key).map(|old| *old = value));
                    }
                    Step::Freeze => frozen.push((map.clone(), model.clone())),
                    Step::RemoveRange(key, n) => (key..key + n).for_each(|k| remove(&mut map, &mut model, k)),
                    Step::InsertRange(key, n) => (key..key + n).for_each(|k| insert(&mut map, &mut model, k, 7)),
                }
            }
            check(&map, &model);
            prop_assert_eq!(map.find(|item| item.0.cmp(&probe)).map(|item| item.1), model.get(&probe).copied());
            let tail: Vec<u16> = map.range_from(|item| item.0.cmp(&probe)).map(|item| item.0).collect();
            prop_assert_eq!(tail, model.range(probe..).map(|(&k, _)| k).collect::<Vec<_>>());
            let rank = usize::from(probe);
            prop_assert_eq!(map.nth(rank).map(|item| item.0), model.keys().nth(rank).copied());
            for (map, model) in frozen {
                check(&map, &model);
            }
        }
    }

    #[test]
    fn loading_in_order_fills_chunks() {
        let mut map = Pairs::default();
        (0..1000).for_each(|key| map.push_last((key, 0)));
        assert_eq!(map.chunks().len(), 1000_usize.div_ceil(CHUNK_ITEMS_MAX));
        assert_eq!(map.find(|item| item.0.cmp(&999)), Some(&(999, 0)));
    }

    #[test]
    fn what_was_pushed_takes_no_more_room_than_it_needs_in_the_end() {
        for count in [1, 9, 61, 64, 65, 70, 128, 129, 200] {
            let mut map = Pairs::default();
            (0..count).for_each(|key| map.push_last((key, 0)));
            let frozen = map.clone();
            map.fit();
            check(&map, &(0..count).map(|key| (key, 0)).collect());
            drop(frozen);
            map.fit();
            let room: usize = map.chunks().iter().map(|chunk| chunk.capacity()).sum();
            assert!(room <= usize::from(count) + usize::from(count) / 8, "{room} for {count}");
        }
    }
}
