//! GETBIT and SETBIT.

use super::super::call::{CommandResult, ReadCall, WriteCall};
use super::offset;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;

pub fn getbit(call: &mut ReadCall<'_>) -> CommandResult {
    let offset = offset::parse(call.args.get(2), None, call.keyspace.limits)?;
    let bit_in = |bytes: &[u8]| bytes.get((offset >> 3) as usize).map_or(0, |byte| byte >> (7 - (offset & 7)) & 1);
    let bit = call.text(call.args.get(1))?.map_or(0, |text| text.with_bytes(bit_in));
    call.reply.integer(i64::from(bit));
    Ok(())
}

pub fn setbit(call: &mut WriteCall<'_>) -> CommandResult {
    let offset = offset::parse(call.args.get(2), None, call.keyspace.limits)?;
    let bit = parse_i64(call.args.get(3)).and_then(|bit| u8::try_from(bit).ok()).filter(|&bit| bit <= 1);
    let bit = bit.ok_or(errors::BIT_VALUE)?;
    let shift = 7 - (offset & 7);
    let old = offset::edit_up_to(call, call.args.get(1), offset, |bytes| {
        let byte = &mut bytes[(offset >> 3) as usize];
        let old = *byte >> shift & 1;
        *byte = *byte & !(1 << shift) | bit << shift;
        old
    })?;
    call.reply.integer(i64::from(old));
    Ok(())
}
