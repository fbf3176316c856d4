//! Commands on sets, one file per family. Replies and the order of their checks are those of Redis 7.2.

mod algebra;
mod members;
mod random;
mod scan;
#[cfg(test)]
mod tests;

use super::call::{CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use crate::protocol::command::CommandId;

pub fn write(id: CommandId, call: &mut WriteCall<'_>) -> CommandResult {
    match id {
        CommandId::SAdd => members::sadd(call),
        CommandId::SRem => members::srem(call),
        CommandId::SMove => members::smove(call),
        CommandId::SPop => random::spop(call),
        CommandId::SInterStore => algebra::store(call, algebra::inter),
        CommandId::SUnionStore => algebra::store(call, algebra::union),
        CommandId::SDiffStore => algebra::store(call, algebra::diff),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

pub fn read(id: CommandId, call: &mut ReadCall<'_>) -> CommandResult {
    match id {
        CommandId::SCard => members::scard(call),
        CommandId::SIsMember => members::sismember(call),
        CommandId::SMIsMember => members::smismember(call),
        CommandId::SMembers => members::smembers(call),
        CommandId::SRandMember => random::srandmember(call),
        CommandId::SInter => algebra::reply(call, algebra::inter),
        CommandId::SUnion => algebra::reply(call, algebra::union),
        CommandId::SDiff => algebra::reply(call, algebra::diff),
        CommandId::SInterCard => algebra::sintercard(call),
        CommandId::SScan => scan::sscan(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}
