//! Commands over all keys of the shard: FLUSHALL, DBSIZE, KEYS, RANDOMKEY. They cover the slots owned at their position.

use super::super::call::{CommandResult, ReadCall, WriteCall};
use super::super::record::Record;
use crate::protocol::request::Args;
use crate::protocol::{errors, glob};
use crate::topology::Slot;

/// How many keys RANDOMKEY draws before it takes the first one that is not expired.
const DRAWS_MAX: usize = 100;

/// FLUSHALL and FLUSHDB; the data is freed off the thread whatever the client says.
pub fn flush(call: &mut WriteCall<'_>) -> CommandResult {
    check_flush(call.args)?;
    let slots: Vec<_> = call.keyspace.occupied().iter().filter(|slot| call.keyspace.admits(*slot)).collect();
    call.keyspace.clear(slots);
    call.reply.ok();
    Ok(())
}

/// Whether these are arguments of FLUSHALL.
pub fn check_flush(args: Args<'_>) -> CommandResult {
    let known = args.from(1).all(|word| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async"));
    if args.len() > 2 || !known { Err(errors::SYNTAX.into()) } else { Ok(()) }
}

pub fn dbsize(call: &mut ReadCall<'_>) -> CommandResult {
    call.reply.integer(call.keyspace.usage().keys as i64);
    Ok(())
}

pub fn keys(call: &mut ReadCall<'_>) -> CommandResult {
    keys_of(call, call.keyspace.owned().iter());
    Ok(())
}

/// KEYS for some slots.
pub fn keys_of(call: &mut ReadCall<'_>, slots: impl Iterator<Item = Slot>) {
    let pattern = call.args.get(1);
    let matches = |record: &&Record| !record.is_expired(call.now_ms) && glob::matches(pattern, record.key.as_bytes());
    let occupied = slots.filter(|slot| call.keyspace.occupied().contains(*slot));
    let slots = occupied.filter_map(|slot| call.keyspace.slot(slot));
    let found: Vec<&Record> = slots.flat_map(|data| data.records().iter()).filter(matches).collect();
    call.reply.array(found.len());
    found.iter().for_each(|record| call.reply.bulk(record.key.as_bytes()));
}

pub fn randomkey(call: &mut ReadCall<'_>) -> CommandResult {
    let total = call.keyspace.usage().keys;
    random_key_of(call, total, |_| true);
    Ok(())
}

/// RANDOMKEY of the slots that are wanted, which have so many keys together.
pub fn random_key_of(call: &mut ReadCall<'_>, total: u64, is_wanted: impl Fn(Slot) -> bool) {
    match random_record(call, total, is_wanted) {
        Some(record) => call.reply.bulk(record.key.as_bytes()),
        None => call.reply.null(),
    }
}

/// A record that is not expired, each as likely as the other.
fn random_record<'a>(call: &ReadCall<'a>, total: u64, is_wanted: impl Fn(Slot) -> bool) -> Option<&'a Record> {
    let keyspace = call.keyspace;
    let mut random = call.random();
    let occupied = || keyspace.occupied().iter().filter(|slot| is_wanted(*slot));
    let drawn = (0..DRAWS_MAX.min(total as usize)).find_map(|_| {
        let mut rank = random.next() % total;
        for slot in occupied() {
            let records = keyspace.slot(slot)?.records();
            match rank.checked_sub(records.len() as u64) {
                Some(rest) => rank = rest,
                None => return records.nth(rank as usize).filter(|record| !record.is_expired(call.now_ms)),
            }
        }
        None
    });
    drawn.or_else(|| {
        let slots = occupied().filter_map(|slot| keyspace.slot(slot));
        slots.flat_map(|data| data.records().iter()).find(|record| !record.is_expired(call.now_ms))
    })
}
