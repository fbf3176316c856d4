//! Sorted sets: members with scores, found by member in hash order and by rank in the order of score and member.
//!
//! Invariants: both trees have the same members with the same scores; `negative_zeros` members have the score -0, whose
//! sign the order of the scores does not know.

mod bounds;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::super::packed::{Item, Packed, Part};
use super::element_position;
pub use bounds::{LexBound, LexRange, ScoreRange};

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

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// It is new.
    Added,
    /// It has another score.
    Moved,
    /// It is as it was, there or not.
    Nothing,
}

/// A sorted set.
#[derive(Clone, Debug, Default)]
pub struct SortedSet {
    /// Member, score in eight bytes.
    members: Packed<4, 2>,
    /// Score as [`sortable`] has it, member.
    scores: Packed<8, 1>,
    negative_zeros: usize,
    encoding: SortedSetEncoding,
}

impl SortedSet {
    /// A sorted set of these members, each there once, in order of score and member. `is_large`: it is to have been
    /// large, whatever its members are.
    pub fn of_ordered(members: &[(&[u8], f64)], is_large: bool) -> Self {
        let mut set = Self::default();
        if is_large || members.len() > LISTPACK_ENTRIES_MAX {
            set.encoding = SortedSetEncoding::SkipList;
        }
        members.iter().for_each(|(member, _)| set.note_member(member));
        let mut places: Vec<_> =
            members.iter().map(|(member, score)| (element_position(member), *member, *score)).collect();
        places.sort_unstable_by_key(|(position, member, _)| (*position, *member));
        // The order of the scores shares the large members.
        for (position, member, score) in places {
            set.add_to_members(set.len(), position, Part::to_share(member), set.kept_score(score));
        }
        for (member, score) in members {
            let shared = set.members.find(element_position(member), member).map(|item| item.share(0));
            let part = shared.filter(|part| matches!(part, Part::Shared(_))).unwrap_or(Part::Bytes(member));
            set.scores.push(sortable(*score), &[part]);
        }
        set
    }

    /// How many members there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// What it costs in memory, roughly.
    pub const fn heap_bytes(&self) -> u64 {
        self.members.heap_bytes() + self.scores.heap_bytes()
    }

    /// What of that is not also of an earlier or later state of it.
    pub fn unshared_bytes(&self, other: &Self) -> u64 {
        self.members.unshared_bytes(&other.members) + self.scores.unshared_bytes(&other.scores)
    }

    /// What `OBJECT ENCODING` says.
    pub const fn encoding(&self) -> SortedSetEncoding {
        self.encoding
    }

    /// Gives it the encoding that another replica had.
    pub(super) const fn set_encoding(&mut self, encoding: SortedSetEncoding) {
        self.encoding = encoding;
    }

    /// Notes that it is to hold this many members, as far as a command can tell.
    pub const fn expect(&mut self, members: usize) {
        if members > LISTPACK_ENTRIES_MAX {
            self.encoding = SortedSetEncoding::SkipList;
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.find(element_position(member), member).map(|item| score_of(item.part(1)))
    }

    /// How many members come before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        self.scores.search(sortable(score), member).ok().map(|rank| (rank, score))
    }

    /// Sets a member's score, which is a number, to the bit; whether the member is new.
    pub fn put(&mut self, member: &[u8], score: f64) -> bool {
        debug_assert!(!score.is_nan(), "a score is a number");
        let position = element_position(member);
        match self.members.search(position, member) {
            Ok(index) => {
                let old = self.score_at(index);
                self.change_score(index, member, old, score);
                false
            }
            Err(index) => {
                self.note_growth(member);
                self.add(index, position, member, score);
                true
            }
        }
    }

