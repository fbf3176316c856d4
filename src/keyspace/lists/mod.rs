//! Commands on lists. Replies and the order of their checks are those of Redis 7.2.
//!
//! The cores of `pop` and `relocate` take keys, ends and counts, not arguments: what serves a blocked client calls them.

mod element;
mod end;
pub mod pop;
mod position;
mod push;
mod range;
pub mod relocate;
#[cfg(test)]
mod tests;

pub use end::end_of;

use super::call::{CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use super::value::End;
use crate::protocol::command::CommandId;

pub fn write(id: CommandId, call: &mut WriteCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::LPush => push::push(call, End::Left),
        C::RPush => push::push(call, End::Right),
        C::LPushX => push::push_present(call, End::Left),
        C::RPushX => push::push_present(call, End::Right),
        C::LPop => pop::pop(call, End::Left),
        C::RPop => pop::pop(call, End::Right),
        C::LMPop => pop::lmpop(call),
        C::LTrim => range::ltrim(call),
        C::LSet => element::lset(call),
        C::LInsert => element::linsert(call),
        C::LRem => element::lrem(call),
        C::LMove => relocate::lmove(call),
        C::RPopLPush => relocate::rpoplpush(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}

pub fn read(id: CommandId, call: &mut ReadCall<'_>) -> CommandResult {
    use CommandId as C;
    match id {
        C::LLen => range::llen(call),
        C::LIndex => range::lindex(call),
        C::LRange => range::lrange(call),
        C::LPos => position::lpos(call),
        _ => Err(NOT_OF_A_SHARD.into()),
    }
}
