//! The data of one slot: its records in hash order, the order in which they expire, its version counter.
//!
//! Everything that belongs to a slot is in here, so that a slot can be frozen, moved or dropped as one handle.
//!
//! Invariants: `expiries` has exactly the pairs (due, position) that some record has; `held` and `expiring` are
//! sums over the records; `version` is at least every record's version and `last_removal_version`.

use super::chunk_map::ChunkMap;
use super::holdings::Holdings;
use super::record::{ExpireAt, Key, Position, Record};
use super::value::{Collection, Hash, Value, ValueType};
use crate::topology::Epoch;

/// One slot.
#[derive(Clone, Debug, Default)]
pub struct SlotData {
    /// The ownership that the data is held under.
    pub epoch: Epoch,
    version: u64,
    last_removal_version: u64,
    held: Holdings,
    expiring: u64,
    records: ChunkMap<Record>,
    expiries: ChunkMap<Expiry>,
}

type Expiry = (ExpireAt, Position);

/// Whether a command changed a value: only then does its version rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is another.
    Yes,
    /// It is as it was.
    No,
}

/// What was removed because its time was over.
#[derive(Debug)]
pub enum Expired {
    /// A key.
    Key(Record),
    /// So many fields of the hash of this key.
    Fields(Key, usize),
}

/// The sums that the keyspace keeps over its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Keys, those expired and not yet removed included.
    pub keys: u64,
    /// Keys and memory by type.
    pub held: Holdings,
    /// Keys with an expiry of their own.
    pub expiring: u64,
    /// The earliest expiry of a key or a field.
    pub next_expiry: Option<ExpireAt>,
}

impl SlotData {
    /// An empty slot.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// An empty slot with the counters of one that is loaded.
    pub fn with_versions(epoch: Epoch, version: u64, last_removal_version: u64) -> Self {
        Self { epoch, version, last_removal_version, ..Self::default() }
    }

    /// Reads from each part that a write changes, so that it is at hand.
    pub fn fetch(&self) -> u64 {
        self.version ^ self.expiring ^ self.records.len() as u64 ^ self.expiries.len() as u64
    }

    /// The version counter.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The version that every absent key has.
    pub const fn last_removal_version(&self) -> u64 {
        self.last_removal_version
    }

    /// The records in hash order.
    pub const fn records(&self) -> &ChunkMap<Record> {
        &self.records
    }

    /// What the slot adds to the keyspace's sums.
    pub fn sums(&self) -> Sums {
        Sums {
            keys: self.records.len() as u64,
            held: self.held,
            expiring: self.expiring,
            next_expiry: self.expiries.first().map(|&(at, _)| at),
        }
    }

    /// The record of `key`, expired or not.
    pub fn find(&self, position: Position, key: &[u8]) -> Option<&Record> {
        self.records.find(|record| record.order(position, key))
    }

    /// Sets a key, whatever it was before; gives back what it held.
    pub fn put(
        &mut self,
        position: Position,
        key: &[u8],
        value: Value,
        expire_at: Option<ExpireAt>,
        now_ms: u64,
    ) -> Option<Value> {
        self.version += 1;
        if let Some(record) = self.records.find_mut(|record| record.order(position, key)) {
            let before = Standing::of(record);
            let old = std::mem::replace(&mut record.value, value);
            record.expire_at = expire_at;
            record.version = self.version;
            record.touch(now_ms);
            let after = Standing::of(record);
            self.account(position, Some(before), Some(after));
            return Some(old);
        }
        let record = Record::new(position, key, value, expire_at, self.version);
        record.touch(now_ms);
        self.add(record);
        None
    }

    /// Adds a record that is loaded and follows all others in order. Its version is at most the slot's.
    pub fn load(&mut self, record: Record) {
        self.account(record.position, None, Some(Standing::of(&record)));
        self.records.push_last(record);
    }

    /// All that is to be loaded or taken over has come.
    pub fn fit(&mut self) {
        self.records.fit();
    }

    /// Takes over a record of the same slot elsewhere: versions stay as they are. Gives back the one that it replaces.
    pub fn take_over(&mut self, record: Record) -> Option<Record> {
        if self.records.last().is_none_or(|last| last.order(record.position, record.key.as_bytes()).is_lt()) {
            self.load(record);
            return None;
        }
        let (position, after) = (record.position, Standing::of(&record));
        match self.records.find_mut(|other| other.order(position, record.key.as_bytes())) {
            Some(old) => {
                let old = std::mem::replace(old, record);
                self.account(position, Some(Standing::of(&old)), Some(after));
                Some(old)
            }
            None => {
                self.add(record);
                None
            }
        }
    }

