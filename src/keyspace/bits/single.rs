//! GETBIT and SETBIT.

use super::super::call::{CommandResult, ReadCall, WriteCall};
use super::super::slot_data::Changed;
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
        (if old == bit { Changed::No } else { Changed::Yes }, old)
    })?;
    call.reply.integer(i64::from(old));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{apply, read, whole};

    #[test]
    fn bits_that_are_as_they_were_leave_the_version_and_the_sums_right() {
        let mut keyspace = whole();
        for (line, rises) in [
            ("SET k 12345678", true),
            ("SETBIT k 7 1", false),
            ("SETBIT k 7 0", true),
            ("SETBIT k 7 0", false),
            ("SETBIT k 1000 0", true),
            ("BITFIELD k SET u8 0 48 GET u8 8", false),
            ("BITFIELD k SET u8 0 49 SET u8 0 48", true),
            ("BITFIELD k OVERFLOW FAIL INCRBY u8 0 250", false),
            ("BITFIELD k INCRBY u8 0 0", false),
            ("BITFIELD k INCRBY u8 0 1", true),
            ("BITFIELD k SET u8 2000 0", true),
        ] {
            let before = keyspace.version_of(b"k");
            apply(&mut keyspace, 1, line);
            assert_eq!(keyspace.version_of(b"k") > before, rises, "{line}");
        }
        assert_eq!(read(&keyspace, 1, "OBJECT ENCODING k"), "$3\r\nraw\r\n");
        apply(&mut keyspace, 1, "DEL k");
        assert_eq!(keyspace.usage().bytes, 0, "a number became bytes without another version");
    }
}
