//! SCAN: a walk over slots in order, within a slot in hash order.
//!
//! A cursor is `slot << 48 | position`: where the walk goes on, whatever was added or removed meanwhile. All keys of one
//! position are returned together, so a key that is there during the whole walk is returned exactly once. The walk ends
//! at the first slot that this shard does not own: the proxy takes the cursor to that slot's owner (DESIGN.md, R15).

use super::super::call::{CommandError, CommandResult, ReadCall, Word, integer};
use super::super::record::{Position, Record};
use super::super::slot_data::at_or_after;
use crate::protocol::request::Args;
use crate::protocol::{errors, glob};
use crate::topology::Slot;

const SLOT_SHIFT: u32 = 48;
const COUNT_DEFAULT: i64 = 10;

/// Where a walk goes on; past the last slot it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    slot: usize,
    position: u64,
}

impl Cursor {
    fn parse(text: &[u8]) -> Option<Self> {
        scan_number(text).map(Self::from_number)
    }

    const fn from_number(number: u64) -> Self {
        Self { slot: (number >> SLOT_SHIFT) as usize, position: number & ((1 << SLOT_SHIFT) - 1) }
    }

    /// What the client is told; 0 at the end.
    fn number(self) -> u64 {
        if Slot::new(self.slot as u16).is_some() { (self.slot as u64) << SLOT_SHIFT | self.position } else { 0 }
    }
}

/// Reads a cursor as Redis does, which takes what `strtoul` takes.
pub fn scan_number(text: &[u8]) -> Option<u64> {
    // A C text ends at its first zero byte.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        [] => return Some(0),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10).and_then(|number| number.checked_add(u64::from(digit - b'0')))
    })?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// The slot at which the walk of these arguments goes on; none if they name none, which the command answers itself.
pub fn scan_slot(args: Args<'_>) -> Option<Slot> {
    let cursor = Cursor::parse(args.get(1))?;
    u16::try_from(cursor.slot).ok().and_then(Slot::new)
}

struct Options<'a> {
    count: u64,
    pattern: Option<&'a [u8]>,
    type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self { count: COUNT_DEFAULT as u64, pattern: None, type_name: None };
        let mut position = 2;
        while position < args.len() {
            if position + 1 == args.len() {
                return Err(errors::SYNTAX.into());
            }
            match Word::of(args.get(position)).as_slice() {
                b"COUNT" => {
                    let count = integer(args, position + 1)?;
                    options.count = u64::try_from(count).ok().filter(|&count| count > 0).ok_or(errors::SYNTAX)?;
                }
                b"MATCH" => options.pattern = Some(args.get(position + 1)),
                b"TYPE" => options.type_name = Some(args.get(position + 1)),
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 2;
        }
        Ok(options)
    }

    fn select(&self, record: &Record) -> bool {
        self.type_name.is_none_or(|name| record.value.type_name().as_bytes().eq_ignore_ascii_case(name))
            && self.pattern.is_none_or(|pattern| glob::matches(pattern, record.key.as_bytes()))
    }
}

pub fn scan(call: &mut ReadCall<'_>) -> CommandResult {
    let cursor = Cursor::parse(call.args.get(1)).ok_or(errors::INVALID_CURSOR)?;
    let options = Options::parse(call.args)?;
    let mut found = Vec::new();
    let next = walk(call, cursor, options.count, |record| {
        if options.select(record) {
            found.push(record);
        }
    });
    call.reply.array(2);
    call.reply.bulk(next.number().to_string().as_bytes());
    call.reply.array(found.len());
    found.iter().for_each(|record| call.reply.bulk(record.key.as_bytes()));
    Ok(())
}

/// Visits about `count` records from `cursor` on; where the walk goes on.
fn walk<'a>(call: &ReadCall<'a>, cursor: Cursor, count: u64, mut visit: impl FnMut(&'a Record)) -> Cursor {
    let keyspace = call.keyspace;
    let end = keyspace.owned().next_out(cursor.slot).map_or(usize::from(u16::MAX), Slot::index);
    let (mut from, mut visited, mut last) = (cursor, 0, None);
    while let Some(slot) = keyspace.occupied().next_in(from.slot).filter(|slot| slot.index() < end) {
        let start = if slot.index() == from.slot { from.position } else { 0 };
        let records = keyspace.slot(slot).map(super::super::slot_data::SlotData::records);
        let start = u32::try_from(start).ok().map(Position);
        let rest = records.zip(start).into_iter().flat_map(|(records, start)| records.range_from(at_or_after(start)));
        for record in rest {
            if visited >= count && last != Some(record.position) {
                return Cursor { slot: slot.index(), position: u64::from(record.position.0) };
            }
            (visited, last) = (visited + 1, Some(record.position));
            if !record.is_expired(call.now_ms) {
                visit(record);
            }
        }
        (from, last) = (Cursor { slot: slot.index() + 1, position: 0 }, None);
    }
    Cursor { slot: end.max(from.slot), position: 0 }
}
