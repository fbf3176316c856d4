//! The bytes of an object, from the front: lengths and strings.

use std::borrow::Cow;

use super::element::Element;
use super::{EXPANDED_BYTES_MAX, RdbError, length, lzf};

const CUT_SHORT: RdbError = RdbError::Malformed("cut short");

/// What is left of an object.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
    string_bytes_max: usize,
    /// How many more bytes may come out of compressed strings.
    expansion_left: usize,
}

impl<'a> Input<'a> {
    pub const fn new(bytes: &'a [u8], string_bytes_max: usize, expansion_left: usize) -> Self {
        Self { rest: bytes, string_bytes_max, expansion_left }
    }

    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `N` bytes.
    pub fn chunk<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*chunk)
    }

    pub fn byte(&mut self) -> Result<u8, RdbError> {
        self.chunk().map(|[byte]| byte)
    }

    /// The next bytes.
    pub fn bytes(&mut self, count: u64) -> Result<&'a [u8], RdbError> {
        let at = usize::try_from(count).map_err(|_| CUT_SHORT)?;
        let (bytes, rest) = self.rest.split_at_checked(at).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length or a count.
    pub fn length(&mut self) -> Result<u64, RdbError> {
        let first = self.byte()?;
        self.length_from(first)
    }

    /// A count of items, of which there is at least one.
    pub fn count(&mut self) -> Result<u64, RdbError> {
        match self.length()? {
            0 => Err(RdbError::Malformed("a collection without items")),
            count => Ok(count),
        }
    }

    fn length_from(&mut self, first: u8) -> Result<u64, RdbError> {
        let low = u64::from(first & ((1 << length::SHORT_BITS) - 1));
        match first {
            length::BITS_32 => self.chunk().map(|bytes| u64::from(u32::from_be_bytes(bytes))),
            length::BITS_64 => self.chunk().map(u64::from_be_bytes),
            _ if first >> length::SHORT_BITS == 0 => Ok(low),
            _ if first >> length::SHORT_BITS == 1 => Ok(low << 8 | u64::from(self.byte()?)),
            _ => Err(RdbError::Malformed("a length of unknown form")),
        }
    }

    /// A string of the value.
    pub fn string(&mut self) -> Result<Element<'a>, RdbError> {
        let bytes_max = self.string_bytes_max;
        self.string_of(bytes_max)
    }

    /// A string that holds items in a packed form.
    pub fn packed(&mut self) -> Result<Cow<'a, [u8]>, RdbError> {
        self.string_of(EXPANDED_BYTES_MAX).map(Element::into_bytes)
    }

    fn string_of(&mut self, bytes_max: usize) -> Result<Element<'a>, RdbError> {
        let number = match self.byte()? {
            length::ENCODED_I8 => i64::from(i8::from_le_bytes(self.chunk()?)),
            length::ENCODED_I16 => i64::from(i16::from_le_bytes(self.chunk()?)),
            length::ENCODED_I32 => i64::from(i32::from_le_bytes(self.chunk()?)),
            length::ENCODED_LZF => return self.compressed(bytes_max).map(|bytes| Element::Bytes(Cow::Owned(bytes))),
            first => {
                let bytes = self.length_from(first).and_then(|length| self.bytes(length))?;
                return if bytes.len() <= bytes_max { Ok(bytes.into()) } else { Err(RdbError::TooLarge) };
            }
        };
        Ok(Element::Integer(number))
    }

    fn compressed(&mut self, bytes_max: usize) -> Result<Vec<u8>, RdbError> {
        let (there, length) = (self.length()?, self.length()?);
        let compressed = self.bytes(there)?;
        let length = usize::try_from(length).map_err(|_| RdbError::TooLarge)?;
        if length > bytes_max.min(self.expansion_left) {
            return Err(RdbError::TooLarge);
        }
        self.expansion_left -= length;
        lzf::expand(compressed, length).ok_or(RdbError::Malformed("a string that was not compressed by LZF"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_strings_have_a_sum() {
        let twenty = b"\xc3\x05\x14\0a\xe0\x0a\0".repeat(3);
        let mut input = Input::new(&twenty, 20, 50);
        assert_eq!(input.string().unwrap().into_bytes().as_ref(), [b'a'; 20]);
        assert!(input.string().is_ok());
        assert_eq!(input.string(), Err(RdbError::TooLarge), "each is short enough, all are not");
    }
}