    /// Gives a member the score that `decide` makes of the one it has, if any, and if it is another.
    pub fn update(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> Updated {
        let position = element_position(member);
        match self.members.search(position, member) {
            Ok(index) => {
                let old = self.score_at(index);
                // The other zero is no other score.
                let Some(score) = decide(Some(old)).filter(|score| *score != old) else { return Updated::Nothing };
                self.change_score(index, member, old, self.kept_score(score));
                Updated::Moved
            }
            Err(index) => {
                let Some(score) = decide(None) else { return Updated::Nothing };
                self.note_growth(member);
                self.add(index, position, member, self.kept_score(score));
                Updated::Added
            }
        }
    }

    /// Takes a member out; its score, if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let index = self.members.search(element_position(member), member).ok()?;
        let score = self.score_at(index);
        self.members.remove(index);
        self.scores.remove_found(sortable(score), member);
        self.negative_zeros -= usize::from(is_negative_zero(score));
        Some(score)
    }

    /// Takes out the members of a range of ranks.
    pub fn remove_range(&mut self, range: Range<usize>) {
        for item in self.scores.range(range.clone()) {
            let member = item.part(0);
            let Ok(index) = self.members.search(element_position(member), member) else { continue };
            if self.negative_zeros > 0 {
                let score = self.members.get(index).map(|item| score_of(item.part(1)));
                self.negative_zeros -= usize::from(score.is_some_and(is_negative_zero));
            }
            self.members.remove(index);
        }
        self.scores.remove_range(range);
    }

