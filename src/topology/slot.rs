//! Slots: what a key is routed, owned and moved by.
//!
//! `crc32(hashtag(key)) % 16384`, CRC-32/ISO-HDLC. Hash tags follow Redis Cluster's rule: the bytes between the first
//! `{` and the first `}` after it, unless there are none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many slots there are.
pub const SLOT_COUNT: usize = 16384;

/// One of the [`SLOT_COUNT`] slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number, if there is one.
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOT_COUNT { Some(Self(number)) } else { None }
    }

    /// The slot of a key.
    pub fn of_key(key: &[u8]) -> Self {
        Self((crc32fast::hash(hash_tag(key)) % SLOT_COUNT as u32) as u16)
    }

    /// The slot's number, 0 to 16383.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The slot's number as an index into a table of [`SLOT_COUNT`] places.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All slots in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..SLOT_COUNT as u16).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The part of a key that decides its slot.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        None | Some(0) => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tags_follow_redis_cluster() {
        for (key, tag) in [
            ("plain", "plain"),
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("open{only", "open{only"),
            ("}{a}", "a"),
            ("", ""),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    #[test]
    fn slots_are_crc32_iso_hdlc() {
        // The check value of CRC-32/ISO-HDLC is 0xcbf43926.
        assert_eq!(Slot::of_key(b"123456789").number(), (0xcbf4_3926_u32 % 16384) as u16);
        assert_eq!(Slot::of_key(b"{123456789}x"), Slot::of_key(b"123456789"));
        assert_eq!(Slot::new(16384), None);
    }
}
