//! Sets made of sets: SINTER, SUNION, SDIFF, what stores them, SINTERCARD.
//!
//! All sets are in the same order, that of the hashes, so results come out in it and are stored without being sorted.

use super::super::call::{CommandError, CommandResult, ReadCall, WriteCall};
use super::super::value::{Collection, Set, SetEncoding, sort_numbers};
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::request::Args;

/// Members of the operands that are the result, in hash order and with their positions.
#[derive(Debug)]
pub struct Combined<'a> {
    members: Vec<(u64, &'a [u8])>,
    /// What Redis gives a key that it stores the result to.
    encoding: SetEncoding,
}

impl<'a> Combined<'a> {
    fn of(members: Vec<(u64, &'a [u8])>) -> Self {
        let encoding = SetEncoding::of_members(members.len(), members.iter().map(|member| member.1));
        Self { members, encoding }
    }
}

/// An operation on sets; a key that is not there is no set.
pub type Operation = for<'a> fn(&[Option<&'a Set>]) -> Combined<'a>;

/// Answers with the result of an operation on all keys.
pub fn reply(call: &mut ReadCall<'_>, operation: Operation) -> CommandResult {
    let sets = call.args.from(1).map(|key| call.collection::<Set>(key)).collect::<Result<Vec<_>, _>>()?;
    let combined = operation(&sets);
    let mut members: Vec<&[u8]> = combined.members.into_iter().map(|member| member.1).collect();
    if combined.encoding == SetEncoding::IntSet {
        sort_numbers(&mut members);
    }
    call.reply.set(members.len());
    members.into_iter().for_each(|member| call.reply.bulk(member));
    Ok(())
}

/// Stores the result of an operation on all keys but the first to the first.
pub fn store(call: &mut WriteCall<'_>, operation: Operation) -> CommandResult {
    let args = call.args;
    let sets = args.from(2).map(|key| call.collection::<Set>(key)).collect::<Result<Vec<_>, _>>()?;
    let combined = operation(&sets);
    let result = Set::of_ordered(combined.members.into_iter(), combined.encoding);
    let count = result.len();
    if count == 0 {
        call.keyspace.remove(args.get(1));
    } else {
        call.keyspace.put(args.get(1), result.into_value(), None);
    }
    call.reply.integer(count as i64);
    Ok(())
}

/// What all sets have.
pub fn inter<'a>(sets: &[Option<&'a Set>]) -> Combined<'a> {
    Combined::of(common(sets).collect())
}

/// What any set has.
pub fn union<'a>(sets: &[Option<&'a Set>]) -> Combined<'a> {
    let mut members = Vec::with_capacity(sets.iter().flatten().map(|set| set.len()).sum());
    sets.iter().flatten().for_each(|set| members.extend(set.iter_from_position(0)));
    // Sorted runs one after the other are merged.
    members.sort();
    members.dedup();
    Combined::of(members)
}

/// What the first set has and no other.
pub fn diff<'a>(sets: &[Option<&'a Set>]) -> Combined<'a> {
    let Some((&Some(first), others)) = sets.split_first() else { return Combined::of(Vec::new()) };
    let others: Vec<&Set> = others.iter().flatten().copied().collect();
    if others.iter().any(|other| std::ptr::eq(*other, first)) {
        return Combined::of(Vec::new());
    }
    // Redis's choice between two ways to the same members; it shows in the encoding of what is stored.
    let by_lookup = first.len() * (others.len() + 1) / 2;
    let by_removal = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if by_lookup <= by_removal {
        let kept = first.iter_from_position(0).filter(|member| !others.iter().any(|set| set.contains(member.1)));
        return Combined::of(kept.collect());
    }
    let mut gone: Vec<usize> =
        others.iter().flat_map(|set| set.iter()).filter_map(|member| first.rank(member)).collect();
    gone.sort_unstable();
    gone.dedup();
    let mut gone = gone.into_iter().peekable();
    let ranked = first.iter_from_position(0).enumerate();
    let members = ranked.filter(|(rank, _)| gone.next_if_eq(rank).is_none()).map(|(_, member)| member).collect();
    Combined { members, encoding: SetEncoding::of_members(first.len(), first.iter()) }
}

/// The members of the smallest set that all others have.
fn common<'a>(sets: &[Option<&'a Set>]) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
    let mut sets: Vec<&Set> = sets.iter().copied().collect::<Option<_>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let smallest = sets.first().copied();
    sets.retain(|set| smallest.is_some_and(|smallest| !std::ptr::eq(*set, smallest)));
    let members = smallest.into_iter().flat_map(|set| set.iter_from_position(0));
    members.filter(move |member| sets.iter().all(|set| set.contains(member.1)))
}

pub fn sintercard(call: &mut ReadCall<'_>) -> CommandResult {
    let (keys, limit) = parse_card(call.args)?;
    let sets = call.args.from(2).take(keys).map(|key| call.collection::<Set>(key)).collect::<Result<Vec<_>, _>>()?;
    call.reply.integer(common(&sets).take(limit).count() as i64);
    Ok(())
}

/// How many keys there are, and the count to stop at.
fn parse_card(args: Args<'_>) -> Result<(usize, usize), CommandError> {
    let keys = parse_i64(args.get(1)).filter(|&keys| keys > 0).ok_or(errors::NUMKEYS_NOT_POSITIVE)?;
    let keys = usize::try_from(keys).ok().filter(|&keys| keys <= args.len() - 2).ok_or(errors::NUMKEYS_TOO_MANY)?;
    let (mut limit, mut position) = (0, 2 + keys);
    while position < args.len() {
        if !args.is(position, "limit") || position + 1 == args.len() {
            return Err(errors::SYNTAX.into());
        }
        let number = parse_i64(args.get(position + 1)).and_then(|limit| usize::try_from(limit).ok());
        limit = number.ok_or(errors::LIMIT_NEGATIVE)?;
        position += 2;
    }
    Ok((keys, if limit == 0 { usize::MAX } else { limit }))
}
