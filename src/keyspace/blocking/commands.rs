//! The blocking commands as their shard executes them: as the plain ones do, and able to say that there is nothing yet.

use std::collections::BTreeSet;

use super::super::call::{CommandError, CommandResult, NOT_OF_A_SHARD, WriteCall};
use super::super::lists::end_of;
use super::super::lists::pop::{MultiPop, pop_many, pop_one};
use super::super::lists::relocate::move_one;
use super::super::sorted_sets::{PopForm, PopFrom, pop, pop_members};
use super::super::value::{End, SortedSet, Value};
use super::Awaited;
use crate::protocol::command::{CommandId, CommandSpec, blocking_timeout};
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

/// Executes a blocking command that must not wait: in a transaction it finds something or answers nil.
pub fn execute(spec: &CommandSpec, call: &mut WriteCall<'_>) -> CommandResult {
    if !attempt(spec, call)? {
        match spec.id {
            CommandId::BLMove | CommandId::BRPopLPush => call.reply.null(),
            _ => call.reply.null_array(),
        }
    }
    Ok(())
}

/// Executes a blocking command, if there is something for it; else nothing was written, and nothing changed.
pub fn attempt(spec: &CommandSpec, call: &mut WriteCall<'_>) -> Result<bool, CommandError> {
    const NUMBER_OF_KEYS: usize = 2;
    blocking_timeout(spec, call.args)?;
    match spec.id {
        CommandId::BLPop => pop_element(spec, call, End::Left),
        CommandId::BRPop => pop_element(spec, call, End::Right),
        CommandId::BLMove => {
            let (from, to) = (end_of(call.args.get(3))?, end_of(call.args.get(4))?);
            move_one(call, (call.args.get(1), from), (call.args.get(2), to))
        }
        CommandId::BRPopLPush => move_one(call, (call.args.get(1), End::Right), (call.args.get(2), End::Left)),
        CommandId::BLMPop => {
            let MultiPop { keys, end, count } = MultiPop::of(call.args, NUMBER_OF_KEYS)?;
            pop_many(call, call.args.from(NUMBER_OF_KEYS + 1).take(keys), end, count)
        }
        CommandId::BZPopMin => pop_member(spec, call, PopFrom::Lowest),
        CommandId::BZPopMax => pop_member(spec, call, PopFrom::Highest),
        CommandId::BZMPop => pop_members(call, NUMBER_OF_KEYS),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

/// What the client of a command waits for.
pub const fn awaited(id: CommandId) -> Awaited {
    match id {
        CommandId::BZMPop | CommandId::BZPopMax | CommandId::BZPopMin => Awaited::SortedSet,
        _ => Awaited::List,
    }
}

/// What those who wait for a key may find in this value.
pub const fn offered(value: &Value) -> Option<Awaited> {
    match value {
        Value::List(_) => Some(Awaited::List),
        Value::SortedSet(_) => Some(Awaited::SortedSet),
        _ => None,
    }
}

/// The keys that a command waits for, each once: all of its own, but not where it only puts something.
pub fn awaited_keys(spec: &CommandSpec, args: Args<'_>) -> Vec<Box<[u8]>> {
    let moves = matches!(spec.id, CommandId::BLMove | CommandId::BRPopLPush);
    let positions = spec.key_positions(args).take(if moves { 1 } else { usize::MAX });
    let mut known = BTreeSet::new();
    positions.map(|position| args.get(position)).filter(|key| known.insert(*key)).map(Box::from).collect()
}

fn pop_element(spec: &CommandSpec, call: &mut WriteCall<'_>, end: End) -> Result<bool, CommandError> {
    let args = call.args;
    for key in spec.key_positions(args).map(|position| args.get(position)) {
        let name_key = |reply: &mut ReplyWriter<'_>| {
            reply.array(2);
            reply.bulk(key);
        };
        if pop_one(call, key, end, name_key)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn pop_member(spec: &CommandSpec, call: &mut WriteCall<'_>, from: PopFrom) -> Result<bool, CommandError> {
    let args = call.args;
    for key in spec.key_positions(args).map(|position| args.get(position)) {
        call.collection::<SortedSet>(key)?;
        if pop(call.keyspace, key, from, 1, PopForm::KeyAndFlat, &mut call.reply) {
            return Ok(true);
        }
    }
    Ok(false)
}
