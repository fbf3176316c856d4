//! Commands on sets.

use super::call::{CommandResult, NOT_OF_A_SHARD, ReadCall, WriteCall};
use crate::protocol::command::CommandId;

pub fn write(_id: CommandId, _call: &mut WriteCall<'_>) -> CommandResult {
    Err(NOT_OF_A_SHARD.into())
}

pub fn read(_id: CommandId, _call: &mut ReadCall<'_>) -> CommandResult {
    Err(NOT_OF_A_SHARD.into())
}
