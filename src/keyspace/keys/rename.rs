//! RENAME, RENAMENX and COPY, within one shard.

use super::super::call::{CommandError, CommandResult, Word, WriteCall, integer};
use crate::protocol::errors;

pub fn rename(call: &mut WriteCall<'_>) -> CommandResult {
    call.find(call.args.get(1)).ok_or(errors::NO_SUCH_KEY)?;
    move_to_target(call);
    call.reply.ok();
    Ok(())
}

pub fn renamenx(call: &mut WriteCall<'_>) -> CommandResult {
    call.find(call.args.get(1)).ok_or(errors::NO_SUCH_KEY)?;
    let free = call.keyspace.peek(call.args.get(2)).is_none();
    if free {
        move_to_target(call);
    }
    call.reply.integer(i64::from(free));
    Ok(())
}

/// A large value is shared by both keys until one of them is changed.
pub fn copy(call: &mut WriteCall<'_>) -> CommandResult {
    let replace = parse_copy_options(call)?;
    let (from, to) = (call.args.get(1), call.args.get(2));
    if from == to {
        return Err(errors::SAME_OBJECT.into());
    }
    let done = match call.find(from).map(|record| (record.value.clone(), record.expire_at)) {
        Some((value, expire_at)) if replace || call.keyspace.peek(to).is_none() => {
            call.keyspace.put(to, value, expire_at);
            true
        }
        _ => false,
    };
    call.reply.integer(i64::from(done));
    Ok(())
}

/// The value is moved and never copied, so that it stays the only handle to its bytes.
fn move_to_target(call: &mut WriteCall<'_>) {
    let (from, to) = (call.args.get(1), call.args.get(2));
    if from != to
        && let Some(record) = call.keyspace.take(from)
    {
        call.keyspace.put(to, record.value, record.expire_at);
    }
}

/// Whether REPLACE is given.
fn parse_copy_options(call: &WriteCall<'_>) -> Result<bool, CommandError> {
    let args = call.args;
    let (mut replace, mut position) = (false, 3);
    while position < args.len() {
        match Word::of(args.get(position)).as_slice() {
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
