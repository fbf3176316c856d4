//! Whether keys are there, what they are, and away with them: EXISTS, TOUCH, TYPE, OBJECT, MEMORY USAGE, DEL, UNLINK.

use super::super::call::{CommandResult, ReadCall, Word, WriteCall, integer};
use super::super::record::Record;
use super::super::value::Value;
use crate::protocol::errors;

/// Redis keeps these numbers once for all keys.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;
/// What Redis says of a value that is never freed.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

const OBJECT_HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

/// DEL and UNLINK: large values are freed off the thread in both.
pub fn del(call: &mut WriteCall<'_>) -> CommandResult {
    let removed = call.args.from(1).filter(|key| call.keyspace.remove(key)).count();
    call.reply.integer(removed as i64);
    Ok(())
}

/// EXISTS and TOUCH.
pub fn exists(call: &mut ReadCall<'_>, touch: bool) -> CommandResult {
    let find = |key: &&[u8]| if touch { call.find(key).is_some() } else { call.peek(key).is_some() };
    let found = call.args.from(1).filter(find).count();
    call.reply.integer(found as i64);
    Ok(())
}

pub fn type_of(call: &mut ReadCall<'_>) -> CommandResult {
    let name = call.peek(call.args.get(1)).map_or("none", |record| record.value.type_name());
    call.reply.simple(name);
    Ok(())
}

pub fn object(call: &mut ReadCall<'_>) -> CommandResult {
    let answer: fn(&mut ReadCall<'_>, &Record) -> CommandResult = match Word::of(call.args.get(1)).as_slice() {
        b"ENCODING" => encoding,
        b"REFCOUNT" => refcount,
        b"IDLETIME" => idletime,
        b"FREQ" => freq,
        _ => {
            call.reply.array(OBJECT_HELP.len());
            OBJECT_HELP.iter().for_each(|line| call.reply.simple(line));
            return Ok(());
        }
    };
    match call.peek(call.args.get(2)) {
        Some(record) => answer(call, record),
        None => {
            call.reply.null();
            Ok(())
        }
    }
}

fn encoding(call: &mut ReadCall<'_>, record: &Record) -> CommandResult {
    call.reply.bulk(record.value.encoding_name().as_bytes());
    Ok(())
}

fn refcount(call: &mut ReadCall<'_>, record: &Record) -> CommandResult {
    let number = if let Value::String(text) = &record.value { text.stored_integer() } else { None };
    let shared = number.is_some_and(|number| SHARED_INTEGERS.contains(&number));
    call.reply.integer(if shared { SHARED_REFCOUNT } else { 1 });
    Ok(())
}

fn idletime(call: &mut ReadCall<'_>, record: &Record) -> CommandResult {
    // The last access is each replica's own, so the log cannot tell it.
    let idle = if call.logged.is_some() { 0 } else { record.idle_seconds(call.now_ms) };
    call.reply.integer(i64::from(idle));
    Ok(())
}

fn freq(_: &mut ReadCall<'_>, _: &Record) -> CommandResult {
    Err(errors::NO_LFU.into())
}

/// MEMORY USAGE; the rest of MEMORY is not about keys.
pub fn memory(call: &mut ReadCall<'_>) -> CommandResult {
    let args = call.args;
    if !args.is(1, "usage") {
        return Err("ERR this subcommand is not about keys".into());
    }
    let mut position = 3;
    while position < args.len() {
        if !args.is(position, "samples") || position + 1 == args.len() {
            return Err(errors::SYNTAX.into());
        }
        if integer(args, position + 1)? < 0 {
            return Err(errors::SYNTAX.into());
        }
        position += 2;
    }
    match call.peek(args.get(2)) {
        Some(record) => call.reply.integer(record.bytes() as i64),
        None => call.reply.null(),
    }
    Ok(())
}
