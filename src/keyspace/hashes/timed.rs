//! HSETEX, HGETEX and HGETDEL: fields are set or read, and their expiry is given, or they are gone afterwards.

use super::super::call::{CommandResult, WriteCall};
use super::super::record::ExpireAt;
use super::super::strings::ExpiryOption;
use super::super::value::{FieldExpiry, Hash};
use super::changed;
use super::options::{Presence, TimedOptions, deadline, fields_from, fields_word};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;

pub fn hsetex(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms, key) = (call.args, call.now_ms(), call.args.get(1));
    let word = fields_word(args, 2);
    let options = word.map_or_else(|| Ok(TimedOptions::default()), |end| TimedOptions::parse(args, end, true))?;
    let first = fields_from(args, word, 2)?;
    call.check_lengths(first)?;
    let hash = call.collection::<Hash>(key)?;
    if !agrees(options.key, hash.is_some()) {
        call.reply.integer(0);
        return Ok(());
    }
    let at = match options.expiry {
        ExpiryOption::At(given) => Some(deadline(given, now_ms, "hsetex")?),
        _ => None,
    };
    let names = || (first..args.len()).step_by(2).map(|position| args.get(position));
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.live(name, now_ms).is_some());
    if !names().all(|name| agrees(options.fields, is_there(name))) {
        call.reply.integer(0);
        return Ok(());
    }
    let expiry = match options.expiry {
        ExpiryOption::Keep => FieldExpiry::Kept,
        _ => FieldExpiry::Is(at.and_then(ExpireAt::new)),
    };
    call.keyspace.edit_collection(key, |hash: &mut Hash| {
        if at.is_some_and(|at| at <= now_ms) {
            // What would expire at once is not set, and what was there is gone.
            let removed = names().filter(|name| hash.remove(name)).count();
            return (changed(removed > 0), ());
        }
        for position in (first..args.len()).step_by(2) {
            hash.set(args.get(position), args.get(position + 1), expiry, now_ms);
        }
        (changed(true), ())
    });
    call.reply.integer(1);
    Ok(())
}

fn agrees(condition: Presence, is_there: bool) -> bool {
    match condition {
        Presence::Any => true,
        Presence::Absent => !is_there,
        Presence::There => is_there,
    }
}

pub fn hgetex(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms, key) = (call.args, call.now_ms(), call.args.get(1));
    let word = fields_word(args, 2);
    let options = word.map_or_else(|| Ok(TimedOptions::default()), |end| TimedOptions::parse(args, end, false))?;
    let first = fields_from(args, word, 1)?;
    call.collection::<Hash>(key)?;
    let at = match options.expiry {
        ExpiryOption::At(given) => Some(deadline(given, now_ms, "hgetex")?),
        _ => None,
    };
    let persist = matches!(options.expiry, ExpiryOption::Persist);
    let reply = &mut call.reply;
    reply.array(args.len() - first);
    call.keyspace.edit_collection(key, |hash: &mut Hash| {
        let mut any = false;
        for name in args.from(first) {
            let Some(had_expiry) = reply_field(reply, hash, name, now_ms) else { continue };
            any |= match at {
                Some(at) if at <= now_ms => hash.remove(name),
                Some(at) => hash.set_expiry(name, ExpireAt::new(at)),
                None => persist && had_expiry && hash.set_expiry(name, None),
            };
        }
        (changed(any), ())
    });
    Ok(())
}

pub fn hgetdel(call: &mut WriteCall<'_>) -> CommandResult {
    let (args, now_ms, key) = (call.args, call.now_ms(), call.args.get(1));
    if !args.is(2, "fields") {
        return Err(errors::SYNTAX.into());
    }
    let first = fields_from(args, Some(2), 1)?;
    call.collection::<Hash>(key)?;
    let reply = &mut call.reply;
    reply.array(args.len() - first);
    call.keyspace.edit_collection(key, |hash: &mut Hash| {
        let mut any = false;
        for name in args.from(first) {
            any |= reply_field(reply, hash, name, now_ms).is_some() && hash.remove(name);
        }
        (changed(any), ())
    });
    Ok(())
}

/// Replies with a field's value; whether it has an expiry, if it is there.
fn reply_field(reply: &mut ReplyWriter<'_>, hash: &Hash, name: &[u8], now_ms: u64) -> Option<bool> {
    let field = hash.live(name, now_ms);
    match field {
        Some(field) => reply.bulk(field.value),
        None => reply.null(),
    }
    field.map(|field| field.expire_at.is_some())
}
