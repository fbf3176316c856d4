//! HSCAN, SSCAN and ZSCAN: a walk over the elements of one collection in hash order.
//!
//! The cursor is the position where the walk goes on ([`element_position`](super::value::element_position)), whatever
//! was added or removed meanwhile. All elements of one position are returned together, so one that is there during the
//! whole walk is returned exactly once. A collection in a small encoding is returned whole, as Redis does.

use super::call::{CommandError, Word, integer};
use super::keys::scan_number;
use crate::protocol::request::Args;
use crate::protocol::{errors, glob};

const COUNT_DEFAULT: u64 = 10;

/// The position at which the walk of these arguments goes on. Redis judges it before it looks for the key.
pub fn scan_cursor(args: Args<'_>) -> Result<u64, CommandError> {
    scan_number(args.get(2)).ok_or_else(|| errors::INVALID_CURSOR.into())
}

/// The options behind the cursor. Redis judges them after it has found the key.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    count: u64,
    pattern: Option<&'a [u8]>,
    /// NOVALUES, of HSCAN alone.
    pub no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// The options in these arguments.
    pub fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self { count: COUNT_DEFAULT, pattern: None, no_values: false };
        let mut position = 3;
        while position < args.len() {
            let has_value = position + 1 < args.len();
            match Word::of(args.get(position)).as_slice() {
                b"COUNT" if has_value => {
                    let count = integer(args, position + 1)?;
                    options.count = u64::try_from(count).ok().filter(|&count| count > 0).ok_or(errors::SYNTAX)?;
                }
                b"MATCH" if has_value => options.pattern = Some(args.get(position + 1)),
                b"NOVALUES" if args.name().eq_ignore_ascii_case(b"hscan") => {
                    options.no_values = true;
                    position -= 1;
                }
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 2;
        }
        Ok(options)
    }

    /// Takes about as many elements as COUNT says from those that come, each with its position, or all; those that
    /// match, and the cursor that goes on, 0 at the end.
    pub fn walk<T>(
        &self,
        elements: impl Iterator<Item = (u64, T)>,
        all: bool,
        name: impl Fn(&T) -> &[u8],
    ) -> (Vec<T>, u64) {
        let (mut found, mut visited, mut last) = (Vec::new(), 0, None);
        for (position, element) in elements {
            if !all && visited >= self.count && last != Some(position) {
                return (found, position);
            }
            (visited, last) = (visited + 1, Some(position));
            if self.pattern.is_none_or(|pattern| glob::matches(pattern, name(&element))) {
                found.push(element);
            }
        }
        (found, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::{parse_array, write_array};

    fn walk(words: &[&[u8]], elements: &[(u64, &'static str)]) -> (Vec<&'static str>, u64) {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        write_array(&mut bytes, words.iter().copied());
        parse_array(&bytes, &mut spans).unwrap();
        let options = ScanOptions::parse(Args::new(&bytes, &spans)).unwrap();
        options.walk(elements.iter().copied(), false, |name| name.as_bytes())
    }

    #[test]
    fn elements_of_one_position_stay_together() {
        let elements = [(1, "a"), (5, "b"), (5, "c"), (5, "d"), (9, "e")];
        assert_eq!(walk(&[b"HSCAN", b"k", b"0", b"COUNT", b"2"], &elements), (vec!["a", "b", "c", "d"], 9));
        assert_eq!(walk(&[b"SSCAN", b"k", b"9", b"count", b"2"], &elements[4..]), (vec!["e"], 0));
        assert_eq!(walk(&[b"SSCAN", b"k", b"9", b"MATCH", b"[bc]"], &elements), (vec!["b", "c"], 0));
    }
}
