//! Zipmaps: what Redis before 2.6 packed small hashes into. Count, then names and values in turn, each with its length
//! before it; a value also has a byte that says how many unused bytes follow it.

use super::RdbError;
use super::element::Element;

const WRONG: RdbError = RdbError::Malformed("a zipmap that is none");
const END: u8 = 0xff;
/// A length that takes four more bytes, and a count that is not known.
const LONG: u8 = 0xfe;

/// Names and values of a zipmap in turn.
#[derive(Debug)]
pub struct Zipmap<'a> {
    rest: &'a [u8],
    /// Strings that still have to come, if it says so.
    missing: Option<u16>,
    is_value: bool,
}

impl<'a> Zipmap<'a> {
    /// # Errors
    /// There are no bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RdbError> {
        let (&count, rest) = bytes.split_first().ok_or(WRONG)?;
        Ok(Self { rest, missing: (count < LONG).then_some(u16::from(count) * 2), is_value: false })
    }

    fn take(&mut self) -> Option<Element<'a>> {
        let (length, mut head) = match self.rest {
            [LONG, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 5),
            [LONG | END, ..] | [] => return None,
            [length, ..] => (usize::from(*length), 1),
        };
        let mut unused = 0;
        if self.is_value {
            unused = usize::from(*self.rest.get(head)?);
            head += 1;
        }
        let end = head.checked_add(length)?;
        let string = self.rest.get(head..end)?;
        self.rest = self.rest.get(end + unused..)?;
        self.is_value = !self.is_value;
        self.missing = match self.missing {
            Some(missing) => Some(missing.checked_sub(1)?),
            None => None,
        };
        Some(string.into())
    }
}

impl<'a> Iterator for Zipmap<'a> {
    type Item = Result<Element<'a>, RdbError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            [END] if !self.is_value && self.missing.unwrap_or(0) == 0 => None,
            _ => Some(self.take().ok_or(WRONG)),
        }
    }
}
