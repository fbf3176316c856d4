//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::super::call::{CommandResult, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::{End, List};

/// LPUSH and RPUSH.
pub fn push(call: &mut WriteCall<'_>, end: End) -> CommandResult {
    let args = call.args;
    let length = call.edit(args.get(1), |list: &mut List| {
        list.push_all(end, args.from(2));
        (Changed::Yes, list.len())
    })?;
    call.reply.integer(length as i64);
    Ok(())
}

/// LPUSHX and RPUSHX.
pub fn push_present(call: &mut WriteCall<'_>, end: End) -> CommandResult {
    let args = call.args;
    let length = call.keyspace.edit_present(args.get(1), |list: &mut List| {
        list.push_all(end, args.from(2));
        (Changed::Yes, list.len())
    })?;
    call.reply.integer(length.unwrap_or(0) as i64);
    Ok(())
}
