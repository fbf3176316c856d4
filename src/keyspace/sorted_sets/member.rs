//! What is asked of single members: ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK.

use super::super::call::{CommandResult, ReadCall};
use super::super::value::SortedSet;
use crate::protocol::errors;

pub fn zcard(call: &mut ReadCall<'_>) -> CommandResult {
    let set = call.collection::<SortedSet>(call.args.get(1))?;
    call.reply.integer(set.map_or(0, SortedSet::len) as i64);
    Ok(())
}

pub fn zscore(call: &mut ReadCall<'_>) -> CommandResult {
    let set = call.collection::<SortedSet>(call.args.get(1))?;
    match set.and_then(|set| set.score(call.args.get(2))) {
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

pub fn zmscore(call: &mut ReadCall<'_>) -> CommandResult {
    let set = call.collection::<SortedSet>(call.args.get(1))?;
    let members = call.args.from(2);
    call.reply.array(members.len());
    for member in members {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// ZRANK, or ZREVRANK if `reverse`.
pub fn zrank(call: &mut ReadCall<'_>, reverse: bool) -> CommandResult {
    if call.args.len() > 4 {
        return Err(errors::wrong_arity(if reverse { "zrevrank" } else { "zrank" }).into());
    }
    let with_score = call.args.is(3, "WITHSCORE");
    if call.args.len() == 4 && !with_score {
        return Err(errors::SYNTAX.into());
    }
    let set = call.collection::<SortedSet>(call.args.get(1))?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(call.args.get(2))?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            call.reply.array(2);
            call.reply.integer(rank as i64);
            call.reply.double(score);
        }
        Some((rank, _)) => call.reply.integer(rank as i64),
        None if with_score => call.reply.null_array(),
        None => call.reply.null(),
    }
    Ok(())
}
