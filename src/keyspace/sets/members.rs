//! Members in, out, asked for and moved: SADD, SREM, SCARD, SISMEMBER, SMISMEMBER, SMEMBERS, SMOVE.

use super::super::call::{CommandResult, ReadCall, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::Set;

pub fn sadd(call: &mut WriteCall<'_>) -> CommandResult {
    let args = call.args;
    for member in args.from(2) {
        call.check_length(member.len() as u64)?;
    }
    let added = call.edit(args.get(1), |set: &mut Set| {
        set.expect(args.get(2), args.len() - 2);
        count_changes(args.from(2).filter(|member| set.insert(member)).count())
    })?;
    call.reply.integer(added);
    Ok(())
}

pub fn srem(call: &mut WriteCall<'_>) -> CommandResult {
    let args = call.args;
    let removed = match call.collection::<Set>(args.get(1))? {
        Some(_) => call.edit(args.get(1), |set: &mut Set| {
            count_changes(args.from(2).filter(|member| set.remove(member)).count())
        })?,
        None => 0,
    };
    call.reply.integer(removed);
    Ok(())
}

const fn count_changes(count: usize) -> (Changed, i64) {
    (if count > 0 { Changed::Yes } else { Changed::No }, count as i64)
}

pub fn smove(call: &mut WriteCall<'_>) -> CommandResult {
    let (from, to, member) = (call.args.get(1), call.args.get(2), call.args.get(3));
    // A missing source is looked at before the type of the target.
    let present = call.collection::<Set>(from)?.map(|set| set.contains(member));
    let moved = match present {
        Some(present) => {
            call.collection::<Set>(to)?;
            present
        }
        None => false,
    };
    if moved && from != to {
        call.edit(from, |set: &mut Set| (Changed::Yes, set.remove(member)))?;
        call.edit(to, |set: &mut Set| count_changes(usize::from(set.insert(member))))?;
    }
    call.reply.integer(i64::from(moved));
    Ok(())
}

pub fn scard(call: &mut ReadCall<'_>) -> CommandResult {
    let count = call.collection::<Set>(call.args.get(1))?.map_or(0, Set::len);
    call.reply.integer(count as i64);
    Ok(())
}

pub fn sismember(call: &mut ReadCall<'_>) -> CommandResult {
    let member = call.args.get(2);
    let found = call.collection::<Set>(call.args.get(1))?.is_some_and(|set| set.contains(member));
    call.reply.integer(i64::from(found));
    Ok(())
}

pub fn smismember(call: &mut ReadCall<'_>) -> CommandResult {
    let set = call.collection::<Set>(call.args.get(1))?;
    let members = call.args.from(2);
    call.reply.array(members.len());
    members.for_each(|member| call.reply.integer(i64::from(set.is_some_and(|set| set.contains(member)))));
    Ok(())
}

pub fn smembers(call: &mut ReadCall<'_>) -> CommandResult {
    match call.collection::<Set>(call.args.get(1))? {
        Some(set) => {
            call.reply.set(set.len());
            set.in_order().for_each(|member| call.reply.bulk(member));
        }
        None => call.reply.set(0),
    }
    Ok(())
}
