//! ZUNION, ZINTER and ZDIFF, their storing forms, and ZINTERCARD. Plain sets may be among the inputs: their members have
//! the score 1.
//!
//! Invariant: inputs are taken in the order of their size, as in Redis, since sums of scores depend on the order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::super::call::{CommandError, CommandResult, ReadCall, Word, WriteCall, integer};
use super::super::record::Record;
use super::super::value::{Set, SortedSet, Value};
use super::range::{reply_members, store};
use crate::protocol::errors;
use crate::protocol::numbers::parse_double;
use crate::protocol::request::Args;

const NOT_A_WEIGHT: &str = "ERR weight value is not a float";
const NEGATIVE_LIMIT: &str = "ERR LIMIT can't be negative";

/// Which members come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Those of any input.
    Union,
    /// Those of all.
    Intersection,
    /// Those of the first that no other has.
    Difference,
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Reply,
    Store,
    Count,
}

/// How the scores of one member become one.
#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, total: f64, score: f64) -> f64 {
        match self {
            // Infinity and its opposite make zero.
            Self::Sum => number_or_zero(total + score),
            Self::Min if score < total => score,
            Self::Max if score > total => score,
            Self::Min | Self::Max => total,
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What an input key holds.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Absent,
    Plain(&'a Set),
    Scored(&'a SortedSet),
}

#[derive(Clone, Copy, Debug)]
struct Input<'a> {
    source: Source<'a>,
    weight: f64,
}

type Placed<'a> = (u64, &'a [u8], f64);

impl<'a> Input<'a> {
    fn of(record: Option<&'a Record>) -> Result<Self, CommandError> {
        let source = match record.map(|record| &record.value) {
            None => Source::Absent,
            Some(Value::Set(set)) => Source::Plain(set),
            Some(Value::SortedSet(set)) => Source::Scored(set),
            Some(_) => return Err(errors::WRONG_TYPE.into()),
        };
        Ok(Self { source, weight: 1.0 })
    }

    fn len(&self) -> usize {
        match self.source {
            Source::Absent => 0,
            Source::Plain(set) => set.len(),
            Source::Scored(set) => set.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self.source {
            Source::Absent => None,
            Source::Plain(set) => set.contains(member).then_some(1.0),
            Source::Scored(set) => set.score(member),
        }
    }

    /// All members in hash order, each with its position and score.
    fn members(&self) -> Box<dyn Iterator<Item = Placed<'a>> + 'a> {
        match self.source {
            Source::Absent => Box::new(std::iter::empty()),
            Source::Plain(set) => Box::new(set.iter_from_position(0).map(|(place, member)| (place, member, 1.0))),
            Source::Scored(set) => Box::new(set.iter_from_position(0)),
        }
    }
}

/// A command of this family.
#[derive(Debug)]
struct Query<'a> {
    operation: Operation,
    inputs: Vec<Input<'a>>,
    aggregate: Aggregate,
    with_scores: bool,
    /// How many members are counted at most.
    limit: usize,
}

