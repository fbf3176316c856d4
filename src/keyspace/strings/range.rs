//! Parts of strings: APPEND, STRLEN, GETRANGE, SETRANGE.

use super::super::call::{CommandResult, ReadCall, WriteCall, integer};
use super::super::value::{Text, Value};
use crate::protocol::errors;

pub fn strlen(call: &mut ReadCall<'_>) -> CommandResult {
    let length = call.text(call.args.get(1))?.map_or(0, Text::len);
    call.reply.integer(length as i64);
    Ok(())
}

pub fn append(call: &mut WriteCall<'_>) -> CommandResult {
    let (key, tail) = (call.args.get(1), call.args.get(2));
    let length = match call.text(key)?.map(Text::len) {
        None => {
            let value = call.value(2)?;
            call.keyspace.put(key, value, None);
            tail.len()
        }
        Some(length) => {
            call.check_length(length as u64 + tail.len() as u64)?;
            call.keyspace.edit_text(key, |text| text.edit(|bytes| bytes.extend_from_slice(tail)));
            length + tail.len()
        }
    };
    call.reply.integer(length as i64);
    Ok(())
}

pub fn getrange(call: &mut ReadCall<'_>) -> CommandResult {
    let (start, end) = (integer(call.args, 2)?, integer(call.args, 3)?);
    let Some(text) = call.text(call.args.get(1))? else {
        call.reply.bulk(b"");
        return Ok(());
    };
    text.with_bytes(|bytes| {
        let range = if start < 0 && end < 0 && start > end { 0..0 } else { clamp(start, end, bytes.len()) };
        call.reply.bulk(&bytes[range]);
    });
    Ok(())
}

/// The range from `start` to `end`, both included and counted from the end where negative, inside of `length`.
fn clamp(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let from_front = |at: i64| if at < 0 { (length.saturating_add(at)).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(length - 1));
    if start > end || length == 0 { 0..0 } else { start as usize..end as usize + 1 }
}

pub fn setrange(call: &mut WriteCall<'_>) -> CommandResult {
    let (key, patch) = (call.args.get(1), call.args.get(3));
    let offset = u64::try_from(integer(call.args, 2)?).map_err(|_| errors::OFFSET_OUT_OF_RANGE)?;
    let length = call.text(key)?.map(Text::len);
    if patch.is_empty() {
        call.reply.integer(length.unwrap_or(0) as i64);
        return Ok(());
    }
    call.check_length(offset.saturating_add(patch.len() as u64))?;
    let end = offset as usize + patch.len();
    let overwrite = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset as usize..end].copy_from_slice(patch);
        bytes.len()
    };
    let length = match length {
        Some(_) => call.keyspace.edit_text(key, |text| text.edit(overwrite)).unwrap_or(end),
        None => {
            let mut bytes = Vec::new();
            let length = overwrite(&mut bytes);
            call.keyspace.put(key, Value::String(Text::raw(bytes)), None);
            length
        }
    };
    call.reply.integer(length as i64);
    Ok(())
}
