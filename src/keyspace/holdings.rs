//! Keys and bytes by the type of what they hold: kept per slot, so that a slot that comes, goes or is emptied takes its
//! part along, and over all slots.

use super::value::ValueType;

const TYPES: usize = ValueType::ALL.len();

/// Keys of one type, and the memory that they take, roughly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Keys, those expired and not yet removed included.
    pub keys: u64,
    /// Bytes; the same on every replica.
    pub bytes: u64,
}

/// What is held of each type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings([Holding; TYPES]);

impl Holdings {
    /// What is held of one type.
    pub const fn of(&self, value_type: ValueType) -> Holding {
        self.0[value_type as usize]
    }

    /// What is held of each type.
    pub fn iter(&self) -> impl Iterator<Item = (ValueType, Holding)> + '_ {
        ValueType::ALL.into_iter().map(|value_type| (value_type, self.of(value_type)))
    }

    /// The bytes of all types.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|holding| holding.bytes).sum()
    }

    /// A key of this type and size comes.
    pub const fn add(&mut self, value_type: ValueType, bytes: u64) {
        let holding = &mut self.0[value_type as usize];
        holding.keys += 1;
        holding.bytes += bytes;
    }

    /// A key of this type and size goes.
    pub const fn take(&mut self, value_type: ValueType, bytes: u64) {
        let holding = &mut self.0[value_type as usize];
        holding.keys -= 1;
        holding.bytes -= bytes;
    }

    /// A part of these goes, and another comes in its place.
    pub fn exchange(&mut self, gone: &Self, come: &Self) {
        for ((total, gone), come) in self.0.iter_mut().zip(&gone.0).zip(&come.0) {
            total.keys = total.keys - gone.keys + come.keys;
            total.bytes = total.bytes - gone.bytes + come.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Position;
    use super::super::slot_data::{Changed, SlotData};
    use super::super::value::{Collection, End, Hash, List, Set, SortedSet, Text, Value};
    use super::*;
    use crate::topology::Epoch;

    const ITEMS: u64 = 1000;
    const ITEM_BYTES: u64 = 20;

    /// One value of each type, of about the same size.
    fn examples() -> Vec<Value> {
        let items = || (0..ITEMS).map(|number| format!("{number:0>20}").into_bytes());
        let (mut list, mut set, mut hash, mut sorted) =
            (List::default(), Set::default(), Hash::default(), SortedSet::default());
        for (item, score) in items().zip(0_u32..) {
            list.push(End::Right, &item);
            set.insert(&item);
            hash.put(&item, b"", None);
            sorted.put(&item, f64::from(score));
        }
        let text = Text::raw(items().flatten().collect());
        vec![Value::String(text), list.into_value(), set.into_value(), hash.into_value(), sorted.into_value()]
    }

    #[test]
    fn what_is_held_follows_every_change_of_a_key_and_of_its_type() {
        let mut slot = SlotData::new(Epoch(1));
        let mut seen = Holdings::default();
        for value in examples() {
            // The same key every time: what it was before is gone.
            let value_type = value.value_type();
            slot.put(Position(1), b"k", value, None, 0);
            let held = slot.sums().held;
            assert_eq!((held.of(value_type).keys, held.iter().map(|(_, h)| h.keys).sum::<u64>()), (1, 1));
            assert_eq!(held.bytes(), held.of(value_type).bytes);
            seen.exchange(&Holdings::default(), &held);
        }
        assert!(seen.iter().all(|(_, held)| held.keys == 1));
        let before = slot.sums().held;
        slot.edit(Position(1), b"k", 0, |value| {
            let sorted = SortedSet::of_mut(value).expect("the last example");
            (Changed::Yes, sorted.put(b"more", 1.0))
        });
        assert!(slot.sums().held.bytes() > before.bytes());
        slot.remove(Position(1), b"k");
        assert_eq!(slot.sums().held, Holdings::default());
    }

    #[test]
    fn the_figures_of_every_type_are_near_to_what_it_holds() {
        for value in examples() {
            let (name, bytes) = (value.type_name(), value.heap_bytes() as u64);
            // A sorted set holds each member twice.
            let most = if name == "zset" { 5 } else { 2 };
            assert!((ITEMS * ITEM_BYTES..ITEMS * ITEM_BYTES * most).contains(&bytes), "{name}: {bytes}");
        }
    }
}