impl<'a> Query<'a> {
    /// The command whose number of keys is the argument at `number`.
    fn parse(
        args: Args<'a>,
        operation: Operation,
        meant: Use,
        find: impl Fn(&[u8]) -> Option<&'a Record>,
    ) -> Result<Self, CommandError> {
        let number = if meant == Use::Store { 2 } else { 1 };
        let said = integer(args, number)?;
        let Some(keys) = usize::try_from(said).ok().filter(|keys| *keys > 0) else {
            let name = String::from_utf8_lossy(args.name()).to_ascii_lowercase();
            return Err(format!("ERR at least 1 input key is needed for '{name}' command").into());
        };
        if keys > args.len() - number - 1 {
            return Err(errors::SYNTAX.into());
        }
        let inputs = args.from(number + 1).take(keys).map(|key| Input::of(find(key)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let mut query = Self { operation, inputs, aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
        query.parse_options(args, number + 1 + keys, meant)?;
        if operation != Operation::Difference {
            query.inputs.sort_by_key(Input::len);
        }
        Ok(query)
    }

    fn parse_options(&mut self, args: Args<'_>, first: usize, meant: Use) -> CommandResult {
        let scored = self.operation != Operation::Difference && meant != Use::Count;
        let mut position = first;
        while position < args.len() {
            let rest = args.len() - position - 1;
            position += 1;
            match Word::of(args.get(position - 1)).as_slice() {
                b"WEIGHTS" if scored && rest >= self.inputs.len() => {
                    for input in &mut self.inputs {
                        input.weight = parse_double(args.get(position)).ok_or(NOT_A_WEIGHT)?;
                        position += 1;
                    }
                }
                b"AGGREGATE" if scored && rest >= 1 => {
                    self.aggregate = match Word::of(args.get(position)).as_slice() {
                        b"SUM" => Aggregate::Sum,
                        b"MIN" => Aggregate::Min,
                        b"MAX" => Aggregate::Max,
                        _ => return Err(errors::SYNTAX.into()),
                    };
                    position += 1;
                }
                b"WITHSCORES" if meant == Use::Reply => self.with_scores = true,
                b"LIMIT" if meant == Use::Count && rest >= 1 => {
                    let limit = integer(args, position).ok().and_then(|limit| usize::try_from(limit).ok());
                    let limit = limit.ok_or(NEGATIVE_LIMIT)?;
                    self.limit = if limit == 0 { usize::MAX } else { limit };
                    position += 1;
                }
                _ => return Err(errors::SYNTAX.into()),
            }
        }
        Ok(())
    }

    /// The members that come out, in order of score and member.
    fn members(&self) -> Vec<(&'a [u8], f64)> {
        let mut members = match self.operation {
            Operation::Union => self.union(),
            Operation::Intersection => self.intersection().collect(),
            Operation::Difference => self.difference(),
        };
        members.sort_unstable_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then(a.0.cmp(b.0)));
        members
    }

    /// All inputs have their members in the same order, so that equal ones meet.
    fn union(&self) -> Vec<(&'a [u8], f64)> {
        let mut rest: Vec<_> = self.inputs.iter().map(Input::members).collect();
        let head = |input: usize, (place, member, score): Placed<'a>| Head {
            place,
            member,
            input,
            score: number_or_zero(score * self.inputs[input].weight),
        };
        let firsts = rest.iter_mut().enumerate().filter_map(|(input, rest)| Some(head(input, rest.next()?)));
        let mut heads: BinaryHeap<Head<'a>> = firsts.collect();
        let mut members: Vec<(&[u8], f64)> = Vec::with_capacity(self.inputs.iter().map(Input::len).max().unwrap_or(0));
        let mut last_place = None;
        while let Some(mut first) = heads.peek_mut() {
            let Head { place, member, score, input } = *first;
            match rest[input].next() {
                Some(next) => *first = head(input, next),
                None => drop(std::collections::binary_heap::PeekMut::pop(first)),
            }
            match members.last_mut().filter(|(last, _)| last_place == Some(place) && *last == member) {
                Some((_, total)) => *total = self.aggregate.apply(*total, score),
                None => members.push((member, score)),
            }
            last_place = Some(place);
        }
        members
    }

    fn intersection(&self) -> impl Iterator<Item = (&'a [u8], f64)> {
        let (smallest, others) = self.inputs.split_first().expect("there is at least one key");
        smallest.members().filter_map(move |(_, member, score)| {
            let first = number_or_zero(score * smallest.weight);
            let total = others.iter().try_fold(first, |total, other| {
                other.score(member).map(|score| self.aggregate.apply(total, score * other.weight))
            });
            total.map(|total| (member, total))
        })
    }

    fn difference(&self) -> Vec<(&'a [u8], f64)> {
        let (first, others) = self.inputs.split_first().expect("there is at least one key");
        let left = first.members().filter(|(_, member, _)| others.iter().all(|other| other.score(member).is_none()));
        left.map(|(_, member, score)| (member, score)).collect()
    }
}

/// The next member of an input. The first in hash order is the greatest, and among equal members that of the first
/// input.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    place: u64,
    member: &'a [u8],
    input: usize,
    score: f64,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.place, other.member, other.input).cmp(&(self.place, self.member, self.input))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

/// ZUNION, ZINTER and ZDIFF.
pub fn combine(call: &mut ReadCall<'_>, operation: Operation) -> CommandResult {
    let query = Query::parse(call.args, operation, Use::Reply, |key| call.find(key))?;
    reply_members(&mut call.reply, query.members().into_iter(), query.with_scores);
    Ok(())
}

/// ZUNIONSTORE, ZINTERSTORE and ZDIFFSTORE.
pub fn combine_and_store(call: &mut WriteCall<'_>, operation: Operation) -> CommandResult {
    let query = Query::parse(call.args, operation, Use::Store, |key| call.find(key))?;
    // The result has been large when one of its members is, or when there are many: its own members tell.
    let combined = SortedSet::of_ordered(&query.members(), false);
    store(call, combined);
    Ok(())
}

pub fn zintercard(call: &mut ReadCall<'_>) -> CommandResult {
    let query = Query::parse(call.args, Operation::Intersection, Use::Count, |key| call.find(key))?;
    let count = query.intersection().take(query.limit).count();
    call.reply.integer(count as i64);
    Ok(())
}
