//! HEXPIRE, HTTL, HPERSIST and their relatives: when fields expire.

use super::super::call::{CommandResult, ReadCall, WriteCall};
use super::super::keys::Conditions;
use super::super::record::ExpireAt;
use super::super::strings::{GivenTime, Unit};
use super::super::value::Hash;
use super::options::{FIELD_COUNT, deadline, fields_from, fields_word};
use super::{changed, hash_of};
use crate::protocol::errors;

// What is said of each field.
const ABSENT: i64 = -2;
const WITHOUT_EXPIRY: i64 = -1;
const REFUSED: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

/// HEXPIRE, HPEXPIRE, HEXPIREAT and HPEXPIREAT.
pub fn hexpire(call: &mut WriteCall<'_>, name: &str, unit: Unit, absolute: bool) -> CommandResult {
    let (args, now_ms) = (call.args, call.now_ms());
    let word = fields_word(args, 3);
    let conditions = Conditions::parse(word.into_iter().flat_map(|end| (3..end).map(|at| args.get(at))))?;
    let first = fields_from(args, word, 1)?;
    let at = deadline(GivenTime { text: args.get(2), unit, absolute }, now_ms, name)?;
    call.collection::<Hash>(args.get(1))?;
    let reply = &mut call.reply;
    reply.array(args.len() - first);
    call.keyspace.edit_collection(args.get(1), |hash: &mut Hash| {
        let mut any = false;
        for field in args.from(first) {
            let answer = expire_field(hash, field, at, conditions, now_ms);
            any |= answer > 0;
            reply.integer(answer);
        }
        (changed(any), ())
    });
    Ok(())
}

fn expire_field(hash: &mut Hash, name: &[u8], at: u64, conditions: Conditions, now_ms: u64) -> i64 {
    let Some(field) = hash.live(name, now_ms) else { return ABSENT };
    if !conditions.allow(field.expire_at, at as i64) {
        return REFUSED;
    }
    match ExpireAt::new(at).filter(|at| at.get() > now_ms) {
        Some(at) => hash.set_expiry(name, Some(at)),
        None => {
            hash.remove(name);
            return REMOVED;
        }
    };
    DONE
}

pub fn hpersist(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms) = (call.args, call.now_ms());
    if !args.is(2, "fields") {
        return Err(errors::SYNTAX.into());
    }
    let first = fields_from(args, Some(2), 1)?;
    call.collection::<Hash>(args.get(1))?;
    let reply = &mut call.reply;
    reply.array(args.len() - first);
    call.keyspace.edit_collection(args.get(1), |hash: &mut Hash| {
        let mut any = false;
        for name in args.from(first) {
            let answer = match hash.live(name, now_ms).map(|field| field.expire_at) {
                None => ABSENT,
                Some(None) => WITHOUT_EXPIRY,
                Some(Some(_)) => {
                    any = hash.set_expiry(name, None);
                    DONE
                }
            };
            reply.integer(answer);
        }
        (changed(any), ())
    });
    Ok(())
}

/// HTTL, HPTTL, HEXPIRETIME and HPEXPIRETIME.
pub fn httl(call: &mut ReadCall<'_>, unit: Unit, absolute: bool) -> CommandResult {
    if !call.args.is(2, "fields") {
        return Err(errors::SYNTAX.into());
    }
    // Here a wrong number is said to be one of syntax.
    let first = fields_from(call.args, Some(2), 1).map_err(|error| match error == FIELD_COUNT.into() {
        true => errors::SYNTAX.into(),
        false => error,
    })?;
    let hash = hash_of(call)?;
    call.reply.array(call.args.len() - first);
    for name in call.args.from(first) {
        let answer = match hash.and_then(|hash| hash.live(name, call.now_ms)).map(|field| field.expire_at) {
            None => ABSENT,
            Some(None) => WITHOUT_EXPIRY,
            Some(Some(at)) => {
                let ms = at.get() - if absolute { 0 } else { call.now_ms };
                (if unit == Unit::Seconds { (ms + 500) / 1000 } else { ms }) as i64
            }
        };
        call.reply.integer(answer);
    }
    Ok(())
}
