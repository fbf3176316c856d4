//! Ziplists: what Redis before 7 packed small collections into. Total bytes, place of the last entry, count, entries
//! with the length of the one before in front of them, end.

use super::RdbError;
use super::element::Element;
use super::listpack::integer_of_24_bits;

const WRONG: RdbError = RdbError::Malformed("a ziplist that is none");
const END: u8 = 0xff;
const HEAD_BYTES: usize = 10;
/// The count of one that has as many or more.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// A length of the entry before that takes four more bytes.
const LONG: u8 = 0xfe;

/// The entries of a ziplist.
#[derive(Debug)]
pub struct Ziplist<'a> {
    rest: &'a [u8],
    /// Where the rest and the last entry stand in the whole.
    at: usize,
    last_at: usize,
    bytes_before: usize,
    missing: Option<u16>,
}

impl<'a> Ziplist<'a> {
    /// # Errors
    /// The head does not fit the bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RdbError> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(WRONG)?;
        let [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1] = *head;
        let count = u16::from_le_bytes([c0, c1]);
        if u32::from_le_bytes([t0, t1, t2, t3]) as usize != bytes.len() {
            return Err(WRONG);
        }
        Ok(Self {
            rest,
            at: HEAD_BYTES,
            last_at: u32::from_le_bytes([l0, l1, l2, l3]) as usize,
            bytes_before: 0,
            missing: (count != COUNT_UNKNOWN).then_some(count),
        })
    }

    /// The entry that `bytes` start with, and how many bytes it takes.
    fn entry(bytes: &'a [u8]) -> Option<(Element<'a>, usize)> {
        let (&first, after) = bytes.split_first()?;
        let string = |head: usize, length: usize| {
            let end = head.checked_add(length)?;
            Some((bytes.get(head..end)?.into(), end))
        };
        let number = |number: i64, bytes: usize| Some((Element::Integer(number), bytes));
        match first {
            0x00..=0x3f => string(1, usize::from(first)),
            0x40..=0x7f => string(2, usize::from(first & 0x3f) << 8 | usize::from(*after.first()?)),
            0x80..=0xbf => string(5, u32::from_be_bytes(*after.first_chunk()?) as usize),
            0xc0 => number(i64::from(i16::from_le_bytes(*after.first_chunk()?)), 3),
            0xd0 => number(i64::from(i32::from_le_bytes(*after.first_chunk()?)), 5),
            0xe0 => number(i64::from_le_bytes(*after.first_chunk()?), 9),
            0xf0 => number(integer_of_24_bits(*after.first_chunk()?), 4),
            0xf1..=0xfd => number(i64::from(first & 0x0f) - 1, 1),
            0xfe => number(i64::from(i8::from_le_bytes(*after.first_chunk()?)), 2),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<Element<'a>> {
        let (before, head) = match self.rest {
            [LONG, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 5),
            [LONG | END, ..] | [] => return None,
            [before, ..] => (usize::from(*before), 1),
        };
        let (element, bytes) = Self::entry(&self.rest[head..])?;
        let bytes = head + bytes;
        let rest = self.rest.get(bytes..)?;
        let is_last = rest == [END];
        if before != self.bytes_before || is_last != (self.at == self.last_at) {
            return None;
        }
        self.missing = match self.missing {
            Some(missing) => Some(missing.checked_sub(1)?),
            None => None,
        };
        (self.rest, self.at, self.bytes_before) = (rest, self.at + bytes, bytes);
        Some(element)
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Element<'a>, RdbError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            [END] if self.missing.unwrap_or(0) == 0 => None,
            _ => Some(self.take().ok_or(WRONG)),
        }
    }
}
