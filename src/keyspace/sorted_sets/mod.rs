//! Commands on sorted sets, one file per family. Replies and the order of their checks are those of Redis 7.2.

mod add;
mod bounds;
mod combine;
mod member;
pub mod pop;
mod range;
mod remove;
mod sample;
mod scan;
#[cfg(test)]
mod tests;

use combine::Operation;
pub use pop::{PopForm, PopFrom, pop, pop_members};

use super::call::{CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use crate::protocol::command::CommandId;

/// Carries out a command that changes sorted sets.
#[rustfmt::skip]
pub fn write(id: CommandId, call: &mut WriteCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::ZAdd => add::zadd(call, false),
        C::ZIncrBy => add::zadd(call, true),
        C::ZRem => remove::zrem(call),
        C::ZRemRangeByRank => remove::zremrange(call, bounds::Measure::Rank),
        C::ZRemRangeByScore => remove::zremrange(call, bounds::Measure::Score),
        C::ZRemRangeByLex => remove::zremrange(call, bounds::Measure::Member),
        C::ZPopMin => pop::zpop(call, PopFrom::Lowest),
        C::ZPopMax => pop::zpop(call, PopFrom::Highest),
        C::ZMPop => pop::zmpop(call),
        C::ZRangeStore => range::zrangestore(call),
        C::ZUnionStore => combine::combine_and_store(call, Operation::Union),
        C::ZInterStore => combine::combine_and_store(call, Operation::Intersection),
        C::ZDiffStore => combine::combine_and_store(call, Operation::Difference),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

/// Carries out a command that reads sorted sets.
#[rustfmt::skip]
pub fn read(id: CommandId, call: &mut ReadCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::ZCard => member::zcard(call),
        C::ZScore => member::zscore(call),
        C::ZMScore => member::zmscore(call),
        C::ZRank => member::zrank(call, false),
        C::ZRevRank => member::zrank(call, true),
        C::ZCount => range::zcount(call, bounds::Measure::Score),
        C::ZLexCount => range::zcount(call, bounds::Measure::Member),
        C::ZRange => range::zrange(call, range::ZRANGE),
        C::ZRevRange => range::zrange(call, range::ZREVRANGE),
        C::ZRangeByScore => range::zrange(call, range::ZRANGEBYSCORE),
        C::ZRevRangeByScore => range::zrange(call, range::ZREVRANGEBYSCORE),
        C::ZUnion => combine::combine(call, Operation::Union),
        C::ZInter => combine::combine(call, Operation::Intersection),
        C::ZDiff => combine::combine(call, Operation::Difference),
        C::ZInterCard => combine::zintercard(call),
        C::ZRandMember => sample::zrandmember(call),
        C::ZScan => scan::zscan(call),
        C::ZRangeByLex => range::zrange(call, range::ZRANGEBYLEX),
        C::ZRevRangeByLex => range::zrange(call, range::ZREVRANGEBYLEX),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}
