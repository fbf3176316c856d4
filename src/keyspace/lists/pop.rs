//! LPOP, RPOP, LMPOP, and the cores that their blocking relatives share.

use super::super::call::{CommandError, CommandResult, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::{End, List};
use super::end::end_of;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

const COUNT_NOT_POSITIVE: &str = "ERR count should be greater than 0";
const NUMKEYS_NOT_POSITIVE: &str = "ERR numkeys should be greater than 0";

/// Takes one element from an end of a list and writes it, after what `before` writes. False: there is no list, and
/// nothing was written.
pub fn pop_one(
    call: &mut WriteCall<'_>,
    key: &[u8],
    end: End,
    before: impl FnOnce(&mut ReplyWriter<'_>),
) -> Result<bool, CommandError> {
    let popped = call.keyspace.edit_present(key, |list: &mut List| {
        before(&mut call.reply);
        call.reply.bulk(list.at_end(end).expect("no list is empty"));
        list.remove_at_end(end, 1);
        (Changed::Yes, ())
    })?;
    Ok(popped.is_some())
}

/// Takes at most `count` elements, one at least, from an end of the first of these lists that is there, and writes its
/// key and the elements. False: there is none, and nothing was written.
pub fn pop_many<'k>(
    call: &mut WriteCall<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
    end: End,
    count: usize,
) -> Result<bool, CommandError> {
    for key in keys {
        let popped = call.keyspace.edit_present(key, |list: &mut List| {
            call.reply.array(2);
            call.reply.bulk(key);
            pop_range(list, end, count, &mut call.reply);
            (Changed::Yes, ())
        })?;
        if popped.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes at most `count` elements from an end of a list and writes them as an array.
fn pop_range(list: &mut List, end: End, count: usize, reply: &mut ReplyWriter<'_>) {
    let range = list.end_range(end, count);
    reply.array(range.len());
    match end {
        End::Left => list.range(range.clone()).for_each(|element| reply.bulk(element)),
        End::Right => list.range(range.clone()).rev().for_each(|element| reply.bulk(element)),
    }
    list.remove_range(range);
}

/// LPOP and RPOP.
pub fn pop(call: &mut WriteCall<'_>, end: End) -> CommandResult {
    let key = call.args.get(1);
    if call.args.len() == 2 {
        if !pop_one(call, key, end, |_| {})? {
            call.reply.null();
        }
        return Ok(());
    }
    if call.args.len() > 3 {
        return Err(errors::wrong_arity(if end == End::Left { "lpop" } else { "rpop" }).into());
    }
    let count = count_from(call.args.get(2), 0, errors::NOT_POSITIVE)?;
    if count == 0 {
        match call.collection::<List>(key)? {
            Some(_) => call.reply.array(0),
            None => call.reply.null_array(),
        }
        return Ok(());
    }
    let popped = call.keyspace.edit_present(key, |list: &mut List| {
        pop_range(list, end, count, &mut call.reply);
        (Changed::Yes, ())
    })?;
    if popped.is_none() {
        call.reply.null_array();
    }
    Ok(())
}

/// What LMPOP and BLMPOP are asked for.
#[derive(Clone, Copy, Debug)]
pub struct MultiPop {
    /// How many keys there are; the first one follows their number.
    pub keys: usize,
    /// Which end.
    pub end: End,
    /// How many elements at most.
    pub count: usize,
}

impl MultiPop {
    /// Reads the arguments from the number of keys on.
    pub fn of(args: Args<'_>, numkeys_at: usize) -> Result<Self, CommandError> {
        let keys = count_from(args.get(numkeys_at), 1, NUMKEYS_NOT_POSITIVE)?;
        let end_at = numkeys_at.saturating_add(keys).saturating_add(1);
        if end_at >= args.len() {
            return Err(errors::SYNTAX.into());
        }
        let end = end_of(args.get(end_at))?;
        let (option, count_at) = (end_at + 1, end_at + 2);
        let mut count = 1;
        if option < args.len() {
            if !args.is(option, "count") || count_at == args.len() {
                return Err(errors::SYNTAX.into());
            }
            count = count_from(args.get(count_at), 1, COUNT_NOT_POSITIVE)?;
            if count_at + 1 < args.len() {
                return Err(errors::SYNTAX.into());
            }
        }
        Ok(Self { keys, end, count })
    }
}

/// LMPOP.
pub fn lmpop(call: &mut WriteCall<'_>) -> CommandResult {
    let MultiPop { keys, end, count } = MultiPop::of(call.args, 1)?;
    let keys = call.args.from(2).take(keys);
    if !pop_many(call, keys, end, count)? {
        call.reply.null_array();
    }
    Ok(())
}

/// A count that is at least `least`; else this error.
pub fn count_from(text: &[u8], least: i64, error: &'static str) -> Result<usize, CommandError> {
    parse_i64(text).filter(|&count| count >= least).map(|count| count as usize).ok_or_else(|| error.into())
}
