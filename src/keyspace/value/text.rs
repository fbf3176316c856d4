//! Strings: a number, a few bytes in place, a small box, or, past [`BOXED_BYTES_MAX`], shared. A shared string is changed
//! in place while nothing else holds it, so that APPEND, SETRANGE and SETBIT stay cheap on large values.
//!
//! Invariant: the form follows from the content and `raw` alone, so that replicas and restored snapshots agree.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use crate::protocol::numbers::parse_i64;

/// The longest string kept in place.
const INLINE_BYTES_MAX: usize = 21;
/// The longest string kept in a box of its own; longer ones are shared.
const BOXED_BYTES_MAX: usize = 1024;
/// The longest string that `OBJECT ENCODING` calls `embstr`.
const EMBSTR_BYTES_MAX: usize = 44;
/// Room for the digits of any `i64`.
pub const INTEGER_TEXT_BYTES_MAX: usize = 20;

/// A string of bytes in one of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Integer(i64),
    Inline { raw: bool, len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Boxed { raw: bool, bytes: Box<[u8]> },
    Shared(Arc<Vec<u8>>),
}

/// What `OBJECT ENCODING` says of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A number.
    Int,
    /// Short, and never changed in place.
    Embstr,
    /// Any other.
    Raw,
}

impl Encoding {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Embstr => "embstr",
            Self::Raw => "raw",
        }
    }
}

impl Text {
    /// A string as a client set it: a number when it reads as one.
    pub fn encode(bytes: &[u8]) -> Self {
        match parse_i64(bytes) {
            Some(number) => Self::integer(number),
            None => Self::plain(bytes),
        }
    }

    /// A number.
    pub const fn integer(number: i64) -> Self {
        Self(Form::Integer(number))
    }

    /// A string that stays one, even if it reads as a number.
    pub fn plain(bytes: &[u8]) -> Self {
        Self::form(bytes, false)
    }

    /// A string that a command built or changed.
    pub fn raw(bytes: Vec<u8>) -> Self {
        if bytes.len() > BOXED_BYTES_MAX { Self(Form::Shared(Arc::new(bytes))) } else { Self::form(&bytes, true) }
    }

    fn form(bytes: &[u8], raw: bool) -> Self {
        if bytes.len() <= INLINE_BYTES_MAX {
            let mut inline = [0; INLINE_BYTES_MAX];
            inline[..bytes.len()].copy_from_slice(bytes);
            return Self(Form::Inline { raw, len: bytes.len() as u8, bytes: inline });
        }
        if bytes.len() <= BOXED_BYTES_MAX {
            // Past the embstr limit `raw` says nothing: one form per content.
            return Self(Form::Boxed { raw: raw && bytes.len() <= EMBSTR_BYTES_MAX, bytes: bytes.into() });
        }
        Self(Form::Shared(Arc::new(bytes.to_vec())))
    }

    /// The bytes; a number is written into `digits`.
    pub fn bytes<'a>(&'a self, digits: &'a mut [u8; INTEGER_TEXT_BYTES_MAX]) -> &'a [u8] {
        match &self.0 {
            Form::Integer(number) => {
                let mut rest = &mut digits[..];
                write!(rest, "{number}").expect("the digits of an i64 fit");
                let unused = rest.len();
                &digits[..INTEGER_TEXT_BYTES_MAX - unused]
            }
            Form::Inline { len, bytes, .. } => &bytes[..usize::from(*len)],
            Form::Boxed { bytes, .. } => bytes,
            Form::Shared(bytes) => bytes,
        }
    }

    /// The bytes; those of a number are made for the caller.
    pub fn as_bytes(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Form::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
            Form::Inline { len, bytes, .. } => Cow::Borrowed(&bytes[..usize::from(*len)]),
            Form::Boxed { bytes, .. } => Cow::Borrowed(bytes),
            Form::Shared(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// Calls `read` with the bytes.
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(self.bytes(&mut [0; INTEGER_TEXT_BYTES_MAX]))
    }

    /// Reads from where its bytes are, so that they are at hand.
    pub fn fetch(&self) -> u64 {
        match &self.0 {
            Form::Boxed { bytes, .. } => bytes.first().copied().map_or(0, u64::from),
            Form::Shared(bytes) => bytes.len() as u64,
            Form::Integer(_) | Form::Inline { .. } => 0,
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.with_bytes(<[u8]>::len)
    }

    /// The number that it reads as.
    pub fn as_integer(&self) -> Option<i64> {
        match &self.0 {
            Form::Integer(number) => Some(*number),
            _ => self.with_bytes(parse_i64),
        }
    }

    /// The number, if it is kept as one.
    pub const fn stored_integer(&self) -> Option<i64> {
        match &self.0 {
            Form::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Changes the bytes in place; from then on the string is `raw`.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if let Form::Shared(shared) = &mut self.0 {
            return change(Arc::make_mut(shared));
        }
        let mut bytes = self.with_bytes(<[u8]>::to_vec);
        let result = change(&mut bytes);
        *self = Self::raw(bytes);
        result
    }

    /// What `OBJECT ENCODING` says.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Integer(_) => Encoding::Int,
            Form::Inline { raw: false, .. } => Encoding::Embstr,
            Form::Boxed { raw: false, bytes } if bytes.len() <= EMBSTR_BYTES_MAX => Encoding::Embstr,
            _ => Encoding::Raw,
        }
    }

    /// The bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Integer(_) | Form::Inline { .. } => 0,
            Form::Boxed { bytes, .. } => bytes.len() + 8,
            Form::Shared(bytes) => bytes.len() + 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_follow_redis() {
        for (bytes, encoding) in [
            (&b"12"[..], Encoding::Int),
            (b"-9223372036854775808", Encoding::Int),
            (b"9223372036854775808", Encoding::Embstr),
            (b"012", Encoding::Embstr),
            (b"", Encoding::Embstr),
            (&[b'x'; 44], Encoding::Embstr),
            (&[b'x'; 45], Encoding::Raw),
            (&[b'x'; 5000], Encoding::Raw),
        ] {
            let text = Text::encode(bytes);
            assert_eq!(text.encoding(), encoding, "{}", bytes.escape_ascii());
            text.with_bytes(|back| assert_eq!(back, bytes));
            assert_eq!(text.len(), bytes.len());
        }
    }

    #[test]
    fn an_edit_makes_a_string_raw_whatever_its_form() {
        for length in [1, 21, 22, 44, 45, 1023, 1024, 5000] {
            let mut text = Text::encode(&vec![b'x'; length]);
            text.edit(|bytes| bytes.push(b'y'));
            assert_eq!((text.encoding(), text.len()), (Encoding::Raw, length + 1));
            assert_eq!(text, Text::raw([vec![b'x'; length], vec![b'y']].concat()));
        }
        let mut number = Text::integer(12);
        number.edit(|bytes| bytes.push(b'3'));
        assert_eq!((number.encoding(), number.as_integer()), (Encoding::Raw, Some(123)));
    }
}