    /// Lets go of a record that is gone elsewhere: versions stay as they are.
    pub fn let_go(&mut self, position: Position, key: &[u8]) -> Option<Record> {
        let record = self.records.remove(|record| record.order(position, key))?;
        self.account(position, Some(Standing::of(&record)), None);
        Some(record)
    }

    /// Sets the counters, which are those of the same slot elsewhere.
    pub const fn set_versions(&mut self, version: u64, last_removal_version: u64) {
        (self.version, self.last_removal_version) = (version, last_removal_version);
    }

    /// Changes a value in place, if `change` says that it did: what it says is handed on.
    pub fn edit<R>(
        &mut self,
        position: Position,
        key: &[u8],
        now_ms: u64,
        change: impl FnOnce(&mut Value) -> (Changed, R),
    ) -> Option<R> {
        let record = self.records.find_mut(|record| record.order(position, key))?;
        record.touch(now_ms);
        let before = Standing::of(record);
        let (changed, result) = change(&mut record.value);
        if changed == Changed::Yes {
            self.version += 1;
            record.version = self.version;
        }
        // What is the same to clients may still take another form.
        let after = Standing::of(record);
        self.account(position, Some(before), Some(after));
        Some(result)
    }

    /// Sets or takes away an expiry; false: no such key.
    pub fn set_expiry(&mut self, position: Position, key: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let Some(record) = self.records.find_mut(|record| record.order(position, key)) else { return false };
        self.version += 1;
        record.version = self.version;
        let before = Standing::of(record);
        record.expire_at = expire_at;
        let after = Standing::of(record);
        self.account(position, Some(before), Some(after));
        true
    }

    /// Removes a key.
    pub fn remove(&mut self, position: Position, key: &[u8]) -> Option<Record> {
        let record = self.records.remove(|record| record.order(position, key))?;
        self.version += 1;
        self.last_removal_version = self.version;
        self.account(position, Some(Standing::of(&record)), None);
        Some(record)
    }

    /// The key of which something is removed next because it is expired at `now_ms`.
    pub fn first_due(&self, now_ms: u64) -> Option<Key> {
        self.first_due_record(now_ms).map(|record| record.key.clone())
    }

    fn first_due_record(&self, now_ms: u64) -> Option<&Record> {
        let &(due, position) = self.expiries.first().filter(|(at, _)| at.get() <= now_ms)?;
        let is_due = |record: &&Record| record.position == position && record.due() == Some(due);
        self.records.range_from(at_or_after(position)).find(is_due)
    }

    /// Removes one key that is expired at `now_ms`, or at most `fields_max` such fields of a hash. What was removed,
    /// and whether it was a whole key; none: nothing is due.
    pub fn remove_one_expired(&mut self, now_ms: u64, fields_max: usize) -> Option<Expired> {
        let record = self.first_due_record(now_ms)?;
        let (position, key) = (record.position, record.key.clone());
        if record.is_expired(now_ms) {
            return self.remove(position, key.as_bytes()).map(Expired::Key);
        }
        let removed = self.edit(position, key.as_bytes(), now_ms, |value| {
            let count = Hash::of_mut(value).map_or(0, |hash| hash.remove_expired(now_ms, fields_max));
            (Changed::Yes, count)
        });
        removed.map(|count| Expired::Fields(key, count))
    }

    /// What the slot is after all its keys are gone at once.
    pub fn emptied(&self) -> Self {
        let version = self.version + 1;
        Self::with_versions(self.epoch, version, version)
    }

    fn add(&mut self, record: Record) {
        self.account(record.position, None, Some(Standing::of(&record)));
        let (position, key) = (record.position, record.key.clone());
        self.records.insert(record, |other| other.order(position, key.as_bytes()));
    }

    /// Brings sums and index in line with a record that went from `before` to `after`. The record is as it is after.
    fn account(&mut self, position: Position, before: Option<Standing>, after: Option<Standing>) {
        if let Some(standing) = before {
            self.held.take(standing.value_type, standing.bytes);
            self.expiring -= u64::from(standing.expires);
        }
        if let Some(standing) = after {
            self.held.add(standing.value_type, standing.bytes);
            self.expiring += u64::from(standing.expires);
        }
        let (old, new) = (before.and_then(|b| b.due), after.and_then(|a| a.due));
        if old != new {
            self.index_expiry(position, old, new);
        }
    }

    /// Two keys may share both position and expiry, and then share their place in the index.
    fn index_expiry(&mut self, position: Position, old: Option<ExpireAt>, new: Option<ExpireAt>) {
        if let Some(at) = old {
            let mut peers = self.records.range_from(at_or_after(position)).take_while(|r| r.position == position);
            if !peers.any(|record| record.due() == Some(at)) {
                self.expiries.remove(|item| item.cmp(&(at, position)));
            }
        }
        if let Some(at) = new {
            self.expiries.insert((at, position), |item| item.cmp(&(at, position)));
        }
    }
}

