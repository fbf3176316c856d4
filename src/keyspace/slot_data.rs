//! The data of one slot: its records in hash order, the order in which they expire, its version counter.
//!
//! Everything that belongs to a slot is in here, so that a slot can be frozen, moved or dropped as one handle.
//!
//! Invariants: `expiries` has exactly the pairs (expiry, position) that some record has; `bytes` and `expiring` are
//! sums over the records; `version` is at least every record's version and `last_removal_version`.

use super::chunk_map::ChunkMap;
use super::record::{ExpireAt, Position, Record};
use super::value::Value;
use crate::topology::Epoch;

/// One slot.
#[derive(Clone, Debug, Default)]
pub struct SlotData {
    /// The ownership that the data is held under.
    pub epoch: Epoch,
    version: u64,
    last_removal_version: u64,
    bytes: u64,
    expiring: u64,
    records: ChunkMap<Record>,
    expiries: ChunkMap<Expiry>,
}

type Expiry = (ExpireAt, Position);

/// The sums that the keyspace keeps over its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Keys, those expired and not yet removed included.
    pub keys: u64,
    /// Memory, roughly.
    pub bytes: u64,
    /// Keys with an expiry.
    pub expiring: u64,
    /// The earliest expiry.
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
            bytes: self.bytes,
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
            let (old_bytes, old_expiry) = (record.bytes(), record.expire_at);
            let old = std::mem::replace(&mut record.value, value);
            record.expire_at = expire_at;
            record.version = self.version;
            record.touch(now_ms);
            self.bytes = self.bytes - old_bytes + record.bytes();
            self.index_expiry(position, old_expiry, expire_at);
            return Some(old);
        }
        let record = Record::new(position, key, value, expire_at, self.version);
        record.touch(now_ms);
        self.add(record);
        None
    }

    /// Adds a record that is loaded and follows all others in order. Its version is at most the slot's.
    pub fn load(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.index_expiry(record.position, None, record.expire_at);
        self.records.push_last(record);
    }

    /// Changes a value in place.
    pub fn edit<R>(&mut self, position: Position, key: &[u8], change: impl FnOnce(&mut Value) -> R) -> Option<R> {
        let record = self.records.find_mut(|record| record.order(position, key))?;
        self.version += 1;
        record.version = self.version;
        let before = record.bytes();
        let result = change(&mut record.value);
        self.bytes = self.bytes - before + record.bytes();
        Some(result)
    }

    /// Sets or takes away an expiry; false: no such key.
    pub fn set_expiry(&mut self, position: Position, key: &[u8], expire_at: Option<ExpireAt>) -> bool {
        let Some(record) = self.records.find_mut(|record| record.order(position, key)) else { return false };
        self.version += 1;
        record.version = self.version;
        let old = std::mem::replace(&mut record.expire_at, expire_at);
        self.index_expiry(position, old, expire_at);
        true
    }

    /// Removes a key.
    pub fn remove(&mut self, position: Position, key: &[u8]) -> Option<Record> {
        let record = self.records.remove(|record| record.order(position, key))?;
        self.version += 1;
        self.last_removal_version = self.version;
        self.bytes -= record.bytes();
        self.index_expiry(position, record.expire_at, None);
        Some(record)
    }

    /// Removes one key that is expired at `now_ms`.
    pub fn remove_one_expired(&mut self, now_ms: u64) -> Option<Record> {
        let &(expire_at, position) = self.expiries.first().filter(|(at, _)| at.get() <= now_ms)?;
        let due = |record: &&Record| record.position == position && record.expire_at == Some(expire_at);
        let key = self.records.range_from(at_or_after(position)).find(due)?.key.clone();
        self.remove(position, key.as_bytes())
    }

    /// What the slot is after all its keys are gone at once.
    pub fn emptied(&self) -> Self {
        let version = self.version + 1;
        Self::with_versions(self.epoch, version, version)
    }

    fn add(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.index_expiry(record.position, None, record.expire_at);
        let (position, key) = (record.position, record.key.clone());
        self.records.insert(record, |other| other.order(position, key.as_bytes()));
    }

    /// Brings the index in line with a record whose expiry went from `old` to `new`. Two keys may share both position
    /// and expiry, and then share their place in the index.
    fn index_expiry(&mut self, position: Position, old: Option<ExpireAt>, new: Option<ExpireAt>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.expiring -= 1;
            let mut peers = self.records.range_from(at_or_after(position)).take_while(|r| r.position == position);
            if !peers.any(|record| record.expire_at == Some(at)) {
                self.expiries.remove(|item| item.cmp(&(at, position)));
            }
        }
        if let Some(at) = new {
            self.expiring += 1;
            self.expiries.insert((at, position), |item| item.cmp(&(at, position)));
        }
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
        assert!(slot.remove_one_expired(99).is_none());
        assert_eq!(slot.remove_one_expired(150).map(|r| r.key.as_bytes().to_vec()), Some(b"a".to_vec()));
        assert_eq!(slot.remove_one_expired(150).map(|r| r.key.as_bytes().to_vec()), Some(b"c".to_vec()));
        assert!(slot.remove_one_expired(150).is_none());
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
        slot.edit(Position(2), b"b", |_| ());
        assert_eq!((slot.version(), slot.last_removal_version()), (4, 3));
        assert_eq!(slot.emptied().last_removal_version(), 5);
    }

    #[test]
    fn sums_return_to_zero() {
        let mut slot = SlotData::new(Epoch(1));
        slot.put(Position(1), b"a", text(&[b'x'; 100]), at(5), 0);
        slot.put(Position(1), b"a", text(&[b'x'; 5000]), None, 0);
        slot.edit(Position(1), b"a", |value| {
            let Value::String(text) = value;
            text.edit(|bytes| bytes.push(b'y'));
        });
        slot.set_expiry(Position(1), b"a", at(9));
        slot.remove(Position(1), b"a");
        assert_eq!(slot.sums(), Sums::default());
    }
}
