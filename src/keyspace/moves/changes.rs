//! Which keys of a slot changed since some position of the log, and what the large ones of them were before.
//!
//! A key is here if it was set, changed or removed, or might have been: too many are sent once more, too few are lost. Of a large
//! value that is changed in place, what it was at the position is kept as its [`Base`]: it is what the target has, or is being sent,
//! so that of the next round only a patch has to go. Values share with their copies what does not change, so a base
//! of a collection costs what changed since; one of a string is a copy of it. A value that is replaced has no base: it goes whole.
//!
//! What the bases cost is counted here, for the node's memory alone: how much two states share differs from replica to replica. Each
//! change in place counts for the nodes that it can have copied at most, until that comes to an eighth of the value; then it is
//! measured, which costs as much as there are nodes that differ.
//!
//! The set is made of shared chunks, so that a frozen copy of the state costs nothing.

use std::sync::Arc;

use super::super::chunk_map::ChunkMap;
use super::super::record::{ExpireAt, Key, Record};
use super::super::value::Value;

/// Smaller values are sent whole however little of them changed.
const BASE_VALUE_BYTES_MIN: usize = if cfg!(test) { 256 } else { 64 * 1024 };
/// What a change of one item copies of a collection at most, in the usual case: the leaf, and the nodes above it.
const EDIT_COPIES_BYTES: u64 = 6 * 1024;
/// A base is measured when what was added since comes to this part of it.
const MEASURED_PART: u64 = 8;
/// Bytes that the bases of one slot may have; of values beyond that there are none.
const BASES_BYTES_MAX: u64 = 512 << 20;

/// A key that changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What it held before; none: it is to be sent whole, whatever it is now.
    pub base: Option<Arc<Base>>,
    /// What a patch from there on has grown to, roughly.
    pub patch_bytes: u64,
    /// What the base takes that what is there now does not.
    held: Held,
}

/// Bytes of a base that nobody else has.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// As measured last.
    measured: u64,
    /// Added since, at most.
    added: u64,
}

impl Held {
    const fn bytes(self) -> u64 {
        self.measured + self.added
    }
}

/// A large value as it was.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its version.
    pub version: u64,
    /// When it was to expire.
    pub expire_at: Option<ExpireAt>,
    /// What it was.
    pub value: Value,
}

/// Keys that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Whether all keys went at once before these changed.
    pub is_reset: bool,
    changes: ChunkMap<Change>,
    base_bytes: u64,
    held_bytes: u64,
}

impl Changes {
    /// Notes a key that is set anew or removed; its base, which is none any more.
    pub fn note_replaced(&mut self, key: &[u8]) -> Option<Value> {
        let order = |other: &Change| other.key.as_bytes().cmp(key);
        match self.changes.find(order) {
            Some(Change { base: None, .. }) => None,
            Some(_) => {
                let change = self.changes.find_mut(order)?;
                let (base, held) = (change.base.take()?, std::mem::take(&mut change.held));
                self.base_bytes -= base.value.heap_bytes() as u64;
                self.held_bytes -= held.bytes();
                Some(Arc::unwrap_or_clone(base).value)
            }
            None => {
                let change = Change { key: Key::new(key), base: None, patch_bytes: 0, held: Held::default() };
                self.changes.insert(change, order);
                None
            }
        }
    }

    /// Notes a key that is about to be changed in place, and what it is before.
    pub fn note_edited(&mut self, record: &Record) {
        let key = record.key.as_bytes();
        if self.find(key).is_some() {
            return;
        }
        let bytes = record.value.heap_bytes();
        if bytes < BASE_VALUE_BYTES_MIN || self.base_bytes + bytes as u64 > BASES_BYTES_MAX {
            self.note_replaced(key);
            return;
        }
        let (version, expire_at, value) = (record.version, record.expire_at, record.value.clone());
        // The value that is changed now is the copy.
        let held = if matches!(value, Value::String(_)) { bytes as u64 } else { 0 };
        self.insert_base(key, Base { version, expire_at, value }, 0, held);
    }

    /// Notes a key with its base, as it comes from a snapshot: with nothing in common with what is there now.
    pub fn put_base(&mut self, key: &[u8], base: Base, patch_bytes: u64) {
        let held = base.value.heap_bytes() as u64;
        self.insert_base(key, base, patch_bytes, held);
    }

    fn insert_base(&mut self, key: &[u8], base: Base, patch_bytes: u64, held_bytes: u64) {
        self.base_bytes += base.value.heap_bytes() as u64;
        self.held_bytes += held_bytes;
        let held = Held { measured: held_bytes, added: 0 };
        let change = Change { key: Key::new(key), base: Some(Arc::new(base)), patch_bytes, held };
        self.changes.insert(change, |other| other.key.as_bytes().cmp(key));
    }

    /// Notes how much a patch of a key grows that holds this now.
    pub fn note_patch(&mut self, key: &[u8], bytes: u64, now: &Value) {
        let order = |other: &Change| other.key.as_bytes().cmp(key);
        if self.changes.find(order).is_some_and(|change| change.base.is_some())
            && let Some(change) = self.changes.find_mut(order)
            && let Some(base) = &change.base
        {
            change.patch_bytes += bytes;
            let (before, whole) = (change.held.bytes(), base.value.heap_bytes() as u64);
            if before < whole {
                change.held.added = (change.held.added + EDIT_COPIES_BYTES + bytes).min(whole - change.held.measured);
                if change.held.added > whole / MEASURED_PART {
                    let measured = base.value.unshared_bytes(now).min(whole);
                    change.held = Held { measured, added: 0 };
                }
            }
            self.held_bytes = self.held_bytes - before + change.held.bytes();
        }
    }

