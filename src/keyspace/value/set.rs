//! Sets: members in hash order, each once.

use super::super::packed::Packed;
use super::element_position;
use crate::protocol::numbers::parse_i64;

/// Larger sets of integers are not an `intset` (Redis's `set-max-intset-entries`).
const INTSET_ENTRIES_MAX: usize = 512;
/// Larger sets are not a `listpack` (Redis's `set-max-listpack-entries`).
const LISTPACK_ENTRIES_MAX: usize = 128;
/// Sets with longer members are not a `listpack` (Redis's `set-max-listpack-value`).
const LISTPACK_VALUE_BYTES_MAX: usize = 64;
/// Where more than one in so many members goes at once, a set is made anew of those that stay.
const REBUILD_FACTOR: usize = 4;

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

    /// What Redis gives a set that it makes of these members, one after the other.
    pub fn of_members<'a>(count: usize, members: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        if count <= INTSET_ENTRIES_MAX && members.clone().all(|member| parse_i64(member).is_some()) {
            Self::IntSet
        } else if Self::is_short(count, members) {
            Self::ListPack
        } else {
            Self::HashTable
        }
    }

    fn is_short<'a>(count: usize, mut members: impl Iterator<Item = &'a [u8]>) -> bool {
        count <= LISTPACK_ENTRIES_MAX && members.all(|member| member.len() <= LISTPACK_VALUE_BYTES_MAX)
    }

    fn expected(first: &[u8], count: usize) -> Self {
        if count <= INTSET_ENTRIES_MAX && parse_i64(first).is_some() {
            Self::IntSet
        } else if count <= LISTPACK_ENTRIES_MAX {
            Self::ListPack
        } else {
            Self::HashTable
        }
    }

    const fn entries_max(self) -> usize {
        match self {
            Self::IntSet => INTSET_ENTRIES_MAX,
            Self::ListPack => LISTPACK_ENTRIES_MAX,
            Self::HashTable => usize::MAX,
        }
    }
}

/// Brings the members of an `intset` in the order of the numbers that they are.
pub fn sort_numbers(members: &mut [&[u8]]) {
    members.sort_by_cached_key(|member| parse_i64(member));
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
    pub const fn set_encoding(&mut self, encoding: SetEncoding) {
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

    /// A set of members that come in hash order with their positions, each once.
    pub fn of_ordered<'a>(members: impl Iterator<Item = (u64, &'a [u8])>, encoding: SetEncoding) -> Self {
        let mut set = Self { members: Packed::default(), encoding };
        members.for_each(|(position, member)| set.members.push(position, &[member.into()]));
        set
    }

    /// Chooses the encoding for `count` members that a command is about to add, of which this is the first: as in Redis,
    /// by how many the command names, and not by how many turn out to be new.
    pub fn expect(&mut self, first: &[u8], count: usize) {
        if self.len() == 0 {
            self.encoding = SetEncoding::expected(first, count);
        } else if count > self.encoding.entries_max() {
            self.encoding = SetEncoding::HashTable;
        }
    }

    /// Takes a member out; false: it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.members.remove_found(element_position(member), member)
    }

    /// Takes out the members of these ranks, which are in ascending order and below the length.
    pub fn remove_ranks(&mut self, ranks: &[usize]) {
        if ranks.len() * REBUILD_FACTOR < self.len() {
            return ranks.iter().rev().for_each(|&rank| self.members.remove(rank));
        }
        let (mut kept, mut gone) = (Packed::default(), ranks.iter().peekable());
        for (rank, item) in self.members.iter().enumerate() {
            if gone.next_if_eq(&&rank).is_none() {
                kept.push(item.prefix(), &[item.share(0)]);
            }
        }
        self.members = kept;
    }

    /// Chooses the encoding anew for a set that a command emptied for the most part, which Redis then makes anew.
    pub fn pack(&mut self) {
        if self.encoding == SetEncoding::HashTable && SetEncoding::is_short(self.len(), self.iter()) {
            self.encoding = SetEncoding::ListPack;
        }
    }

    /// How many members come before this one in hash order; none: it is not there.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        self.members.search(element_position(member), member).ok()
    }

    /// The member with this many before it in hash order.
    pub fn nth(&self, index: usize) -> Option<&[u8]> {
        self.members.get(index).map(|item| item.part(0))
    }

    /// All members, in hash order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator + Clone {
        self.members.iter().map(|item| item.part(0))
    }

    /// The members at or after `position` in hash order, each with its position (see [`element_position`]).
    pub fn iter_from_position(&self, position: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let (Ok(index) | Err(index)) = self.members.search(position, b"");
        self.members.iter_from(index).map(|item| (item.prefix(), item.part(0)))
    }

    /// All members: numbers in their order where the set is an `intset`, else in hash order.
    pub fn in_order(&self) -> impl Iterator<Item = &[u8]> {
        let is_intset = self.encoding == SetEncoding::IntSet;
        let mut numbers: Vec<&[u8]> = is_intset.then(|| self.iter()).into_iter().flatten().collect();
        sort_numbers(&mut numbers);
        numbers.into_iter().chain((!is_intset).then(|| self.iter()).into_iter().flatten())
    }

    /// The items in the order of their stream.
    pub(super) const fn tree(&self) -> &Packed<4, 1> {
        &self.members
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(range: std::ops::Range<u32>) -> Set {
        let mut set = Set::default();
        range.for_each(|number| assert!(set.insert(number.to_string().as_bytes())));
        set
    }

    #[test]
    fn few_and_many_ranks_are_taken_out_alike() {
        for step in [2, 3, 50] {
            let (mut set, before) = (numbered(0..1000), numbered(0..1000));
            let ranks: Vec<usize> = (0..1000).step_by(step).collect();
            set.remove_ranks(&ranks);
            let left: Vec<&[u8]> =
                before.iter().enumerate().filter(|(rank, _)| rank % step != 0).map(|m| m.1).collect();
            assert!(set.iter().eq(left.iter().copied()), "every {step}.");
            assert!(left.iter().all(|member| set.contains(member)));
        }
    }

    #[test]
    fn numbers_are_visited_in_order_while_the_set_is_an_intset() {
        let mut set = numbered(0..300);
        set.insert(b"-7");
        let in_order: Vec<i64> = set.in_order().filter_map(parse_i64).collect();
        assert!(in_order.is_sorted() && in_order.len() == 301 && in_order[0] == -7);
        set.insert(b"x");
        assert!(set.in_order().eq(set.iter()));
        assert!(set.iter().filter_map(|member| set.rank(member)).eq(0..302));
    }

    #[test]
    fn the_encoding_follows_what_a_command_names() {
        let encoding = |first: &[u8], count| {
            let mut set = Set::default();
            set.expect(first, count);
            set.insert(first);
            set.encoding()
        };
        assert_eq!(encoding(b"1", 512), SetEncoding::IntSet);
        assert_eq!(encoding(b"1", 513), SetEncoding::HashTable);
        assert_eq!(encoding(b"a", 128), SetEncoding::ListPack);
        assert_eq!(encoding(b"a", 129), SetEncoding::HashTable);
        assert_eq!(encoding(&[b'a'; 65], 1), SetEncoding::HashTable);
        let mut set = numbered(0..2);
        set.expect(b"1", 512);
        assert_eq!(set.encoding(), SetEncoding::IntSet);
        set.expect(b"1", 513);
        assert_eq!(set.encoding(), SetEncoding::HashTable);
    }
}
