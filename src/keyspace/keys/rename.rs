//! RENAME, RENAMENX and COPY, within one shard.

use super::super::call::{CommandError, CommandResult, WriteCall, integer};
use super::super::record::ExpireAt;
use super::super::value::Value;
use crate::protocol::errors;

pub fn rename(call: &mut WriteCall<'_>) -> CommandResult {
    let (value, expire_at) = source(call).ok_or(errors::NO_SUCH_KEY)?;
    move_to_target(call, value, expire_at);
    call.reply.ok();
    Ok(())
}

pub fn renamenx(call: &mut WriteCall<'_>) -> CommandResult {
    let (value, expire_at) = source(call).ok_or(errors::NO_SUCH_KEY)?;
    let free = call.keyspace.peek(call.args.get(2)).is_none();
    if free {
        move_to_target(call, value, expire_at);
    }
    call.reply.integer(i64::from(free));
    Ok(())
}

pub fn copy(call: &mut WriteCall<'_>) -> CommandResult {
    let replace = parse_copy_options(call)?;
    let (from, to) = (call.args.get(1), call.args.get(2));
    if from == to {
        return Err(errors::SAME_OBJECT.into());
    }
    let done = match source(call) {
        Some((value, expire_at)) if replace || call.keyspace.peek(to).is_none() => {
            call.keyspace.put(to, value, expire_at);
            true
        }
        _ => false,
    };
    call.reply.integer(i64::from(done));
    Ok(())
}

/// The value and expiry of the first key; large values are shared, not copied.
fn source(call: &WriteCall<'_>) -> Option<(Value, Option<ExpireAt>)> {
    call.find(call.args.get(1)).map(|record| (record.value.clone(), record.expire_at))
}

fn move_to_target(call: &mut WriteCall<'_>, value: Value, expire_at: Option<ExpireAt>) {
    let (from, to) = (call.args.get(1), call.args.get(2));
    if from != to {
        call.keyspace.remove(from);
        call.keyspace.put(to, value, expire_at);
    }
}

/// Whether REPLACE is given.
fn parse_copy_options(call: &WriteCall<'_>) -> Result<bool, CommandError> {
    let args = call.args;
    let (mut replace, mut position) = (false, 3);
    while position < args.len() {
        match args.get(position).to_ascii_uppercase().as_slice() {
            b"REPLACE" => replace = true,
            b"DB" if position + 1 < args.len() => {
                position += 1;
                let number = i32::try_from(integer(args, position)?).map_err(|_| errors::NOT_AN_INT32)?;
                if number != 0 {
                    return Err(errors::DB_INDEX.into());
                }
            }
            _ => return Err(errors::SYNTAX.into()),
        }
        position += 1;
    }
    Ok(replace)
}
