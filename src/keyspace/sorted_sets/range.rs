//! ZRANGE, its older forms, ZRANGESTORE, ZCOUNT and ZLEXCOUNT.

use std::ops::Range;

use super::super::call::{CommandError, CommandResult, ReadCall, Word, WriteCall, integer};
use super::super::value::{Collection, SortedSet};
use super::bounds::{Interval, Measure};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

const LIMIT_OF_RANKS: &str = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
const SCORES_OF_MEMBERS: &str = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";

/// What a command of this family says by its name. The rest is said by options.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    measure: Option<Measure>,
    reverse: Option<bool>,
}

/// ZRANGE and ZRANGESTORE.
pub const ZRANGE: Kind = Kind { measure: None, reverse: None };
/// ZREVRANGE.
pub const ZREVRANGE: Kind = Kind { measure: Some(Measure::Rank), reverse: Some(true) };
/// ZRANGEBYSCORE.
pub const ZRANGEBYSCORE: Kind = Kind { measure: Some(Measure::Score), reverse: Some(false) };
/// ZREVRANGEBYSCORE.
pub const ZREVRANGEBYSCORE: Kind = Kind { measure: Some(Measure::Score), reverse: Some(true) };
/// ZRANGEBYLEX.
pub const ZRANGEBYLEX: Kind = Kind { measure: Some(Measure::Member), reverse: Some(false) };
/// ZREVRANGEBYLEX.
pub const ZREVRANGEBYLEX: Kind = Kind { measure: Some(Measure::Member), reverse: Some(true) };

/// A question for a range.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    interval: Interval<'a>,
    reverse: bool,
    with_scores: bool,
    /// How many of the range are left out first; below zero: all.
    offset: i64,
    /// How many there are to be at most; below zero: any number.
    limit: i64,
}

impl<'a> Query<'a> {
    /// The question of a command whose source key is the argument at `key`.
    fn parse(args: Args<'a>, kind: Kind, key: usize, stores: bool) -> Result<Self, CommandError> {
        let Kind { mut measure, mut reverse } = kind;
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut position = key + 3;
        while position < args.len() {
            match Word::of(args.get(position)).as_slice() {
                b"WITHSCORES" if !stores => with_scores = true,
                b"LIMIT" if position + 2 < args.len() => {
                    (offset, limit) = (integer(args, position + 1)?, integer(args, position + 2)?);
                    position += 2;
                }
                // What the name says is not said again, but REV may be.
                b"REV" if kind.reverse.is_none() && reverse.is_none() => reverse = Some(true),
                b"BYLEX" if measure.is_none() => measure = Some(Measure::Member),
                b"BYSCORE" if measure.is_none() => measure = Some(Measure::Score),
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 1;
        }
        let (measure, reverse) = (measure.unwrap_or(Measure::Rank), reverse.unwrap_or(false));
        if limit != -1 && measure == Measure::Rank {
            return Err(LIMIT_OF_RANKS.into());
        }
        if with_scores && measure == Measure::Member {
            return Err(SCORES_OF_MEMBERS.into());
        }
        let turned = reverse && measure != Measure::Rank;
        let (min, max) = if turned { (key + 2, key + 1) } else { (key + 1, key + 2) };
        let interval = Interval::parse(args, measure, min, max)?;
        // Without a limit, ranks take an offset and do nothing with it.
        let offset = if measure == Measure::Rank { 0 } else { offset };
        Ok(Self { interval, reverse, with_scores, offset, limit })
    }

    /// The ranks that are asked for, lowest first.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let Range { start, end } = self.interval.ranks(set, self.reverse);
        let Ok(offset) = usize::try_from(self.offset) else { return start..start };
        let offset = offset.min(end - start);
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(end - start - offset);
        if self.reverse { end - offset - count..end - offset } else { start + offset..start + offset + count }
    }
}

/// Writes members, with their scores if they are asked for.
pub fn reply_members<'a>(
    reply: &mut ReplyWriter<'_>,
    members: impl ExactSizeIterator<Item = (&'a [u8], f64)>,
    with_scores: bool,
) {
    let pairs = with_scores && reply.resp3();
    reply.array(if with_scores && !pairs { members.len() * 2 } else { members.len() });
    for (member, score) in members {
        if pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.double(score);
        }
    }
}

/// ZRANGE and its older forms.
pub fn zrange(call: &mut ReadCall<'_>, kind: Kind) -> CommandResult {
    let query = Query::parse(call.args, kind, 1, false)?;
    let Some(set) = call.collection::<SortedSet>(call.args.get(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let members = set.range(query.ranks(set));
    if query.reverse {
        reply_members(&mut call.reply, members.rev(), query.with_scores);
    } else {
        reply_members(&mut call.reply, members, query.with_scores);
    }
    Ok(())
}

pub fn zrangestore(call: &mut WriteCall<'_>) -> CommandResult {
    let query = Query::parse(call.args, ZRANGE, 2, true)?;
    let stored = call.collection::<SortedSet>(call.args.get(2))?.map(|set| {
        let members: Vec<(&[u8], f64)> = set.range(query.ranks(set)).collect();
        SortedSet::of_ordered(&members, false)
    });
    store(call, stored.unwrap_or_default());
    Ok(())
}

/// Puts a sorted set in the place of the destination, which is the first key, and replies with its length.
pub fn store(call: &mut WriteCall<'_>, set: SortedSet) {
    let destination = call.args.get(1);
    call.reply.integer(set.len() as i64);
    if set.is_empty() {
        call.keyspace.remove(destination);
    } else {
        call.keyspace.put(destination, set.into_value(), None);
    }
}

/// ZCOUNT and ZLEXCOUNT.
pub fn zcount(call: &mut ReadCall<'_>, measure: Measure) -> CommandResult {
    let interval = Interval::parse(call.args, measure, 2, 3)?;
    let set = call.collection::<SortedSet>(call.args.get(1))?;
    let count = set.map_or(0, |set| interval.ranks(set, false).len());
    call.reply.integer(count as i64);
    Ok(())
}
