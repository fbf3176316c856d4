//! BITOP.

use super::super::call::{CommandResult, Word, WriteCall};
use super::super::value::{INTEGER_TEXT_BYTES_MAX, Text, Value};
use crate::protocol::errors;

pub fn bitop(call: &mut WriteCall<'_>) -> CommandResult {
    let args = call.args;
    let combine: fn(u8, u8) -> u8 = match Word::of(args.get(1)).as_slice() {
        b"AND" => |a, b| a & b,
        b"OR" => |a, b| a | b,
        b"XOR" => |a, b| a ^ b,
        b"NOT" if args.len() == 4 => |a, _| a,
        b"NOT" => return Err(errors::BITOP_NOT.into()),
        _ => return Err(errors::SYNTAX.into()),
    };
    let negate = args.get(1).eq_ignore_ascii_case(b"not");
    let mut sources = Vec::with_capacity(args.len() - 3);
    for key in args.from(3) {
        sources.push(call.text(key)?);
    }
    let length_max = sources.iter().flatten().map(|text| text.len()).max().unwrap_or(0);
    let mut result = vec![0; length_max];
    for (at, source) in sources.into_iter().enumerate() {
        let mut digits = [0; INTEGER_TEXT_BYTES_MAX];
        let bytes = source.map_or(&[][..], |text| text.bytes(&mut digits));
        let (inside, beyond) = result.split_at_mut(bytes.len());
        if at == 0 {
            inside.copy_from_slice(bytes);
        } else {
            inside.iter_mut().zip(bytes).for_each(|(byte, other)| *byte = combine(*byte, *other));
            beyond.iter_mut().for_each(|byte| *byte = combine(*byte, 0));
        }
    }
    if negate {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let target = args.get(2);
    if length_max == 0 {
        call.keyspace.remove(target);
    } else {
        call.keyspace.put(target, Value::String(Text::raw(result)), None);
    }
    call.reply.integer(length_max as i64);
    Ok(())
}
