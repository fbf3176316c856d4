//! From an end of a list to an end of a list: LMOVE, RPOPLPUSH, and the core that BLMOVE and BRPOPLPUSH share.

use super::super::call::{CommandError, CommandResult, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::{End, List};
use super::end::end_of;

/// Moves one element and writes it. False: there is no source, and nothing was written.
pub fn move_one(
    call: &mut WriteCall<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
) -> Result<bool, CommandError> {
    let Some(list) = call.collection::<List>(source)? else { return Ok(false) };
    let element = list.at_end(from).expect("no list is empty").to_vec();
    if source == destination {
        call.keyspace.edit_present(source, |list: &mut List| (Changed::Yes, list.turn(from, to)))?;
    } else {
        call.edit(destination, |list: &mut List| (Changed::Yes, list.push(to, &element)))?;
        call.keyspace.edit_present(source, |list: &mut List| (Changed::Yes, list.remove_at_end(from, 1)))?;
    }
    call.reply.bulk(&element);
    Ok(true)
}

/// LMOVE.
pub fn lmove(call: &mut WriteCall<'_>) -> CommandResult {
    let (from, to) = (end_of(call.args.get(3))?, end_of(call.args.get(4))?);
    relocate(call, from, to)
}

/// RPOPLPUSH.
pub fn rpoplpush(call: &mut WriteCall<'_>) -> CommandResult {
    relocate(call, End::Right, End::Left)
}

fn relocate(call: &mut WriteCall<'_>, from: End, to: End) -> CommandResult {
    let (source, destination) = (call.args.get(1), call.args.get(2));
    if !move_one(call, (source, from), (destination, to))? {
        call.reply.null();
    }
    Ok(())
}
