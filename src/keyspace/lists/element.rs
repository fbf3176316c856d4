//! One element in the middle, or those of one value: LSET, LINSERT, LREM.

use std::ops::Range;

use super::super::call::{CommandResult, WriteCall, integer};
use super::super::slot_data::Changed;
use super::super::value::List;
use super::range::index_in;
use crate::protocol::errors;

const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";

pub fn lset(call: &mut WriteCall<'_>) -> CommandResult {
    let (given, element) = (integer(call.args, 2), call.args.get(3));
    let set = call.keyspace.edit_present(call.args.get(1), |list: &mut List| {
        match given.map(|given| index_in(given, list.len())) {
            Ok(Some(index)) => {
                list.replace(index, element);
                (Changed::Yes, Ok(()))
            }
            Ok(None) => (Changed::No, Err(INDEX_OUT_OF_RANGE.into())),
            Err(error) => (Changed::No, Err(error)),
        }
    })?;
    set.ok_or(errors::NO_SUCH_KEY)??;
    call.reply.ok();
    Ok(())
}

pub fn linsert(call: &mut WriteCall<'_>) -> CommandResult {
    let after = call.args.is(2, "after");
    if !after && !call.args.is(2, "before") {
        return Err(errors::SYNTAX.into());
    }
    let (pivot, element) = (call.args.get(3), call.args.get(4));
    let length = call.keyspace.edit_present(call.args.get(1), |list: &mut List| {
        // Unlike in Redis, the encoding stays as it is where nothing is inserted.
        let Some(index) = list.iter().position(|other| other == pivot) else { return (Changed::No, -1) };
        list.insert(index + usize::from(after), element);
        (Changed::Yes, list.len() as i64)
    })?;
    call.reply.integer(length.unwrap_or(0));
    Ok(())
}

pub fn lrem(call: &mut WriteCall<'_>) -> CommandResult {
    let (count, element) = (integer(call.args, 2)?, call.args.get(3));
    let removed = call.keyspace.edit_present(call.args.get(1), |list: &mut List| {
        let runs = runs_of(list, element, count);
        list.remove_ranges(&runs);
        let removed: usize = runs.iter().map(Range::len).sum();
        (if removed > 0 { Changed::Yes } else { Changed::No }, removed)
    })?;
    call.reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

/// Where the elements are that LREM takes out, in order.
fn runs_of(list: &List, element: &[u8], count: i64) -> Vec<Range<usize>> {
    let wanted = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let mut runs: Vec<Range<usize>> = Vec::new();
    if count >= 0 {
        let all = list.iter().enumerate().filter(|(_, other)| *other == element);
        all.take(wanted).for_each(|(at, _)| match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        });
        return runs;
    }
    let all = list.iter().rev().enumerate().filter(|(_, other)| *other == element);
    all.take(wanted).map(|(after, _)| list.len() - 1 - after).for_each(|at| match runs.last_mut() {
        Some(run) if run.start == at + 1 => run.start = at,
        _ => runs.push(at..at + 1),
    });
    runs.reverse();
    runs
}
