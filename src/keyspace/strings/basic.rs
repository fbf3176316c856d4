//! GET, SET and their relatives.

use super::super::call::{CommandError, CommandResult, ReadCall, WriteCall, text_of};
use super::super::record::{ExpireAt, Record};
use super::super::value::{Text, Value};
use super::options::{Condition, ExpiryOption, GivenTime, Options, Unit};
use crate::protocol::reply::ReplyWriter;

/// Writes a string, or the null for none.
fn reply_text(reply: &mut ReplyWriter<'_>, text: Option<&Text>) {
    match text {
        Some(text) => text.with_bytes(|bytes| reply.bulk(bytes)),
        None => reply.null(),
    }
}

pub fn get(call: &mut ReadCall<'_>) -> CommandResult {
    let text = call.text(call.args.get(1))?;
    reply_text(&mut call.reply, text);
    Ok(())
}

pub fn mget(call: &mut ReadCall<'_>) -> CommandResult {
    call.reply.array(call.args.len() - 1);
    for key in call.args.from(1) {
        // A key of another type counts as absent here.
        let text = call.text(key).unwrap_or_default();
        reply_text(&mut call.reply, text);
    }
    Ok(())
}

/// Replies with what the key holds; whether it is there.
fn reply_old(call: &mut WriteCall<'_>) -> Result<bool, CommandError> {
    let record = call.keyspace.peek(call.args.get(1));
    let text = record.map(text_of).transpose()?;
    reply_text(&mut call.reply, text);
    Ok(record.is_some())
}

pub fn set(call: &mut WriteCall<'_>) -> CommandResult {
    let options = Options::of_set(call.args)?;
    let key = call.args.get(1);
    let value = call.value(2)?;
    let expire_at = match options.expiry {
        ExpiryOption::At(given) => Some(given.resolve(call.now_ms(), "set")?),
        ExpiryOption::Keep => call.find(key).and_then(|record| record.expire_at),
        ExpiryOption::Unsaid | ExpiryOption::Persist => None,
    };
    if options.get {
        reply_old(call)?;
    }
    let refused = match options.condition {
        Condition::Always => false,
        Condition::Absent => call.find(key).is_some(),
        Condition::Present => call.find(key).is_none(),
    };
    if !refused {
        store(call, key, value, expire_at);
    }
    match (options.get, refused) {
        (true, _) => {}
        (false, true) => call.reply.null(),
        (false, false) => call.reply.ok(),
    }
    Ok(())
}

/// Sets the key; one that is expired at once is removed again, so that who watches an absent key sees that it was set.
fn store(call: &mut WriteCall<'_>, key: &[u8], value: Value, expire_at: Option<ExpireAt>) {
    call.keyspace.put(key, value, expire_at);
    if expire_at.is_some_and(|at| at.get() <= call.now_ms()) {
        call.keyspace.remove(key);
    }
}

pub fn setnx(call: &mut WriteCall<'_>) -> CommandResult {
    let key = call.args.get(1);
    let value = call.value(2)?;
    let absent = call.find(key).is_none();
    if absent {
        call.keyspace.put(key, value, None);
    }
    call.reply.integer(i64::from(absent));
    Ok(())
}

/// SETEX and PSETEX.
pub fn setex(call: &mut WriteCall<'_>, unit: Unit) -> CommandResult {
    let value = call.value(3)?;
    let given = GivenTime { text: call.args.get(2), unit, absolute: false };
    let command = if unit == Unit::Seconds { "setex" } else { "psetex" };
    let expire_at = given.resolve(call.now_ms(), command)?;
    call.keyspace.put(call.args.get(1), value, Some(expire_at));
    call.reply.ok();
    Ok(())
}

pub fn getset(call: &mut WriteCall<'_>) -> CommandResult {
    let value = call.value(2)?;
    reply_old(call)?;
    call.keyspace.put(call.args.get(1), value, None);
    Ok(())
}

pub fn getdel(call: &mut WriteCall<'_>) -> CommandResult {
    if reply_old(call)? {
        call.keyspace.remove(call.args.get(1));
    }
    Ok(())
}

pub fn getex(call: &mut WriteCall<'_>) -> CommandResult {
    let options = Options::of_getex(call.args)?;
    let key = call.args.get(1);
    let Some(record) = call.find(key) else {
        call.reply.null();
        return Ok(());
    };
    let had_expiry = record.expire_at.is_some();
    text_of(record)?;
    let now_ms = call.now_ms();
    let given = match options.expiry {
        ExpiryOption::At(given) => Some((given.resolve(now_ms, "getex")?, given.absolute)),
        _ => None,
    };
    reply_old(call)?;
    match given {
        Some((at, true)) if at.get() <= now_ms => drop(call.keyspace.remove(key)),
        Some((at, _)) => drop(call.keyspace.set_expiry(key, Some(at))),
        None if had_expiry && matches!(options.expiry, ExpiryOption::Persist) => {
            call.keyspace.set_expiry(key, None);
        }
        None => {}
    }
    Ok(())
}

/// The pairs of MSET and MSETNX: nothing is set before all are known to be good.
fn pairs(call: &WriteCall<'_>) -> Result<Vec<Value>, CommandError> {
    (2..call.args.len()).step_by(2).map(|position| call.value(position)).collect()
}

fn store_pairs(call: &mut WriteCall<'_>, values: Vec<Value>) {
    for (pair, value) in values.into_iter().enumerate() {
        call.keyspace.put(call.args.get(1 + 2 * pair), value, None);
    }
}

pub fn mset(call: &mut WriteCall<'_>) -> CommandResult {
    let values = pairs(call)?;
    store_pairs(call, values);
    call.reply.ok();
    Ok(())
}

pub fn msetnx(call: &mut WriteCall<'_>) -> CommandResult {
    let values = pairs(call)?;
    let any: Option<&Record> = call.args.from(1).step_by(2).find_map(|key| call.keyspace.peek(key));
    let set = any.is_none();
    if set {
        store_pairs(call, values);
    }
    call.reply.integer(i64::from(set));
    Ok(())
}
