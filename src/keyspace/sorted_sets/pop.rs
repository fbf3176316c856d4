//! ZPOPMIN, ZPOPMAX and ZMPOP, and what they share with the commands that wait for a member.

use super::super::call::{CommandError, CommandResult, WriteCall, integer};
use super::super::slot_data::Changed;
use super::super::store::Keyspace;
use super::super::value::{Collection, SortedSet};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;

const NO_KEYS: &str = "ERR numkeys should be greater than 0";
const NO_COUNT: &str = "ERR count should be greater than 0";

/// Which members are popped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopFrom {
    /// Those with the lowest scores.
    Lowest,
    /// Those with the highest.
    Highest,
}

/// How popped members are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopForm {
    /// ZPOPMIN: members and scores in turn.
    Flat,
    /// ZPOPMIN with a count in RESP3: pairs of member and score.
    Pairs,
    /// BZPOPMIN: the key, and then members and scores in turn.
    KeyAndFlat,
    /// ZMPOP: the key, and the pairs in an array of their own.
    KeyAndPairs,
}

/// Takes at most `count` members, which is not zero, out of the sorted set that a key holds, and tells them. False: the
/// key holds none, and nothing was told.
pub fn pop(
    keyspace: &mut Keyspace,
    key: &[u8],
    from: PopFrom,
    count: usize,
    form: PopForm,
    reply: &mut ReplyWriter<'_>,
) -> bool {
    if keyspace.peek(key).and_then(|record| SortedSet::of(&record.value)).is_none() {
        return false;
    }
    keyspace.edit_collection(key, |set: &mut SortedSet| {
        let count = count.min(set.len());
        match form {
            PopForm::Flat => reply.array(count * 2),
            PopForm::Pairs => reply.array(count),
            PopForm::KeyAndFlat => {
                reply.array(count * 2 + 1);
                reply.bulk(key);
            }
            PopForm::KeyAndPairs => {
                reply.array(2);
                reply.bulk(key);
                reply.array(count);
            }
        }
        let mut tell = |(member, score)| {
            if matches!(form, PopForm::Pairs | PopForm::KeyAndPairs) {
                reply.array(2);
            }
            reply.bulk(member);
            reply.double(score);
        };
        let ranks = match from {
            PopFrom::Lowest => 0..count,
            PopFrom::Highest => set.len() - count..set.len(),
        };
        match from {
            PopFrom::Lowest => set.range(ranks.clone()).for_each(&mut tell),
            PopFrom::Highest => set.range(ranks.clone()).rev().for_each(&mut tell),
        }
        set.remove_range(ranks);
        (Changed::Yes, ())
    });
    true
}

/// ZPOPMIN and ZPOPMAX.
pub fn zpop(call: &mut WriteCall<'_>, from: PopFrom) -> CommandResult {
    if call.args.len() > 3 {
        return Err(errors::SYNTAX.into());
    }
    let with_count = call.args.len() == 3;
    let count = if with_count {
        let count = integer(call.args, 2).ok().and_then(|count| usize::try_from(count).ok());
        count.ok_or(errors::NOT_POSITIVE)?
    } else {
        1
    };
    let key = call.args.get(1);
    let form = if with_count && call.reply.resp3() { PopForm::Pairs } else { PopForm::Flat };
    call.collection::<SortedSet>(key)?;
    if count == 0 || !pop(call.keyspace, key, from, count, form, &mut call.reply) {
        call.reply.array(0);
    }
    Ok(())
}

/// ZMPOP.
pub fn zmpop(call: &mut WriteCall<'_>) -> CommandResult {
    if !pop_members(call, 1)? {
        call.reply.null_array();
    }
    Ok(())
}

/// Takes members out of the first sorted set that is there, as the arguments from the number of keys on say, and writes its
/// key and them. False: there is none, and nothing was written.
pub fn pop_members(call: &mut WriteCall<'_>, number_at: usize) -> Result<bool, CommandError> {
    let args = call.args;
    let keys = integer(args, number_at).ok().and_then(|keys| usize::try_from(keys).ok()).filter(|keys| *keys > 0);
    let keys = keys.ok_or(NO_KEYS)?;
    let side = keys.checked_add(number_at + 1).filter(|side| *side < args.len()).ok_or(errors::SYNTAX)?;
    let from = if args.is(side, "MIN") {
        PopFrom::Lowest
    } else if args.is(side, "MAX") {
        PopFrom::Highest
    } else {
        return Err(errors::SYNTAX.into());
    };
    let count = match args.len() - side - 1 {
        0 => 1,
        rest if rest < 2 || !args.is(side + 1, "COUNT") => return Err(errors::SYNTAX.into()),
        rest => {
            let count = integer(args, side + 2).ok().and_then(|count| usize::try_from(count).ok());
            let count = count.filter(|count| *count > 0).ok_or(NO_COUNT)?;
            if rest > 2 {
                return Err(errors::SYNTAX.into());
            }
            count
        }
    };
    for key in args.from(number_at + 1).take(keys) {
        call.collection::<SortedSet>(key)?;
        if pop(call.keyspace, key, from, count, PopForm::KeyAndPairs, &mut call.reply) {
            return Ok(true);
        }
    }
    Ok(false)
}
