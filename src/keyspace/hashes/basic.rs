//! HSET, HGET and their relatives: fields that the client names.

use super::super::call::{CommandError, CommandResult, ReadCall, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::{FieldExpiry, Hash};
use super::{changed, hash_of};
use crate::protocol::errors;

/// Sets the pairs of the arguments; how many fields are new.
fn set_pairs(call: &mut WriteCall<'_>, name: &str) -> Result<usize, CommandError> {
    let (args, now_ms) = (call.args, call.now_ms());
    if args.len() % 2 == 1 {
        return Err(errors::wrong_arity(name).into());
    }
    call.check_lengths(2)?;
    call.edit(args.get(1), |hash: &mut Hash| {
        hash.expect_fields((args.len() - 2) / 2);
        let mut new = 0;
        for at in (2..args.len()).step_by(2) {
            new += usize::from(hash.set(args.get(at), args.get(at + 1), FieldExpiry::Is(None), now_ms));
        }
        (Changed::Yes, new)
    })
}

pub fn hset(call: &mut WriteCall<'_>) -> CommandResult {
    let new = set_pairs(call, "hset")?;
    call.reply.integer(new as i64);
    Ok(())
}

pub fn hmset(call: &mut WriteCall<'_>) -> CommandResult {
    set_pairs(call, "hmset")?;
    call.reply.ok();
    Ok(())
}

pub fn hsetnx(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms) = (call.args, call.now_ms());
    call.check_lengths(2)?;
    let set = call.edit(args.get(1), |hash: &mut Hash| {
        let absent = hash.live(args.get(2), now_ms).is_none();
        if absent {
            hash.set(args.get(2), args.get(3), FieldExpiry::Is(None), now_ms);
        }
        (changed(absent), absent)
    })?;
    call.reply.integer(i64::from(set));
    Ok(())
}

pub fn hdel(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms) = (call.args, call.now_ms());
    let removed = call.edit(args.get(1), |hash: &mut Hash| {
        let removed = args.from(2).filter(|name| hash.remove_live(name, now_ms)).count();
        (changed(removed > 0), removed)
    })?;
    call.reply.integer(removed as i64);
    Ok(())
}

pub fn hget(call: &mut ReadCall<'_>) -> CommandResult {
    let hash = hash_of(call)?;
    match hash.and_then(|hash| hash.live(call.args.get(2), call.now_ms)) {
        Some(field) => call.reply.bulk(field.value),
        None => call.reply.null(),
    }
    Ok(())
}

pub fn hmget(call: &mut ReadCall<'_>) -> CommandResult {
    let hash = hash_of(call)?;
    call.reply.array(call.args.len() - 2);
    for name in call.args.from(2) {
        match hash.and_then(|hash| hash.live(name, call.now_ms)) {
            Some(field) => call.reply.bulk(field.value),
            None => call.reply.null(),
        }
    }
    Ok(())
}

pub fn hexists(call: &mut ReadCall<'_>) -> CommandResult {
    let hash = hash_of(call)?;
    let exists = hash.is_some_and(|hash| hash.live(call.args.get(2), call.now_ms).is_some());
    call.reply.integer(i64::from(exists));
    Ok(())
}

pub fn hstrlen(call: &mut ReadCall<'_>) -> CommandResult {
    let hash = hash_of(call)?;
    let field = hash.and_then(|hash| hash.live(call.args.get(2), call.now_ms));
    call.reply.integer(field.map_or(0, |field| field.value.len() as i64));
    Ok(())
}
