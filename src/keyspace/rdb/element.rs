//! One string of an object, as it was found: bytes, or a number that stands for its digits.

use std::borrow::Cow;
use std::io::Write;

use super::super::value::INTEGER_TEXT_BYTES_MAX;
use super::RdbError;

/// A string of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// Its bytes.
    Bytes(Cow<'a, [u8]>),
    /// A number, whose digits are the string.
    Integer(i64),
}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> Element<'a> {
    /// The bytes.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
        }
    }

    /// Calls `read` with the bytes.
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Bytes(bytes) => read(bytes),
            Self::Integer(number) => {
                let mut digits = [0; INTEGER_TEXT_BYTES_MAX];
                let mut rest = &mut digits[..];
                write!(rest, "{number}").expect("the digits of an i64 fit");
                let unused = rest.len();
                read(&digits[..INTEGER_TEXT_BYTES_MAX - unused])
            }
        }
    }

    /// The score that it reads as.
    pub fn score(&self) -> Result<f64, RdbError> {
        match self {
            Self::Bytes(bytes) => score_of_text(bytes),
            Self::Integer(number) => Ok(*number as f64),
        }
    }
}

/// A score from its text.
pub fn score_of_text(text: &[u8]) -> Result<f64, RdbError> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or(RdbError::Malformed("a score that is no number"))
}
