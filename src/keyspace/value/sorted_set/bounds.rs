//! Ranges of scores and of members, as a sorted set is asked for them.

use std::cmp::Ordering;

/// Scores between two others, each of which belongs to the range unless it is excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lowest score.
    pub min: f64,
    /// Whether the lowest score itself is not meant.
    pub without_min: bool,
    /// The highest score.
    pub max: f64,
    /// Whether the highest score itself is not meant.
    pub without_max: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    Lowest,
    /// Behind all members.
    Highest,
    /// This member, which belongs to the range.
    Including(&'a [u8]),
    /// This member, which does not.
    Excluding(&'a [u8]),
}

impl LexBound<'_> {
    /// Where a member lies, seen from the bound. Equal: it is the one that belongs to the range.
    fn order_of(self, member: &[u8], excluded: Ordering) -> Ordering {
        match self {
            Self::Lowest => Ordering::Greater,
            Self::Highest => Ordering::Less,
            Self::Including(bound) => member.cmp(bound),
            Self::Excluding(bound) => member.cmp(bound).then(excluded),
        }
    }
}

/// Members between two others, by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Where it begins.
    pub min: LexBound<'a>,
    /// Where it ends.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether a member does not lie before the range.
    pub fn reaches(&self, member: &[u8]) -> bool {
        self.min.order_of(member, Ordering::Less).is_ge()
    }

    /// Whether a member does not lie behind the range.
    pub fn lasts_to(&self, member: &[u8]) -> bool {
        self.max.order_of(member, Ordering::Greater).is_le()
    }
}