    /// The members of a range of ranks with their scores, from either end.
    pub fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.scores.range(range).map(|item| self.member_of(item))
    }

    /// All members in order of score.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.range(0..self.len())
    }

    /// The ranks of the members with scores in a range.
    pub fn ranks_of_scores(&self, range: &ScoreRange) -> Range<usize> {
        let before = |score| self.scores.search(sortable(score), b"").unwrap_or_else(|rank| rank);
        let up_to = |score| self.scores.search(sortable(score) + 1, b"").unwrap_or_else(|rank| rank);
        let start = if range.without_min { up_to(range.min) } else { before(range.min) };
        let end = if range.without_max { before(range.max) } else { up_to(range.max) };
        start..end.max(start)
    }

    /// The ranks of the members in a range of members. It means something only where all scores are equal; where they
    /// are not, a small sorted set gives what Redis gives: what follows the first member, or in reverse order the last
    /// one, that is in the range, up to one that is not.
    pub fn ranks_of_members(&self, range: &LexRange<'_>, reverse: bool) -> Range<usize> {
        let (Some(first), Some(last)) = (self.scores.get(0), self.scores.last()) else { return 0..0 };
        let ranks = if first.prefix() == last.prefix() {
            self.ranks_where_scores_are_equal(range, first.prefix())
        } else if self.encoding == SortedSetEncoding::SkipList {
            let start = self.partition_point(|member| !range.reaches(member));
            start..self.partition_point(|member| range.lasts_to(member))
        } else if !range.reaches(last.part(0)) || !range.lasts_to(first.part(0)) {
            0..0
        } else if reverse {
            let end = self.iter().rposition(|(member, _)| range.lasts_to(member)).map_or(0, |last| last + 1);
            end - self.range(0..end).rev().take_while(|(member, _)| range.reaches(member)).count()..end
        } else {
            let start = self.iter().position(|(member, _)| range.reaches(member)).unwrap_or(self.len());
            start..start + self.range(start..self.len()).take_while(|(member, _)| range.lasts_to(member)).count()
        };
        ranks.start..ranks.end.max(ranks.start)
    }

    fn ranks_where_scores_are_equal(&self, range: &LexRange<'_>, score: u64) -> Range<usize> {
        let before = |member: &[u8]| self.scores.search(score, member).unwrap_or_else(|rank| rank);
        let up_to = |member: &[u8]| self.scores.search(score, member).map_or_else(|rank| rank, |rank| rank + 1);
        let start = match range.min {
            LexBound::Lowest => 0,
            LexBound::Highest => self.len(),
            LexBound::Including(member) => before(member),
            LexBound::Excluding(member) => up_to(member),
        };
        let end = match range.max {
            LexBound::Lowest => 0,
            LexBound::Highest => self.len(),
            LexBound::Including(member) => up_to(member),
            LexBound::Excluding(member) => before(member),
        };
        start..end
    }

    /// How many members come before the first for which `is_before` is false, if they are in such order.
    fn partition_point(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.scores.get(middle).is_some_and(|item| is_before(item.part(0))) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The member with this rank.
    pub fn nth(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.scores.get(rank).map(|item| self.member_of(item))
    }

    /// The members at or after `position` in hash order, each with its position (see [`element_position`]) and score.
    pub fn iter_from_position(&self, position: u64) -> impl Iterator<Item = (u64, &[u8], f64)> {
        let (Ok(index) | Err(index)) = self.members.search(position, b"");
        self.members.iter_from(index).map(|item| (item.prefix(), item.part(0), score_of(item.part(1))))
    }

    /// The items in the order of their stream.
    pub(super) const fn tree(&self) -> &Packed<4, 2> {
        &self.members
    }

    fn score_at(&self, index: usize) -> f64 {
        self.members.get(index).map_or(0.0, |item| score_of(item.part(1)))
    }

    /// A score as it is kept: what Redis keeps in a listpack loses the sign of a zero.
    fn kept_score(&self, score: f64) -> f64 {
        if self.encoding == SortedSetEncoding::ListPack { score + 0.0 } else { score }
    }

    fn note_growth(&mut self, member: &[u8]) {
        self.expect(self.len() + 1);
        self.note_member(member);
    }

    fn note_member(&mut self, member: &[u8]) {
        if member.len() > LISTPACK_VALUE_BYTES_MAX {
            self.encoding = SortedSetEncoding::SkipList;
        }
    }

    /// Adds a member to both trees.
    fn add(&mut self, index: usize, position: u64, member: &[u8], score: f64) {
        let part = Part::to_share(member);
        self.add_to_members(index, position, part.clone(), score);
        self.scores.put(sortable(score), &[part]);
    }

    fn add_to_members(&mut self, index: usize, position: u64, member: Part<'_>, score: f64) {
        self.members.insert(index, position, &[member, score.to_le_bytes().as_slice().into()]);
        self.negative_zeros += usize::from(is_negative_zero(score));
    }

    fn change_score(&mut self, index: usize, member: &[u8], old: f64, score: f64) {
        self.members.overwrite(index, 1, &score.to_le_bytes());
        self.negative_zeros -= usize::from(is_negative_zero(old));
        self.negative_zeros += usize::from(is_negative_zero(score));
        let (old, new) = (sortable(old), sortable(score));
        let Ok(rank) = self.scores.search(old, member) else { return };
        if old == new || self.scores.change_prefix(rank, new) {
            return;
        }
        let part = match self.members.get(index).map(|item| item.share(0)) {
            Some(Part::Shared(bytes)) => Part::Shared(bytes),
            _ => Part::Bytes(member),
        };
        self.scores.remove(rank);
        self.scores.put(new, &[part]);
    }

    fn member_of<'a>(&'a self, item: Item<'a, 8>) -> (&'a [u8], f64) {
        let member = item.part(0);
        let score = match unsortable(item.prefix()) {
            0.0 if self.negative_zeros > 0 => self.score(member).unwrap_or_default(),
            score => score,
        };
        (member, score)
    }
}

fn score_of(bytes: &[u8]) -> f64 {
    bytes.try_into().map_or(0.0, f64::from_le_bytes)
}

fn is_negative_zero(score: f64) -> bool {
    score == 0.0 && score.is_sign_negative()
}

/// A number with the order of the scores; both zeros are one. At most `u64::MAX - 1`, since no score is NaN.
fn sortable(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unsortable(number: u64) -> f64 {
    f64::from_bits(if number >> 63 == 1 { number & !(1 << 63) } else { !number })
}
