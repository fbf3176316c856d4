//! Bit offsets as clients give them, and the room that a write to them needs.

use super::super::call::{CommandError, WriteCall};
use super::super::limits::Limits;
use super::super::value::{Text, Value};
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;

/// A bit offset; with `#` in front it counts fields of `field_bits` bits, where the command has fields.
pub fn parse(text: &[u8], field_bits: Option<u32>, limits: Limits) -> Result<u64, CommandError> {
    let offset = match (text, field_bits) {
        ([b'#', number @ ..], Some(bits)) => parse_i64(number).map(|number| number.wrapping_mul(i64::from(bits))),
        _ => parse_i64(text),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset >> 3 < u64::from(limits.value_bytes_max)).ok_or_else(|| errors::BIT_OFFSET.into())
}

/// Makes the string of `key` reach to `bit_max`, padded with zeros, and calls `change` with its bytes.
pub fn edit_up_to<R>(
    call: &mut WriteCall<'_>,
    key: &[u8],
    bit_max: u64,
    change: impl FnOnce(&mut [u8]) -> R,
) -> Result<R, CommandError> {
    let length = (bit_max >> 3) as usize + 1;
    let padded = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().max(length), 0);
        change(bytes)
    };
    if call.text(key)?.is_some() {
        let edited = call.keyspace.edit_text(key, |text| text.edit(padded));
        return Ok(edited.expect("the key was there a line above"));
    }
    let mut bytes = Vec::new();
    let result = padded(&mut bytes);
    call.keyspace.put(key, Value::String(Text::raw(bytes)), None);
    Ok(result)
}
