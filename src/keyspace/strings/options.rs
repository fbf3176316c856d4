//! The options that SET and GETEX share.

use super::super::call::{CommandError, CommandResult, Word};
use super::super::record::ExpireAt;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::request::Args;

/// The unit in which a client gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// EX, EXAT, SETEX.
    Seconds,
    /// PX, PXAT, PSETEX.
    Milliseconds,
}

/// A time as a client gives it.
#[derive(Clone, Copy, Debug)]
pub struct GivenTime<'a> {
    /// The number's text.
    pub text: &'a [u8],
    /// Its unit.
    pub unit: Unit,
    /// Whether it counts from 1970 and not from now.
    pub absolute: bool,
}

impl GivenTime<'_> {
    /// In which unit, and whether since 1970, the option with this word gives a time; none: it is not about a time.
    pub const fn form(word: &[u8]) -> Option<(Unit, bool)> {
        match word {
            b"EX" => Some((Unit::Seconds, false)),
            b"PX" => Some((Unit::Milliseconds, false)),
            b"EXAT" => Some((Unit::Seconds, true)),
            b"PXAT" => Some((Unit::Milliseconds, true)),
            _ => None,
        }
    }

    /// The point in time that is meant.
    pub fn resolve(&self, now_ms: u64, command: &str) -> Result<ExpireAt, CommandError> {
        let invalid = || CommandError::from(errors::invalid_expire(command));
        let number = parse_i64(self.text).ok_or(errors::NOT_AN_INTEGER)?;
        let factor = if self.unit == Unit::Seconds { 1000 } else { 1 };
        let base = if self.absolute { 0 } else { now_ms as i64 };
        let at = Some(number).filter(|&number| number > 0).and_then(|number| number.checked_mul(factor));
        let at = at.and_then(|at| at.checked_add(base)).ok_or_else(invalid)?;
        ExpireAt::new(at as u64).ok_or_else(invalid)
    }
}

/// Which keys SET may set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Any.
    #[default]
    Always,
    /// NX: one that is absent.
    Absent,
    /// XX: one that is there.
    Present,
}

/// What becomes of the expiry of a key, or of fields.
#[derive(Clone, Copy, Debug, Default)]
pub enum ExpiryOption<'a> {
    /// Not given.
    #[default]
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// EX, PX, EXAT or PXAT.
    At(GivenTime<'a>),
}

/// The options of SET, or of GETEX, which has those about expiry only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// NX or XX.
    pub condition: Condition,
    /// GET.
    pub get: bool,
    /// The rest.
    pub expiry: ExpiryOption<'a>,
}

impl<'a> Options<'a> {
    /// The options of SET.
    pub fn of_set(args: Args<'a>) -> Result<Self, CommandError> {
        Self::parse(args, 3, true)
    }

    /// The options of GETEX.
    pub fn of_getex(args: Args<'a>) -> Result<Self, CommandError> {
        Self::parse(args, 2, false)
    }

    fn parse(args: Args<'a>, from: usize, is_set: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut position = from;
        while position < args.len() {
            let word = Word::of(args.get(position));
            match word.as_slice() {
                b"NX" if is_set && options.condition != Condition::Present => options.condition = Condition::Absent,
                b"XX" if is_set && options.condition != Condition::Absent => options.condition = Condition::Present,
                b"GET" if is_set => options.get = true,
                b"KEEPTTL" if is_set => match options.expiry {
                    ExpiryOption::Unsaid | ExpiryOption::Keep => options.expiry = ExpiryOption::Keep,
                    _ => return Err(errors::SYNTAX.into()),
                },
                b"PERSIST" if !is_set => match options.expiry {
                    ExpiryOption::Unsaid | ExpiryOption::Persist => options.expiry = ExpiryOption::Persist,
                    _ => return Err(errors::SYNTAX.into()),
                },
                word => {
                    position += 1;
                    options.give_time(word, (position < args.len()).then(|| args.get(position)))?;
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
        match text {
            Some(text) if fits => {
                self.expiry = ExpiryOption::At(GivenTime { text, unit, absolute });
                Ok(())
            }
            _ => Err(errors::SYNTAX.into()),
        }
    }
}
