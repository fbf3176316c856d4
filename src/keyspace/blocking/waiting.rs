//! Who waits for which key: a queue for each key, in the order of the log.
//!
//! Invariants: `queues` has exactly the waiters' keys; a waiter's number is higher than that of every waiter before it;
//! numbers are never used again. All of it is replicated state, so a new leader has every queue as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::topology::{Slot, WriteId};

/// Clients that may wait in one shard.
pub const WAITERS_MAX: usize = 200_000;
/// Bytes that they may take.
pub const WAITERS_BYTES_MAX: usize = 256 << 20;
/// What a client costs besides its bytes, and what a key of it does.
const WAITER_BYTES: usize = 256;
const WAITER_KEY_BYTES: usize = 160;

/// The type of value that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A list.
    List,
    /// A sorted set.
    SortedSet,
}

/// A blocked client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The name of its request.
    pub id: WriteId,
    /// What it waits for.
    pub awaited: Awaited,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    /// Its keys, each once; the first names the slot that its answer belongs to.
    pub keys: Vec<Box<[u8]>>,
    /// Its request.
    pub request: Box<[u8]>,
}

impl Waiter {
    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| WAITER_KEY_BYTES + 2 * key.len()).sum();
        WAITER_BYTES + self.request.len() + keys
    }

    /// The slot that its answer belongs to.
    pub fn slot(&self) -> Slot {
        self.keys.first().map_or(Slot::of_key(b""), |key| Slot::of_key(key))
    }
}

/// All blocked clients of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    next_number: u64,
    bytes: usize,
    waiters: BTreeMap<u64, Arc<Waiter>>,
    numbers: BTreeMap<WriteId, u64>,
    /// By slot first, so that a slot's waiters are found when it moves.
    queues: BTreeMap<Slot, BTreeMap<Box<[u8]>, BTreeSet<u64>>>,
}

impl Waiting {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether one more may wait.
    pub fn has_room_for(&self, waiter: &Waiter) -> bool {
        self.len() < WAITERS_MAX && self.bytes + waiter.bytes() <= WAITERS_BYTES_MAX
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Whether the request of this name waits.
    pub fn contains(&self, id: WriteId) -> bool {
        self.numbers.contains_key(&id)
    }

    /// The client whose request has this name.
    pub fn find(&self, id: WriteId) -> Option<&Waiter> {
        self.waiters.get(self.numbers.get(&id)?).map(|waiter| &**waiter)
    }

    /// The first who waits, or the next after the one with this number.
    pub fn waiter_after(&self, before: Option<u64>) -> Option<(u64, &Waiter)> {
        let start = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.waiters.range((start, Bound::Unbounded)).next().map(|(number, waiter)| (*number, &**waiter))
    }

    /// Whether somebody waits for a key.
    pub fn has_key(&self, key: &[u8]) -> bool {
        self.queues.get(&Slot::of_key(key)).is_some_and(|queues| queues.contains_key(key))
    }

    /// The first who waits for a key after the one with this number.
    pub fn next_for(&self, key: &[u8], after: Option<u64>) -> Option<(u64, Arc<Waiter>)> {
        let queue = self.queues.get(&Slot::of_key(key))?.get(key)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let number = *queue.range((start, Bound::Unbounded)).next()?;
        self.waiters.get(&number).map(|waiter| (number, Arc::clone(waiter)))
    }

    /// All who wait, from the first after the one of this name on.
    pub fn after(&self, id: Option<WriteId>) -> impl Iterator<Item = &Arc<Waiter>> {
        let start = id.and_then(|id| self.numbers.get(&id)).map_or(Bound::Unbounded, |number| Bound::Excluded(*number));
        self.waiters.range((start, Bound::Unbounded)).map(|(_, waiter)| waiter)
    }

    /// The names of those who wait for keys of a slot, each once, the first come first.
    pub fn names_of_slot(&self, slot: Slot) -> Vec<WriteId> {
        let numbers: BTreeSet<u64> =
            self.queues.get(&slot).into_iter().flat_map(BTreeMap::values).flatten().copied().collect();
        numbers.iter().filter_map(|number| Some(self.waiters.get(number)?.id)).collect()
    }

    /// Puts a client at the end of the queues of its keys.
    pub fn add(&mut self, waiter: impl Into<Arc<Waiter>>) {
        let waiter = waiter.into();
        let number = self.next_number;
        self.next_number += 1;
        for key in &waiter.keys {
            let queues = self.queues.entry(Slot::of_key(key)).or_default();
            queues.entry(key.clone()).or_default().insert(number);
        }
        self.bytes += waiter.bytes();
        self.numbers.insert(waiter.id, number);
        self.waiters.insert(number, waiter);
    }

    /// Takes a client out.
    pub fn remove(&mut self, id: WriteId) -> Option<Arc<Waiter>> {
        let number = self.numbers.remove(&id)?;
        let waiter = self.waiters.remove(&number)?;
        self.bytes -= waiter.bytes();
        for key in &waiter.keys {
            let slot = Slot::of_key(key);
            let Some(queues) = self.queues.get_mut(&slot) else { continue };
            if let Some(queue) = queues.get_mut(key) {
                queue.remove(&number);
                if queue.is_empty() {
                    queues.remove(key);
                }
            }
            if queues.is_empty() {
                self.queues.remove(&slot);
            }
        }
        Some(waiter)
    }

    /// All who wait, the first come first.
    pub fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values().map(|waiter| &**waiter)
    }

