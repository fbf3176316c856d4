//! HRANDFIELD.

use std::collections::BTreeSet;

use super::super::call::{CommandError, CommandResult, ReadCall, integer};
use super::super::random::Random;
use super::super::value::{Field, Hash};
use super::hash_of;
use crate::protocol::errors;

/// Fewer live fields than one in so many are counted through before any is drawn.
const LIVE_SHARE_MIN: usize = 8;
/// More draws than this at once Redis would answer until its memory ends.
const DRAWS_MAX: i64 = 1 << 26;
const COUNT_RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";

pub fn hrandfield(call: &mut ReadCall<'_>) -> CommandResult {
    if call.args.len() >= 3 {
        let (count, with_values) = count_of(call)?;
        return many(call, count, with_values);
    }
    let hash = hash_of(call)?;
    match hash.and_then(|hash| Draw::new(hash, call.now_ms)?.next(&mut call.random())) {
        Some((_, field)) => call.reply.bulk(field.name),
        None => call.reply.null(),
    }
    Ok(())
}

fn count_of(call: &ReadCall<'_>) -> Result<(i64, bool), CommandError> {
    let count = integer(call.args, 2)?;
    if count == i64::MIN {
        return Err(COUNT_RANGE.into());
    }
    let with_values = call.args.len() > 3;
    if call.args.len() > 4 || with_values && !call.args.is(3, "withvalues") {
        return Err(errors::SYNTAX.into());
    }
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 || count < -DRAWS_MAX {
        return Err(errors::OUT_OF_RANGE.into());
    }
    Ok((count, with_values))
}

fn many(call: &mut ReadCall<'_>, count: i64, with_values: bool) -> CommandResult {
    let Some((hash, draw)) = hash_of(call)?.and_then(|hash| Some((hash, Draw::new(hash, call.now_ms)?))) else {
        call.reply.array(0);
        return Ok(());
    };
    let (mut random, live) = (call.random(), hash.live_len(call.now_ms));
    let wanted = count.unsigned_abs() as usize;
    let total = if count < 0 { wanted } else { wanted.min(live) };
    call.reply.array(if with_values && !call.reply.resp3() { total * 2 } else { total });
    let mut reply = |field: Field<'_>| {
        if with_values && call.reply.resp3() {
            call.reply.array(2);
        }
        call.reply.bulk(field.name);
        if with_values {
            call.reply.bulk(field.value);
        }
    };
    if count < 0 {
        (0..wanted).filter_map(|_| draw.next(&mut random)).for_each(|(_, field)| reply(field));
    } else if total * 3 > live {
        // Every field is taken with the chance that leaves as many as are still wanted.
        let (mut left, mut missing) = (live, total);
        for field in hash.iter_live(call.now_ms) {
            if random.below(left) < missing {
                reply(field);
                missing -= 1;
            }
            left -= 1;
        }
    } else {
        let mut drawn = BTreeSet::new();
        while drawn.len() < total {
            let Some((index, field)) = draw.next(&mut random) else { break };
            if drawn.insert(index) {
                reply(field);
            }
        }
    }
    Ok(())
}

/// Draws from the fields of a hash that are not expired, each as likely as the other.
struct Draw<'a> {
    hash: &'a Hash,
    now_ms: u64,
    /// The indexes of those, if they are few among the others.
    live: Option<Vec<usize>>,
}

impl<'a> Draw<'a> {
    /// None: there is nothing to draw.
    fn new(hash: &'a Hash, now_ms: u64) -> Option<Self> {
        let count = hash.live_len(now_ms);
        let few = count < hash.len() / LIVE_SHARE_MIN;
        let is_live = |(index, field): (usize, Field<'_>)| (!field.is_expired(now_ms)).then_some(index);
        let live = few.then(|| hash.iter().enumerate().filter_map(is_live).collect());
        (count > 0).then_some(Self { hash, now_ms, live })
    }

    /// A field and its index.
    fn next(&self, random: &mut Random) -> Option<(usize, Field<'a>)> {
        loop {
            let index = match &self.live {
                Some(live) => live[random.below(live.len())],
                None => random.below(self.hash.len()),
            };
            let field = self.hash.nth(index)?;
            if !field.is_expired(self.now_ms) {
                return Some((index, field));
            }
        }
    }
}
