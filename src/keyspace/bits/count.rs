//! BITCOUNT and BITPOS.

use std::ops::Range;

use super::super::call::{CommandError, CommandResult, ReadCall, Word, integer};
use crate::protocol::errors;
use crate::protocol::request::Args;

/// Whether the argument at `position` says BIT; BYTE where there is none.
fn counts_bits(args: Args<'_>, position: usize) -> Result<bool, CommandError> {
    if position >= args.len() {
        return Ok(false);
    }
    match Word::of(args.get(position)).as_slice() {
        b"BIT" => Ok(true),
        b"BYTE" => Ok(false),
        _ => Err(errors::SYNTAX.into()),
    }
}

/// The bits from `start` to `end`, both included and counted from the end where negative; units of 8 bits, or of 1.
fn bit_range(start: i64, end: i64, unit_bits: i64, length_bits: i64) -> Range<u64> {
    let total = length_bits / unit_bits;
    let from_front = |at: i64| if at < 0 { total.saturating_add(at).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(total - 1));
    if start > end { 0..0 } else { (start * unit_bits) as u64..((end + 1) * unit_bits) as u64 }
}

/// How many bits are set in a range of bits.
fn count_ones(bytes: &[u8], range: &Range<u64>) -> u64 {
    let whole = range.start.div_ceil(8)..range.end / 8;
    if whole.start > whole.end {
        return range.clone().filter(|&at| bit(bytes, at)).count() as u64;
    }
    let edges = (range.start..whole.start * 8).chain(whole.end * 8..range.end);
    let ones = edges.filter(|&at| bit(bytes, at)).count() as u64;
    let (words, rest) = bytes[whole.start as usize..whole.end as usize].as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    ones + in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first bit of a range that is as wanted.
fn find_bit(bytes: &[u8], range: &Range<u64>, wanted: bool) -> Option<u64> {
    let skipped = if wanted { 0 } else { 0xff };
    let mut at = range.start;
    while at < range.end {
        if at.is_multiple_of(8) {
            let rest = &bytes[(at / 8) as usize..];
            at += rest.iter().take_while(|&&byte| byte == skipped).count() as u64 * 8;
            if at >= range.end {
                return None;
            }
        }
        if bit(bytes, at) == wanted {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn bit(bytes: &[u8], at: u64) -> bool {
    bytes[(at >> 3) as usize] >> (7 - (at & 7)) & 1 == 1
}

pub fn bitcount(call: &mut ReadCall<'_>) -> CommandResult {
    let args = call.args;
    let Some(text) = call.text(args.get(1))? else {
        call.reply.integer(0);
        return Ok(());
    };
    let length_bits = text.len() as i64 * 8;
    let range = match args.len() {
        2 => 0..length_bits as u64,
        4 | 5 => {
            let (start, end) = (integer(args, 2)?, integer(args, 3)?);
            if start < 0 && end < 0 && start > end {
                call.reply.integer(0);
                return Ok(());
            }
            let unit_bits = if counts_bits(args, 4)? { 1 } else { 8 };
            bit_range(start, end, unit_bits, length_bits)
        }
        _ => return Err(errors::SYNTAX.into()),
    };
    let ones = text.with_bytes(|bytes| count_ones(bytes, &range));
    call.reply.integer(ones as i64);
    Ok(())
}

pub fn bitpos(call: &mut ReadCall<'_>) -> CommandResult {
    let args = call.args;
    let wanted = match integer(args, 2)? {
        0 => false,
        1 => true,
        _ => return Err(errors::BIT_ARGUMENT.into()),
    };
    let Some(text) = call.text(args.get(1))? else {
        call.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let length_bits = text.len() as i64 * 8;
    let range = match args.len() {
        3 => 0..length_bits as u64,
        4..=6 => {
            let start = integer(args, 3)?;
            let unit_bits = if counts_bits(args, 5)? { 1 } else { 8 };
            let end = if args.len() > 4 { integer(args, 4)? } else { i64::MAX };
            bit_range(start, end, unit_bits, length_bits)
        }
        _ => return Err(errors::SYNTAX.into()),
    };
    let found = text.with_bytes(|bytes| find_bit(bytes, &range, wanted));
    // A string is followed by endless zeros, unless the client said where to end.
    let beyond = !wanted && args.len() <= 4 && !range.is_empty();
    let position = found.map_or(if beyond { range.end as i64 } else { -1 }, |at| at as i64);
    call.reply.integer(position);
    Ok(())
}
