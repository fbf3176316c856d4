//! What the commands on expiring fields are given: a time, conditions, and the fields behind their number.

use super::super::call::{CommandError, CommandResult, Word, integer};
use super::super::strings::{ExpiryOption, GivenTime, Unit};
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::request::Args;

/// The number of fields is not that of the fields that follow.
pub const FIELD_COUNT: &str = "ERR numfields should be greater than 0 and match the provided number of fields";

/// Where the fields begin that the arguments name after FIELDS and their number, each with `width` arguments; FIELDS is
/// at `at`, or absent.
pub fn fields_from(args: Args<'_>, at: Option<usize>, width: usize) -> Result<usize, CommandError> {
    let at = at.ok_or(FIELD_COUNT)?;
    let count = integer(args, at + 1)?;
    let first = at + 2;
    let fits =
        usize::try_from(count).is_ok_and(|count| count > 0 && count.checked_mul(width) == Some(args.len() - first));
    if fits { Ok(first) } else { Err(FIELD_COUNT.into()) }
}

/// Where FIELDS is, from `from` on; not the last argument.
pub fn fields_word(args: Args<'_>, from: usize) -> Option<usize> {
    (from..args.len() - 1).find(|&at| args.is(at, "fields"))
}

/// The point in time that is meant, in milliseconds; it may be over.
pub fn deadline(given: GivenTime<'_>, now_ms: u64, command: &str) -> Result<u64, CommandError> {
    let number = parse_i64(given.text).ok_or(errors::NOT_AN_INTEGER)?;
    let factor = if given.unit == Unit::Seconds { 1000 } else { 1 };
    let base = if given.absolute { 0 } else { now_ms as i64 };
    let at = Some(number).filter(|&number| number >= 0).and_then(|number| number.checked_mul(factor));
    let at = at.and_then(|at| at.checked_add(base)).ok_or_else(|| errors::invalid_expire(command))?;
    Ok(at as u64)
}

/// A condition on what is there before HSETEX sets anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// None.
    #[default]
    Any,
    /// NX, FNX.
    Absent,
    /// XX, FXX.
    There,
}

/// The options of HSETEX, or of HGETEX, which has those about expiry only.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimedOptions<'a> {
    /// NX or XX: of the key.
    pub key: Presence,
    /// FNX or FXX: of every field.
    pub fields: Presence,
    /// The rest.
    pub expiry: ExpiryOption<'a>,
}

impl<'a> TimedOptions<'a> {
    /// The options before FIELDS, which is at `end`.
    pub fn parse(args: Args<'a>, end: usize, sets: bool) -> Result<Self, CommandError> {
        use Presence::{Absent, There};
        let (mut options, mut position) = (Self::default(), 2);
        while position < end {
            let word = Word::of(args.get(position));
            match word.as_slice() {
                b"NX" if sets && options.key != There => options.key = Absent,
                b"XX" if sets && options.key != Absent => options.key = There,
                b"FNX" if sets && options.fields != There => options.fields = Absent,
                b"FXX" if sets && options.fields != Absent => options.fields = There,
                b"KEEPTTL" if sets && matches!(options.expiry, ExpiryOption::Unsaid | ExpiryOption::Keep) => {
                    options.expiry = ExpiryOption::Keep;
                }
                b"PERSIST" if !sets && matches!(options.expiry, ExpiryOption::Unsaid | ExpiryOption::Persist) => {
                    options.expiry = ExpiryOption::Persist;
                }
                word => {
                    position += 1;
                    options.give_time(word, (position < end).then(|| args.get(position)))?;
                }
            }
            position += 1;
        }
        Ok(options)
    }

    /// Takes EX and the like. The same option may come again, another may not.
    fn give_time(&mut self, word: &[u8], text: Option<&'a [u8]>) -> CommandResult {
        let (unit, absolute) = GivenTime::form(word).ok_or(errors::SYNTAX)?;
        let fits = match self.expiry {
            ExpiryOption::Unsaid => true,
            ExpiryOption::At(other) => (other.unit, other.absolute) == (unit, absolute),
            ExpiryOption::Keep | ExpiryOption::Persist => false,
        };
        let text = text.filter(|_| fits).ok_or(errors::SYNTAX)?;
        self.expiry = ExpiryOption::At(GivenTime { text, unit, absolute });
        Ok(())
    }
}
