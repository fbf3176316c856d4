//! A set of slots, one bit each: which slots a shard owns, which hold keys.

use crate::topology::{SLOT_COUNT, Slot};

const WORDS: usize = SLOT_COUNT / 64;

/// A set of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; WORDS]>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl SlotSet {
    /// Whether the slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        self.0[slot.index() / 64] >> (slot.index() % 64) & 1 == 1
    }

    /// Puts the slot in or takes it out.
    pub fn set(&mut self, slot: Slot, member: bool) {
        let bit = 1 << (slot.index() % 64);
        let word = &mut self.0[slot.index() / 64];
        if member { *word |= bit } else { *word &= !bit }
    }

    /// How many slots are in it.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no slot is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The first slot of the set at or after the one with this number.
    pub fn next_in(&self, from: usize) -> Option<Slot> {
        self.next(from, |word| word)
    }

    /// The first slot outside of the set at or after the one with this number.
    pub fn next_out(&self, from: usize) -> Option<Slot> {
        self.next(from, |word| !word)
    }

    /// All slots of the set in order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        std::iter::successors(self.next_in(0), |slot| self.next_in(slot.index() + 1))
    }

    fn next(&self, from: usize, of: impl Fn(u64) -> u64) -> Option<Slot> {
        let mut word = from / 64;
        let mut bits = of(*self.0.get(word)?) & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = of(*self.0.get(word)?);
        }
        Slot::new((word * 64) as u16 + bits.trailing_zeros() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_in_and_the_next_out() {
        let mut set = SlotSet::default();
        assert_eq!((set.next_in(0), set.next_out(16384)), (None, None));
        for number in [0, 1, 63, 64, 200, 16383] {
            set.set(Slot::new(number).unwrap(), true);
        }
        let numbers: Vec<u16> = set.iter().map(Slot::number).collect();
        assert_eq!(numbers, [0, 1, 63, 64, 200, 16383]);
        assert_eq!(set.next_out(0).map(Slot::number), Some(2));
        assert_eq!(set.next_out(63).map(Slot::number), Some(65));
        assert_eq!(set.next_out(16383), None);
        set.set(Slot::new(63).unwrap(), false);
        assert!(!set.contains(Slot::new(63).unwrap()) && set.contains(Slot::new(64).unwrap()));
        assert_eq!((set.len(), set.is_empty()), (5, false));
    }
}
