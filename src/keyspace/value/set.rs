//! Sets: members in hash order, each once.

use super::super::packed::{Iter, Packed};
use super::element_position;
use crate::protocol::numbers::parse_i64;

/// Larger sets of integers are not an `intset` (Redis's `set-max-intset-entries`).
const INTSET_ENTRIES_MAX: usize = 512;
/// Larger sets are not a `listpack` (Redis's `set-max-listpack-entries`).
const LISTPACK_ENTRIES_MAX: usize = 128;
/// Sets with longer members are not a `listpack` (Redis's `set-max-listpack-value`).
const LISTPACK_VALUE_BYTES_MAX: usize = 64;

/// What `OBJECT ENCODING` says of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SetEncoding {
    /// Integers alone, and few.
    #[default]
    IntSet = 0,
    /// A small one.
    ListPack = 1,
    /// One that grew large.
    HashTable = 2,
}

impl SetEncoding {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IntSet => "intset",
            Self::ListPack => "listpack",
            Self::HashTable => "hashtable",
        }
    }
}

/// A set.
#[derive(Clone, Debug, Default)]
pub struct Set {
    members: Packed<4, 1>,
    encoding: SetEncoding,
}

impl Set {
    /// How many members there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// What it costs in memory, roughly.
    pub const fn heap_bytes(&self) -> u64 {
        self.members.heap_bytes()
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> SetEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: SetEncoding) {
        self.encoding = encoding;
    }

    /// Whether `member` is one.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.members.find(element_position(member), member).is_some()
    }

    /// Adds a member; false: it is there already.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let position = element_position(member);
        let Err(index) = self.members.search(position, member) else { return false };
        self.members.insert(index, position, &[member.into()]);
        self.note_growth(member);
        true
    }

    /// Takes a member out; false: it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.members.remove_found(element_position(member), member)
    }

    /// The member with this many before it in hash order.
    pub fn nth(&self, index: usize) -> Option<&[u8]> {
        self.members.get(index).map(|item| item.part(0))
    }

    /// All members, in hash order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.members.iter().map(|item| item.part(0))
    }

    /// The members at or after `position` in hash order, each with its position (see [`element_position`]).
    pub fn iter_from_position(&self, position: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let (Ok(index) | Err(index)) = self.members.search(position, b"");
        self.members.iter_from(index).map(|item| (item.prefix(), item.part(0)))
    }

    /// The items from `index` on, for streaming.
    pub(super) fn items(&self, index: usize) -> Iter<'_, 4, 1> {
        self.members.iter_from(index)
    }

    fn note_growth(&mut self, member: &[u8]) {
        if self.encoding == SetEncoding::IntSet && (parse_i64(member).is_none() || self.len() > INTSET_ENTRIES_MAX) {
            let short = self.len() <= LISTPACK_ENTRIES_MAX;
            self.encoding = if short { SetEncoding::ListPack } else { SetEncoding::HashTable };
        }
        if self.encoding == SetEncoding::ListPack
            && (self.len() > LISTPACK_ENTRIES_MAX || member.len() > LISTPACK_VALUE_BYTES_MAX)
        {
            self.encoding = SetEncoding::HashTable;
        }
    }
}
