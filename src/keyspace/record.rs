//! One key of a slot with all that is known of it.
//!
//! Most memory of a node is in records, so this one is packed: 72 bytes with keys of up to 22 bytes in place.

use std::cmp::Ordering;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::value::Value;

/// The longest key kept in place.
const INLINE_BYTES_MAX: usize = 22;

/// A key's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Boxed(Box<[u8]>),
}

impl Key {
    /// A copy of `key`.
    pub fn new(key: &[u8]) -> Self {
        if key.len() > INLINE_BYTES_MAX {
            return Self(Form::Boxed(key.into()));
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self(Form::Inline { len: key.len() as u8, bytes })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Form::Boxed(bytes) => bytes,
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Inline { .. } => 0,
            Form::Boxed(bytes) => bytes.len() + 8,
        }
    }
}

/// Where a key stands in its slot's order; the low half of a SCAN cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u32);

impl Position {
    /// The position of `key` under the catalog's seed.
    pub fn of_key(key: &[u8], seed: u64) -> Self {
        Self((xxh3_64_with_seed(key, seed) >> 32) as u32)
    }
}

/// When a key expires, in milliseconds of log time.
pub type ExpireAt = NonZeroU64;

/// A key, its value and what is known of both.
#[derive(Debug)]
pub struct Record {
    /// Its place in the slot's order, before the key itself.
    pub position: Position,
    /// The last access, in seconds; known to this node alone.
    accessed: AtomicU32,
    /// The slot's version at the last write.
    pub version: u64,
    /// When it expires, if it does.
    pub expire_at: Option<ExpireAt>,
    /// The key.
    pub key: Key,
    /// What it holds.
    pub value: Value,
}

impl Record {
    /// Reads from each part that a write changes or frees, so that it is at hand.
    pub fn fetch(&self) -> u64 {
        let held = match &self.value {
            Value::String(text) => text.fetch(),
            _ => 0,
        };
        self.version ^ held
    }

    /// A new record.
    pub fn new(position: Position, key: &[u8], value: Value, expire_at: Option<ExpireAt>, version: u64) -> Self {
        Self { position, accessed: AtomicU32::new(0), version, expire_at, key: Key::new(key), value }
    }

    /// How this record stands to a wanted one.
    pub fn order(&self, position: Position, key: &[u8]) -> Ordering {
        self.position.cmp(&position).then_with(|| self.key.as_bytes().cmp(key))
    }

    /// Whether it is gone at `now_ms`: expired, or a hash whose fields all are.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at.is_some_and(|at| at.get() <= now_ms) || self.value.is_gone(now_ms)
    }

    /// When something of it expires for the first time: the key itself, or a field.
    pub fn due(&self) -> Option<ExpireAt> {
        match (self.expire_at, self.value.next_field_expiry()) {
            (Some(key), Some(field)) => Some(key.min(field)),
            (key, field) => key.or(field),
        }
    }

    /// Whether something of it is expired at `now_ms`.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due().is_some_and(|at| at.get() <= now_ms)
    }

    /// Whether it, or a field of it, expires after `after_ms` and at or before `until_ms`.
    pub fn expires_between(&self, after_ms: u64, until_ms: u64) -> bool {
        let key = self.expire_at.is_some_and(|at| at.get() > after_ms && at.get() <= until_ms);
        key || self.value.field_expires_between(after_ms, until_ms)
    }

    /// Notes an access.
    pub fn touch(&self, now_ms: u64) {
        self.accessed.store((now_ms / 1000) as u32, Relaxed);
    }

    /// For how many seconds nobody asked for it.
    pub fn idle_seconds(&self, now_ms: u64) -> u32 {
        ((now_ms / 1000) as u32).saturating_sub(self.accessed.load(Relaxed))
    }

    /// What it costs in memory, roughly; the same on every replica.
    pub fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.key.heap_bytes() + self.value.heap_bytes()) as u64
    }
}

impl Clone for Record {
    fn clone(&self) -> Self {
        Self {
            position: self.position,
            accessed: AtomicU32::new(self.accessed.load(Relaxed)),
            version: self.version,
            expire_at: self.expire_at,
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_72_bytes() {
        assert_eq!(size_of::<Record>(), 72);
    }

    #[test]
    fn keys_of_all_lengths_come_back() {
        for length in [0, 1, 21, 22, 23, 24, 300] {
            let bytes = vec![b'k'; length];
            assert_eq!(Key::new(&bytes).as_bytes(), bytes);
        }
    }
}
