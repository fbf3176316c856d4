//! HLEN, HGETALL, HKEYS, HVALS and HSCAN: all fields of a hash.

use super::super::call::{CommandResult, ReadCall};
use super::super::element_scan::{ScanOptions, scan_cursor};
use super::super::value::{Field, HashEncoding};
use super::hash_of;
use crate::protocol::reply::ReplyWriter;

pub fn hlen(call: &mut ReadCall<'_>) -> CommandResult {
    let hash = hash_of(call)?;
    call.reply.integer(hash.map_or(0, |hash| hash.live_len(call.now_ms) as i64));
    Ok(())
}

pub fn hgetall(call: &mut ReadCall<'_>) -> CommandResult {
    reply_fields(call, ReplyWriter::map, |reply, field| {
        reply.bulk(field.name);
        reply.bulk(field.value);
    })
}

pub fn hkeys(call: &mut ReadCall<'_>) -> CommandResult {
    reply_fields(call, ReplyWriter::array, |reply, field| reply.bulk(field.name))
}

pub fn hvals(call: &mut ReadCall<'_>) -> CommandResult {
    reply_fields(call, ReplyWriter::array, |reply, field| reply.bulk(field.value))
}

fn reply_fields<'a>(
    call: &mut ReadCall<'a>,
    head: impl FnOnce(&mut ReplyWriter<'a>, usize),
    each: impl Fn(&mut ReplyWriter<'a>, Field<'_>),
) -> CommandResult {
    let Some(hash) = hash_of(call)? else {
        head(&mut call.reply, 0);
        return Ok(());
    };
    head(&mut call.reply, hash.live_len(call.now_ms));
    hash.iter_live(call.now_ms).for_each(|field| each(&mut call.reply, field));
    Ok(())
}

pub fn hscan(call: &mut ReadCall<'_>) -> CommandResult {
    let cursor = scan_cursor(call.args)?;
    let Some(hash) = hash_of(call)? else {
        call.reply.array(2);
        call.reply.bulk(b"0");
        call.reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(call.args)?;
    let small = hash.encoding() == HashEncoding::ListPack;
    let from = if small { 0 } else { cursor };
    let (found, next) = options.walk(hash.iter_from_position(from), small, |field| field.name);
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    let found = || found.iter().filter(|field| !field.is_expired(call.now_ms));
    let count = found().count();
    call.reply.array(if options.no_values { count } else { count * 2 });
    for field in found() {
        call.reply.bulk(field.name);
        if !options.no_values {
            call.reply.bulk(field.value);
        }
    }
    Ok(())
}
