//! The words for the ends of a list.

use super::super::call::CommandError;
use super::super::value::End;
use crate::protocol::errors;

/// The end that an argument names.
pub fn end_of(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Left)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Right)
    } else {
        Err(errors::SYNTAX.into())
    }
}