/// What a record adds to its slot's sums and index.
#[derive(Clone, Copy, Debug)]
struct Standing {
    value_type: ValueType,
    bytes: u64,
    expires: bool,
    due: Option<ExpireAt>,
}

impl Standing {
    fn of(record: &Record) -> Self {
        let value_type = record.value.value_type();
        Self { value_type, bytes: record.bytes(), expires: record.expire_at.is_some(), due: record.due() }
    }
}

/// The order that finds the first record at or after `position`.
pub fn at_or_after(position: Position) -> impl Fn(&Record) -> std::cmp::Ordering {
    move |record| record.position.cmp(&position).then(std::cmp::Ordering::Greater)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::Text;

    fn text(bytes: &[u8]) -> Value {
        Value::String(Text::encode(bytes))
    }

    fn at(ms: u64) -> Option<ExpireAt> {
        ExpireAt::new(ms)
    }

    #[test]
    fn keys_that_share_position_and_expiry_expire_one_by_one() {
        let mut slot = SlotData::new(Epoch(1));
        let same = Position(7);
        for key in [&b"a"[..], b"b", b"c"] {
            slot.put(same, key, text(b"1"), at(100), 0);
        }
        slot.set_expiry(same, b"b", at(200));
        assert_eq!(slot.sums().next_expiry, at(100));
        let mut removed = |now_ms| match slot.remove_one_expired(now_ms, 1)? {
            Expired::Key(record) => Some(record.key.as_bytes().to_vec()),
            Expired::Fields(..) => None,
        };
        assert_eq!(removed(99), None);
        assert_eq!(removed(150), Some(b"a".to_vec()));
        assert_eq!(removed(150), Some(b"c".to_vec()));
        assert_eq!(removed(150), None);
        assert_eq!((slot.sums().next_expiry, slot.sums().expiring, slot.sums().keys), (at(200), 1, 1));
    }

    #[test]
    fn absent_keys_have_the_version_of_the_last_removal() {
        let mut slot = SlotData::new(Epoch(1));
        slot.put(Position(1), b"a", text(b"1"), None, 0);
        slot.put(Position(2), b"b", text(b"1"), None, 0);
        assert_eq!((slot.version(), slot.last_removal_version()), (2, 0));
        slot.remove(Position(1), b"a");
        assert_eq!((slot.version(), slot.last_removal_version()), (3, 3));
        slot.edit(Position(2), b"b", 0, |_| (Changed::Yes, ()));
        assert_eq!((slot.version(), slot.last_removal_version()), (4, 3));
        slot.edit(Position(2), b"b", 0, |_| (Changed::No, ()));
        assert_eq!(slot.version(), 4);
        assert_eq!(slot.emptied().last_removal_version(), 5);
    }

    #[test]
    fn fields_expire_in_steps_and_take_the_key_with_them() {
        let mut slot = SlotData::new(Epoch(1));
        let mut hash = Hash::default();
        for number in 0..10 {
            hash.put(format!("f{number}").as_bytes(), b"v", at(100 + number));
        }
        slot.put(Position(1), b"h", hash.into_value(), at(500), 0);
        assert_eq!((slot.sums().next_expiry, slot.sums().expiring), (at(100), 1));
        assert!(matches!(slot.remove_one_expired(105, 4), Some(Expired::Fields(_, 4))));
        assert!(matches!(slot.remove_one_expired(105, 4), Some(Expired::Fields(_, 2))));
        assert!(slot.remove_one_expired(105, 4).is_none());
        assert_eq!(slot.sums().next_expiry, at(106));
        assert!(matches!(slot.remove_one_expired(109, 1), Some(Expired::Key(_))), "all fields are expired");
        assert_eq!(slot.sums(), Sums::default());
    }

    #[test]
    fn sums_return_to_zero() {
        let mut slot = SlotData::new(Epoch(1));
        slot.put(Position(1), b"a", text(&[b'x'; 100]), at(5), 0);
        slot.put(Position(1), b"a", text(&[b'x'; 5000]), None, 0);
        slot.edit(Position(1), b"a", 0, |value| {
            let Value::String(text) = value else { panic!("a string was put") };
            (Changed::Yes, text.edit(|bytes| bytes.push(b'y')))
        });
        slot.set_expiry(Position(1), b"a", at(9));
        slot.remove(Position(1), b"a");
        assert_eq!(slot.sums(), Sums::default());
    }
}
