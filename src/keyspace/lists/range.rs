//! What is at some place of a list: LLEN, LINDEX, LRANGE, LTRIM.

use std::ops::Range;

use super::super::call::{CommandResult, ReadCall, WriteCall, integer};
use super::super::slot_data::Changed;
use super::super::value::List;

pub fn llen(call: &mut ReadCall<'_>) -> CommandResult {
    let length = call.collection(call.args.get(1))?.map_or(0, List::len);
    call.reply.integer(length as i64);
    Ok(())
}

pub fn lindex(call: &mut ReadCall<'_>) -> CommandResult {
    let Some(list) = call.collection::<List>(call.args.get(1))? else {
        call.reply.null();
        return Ok(());
    };
    match index_in(integer(call.args, 2)?, list.len()).and_then(|index| list.get(index)) {
        Some(element) => call.reply.bulk(element),
        None => call.reply.null(),
    }
    Ok(())
}

pub fn lrange(call: &mut ReadCall<'_>) -> CommandResult {
    let (start, end) = (integer(call.args, 2)?, integer(call.args, 3)?);
    let Some(list) = call.collection::<List>(call.args.get(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let elements = list.range(clamp(start, end, list.len()));
    call.reply.array(elements.len());
    elements.for_each(|element| call.reply.bulk(element));
    Ok(())
}

pub fn ltrim(call: &mut WriteCall<'_>) -> CommandResult {
    let (start, end) = (integer(call.args, 2)?, integer(call.args, 3)?);
    call.keyspace.edit_present(call.args.get(1), |list: &mut List| {
        let kept = clamp(start, end, list.len());
        list.remove_range(kept.end..list.len());
        list.remove_range(0..kept.start);
        // Redis tells those who watch the key even if nothing was outside of the range.
        (Changed::Yes, ())
    })?;
    call.reply.ok();
    Ok(())
}

/// The index that a client means, who counts from the end below zero; none: there is nothing.
pub fn index_in(given: i64, length: usize) -> Option<usize> {
    let length = length as i64;
    let index = if given < 0 { given.saturating_add(length) } else { given };
    (0..length).contains(&index).then_some(index as usize)
}

/// The range from `start` to `end`, both included and counted from the end where negative, inside of `length`.
fn clamp(start: i64, end: i64, length: usize) -> Range<usize> {
    let length = length as i64;
    let from_front = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (start, end) = (from_front(start).max(0), from_front(end).min(length - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}
