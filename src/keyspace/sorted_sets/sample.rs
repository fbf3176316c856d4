//! ZRANDMEMBER.

use super::super::call::{CommandError, CommandResult, ReadCall, integer};
use super::super::value::SortedSet;
use super::range::reply_members;
use crate::protocol::errors;

const COUNT_RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
/// Redis goes on writing until its memory is used up; here is where that ends.
const REPETITIONS_MAX: usize = 1 << 24;

pub fn zrandmember(call: &mut ReadCall<'_>) -> CommandResult {
    let args = call.args;
    if args.len() == 2 {
        let set = call.collection::<SortedSet>(args.get(1))?;
        let drawn = set.and_then(|set| set.nth(call.random().below(set.len())));
        match drawn {
            Some((member, _)) => call.reply.bulk(member),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let count = integer(args, 2)?;
    if count == i64::MIN {
        return Err(COUNT_RANGE.into());
    }
    let with_scores = args.len() > 3;
    if args.len() > 4 || with_scores && !args.is(3, "WITHSCORES") {
        return Err(errors::SYNTAX.into());
    }
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(errors::OUT_OF_RANGE.into());
    }
    reply_some(call, count, with_scores)
}

/// Replies with so many different members, or, if the number is negative, with so many that may be equal.
fn reply_some(call: &mut ReadCall<'_>, count: i64, with_scores: bool) -> CommandResult {
    let Some(set) = call.collection::<SortedSet>(call.args.get(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let mut random = call.random();
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let member = |rank: usize| set.nth(rank).expect("a rank below the length");
    if count < 0 {
        if wanted > REPETITIONS_MAX {
            return Err(CommandError::from(errors::OUT_OF_RANGE));
        }
        let drawn = (0..wanted).map(|_| member(random.below(set.len())));
        reply_members(&mut call.reply, drawn, with_scores);
    } else if wanted >= set.len() {
        reply_members(&mut call.reply, set.iter(), with_scores);
    } else {
        let ranks = random.choose(wanted, set.len());
        reply_members(&mut call.reply, ranks.into_iter().map(member), with_scores);
    }
    Ok(())
}
