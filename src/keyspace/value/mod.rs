//! What a key holds: a string or a collection.
//!
//! A value must be cheap to clone, since a write beside a snapshot copies a whole chunk of them: strings are in place or
//! shared (`text`), collections are shared and made of packed trees, whose copies are free. A write copies what it
//! changes and a snapshot still holds, and nothing else.
//!
//! Every value is also a stream of items (`stream`): what snapshots and slot moves ship, and what digests are over.
//!
//! Invariant: a collection that a key holds is never empty; everything that a command could ever see follows from the
//! items and the encoding, which are part of the stream.

mod hash;
mod list;
mod patch;
mod patcher;
mod set;
mod sorted_set;
mod stream;
mod text;

use std::sync::Arc;

pub use hash::{Field, FieldExpiry, Hash, HashEncoding};
pub use list::{End, List, ListEncoding};
pub use patch::PatchPlace;
pub use patcher::{Patcher, Patching};
pub use set::{Set, SetEncoding, sort_numbers};
pub use sorted_set::{LexBound, LexRange, ScoreRange, SortedSet, SortedSetEncoding, Updated};
pub use stream::{StreamPlace, ValueBuilder};
pub use text::{Encoding, INTEGER_TEXT_BYTES_MAX, Text};

use super::record::ExpireAt;

/// What a key holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string of bytes.
    String(Text),
    /// Elements in the order in which they were put.
    List(Arc<List>),
    /// Members, each once.
    Set(Arc<Set>),
    /// Fields with values.
    Hash(Arc<Hash>),
    /// Members with scores, in the order of the scores.
    SortedSet(Arc<SortedSet>),
}

/// Which type a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ValueType {
    /// A string.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A hash.
    Hash = 3,
    /// A sorted set.
    SortedSet = 4,
}

impl ValueType {
    /// All types.
    pub const ALL: [Self; 5] = [Self::String, Self::List, Self::Set, Self::Hash, Self::SortedSet];

    /// What `TYPE` says.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Hash => "hash",
            Self::SortedSet => "zset",
        }
    }
}

/// A type whose values are collections of items.
pub trait Collection: Clone + Default {
    /// The collection in a value, if it is of this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The collection in a value, to be changed; what a copy shares is copied first.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// As a value.
    fn into_value(self) -> Value;
    /// How many items it has.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

macro_rules! collection {
    ($type:ident) => {
        impl Collection for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$type(collection) = value { Some(collection) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$type(collection) = value { Some(Arc::make_mut(collection)) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$type(Arc::new(self))
            }

            fn len(&self) -> usize {
                self.len()
            }
        }
    };
}

collection!(List);
collection!(Set);
collection!(Hash);
collection!(SortedSet);

impl Value {
    /// The bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(text) => text.heap_bytes(),
            Self::List(list) => list.heap_bytes() as usize,
            Self::Set(set) => set.heap_bytes() as usize,
            Self::Hash(hash) => hash.heap_bytes() as usize,
            Self::SortedSet(set) => set.heap_bytes() as usize,
        }
    }

    /// What of that is not also of another value, of which it is an earlier or later state. A string shares nothing.
    pub fn unshared_bytes(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::List(list), Self::List(other)) => list.tree().unshared_bytes(other.tree()),
            (Self::Set(set), Self::Set(other)) => set.tree().unshared_bytes(other.tree()),
            (Self::Hash(hash), Self::Hash(other)) => hash.unshared_bytes(other),
            (Self::SortedSet(set), Self::SortedSet(other)) => set.unshared_bytes(other),
            _ => self.heap_bytes() as u64,
        }
    }

    /// Its type.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::String(_) => ValueType::String,
            Self::List(_) => ValueType::List,
            Self::Set(_) => ValueType::Set,
            Self::Hash(_) => ValueType::Hash,
            Self::SortedSet(_) => ValueType::SortedSet,
        }
    }

    /// What `TYPE` says.
    pub const fn type_name(&self) -> &'static str {
        self.value_type().name()
    }

    /// What `OBJECT ENCODING` says.
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::String(text) => text.encoding().name(),
            Self::List(list) => list.encoding().name(),
            Self::Set(set) => set.encoding().name(),
            Self::Hash(hash) => hash.encoding().name(),
            Self::SortedSet(set) => set.encoding().name(),
        }
    }

    /// When the first of its fields expires, if any does.
    pub fn next_field_expiry(&self) -> Option<ExpireAt> {
        if let Self::Hash(hash) = self { hash.next_expiry() } else { None }
    }

    /// Whether a field of it expires after `after_ms` and at or before `until_ms`.
    pub fn field_expires_between(&self, after_ms: u64, until_ms: u64) -> bool {
        if let Self::Hash(hash) = self { hash.expires_between(after_ms, until_ms) } else { false }
    }

    /// Whether nothing of it is left at `now_ms` because all its fields are expired.
    pub fn is_gone(&self, now_ms: u64) -> bool {
        if let Self::Hash(hash) = self { hash.is_gone(now_ms) } else { false }
    }
}

/// The place in the order of a collection's trees: elements that are sought by their bytes are kept in hash order, which
/// is what HSCAN, SSCAN and ZSCAN walk. Unseeded on purpose: colliding elements cost no more than others, since the
/// trees order them by their bytes.
pub fn element_position(element: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(element) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_24_bytes() {
        assert_eq!(size_of::<Value>(), 24);
    }
}
