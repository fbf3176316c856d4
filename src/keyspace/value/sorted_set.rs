//! Sorted sets: members with scores, found by member in hash order and by rank in the order of score and member.
//!
//! Invariant: both trees have the same members with the same scores.

use super::super::packed::{Item, Iter, Packed};
use super::element_position;

/// Larger sorted sets are not a `listpack` (Redis's `zset-max-listpack-entries`).
const LISTPACK_ENTRIES_MAX: usize = 128;
/// Sorted sets with longer members are not a `listpack` (Redis's `zset-max-listpack-value`).
const LISTPACK_VALUE_BYTES_MAX: usize = 64;

/// What `OBJECT ENCODING` says of a sorted set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SortedSetEncoding {
    /// A small one.
    #[default]
    ListPack = 0,
    /// One that grew large.
    SkipList = 1,
}

impl SortedSetEncoding {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListPack => "listpack",
            Self::SkipList => "skiplist",
        }
    }
}

/// A sorted set.
#[derive(Clone, Debug, Default)]
pub struct SortedSet {
    /// Member, score in eight bytes.
    members: Packed<4, 2>,
    /// Score as [`sortable`] has it, member.
    scores: Packed<8, 1>,
    encoding: SortedSetEncoding,
}

impl SortedSet {
    /// How many members there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// What it costs in memory, roughly.
    pub const fn heap_bytes(&self) -> u64 {
        self.members.heap_bytes() + self.scores.heap_bytes()
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> SortedSetEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: SortedSetEncoding) {
        self.encoding = encoding;
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.find(element_position(member), member).map(|item| score_of(item.part(1)))
    }

    /// How many members come before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        self.scores.search(sortable(self.score(member)?), member).ok()
    }

    /// Sets a member's score, which is a number; whether the member is new.
    pub fn put(&mut self, member: &[u8], score: f64) -> bool {
        debug_assert!(!score.is_nan(), "a score is a number");
        let position = element_position(member);
        let bytes = score.to_le_bytes();
        let parts = [member.into(), bytes.as_slice().into()];
        let found = self.members.search(position, member);
        match found {
            Ok(index) => {
                let old = self.members.get(index).map(|item| score_of(item.part(1)));
                self.members.replace(index, position, &parts);
                if let Some(old) = old {
                    self.scores.remove_found(sortable(old), member);
                }
            }
            Err(index) => self.members.insert(index, position, &parts),
        }
        // A large member's bytes are shared by both trees.
        if let Some(item) = self.members.find(position, member) {
            self.scores.put(sortable(score), &[item.share(0)]);
        }
        if self.len() > LISTPACK_ENTRIES_MAX || member.len() > LISTPACK_VALUE_BYTES_MAX {
            self.encoding = SortedSetEncoding::SkipList;
        }
        found.is_err()
    }

    /// Takes a member out; its score, if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let position = element_position(member);
        let index = self.members.search(position, member).ok()?;
        let score = self.members.get(index).map(|item| score_of(item.part(1)))?;
        self.members.remove(index);
        self.scores.remove_found(sortable(score), member);
        Some(score)
    }

    /// Takes out the members of a range of ranks.
    pub fn remove_range(&mut self, range: std::ops::Range<usize>) {
        for item in self.scores.range(range.clone()) {
            let member = item.part(0);
            self.members.remove_found(element_position(member), member);
        }
        self.scores.remove_range(range);
    }

    /// The members of a range of ranks with their scores, from either end.
    pub fn range(
        &self,
        range: std::ops::Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.scores.range(range).map(|item| self.member_of(item))
    }

    /// All members in order of score.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.range(0..self.len())
    }

    /// How many members are before every one with at least this score, or, with a member given, before
    /// (`score`, `member`) in order: the first rank of a range.
    pub fn rank_from(&self, score: f64, member: &[u8]) -> usize {
        let (Ok(rank) | Err(rank)) = self.scores.search(sortable(score), member);
        rank
    }

    /// How many members have at most this score: the end of a range of ranks.
    pub fn rank_past(&self, score: f64) -> usize {
        let (Ok(rank) | Err(rank)) = self.scores.search(sortable(score) + 1, b"");
        rank
    }

    /// The member with this many before it in hash order.
    pub fn nth_in_hash_order(&self, index: usize) -> Option<(&[u8], f64)> {
        self.members.get(index).map(|item| (item.part(0), score_of(item.part(1))))
    }

    /// The members at or after `position` in hash order, each with its position (see [`element_position`]) and score.
    pub fn iter_from_position(&self, position: u64) -> impl Iterator<Item = (u64, &[u8], f64)> {
        let (Ok(index) | Err(index)) = self.members.search(position, b"");
        self.members.iter_from(index).map(|item| (item.prefix(), item.part(0), score_of(item.part(1))))
    }

    /// The items from `index` on in hash order, for streaming.
    pub(super) fn items(&self, index: usize) -> Iter<'_, 4, 2> {
        self.members.iter_from(index)
    }

    fn member_of<'a>(&'a self, item: Item<'a, 8>) -> (&'a [u8], f64) {
        let member = item.part(0);
        let score = match unsortable(item.prefix()) {
            // The order knows no sign of zero; the member's own score does.
            0.0 => self.score(member).unwrap_or_default(),
            score => score,
        };
        (member, score)
    }
}

fn score_of(bytes: &[u8]) -> f64 {
    bytes.try_into().map_or(0.0, f64::from_le_bytes)
}

/// A number with the order of the scores; both zeros are one. At most `u64::MAX - 1`, since no score is NaN.
fn sortable(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unsortable(number: u64) -> f64 {
    f64::from_bits(if number >> 63 == 1 { number & !(1 << 63) } else { !number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sortable_scores_are_in_order_and_come_back() {
        let scores = [
            f64::NEG_INFINITY,
            -1e300,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            f64::MIN_POSITIVE,
            1.0,
            1.5,
            1e300,
            f64::INFINITY,
        ];
        assert!(scores.windows(2).all(|pair| sortable(pair[0]) < sortable(pair[1])));
        assert!(scores.iter().all(|&score| unsortable(sortable(score)) == score));
        assert_eq!(sortable(-0.0), sortable(0.0));
        assert!(sortable(f64::INFINITY) < u64::MAX);
    }

    #[test]
    fn ranks_follow_score_and_then_member() {
        let mut set = SortedSet::default();
        for (member, score) in [("b", 1.0), ("a", 1.0), ("c", -2.0), ("z", -0.0), ("d", f64::INFINITY)] {
            assert!(set.put(member.as_bytes(), score));
        }
        assert!(!set.put(b"d", 5.0));
        let members: Vec<_> =
            set.iter().map(|(member, score)| (String::from_utf8_lossy(member).into_owned(), score)).collect();
        assert_eq!(members.iter().map(|m| m.0.as_str()).collect::<Vec<_>>(), ["c", "z", "a", "b", "d"]);
        assert!(members[1].1.is_sign_negative(), "the sign of zero is kept");
        assert_eq!((set.rank(b"b"), set.rank(b"d"), set.rank(b"x")), (Some(3), Some(4), None));
        assert_eq!((set.rank_from(1.0, b""), set.rank_past(1.0)), (2, 4));
        set.remove_range(1..3);
        assert_eq!((set.len(), set.score(b"a"), set.remove(b"b")), (3, None, Some(1.0)));
    }
}
