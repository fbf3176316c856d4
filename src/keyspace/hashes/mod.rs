//! Commands on hashes. Replies and the order of their checks are those of Redis 7.2, and of Valkey 9.1 where fields have
//! expiries, which Redis 7.2 does not know.
//!
//! Invariant: no command sees a field that is expired at its time. Some of them are removed before a write begins
//! ([`Keyspace::remove_if_expired`](super::store::Keyspace)), the others are still there, so every command says when it
//! lives.

mod basic;
mod counter;
mod expire;
mod options;
mod random;
#[cfg(test)]
mod tests;
mod timed;
mod whole;

use super::call::{CommandError, CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use super::slot_data::Changed;
use super::strings::Unit;
use super::value::Hash;
use crate::protocol::command::CommandId;

pub fn write(id: CommandId, call: &mut WriteCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::HSet => basic::hset(call),
        C::HMSet => basic::hmset(call),
        C::HSetNx => basic::hsetnx(call),
        C::HDel => basic::hdel(call),
        C::HIncrBy => counter::hincrby(call),
        C::HIncrByFloat => counter::hincrbyfloat(call),
        C::HExpire => expire::hexpire(call, "hexpire", Unit::Seconds, false),
        C::HPExpire => expire::hexpire(call, "hpexpire", Unit::Milliseconds, false),
        C::HExpireAt => expire::hexpire(call, "hexpireat", Unit::Seconds, true),
        C::HPExpireAt => expire::hexpire(call, "hpexpireat", Unit::Milliseconds, true),
        C::HPersist => expire::hpersist(call),
        C::HGetEx => timed::hgetex(call),
        C::HSetEx => timed::hsetex(call),
        C::HGetDel => timed::hgetdel(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

pub fn read(id: CommandId, call: &mut ReadCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::HGet => basic::hget(call),
        C::HMGet => basic::hmget(call),
        C::HExists => basic::hexists(call),
        C::HStrLen => basic::hstrlen(call),
        C::HLen => whole::hlen(call),
        C::HGetAll => whole::hgetall(call),
        C::HKeys => whole::hkeys(call),
        C::HVals => whole::hvals(call),
        C::HScan => whole::hscan(call),
        C::HRandField => random::hrandfield(call),
        C::HTtl => expire::httl(call, Unit::Seconds, false),
        C::HPTtl => expire::httl(call, Unit::Milliseconds, false),
        C::HExpireTime => expire::httl(call, Unit::Seconds, true),
        C::HPExpireTime => expire::httl(call, Unit::Milliseconds, true),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

/// The hash of a command that reads.
fn hash_of<'a>(call: &ReadCall<'a>) -> Result<Option<&'a Hash>, CommandError> {
    call.collection(call.args.get(1))
}

const fn changed(anything: bool) -> Changed {
    if anything { Changed::Yes } else { Changed::No }
}
