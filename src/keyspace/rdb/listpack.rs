//! Listpacks: what Redis 7 packs small collections into. Total bytes, count, entries with their length behind them, end.

use super::RdbError;
use super::element::Element;

const WRONG: RdbError = RdbError::Malformed("a listpack that is none");
const END: u8 = 0xff;
/// The count of one that has as many or more.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The entries of a listpack.
#[derive(Debug)]
pub struct Listpack<'a> {
    rest: &'a [u8],
    /// How many entries there still have to be, if it says so.
    missing: Option<u16>,
}

impl<'a> Listpack<'a> {
    /// # Errors
    /// The head does not fit the bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RdbError> {
        let (total, rest) = bytes.split_first_chunk().ok_or(WRONG)?;
        let (count, rest) = rest.split_first_chunk().ok_or(WRONG)?;
        let count = u16::from_le_bytes(*count);
        if u32::from_le_bytes(*total) as usize != bytes.len() {
            return Err(WRONG);
        }
        Ok(Self { rest, missing: (count != COUNT_UNKNOWN).then_some(count) })
    }

    /// The entry that comes now, with how many bytes it takes before its length.
    fn entry(&self) -> Option<(Element<'a>, usize)> {
        let (&first, after) = self.rest.split_first()?;
        let string = |head: usize, length: usize| {
            let end = head.checked_add(length)?;
            Some((self.rest.get(head..end)?.into(), end))
        };
        let number = |number: i64, bytes: usize| Some((Element::Integer(number), bytes));
        match first {
            0x00..=0x7f => number(i64::from(first), 1),
            0x80..=0xbf => string(1, usize::from(first & 0x3f)),
            0xc0..=0xdf => {
                let bits = i16::from(first & 0x1f) << 8 | i16::from(*after.first()?);
                number(i64::from(bits << 3 >> 3), 2)
            }
            0xe0..=0xef => string(2, usize::from(first & 0x0f) << 8 | usize::from(*after.first()?)),
            0xf0 => string(5, u32::from_le_bytes(*after.first_chunk()?) as usize),
            0xf1 => number(i64::from(i16::from_le_bytes(*after.first_chunk()?)), 3),
            0xf2 => number(integer_of_24_bits(*after.first_chunk()?), 4),
            0xf3 => number(i64::from(i32::from_le_bytes(*after.first_chunk()?)), 5),
            0xf4 => number(i64::from_le_bytes(*after.first_chunk()?), 9),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<Element<'a>> {
        let (element, bytes) = self.entry()?;
        let behind = self.rest.get(bytes..)?;
        let (length, length_bytes) = length_behind(bytes);
        self.rest = behind.strip_prefix(&length[..length_bytes])?;
        self.missing = match self.missing {
            Some(missing) => Some(missing.checked_sub(1)?),
            None => None,
        };
        Some(element)
    }
}

impl<'a> Iterator for Listpack<'a> {
    type Item = Result<Element<'a>, RdbError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            [END] if self.missing.unwrap_or(0) == 0 => None,
            _ => Some(self.take().ok_or(WRONG)),
        }
    }
}

/// A number of three bytes.
pub fn integer_of_24_bits([a, b, c]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
}

/// The length that stands behind an entry of so many bytes, to be read from its end.
fn length_behind(bytes: usize) -> ([u8; 5], usize) {
    let count = match bytes {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    let mut length = [0; 5];
    for (at, byte) in length[..count].iter_mut().enumerate() {
        let more = if at > 0 { 0x80 } else { 0 };
        *byte = (bytes >> (7 * (count - 1 - at))) as u8 & 0x7f | more;
    }
    (length, count)
}
