//! ZSCAN.

use super::super::call::{CommandResult, ReadCall};
use super::super::element_scan::{ScanOptions, scan_cursor};
use super::super::value::{SortedSet, SortedSetEncoding};
use crate::protocol::numbers::{format_double, format_double_in_full};

pub fn zscan(call: &mut ReadCall<'_>) -> CommandResult {
    let cursor = scan_cursor(call.args)?;
    let Some(set) = call.collection::<SortedSet>(call.args.get(1))? else {
        call.reply.array(2);
        call.reply.bulk(b"0");
        call.reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(call.args)?;
    let is_small = set.encoding() == SortedSetEncoding::ListPack;
    let (found, next) = if is_small {
        options.walk(set.iter().map(|member| (0, member)), true, |(member, _)| *member)
    } else {
        let members = set.iter_from_position(cursor).map(|(position, member, score)| (position, (member, score)));
        options.walk(members, false, |(member, _)| *member)
    };
    call.reply.array(2);
    call.reply.bulk(next.to_string().as_bytes());
    call.reply.array(found.len() * 2);
    let mut text = Vec::new();
    for (member, score) in found {
        text.clear();
        // Large ones are told with all their digits, here alone.
        if is_small {
            format_double(score, &mut text)
        } else {
            format_double_in_full(score, &mut text)
        }
        call.reply.bulk(member);
        call.reply.bulk(&text);
    }
    Ok(())
}
