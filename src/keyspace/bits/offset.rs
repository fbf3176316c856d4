//! Bit offsets as clients give them, and the room that a write to them needs.

use super::super::call::{CommandError, WriteCall};
use super::super::limits::Limits;
use super::super::slot_data::Changed;
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

/// Makes the string of `key` reach to `bit_max`, padded with zeros, and calls `change` with its bytes. A string that was
/// long enough, and of which `change` says that it is as it was, keeps its version.
pub fn edit_up_to<R>(
    call: &mut WriteCall<'_>,
    key: &[u8],
    bit_max: u64,
    change: impl FnOnce(&mut [u8]) -> (Changed, R),
) -> Result<R, CommandError> {
    let length = (bit_max >> 3) as usize + 1;
    let padded = |bytes: &mut Vec<u8>| {
        let grown = bytes.len() < length;
        bytes.resize(bytes.len().max(length), 0);
        let (changed, result) = change(bytes);
        (if grown { Changed::Yes } else { changed }, result)
    };
    if call.text(key)?.is_none() {
        let mut bytes = Vec::new();
        let (_, result) = padded(&mut bytes);
        call.keyspace.put(key, Value::String(Text::raw(bytes)), None);
        return Ok(result);
    }
    let edited = call.keyspace.edit(key, |value| {
        let Value::String(text) = value else { unreachable!("the type was checked a few lines above") };
        text.edit(padded)
    });
    Ok(edited.expect("the key was there a few lines above"))
}
