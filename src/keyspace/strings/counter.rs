//! Numbers in strings: INCR and its relatives.

use super::super::call::{CommandResult, WriteCall, integer};
use super::super::value::{Text, Value};
use crate::protocol::errors;
use crate::protocol::numbers::{LongDouble, format_float, parse_float};

/// INCR and DECR.
pub fn incr(call: &mut WriteCall<'_>, by: i64) -> CommandResult {
    add(call, by)
}

pub fn incrby(call: &mut WriteCall<'_>) -> CommandResult {
    let by = integer(call.args, 2)?;
    add(call, by)
}

pub fn decrby(call: &mut WriteCall<'_>) -> CommandResult {
    let by = integer(call.args, 2)?.checked_neg().ok_or(errors::DECREMENT_OVERFLOW)?;
    add(call, by)
}

fn add(call: &mut WriteCall<'_>, by: i64) -> CommandResult {
    let key = call.args.get(1);
    let old = match call.text(key)? {
        Some(text) => text.as_integer().ok_or(errors::NOT_AN_INTEGER)?,
        None => 0,
    };
    let sum = old.checked_add(by).ok_or(errors::INCREMENT_OVERFLOW)?;
    store(call, key, Text::integer(sum));
    call.reply.integer(sum);
    Ok(())
}

pub fn incrbyfloat(call: &mut WriteCall<'_>) -> CommandResult {
    let key = call.args.get(1);
    let old = match call.text(key)? {
        Some(text) => text.with_bytes(parse_float).ok_or(errors::NOT_A_FLOAT)?,
        None => LongDouble::ZERO,
    };
    let by = parse_float(call.args.get(2)).ok_or(errors::NOT_A_FLOAT)?;
    let sum = old.checked_add(by).ok_or(errors::INCREMENT_NOT_FINITE)?;
    let mut written = Vec::new();
    format_float(sum, &mut written);
    store(call, key, Text::plain(&written));
    call.reply.bulk(&written);
    Ok(())
}

/// Keeps the expiry of a key that is there.
fn store(call: &mut WriteCall<'_>, key: &[u8], text: Text) {
    let value = Value::String(text);
    let expire_at = call.keyspace.peek(key).and_then(|record| record.expire_at);
    call.keyspace.put(key, value, expire_at);
}
