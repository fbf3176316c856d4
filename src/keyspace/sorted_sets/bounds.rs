//! The ranges that clients ask for: of ranks, of scores, of members.

use std::ops::Range;

use super::super::call::{CommandError, integer};
use super::super::value::{LexBound, LexRange, ScoreRange, SortedSet};
use crate::protocol::numbers::parse_bound;
use crate::protocol::request::Args;

const NOT_SCORES: &str = "ERR min or max is not a float";
const NOT_MEMBERS: &str = "ERR min or max not valid string range item";

/// What a range is a range of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Ranks.
    Rank,
    /// Scores.
    Score,
    /// Members, by their bytes.
    Member,
}

/// A range of a sorted set.
#[derive(Clone, Copy, Debug)]
pub enum Interval<'a> {
    /// From rank to rank, both included; negative ones count from the end.
    Ranks(i64, i64),
    /// Scores.
    Scores(ScoreRange),
    /// Members.
    Members(LexRange<'a>),
}

impl<'a> Interval<'a> {
    /// The range from the argument at `min` to the one at `max`.
    pub fn parse(args: Args<'a>, measure: Measure, min: usize, max: usize) -> Result<Self, CommandError> {
        Ok(match measure {
            Measure::Rank => Self::Ranks(integer(args, min)?, integer(args, max)?),
            Measure::Score => {
                let (min, without_min) = score_bound(args.get(min)).ok_or(NOT_SCORES)?;
                let (max, without_max) = score_bound(args.get(max)).ok_or(NOT_SCORES)?;
                Self::Scores(ScoreRange { min, without_min, max, without_max })
            }
            Measure::Member => {
                let min = member_bound(args.get(min)).ok_or(NOT_MEMBERS)?;
                Self::Members(LexRange { min, max: member_bound(args.get(max)).ok_or(NOT_MEMBERS)? })
            }
        })
    }

    /// The ranks that are meant, lowest first. Ranks that are given count from the highest if `reverse`.
    pub fn ranks(&self, set: &SortedSet, reverse: bool) -> Range<usize> {
        match self {
            Self::Ranks(first, last) => {
                let length = set.len() as i64;
                let from_start = |rank: i64| if rank < 0 { rank.saturating_add(length) } else { rank };
                let (first, last) = (from_start(*first).max(0), from_start(*last).min(length - 1));
                if first > last {
                    return 0..0;
                }
                let (first, last) = if reverse { (length - 1 - last, length - 1 - first) } else { (first, last) };
                first as usize..last as usize + 1
            }
            Self::Scores(range) => set.ranks_of_scores(range),
            Self::Members(range) => set.ranks_of_members(range, reverse),
        }
    }
}

fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    match text {
        [b'(', score @ ..] => parse_bound(score).map(|score| (score, true)),
        score => parse_bound(score).map(|score| (score, false)),
    }
}

fn member_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        // Redis looks up to a zero byte here.
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Lowest),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Including(member)),
        [b'(', member @ ..] => Some(LexBound::Excluding(member)),
        _ => None,
    }
}
