//! Numbers in fields: HINCRBY and HINCRBYFLOAT. The field keeps its expiry.

use super::super::call::{CommandError, CommandResult, WriteCall, integer};
use super::super::slot_data::Changed;
use super::super::value::{FieldExpiry, Hash};
use crate::protocol::errors;
use crate::protocol::numbers::{LongDouble, format_float, parse_float, parse_i64};

const NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
const NOT_A_FLOAT: &str = "ERR hash value is not a float";
const NOT_FINITE: &str = "ERR value is NaN or Infinity";

/// What the field holds, read as a number, or `zero` if it is absent.
fn number<T>(
    call: &WriteCall<'_>,
    zero: T,
    parse: fn(&[u8]) -> Option<T>,
    error: &'static str,
) -> Result<T, CommandError> {
    let hash = call.collection::<Hash>(call.args.get(1))?;
    match hash.and_then(|hash| hash.live(call.args.get(2), call.now_ms())) {
        Some(field) => parse(field.value).ok_or_else(|| error.into()),
        None => Ok(zero),
    }
}

fn store(call: &mut WriteCall<'_>, value: &[u8]) -> CommandResult {
    let (args, now_ms) = (call.args, call.now_ms());
    call.edit(args.get(1), |hash: &mut Hash| {
        hash.set(args.get(2), value, FieldExpiry::Kept, now_ms);
        (Changed::Yes, ())
    })
}

pub fn hincrby(call: &mut WriteCall<'_>) -> CommandResult {
    let by = integer(call.args, 3)?;
    let old = number(call, 0, parse_i64, NOT_AN_INTEGER)?;
    let sum = old.checked_add(by).ok_or(errors::INCREMENT_OVERFLOW)?;
    store(call, sum.to_string().as_bytes())?;
    call.reply.integer(sum);
    Ok(())
}

pub fn hincrbyfloat(call: &mut WriteCall<'_>) -> CommandResult {
    let by = parse_float(call.args.get(3)).ok_or(errors::NOT_A_FLOAT)?;
    if !by.is_finite() {
        return Err(NOT_FINITE.into());
    }
    let old = number(call, LongDouble::ZERO, parse_float, NOT_A_FLOAT)?;
    let sum = old.checked_add(by).ok_or(errors::INCREMENT_NOT_FINITE)?;
    let mut written = Vec::new();
    format_float(sum, &mut written);
    store(call, &written)?;
    call.reply.bulk(&written);
    Ok(())
}