    /// Those who wait for keys of a slot: each key, and who waits for it in order.
    pub fn of_slot(&self, slot: Slot) -> impl Iterator<Item = (&[u8], Vec<WriteId>)> {
        let queues = self.queues.get(&slot).into_iter().flatten();
        queues.map(|(key, queue)| (&**key, queue.iter().filter_map(|n| Some(self.waiters.get(n)?.id)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::SessionId;

    fn id(sequence: u64) -> WriteId {
        WriteId { session: SessionId(1), sequence }
    }

    fn waiter(sequence: u64, keys: &[&str]) -> Waiter {
        let keys = keys.iter().map(|key| key.as_bytes().into()).collect();
        Waiter { id: id(sequence), awaited: Awaited::List, resp3: false, keys, request: Box::default() }
    }

    #[test]
    fn queues_are_in_the_order_of_arrival_and_vanish_with_their_last() {
        let mut waiting = Waiting::default();
        for (sequence, keys) in [(5, &["a", "b"][..]), (3, &["b"]), (9, &["b", "a", "c"])] {
            waiting.add(waiter(sequence, keys));
        }
        let queue = |waiting: &Waiting, key: &str| {
            let (mut found, mut after) = (Vec::new(), None);
            while let Some((number, waiter)) = waiting.next_for(key.as_bytes(), after) {
                found.push(waiter.id.sequence);
                after = Some(number);
            }
            found
        };
        assert_eq!(queue(&waiting, "a"), [5, 9]);
        assert_eq!(queue(&waiting, "b"), [5, 3, 9]);
        assert_eq!(waiting.of_slot(Slot::of_key(b"b")).count(), 1);
        assert_eq!(waiting.remove(id(5)).map(|w| w.keys.len()), Some(2));
        assert!(waiting.remove(id(5)).is_none() && !waiting.contains(id(5)));
        assert_eq!((queue(&waiting, "a"), queue(&waiting, "b")), (vec![9], vec![3, 9]));
        waiting.remove(id(9));
        assert!(!waiting.has_key(b"a") && !waiting.has_key(b"c") && waiting.has_key(b"b"));
        waiting.remove(id(3));
        assert!(waiting.is_empty() && waiting.queues.is_empty() && waiting.waiters().count() == 0);
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn those_who_wait_take_only_so_much() {
        let mut waiting = Waiting::default();
        let large = |sequence| Waiter { request: vec![0; 100 << 20].into(), ..waiter(sequence, &["a"]) };
        for sequence in 1..=2 {
            assert!(waiting.has_room_for(&large(sequence)));
            waiting.add(large(sequence));
        }
        assert!(!waiting.has_room_for(&large(3)) && waiting.has_room_for(&waiter(3, &["a"])));
        waiting.remove(id(1));
        assert!(waiting.has_room_for(&large(3)));
    }
}