    /// All keys are gone at once. What was noted before is handed back, to be freed.
    pub fn reset(&mut self) -> Self {
        std::mem::replace(self, Self { is_reset: true, ..Self::default() })
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.changes.len()
    }

    /// What the bases take beside what is there now, roughly.
    pub const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// What is noted of a key.
    pub fn find(&self, key: &[u8]) -> Option<&Change> {
        self.changes.find(|other| other.key.as_bytes().cmp(key))
    }

    /// The changes in the order of their keys, from the first after `after` on.
    pub fn after(&self, after: Option<&[u8]>) -> impl Iterator<Item = &Change> {
        let after = after.map(<[u8]>::to_vec);
        let order = move |other: &Change| match &after {
            // What equals the key is before the place that is looked for.
            Some(after) => other.key.as_bytes().cmp(after).then(std::cmp::Ordering::Less),
            None => std::cmp::Ordering::Greater,
        };
        self.changes.range_from(order)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Position;
    use super::super::super::value::{Collection, Set, Text};
    use super::*;

    #[test]
    fn keys_are_there_once_and_in_order() {
        let mut changes = Changes::default();
        for number in (0..1000).rev().chain(0..1000) {
            changes.note_replaced(format!("{number:04}").as_bytes());
        }
        assert_eq!(changes.len(), 1000);
        let keys_after = |after| changes.after(after).map(|change| change.key.as_bytes());
        let keys: Vec<&[u8]> = keys_after(None).collect();
        assert!(keys.len() == 1000 && keys.is_sorted());
        assert_eq!(keys_after(Some(b"0998")).collect::<Vec<_>>(), [b"0999"]);
        assert_eq!(keys_after(Some(b"0500x")).next(), Some(&b"0501"[..]));
        changes.reset();
        assert!(changes.is_reset && changes.len() == 0);
    }

    #[test]
    fn the_base_is_what_was_there_before_the_first_change_until_the_key_is_replaced() {
        let record = |version, byte| {
            let value = Value::String(Text::raw(vec![byte; 5000]));
            Record::new(Position(1), b"k", value, None, version)
        };
        let mut changes = Changes::default();
        changes.note_edited(&record(7, b'a'));
        changes.note_edited(&record(8, b'b'));
        let now = record(8, b'b');
        changes.note_patch(b"k", 100, &now.value);
        changes.note_patch(b"other", 100, &now.value);
        let change = changes.find(b"k").unwrap();
        assert_eq!((change.base.as_ref().unwrap().version, change.patch_bytes), (7, 100));
        assert!(changes.base_bytes >= 5000 && changes.held_bytes() == changes.base_bytes, "a copy of a string");
        assert!(changes.note_replaced(b"k").is_some());
        changes.note_edited(&record(9, b'c'));
        assert!(changes.find(b"k").unwrap().base.is_none() && changes.base_bytes == 0 && changes.len() == 1);
        assert_eq!(changes.held_bytes(), 0);
        changes.note_edited(&Record::new(Position(1), b"small", Value::String(Text::plain(b"v")), None, 1));
        assert!(changes.find(b"small").unwrap().base.is_none());
    }

    #[test]
    fn a_base_of_a_collection_costs_what_changed_since() {
        let mut set = Set::default();
        for n in 0..50_000 {
            set.insert(format!("member {n:020}").as_bytes());
        }
        let mut value = Value::Set(Arc::new(set));
        let whole = value.heap_bytes() as u64;
        let mut changes = Changes::default();
        changes.note_edited(&Record::new(Position(1), b"k", value.clone(), None, 7));
        let mut edit = |changes: &mut Changes, n: u64| {
            Set::of_mut(&mut value).unwrap().insert(format!("new {n}").as_bytes());
            changes.note_patch(b"k", 50, &value);
        };
        (0..10).for_each(|n| edit(&mut changes, n));
        assert!((1..100_000).contains(&changes.held_bytes()), "{} of {whole}", changes.held_bytes());
        // Never less than it is, and not much more: what was measured, and an eighth.
        (10..1000).for_each(|n| edit(&mut changes, n));
        let base = changes.find(b"k").unwrap().base.clone().unwrap();
        let held = base.value.unshared_bytes(&value);
        assert!((held..=held + whole / 8 + 10_000).contains(&changes.held_bytes()), "{}, {held}", changes.held_bytes());
        assert!(held > whole / 20 && changes.base_bytes == whole);
        // As it comes from a snapshot it shares nothing.
        let base = Base { version: 7, expire_at: None, value: base.value.clone() };
        changes.put_base(b"other", base, 0);
        assert!(changes.held_bytes() >= whole + held);
        assert!(changes.note_replaced(b"k").is_some() && changes.note_replaced(b"other").is_some());
        assert_eq!((changes.held_bytes(), changes.base_bytes), (0, 0));
    }
}
