//! Intsets: what Redis packs small sets of integers into. Bytes of a number, count, numbers in order.

use super::RdbError;
use super::element::Element;

const WRONG: RdbError = RdbError::Malformed("an intset that is none");

/// The numbers of an intset; each must be above the one before.
///
/// # Errors
/// The head does not fit the bytes.
pub fn intset(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Element<'_>, RdbError>>, RdbError> {
    let (width, rest) = bytes.split_first_chunk().ok_or(WRONG)?;
    let (count, rest) = rest.split_first_chunk().ok_or(WRONG)?;
    let (width, count) = (u32::from_le_bytes(*width) as usize, u32::from_le_bytes(*count) as usize);
    if !matches!(width, 2 | 4 | 8) || rest.len() % width != 0 || rest.len() / width != count {
        return Err(WRONG);
    }
    let mut before = None;
    Ok(rest.chunks_exact(width).map(move |bytes| {
        let number = integer(bytes).ok_or(WRONG)?;
        if before.replace(number).is_some_and(|before| before >= number) {
            return Err(WRONG);
        }
        Ok(Element::Integer(number))
    }))
}

fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => bytes.try_into().ok().map(i16::from_le_bytes).map(i64::from),
        4 => bytes.try_into().ok().map(i32::from_le_bytes).map(i64::from),
        _ => bytes.try_into().ok().map(i64::from_le_bytes),
    }
}
