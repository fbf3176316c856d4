//! Random members: SPOP and SRANDMEMBER. Every member, and every choice of several, is as likely as any other.

use super::super::call::{CommandError, CommandResult, ReadCall, WriteCall, collection_of, integer};
use super::super::slot_data::Changed;
use super::super::value::Set;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;

/// Redis makes a set anew where it keeps less than one in so many of what it pops, which shows in the encoding.
const ANEW_FACTOR: usize = 5;
/// What a reply with repeated members may take at most; Redis has no limit here but its memory.
const REPEATED_BYTES_MAX: u64 = 1 << 30;
/// What frames a member in a reply.
const FRAME_BYTES: u64 = 16;

pub fn spop(call: &mut WriteCall<'_>) -> CommandResult {
    match call.args.len() {
        2 => pop_one(call),
        3 => pop_several(call),
        _ => Err(errors::SYNTAX.into()),
    }
}

fn pop_one(call: &mut WriteCall<'_>) -> CommandResult {
    let key = call.args.get(1);
    let Some(size) = call.collection::<Set>(key)?.map(Set::len) else {
        call.reply.null();
        return Ok(());
    };
    let WriteCall { keyspace, reply, random, .. } = call;
    let rank = random.below(size);
    keyspace.edit_collection(key, |set: &mut Set| {
        set.nth(rank).into_iter().for_each(|member| reply.bulk(member));
        set.remove_ranks(&[rank]);
        (Changed::Yes, ())
    });
    Ok(())
}

fn pop_several(call: &mut WriteCall<'_>) -> CommandResult {
    let (key, count) = (call.args.get(1), parse_i64(call.args.get(2)));
    let count = count.and_then(|count| usize::try_from(count).ok()).ok_or(errors::NOT_POSITIVE)?;
    let size = call.collection::<Set>(key)?.map_or(0, Set::len);
    if count.min(size) == 0 {
        call.reply.set(0);
        return Ok(());
    }
    let WriteCall { keyspace, reply, random, .. } = call;
    if count >= size {
        reply.set(size);
        if let Some(record) = keyspace.peek(key) {
            collection_of::<Set>(record)?.in_order().for_each(|member| reply.bulk(member));
        }
        keyspace.remove(key);
        return Ok(());
    }
    let ranks = random.choose(count, size);
    reply.set(count);
    keyspace.edit_collection(key, |set: &mut Set| {
        ranks.iter().filter_map(|&rank| set.nth(rank)).for_each(|member| reply.bulk(member));
        set.remove_ranks(&ranks);
        if (size - count) * ANEW_FACTOR <= count {
            set.pack();
        }
        (Changed::Yes, ())
    });
    Ok(())
}

pub fn srandmember(call: &mut ReadCall<'_>) -> CommandResult {
    match call.args.len() {
        2 => one_of(call),
        3 => several_of(call),
        _ => Err(errors::SYNTAX.into()),
    }
}

fn one_of(call: &mut ReadCall<'_>) -> CommandResult {
    let set = call.collection::<Set>(call.args.get(1))?;
    match set.and_then(|set| set.nth(call.random().below(set.len()))) {
        Some(member) => call.reply.bulk(member),
        None => call.reply.null(),
    }
    Ok(())
}

fn several_of(call: &mut ReadCall<'_>) -> CommandResult {
    let count = integer(call.args, 2)?;
    if count == i64::MIN {
        return Err(errors::COUNT_OUT_OF_RANGE.into());
    }
    let Some(set) = call.collection::<Set>(call.args.get(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let (size, wanted, mut random) = (set.len(), count.unsigned_abs(), call.random());
    if count < 0 {
        check_repeated(set, wanted)?;
        call.reply.array(wanted as usize);
        for _ in 0..wanted {
            set.nth(random.below(size)).into_iter().for_each(|member| call.reply.bulk(member));
        }
    } else if wanted >= size as u64 {
        call.reply.array(size);
        set.in_order().for_each(|member| call.reply.bulk(member));
    } else {
        let ranks = random.choose(wanted as usize, size);
        call.reply.array(ranks.len());
        ranks.iter().filter_map(|&rank| set.nth(rank)).for_each(|member| call.reply.bulk(member));
    }
    Ok(())
}

/// A client's number must not end the process: an error if so many repeated members would take too much memory.
fn check_repeated(set: &Set, count: u64) -> Result<(), CommandError> {
    let each = set.heap_bytes() / set.len() as u64 + FRAME_BYTES;
    if count.saturating_mul(each) > REPEATED_BYTES_MAX {
        return Err(errors::OUT_OF_RANGE.into());
    }
    Ok(())
}
