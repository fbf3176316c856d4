//! ZREM and ZREMRANGEBY*.

use super::super::call::{CommandResult, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::SortedSet;
use super::bounds::{Interval, Measure};

pub fn zrem(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, key) = (call.args, call.args.get(1));
    let removed = if call.collection::<SortedSet>(key)?.is_some() {
        call.edit(key, |set: &mut SortedSet| {
            let removed = args.from(2).filter(|member| set.remove(member).is_some()).count();
            (if removed > 0 { Changed::Yes } else { Changed::No }, removed)
        })?
    } else {
        0
    };
    call.reply.integer(removed as i64);
    Ok(())
}

/// ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX.
pub fn zremrange(call: &mut WriteCall<'_>, measure: Measure) -> CommandResult {
    let interval = Interval::parse(call.args, measure, 2, 3)?;
    let key = call.args.get(1);
    let ranks = call.collection::<SortedSet>(key)?.map_or(0..0, |set| interval.ranks(set, false));
    call.reply.integer(ranks.len() as i64);
    if !ranks.is_empty() {
        call.edit(key, |set: &mut SortedSet| (Changed::Yes, set.remove_range(ranks)))?;
    }
    Ok(())
}
