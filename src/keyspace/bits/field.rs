//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits anywhere in a string.

use super::super::call::{CommandError, CommandResult, ReadCall, Word, WriteCall, integer, text_of};
use super::super::limits::Limits;
use super::super::slot_data::Changed;
use super::super::value::Text;
use super::offset;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

/// Where a field is, and how its bits are read.
#[derive(Clone, Copy, Debug)]
struct Field {
    signed: bool,
    bits: u32,
    offset: u64,
}

/// What happens to a number that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    IncrementBy(i64, Overflow),
}

type Step = (Field, Action);

pub fn bitfield(call: &mut WriteCall<'_>) -> CommandResult {
    let steps = parse(call.args, call.keyspace.limits)?;
    let key = call.args.get(1);
    let written = steps.iter().filter(|(_, action)| !matches!(action, Action::Get));
    let Some(bit_max) = written.map(|(field, _)| field.offset + u64::from(field.bits) - 1).max() else {
        let text = call.keyspace.peek(key).map(text_of).transpose()?;
        return read_steps(&mut call.reply, &steps, text);
    };
    let results = offset::edit_up_to(call, key, bit_max, |bytes| {
        let mut changed = Changed::No;
        let step = |&(field, action): &Step| {
            let before = field.read(bytes);
            let result = execute(bytes, field, action);
            if field.read(bytes) != before {
                changed = Changed::Yes;
            }
            result
        };
        let results: Vec<_> = steps.iter().map(step).collect();
        (changed, results)
    })?;
    call.reply.array(results.len());
    for result in results {
        match result {
            Some(number) => call.reply.integer(number),
            None => call.reply.null(),
        }
    }
    Ok(())
}

pub fn bitfield_ro(call: &mut ReadCall<'_>) -> CommandResult {
    let steps = parse(call.args, call.keyspace.limits)?;
    if steps.iter().any(|(_, action)| !matches!(action, Action::Get)) {
        return Err(errors::BITFIELD_READ_ONLY.into());
    }
    let text = call.text(call.args.get(1))?;
    read_steps(&mut call.reply, &steps, text)
}

fn read_steps(reply: &mut ReplyWriter<'_>, steps: &[Step], text: Option<&Text>) -> CommandResult {
    reply.array(steps.len());
    for (field, _) in steps {
        let number = text.map_or(0, |text| text.with_bytes(|bytes| field.read(bytes)));
        reply.integer(number as i64);
    }
    Ok(())
}

fn parse(args: Args<'_>, limits: Limits) -> Result<Vec<Step>, CommandError> {
    let (mut steps, mut overflow, mut position) = (Vec::new(), Overflow::Wrap, 2);
    while position < args.len() {
        let rest = args.len() - position - 1;
        let word = Word::of(args.get(position));
        match word.as_slice() {
            b"GET" if rest >= 2 => {
                steps.push((Field::parse(args, position + 1, limits)?, Action::Get));
                position += 3;
            }
            word @ (b"SET" | b"INCRBY") if rest >= 3 => {
                let field = Field::parse(args, position + 1, limits)?;
                let number = integer(args, position + 3)?;
                let action = if word == b"SET" { Action::Set } else { Action::IncrementBy };
                steps.push((field, action(number, overflow)));
                position += 4;
            }
            b"OVERFLOW" if rest >= 1 => {
                overflow = match Word::of(args.get(position + 1)).as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return Err(errors::BITFIELD_OVERFLOW.into()),
                };
                position += 2;
            }
            _ => return Err(errors::SYNTAX.into()),
        }
    }
    Ok(steps)
}

/// Does one step on bytes that reach to the end of the field; none: the number did not fit, nothing was written.
fn execute(bytes: &mut [u8], field: Field, action: Action) -> Option<i64> {
    let old = field.read(bytes);
    let (wanted, overflow) = match action {
        Action::Get => return Some(old as i64),
        Action::Set(number, Overflow::Saturate) if field.counts_as_above(number) => {
            (field.range().1, Overflow::Saturate)
        }
        // An unsigned field takes a negative number for the large one with the same bits.
        Action::Set(number, overflow) if field.signed => (i128::from(number), overflow),
        Action::Set(number, overflow) => (i128::from(number as u64), overflow),
        Action::IncrementBy(number, overflow) => (old + i128::from(number), overflow),
    };
    let new = field.fit(wanted, overflow)?;
    field.write(bytes, new as u64);
    Some(if matches!(action, Action::Set(..)) { old as i64 } else { new as i64 })
}

impl Field {
    fn parse(args: Args<'_>, position: usize, limits: Limits) -> Result<Self, CommandError> {
        let (signed, bits_max, digits) = match args.get(position) {
            [b'i', digits @ ..] => (true, 64, digits),
            [b'u', digits @ ..] => (false, 63, digits),
            _ => return Err(errors::BITFIELD_TYPE.into()),
        };
        let bits = parse_i64(digits).filter(|bits| (1..=bits_max).contains(bits)).ok_or(errors::BITFIELD_TYPE)? as u32;
        let offset = offset::parse(args.get(position + 1), Some(bits), limits)?;
        Ok(Self { signed, bits, offset })
    }

    /// The least and the greatest number that fits.
    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// Whether Redis takes a number that is to be set for one above the range. It computes the distance to the greatest
    /// one in 64 bits; where that overflows, so are numbers far below.
    fn counts_as_above(self, number: i64) -> bool {
        self.signed && self.bits < 64 && (self.range().1 as i64).wrapping_sub(number) < 0
    }

    fn fit(self, wanted: i128, overflow: Overflow) -> Option<i128> {
        let (least, greatest) = self.range();
        if (least..=greatest).contains(&wanted) {
            return Some(wanted);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(wanted.clamp(least, greatest)),
            Overflow::Wrap => Some(self.number_of(wanted as u64)),
        }
    }

    /// The number that the lowest bits of `word` stand for.
    fn number_of(self, word: u64) -> i128 {
        let unused = 64 - self.bits;
        if self.signed { i128::from((word << unused) as i64 >> unused) } else { i128::from(word << unused >> unused) }
    }

    /// Reads the field; bits beyond the end are zero.
    fn read(self, bytes: &[u8]) -> i128 {
        let mut word = 0;
        for at in self.offset..self.offset + u64::from(self.bits) {
            let byte = bytes.get((at >> 3) as usize).copied().unwrap_or(0);
            word = word << 1 | u64::from(byte >> (7 - (at & 7)) & 1);
        }
        self.number_of(word)
    }

    fn write(self, bytes: &mut [u8], word: u64) {
        for (place, at) in (self.offset..self.offset + u64::from(self.bits)).enumerate() {
            let bit = (word >> (self.bits as usize - 1 - place) & 1) as u8;
            let shift = 7 - (at & 7);
            let byte = &mut bytes[(at >> 3) as usize];
            *byte = *byte & !(1 << shift) | bit << shift;
        }
    }
}
