//! ZADD and ZINCRBY.

use super::super::call::{CommandError, CommandResult, Word, WriteCall};
use super::super::slot_data::Changed;
use super::super::value::{SortedSet, Updated};
use crate::protocol::errors;
use crate::protocol::numbers::parse_double;
use crate::protocol::request::Args;

const XX_AND_NX: &str = "ERR XX and NX options at the same time are not compatible";
const GT_LT_NX: &str = "ERR GT, LT, and/or NX options at the same time are not compatible";
const INCR_OF_SEVERAL: &str = "ERR INCR option supports a single increment-element pair";
const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    only_new: bool,
    only_present: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
    /// Where the first score is.
    first: usize,
}

impl Options {
    fn parse(args: Args<'_>, increment: bool) -> Result<Self, CommandError> {
        let mut options = Self { increment, first: 2, ..Self::default() };
        while options.first < args.len() {
            match Word::of(args.get(options.first)).as_slice() {
                b"NX" => options.only_new = true,
                b"XX" => options.only_present = true,
                b"GT" => options.only_greater = true,
                b"LT" => options.only_less = true,
                b"CH" => options.count_changed = true,
                b"INCR" => options.increment = true,
                _ => break,
            }
            options.first += 1;
        }
        let rest = args.len() - options.first;
        if rest == 0 || rest % 2 == 1 {
            return Err(errors::SYNTAX.into());
        }
        if options.only_new && options.only_present {
            return Err(XX_AND_NX.into());
        }
        let conditions = [options.only_new, options.only_greater, options.only_less];
        if conditions.into_iter().filter(|condition| *condition).count() > 1 {
            return Err(GT_LT_NX.into());
        }
        if options.increment && rest > 2 {
            return Err(INCR_OF_SEVERAL.into());
        }
        Ok(options)
    }

    /// The score that a member gets; none: it is left as it is.
    fn decide(&self, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.only_present).then_some(given) };
        let score = if self.increment { old + given } else { given };
        let refused =
            self.only_new || self.only_less && score >= old || self.only_greater && score <= old || score.is_nan();
        (!refused).then_some(score)
    }
}

/// ZADD, and ZINCRBY, which has the option INCR without saying it.
pub fn zadd(call: &mut WriteCall<'_>, increment: bool) -> CommandResult {
    let options = Options::parse(call.args, increment)?;
    let (args, key) = (call.args, call.args.get(1));
    let score_at = |at: usize| parse_double(args.get(at)).ok_or(errors::NOT_A_FLOAT);
    let scores: Vec<f64> = (options.first..args.len()).step_by(2).map(score_at).collect::<Result<_, _>>()?;
    if call.collection::<SortedSet>(key)?.is_none() && options.only_present {
        if options.increment {
            call.reply.null()
        } else {
            call.reply.integer(0)
        }
        return Ok(());
    }
    let pairs = scores.iter().zip(args.from(options.first + 1).step_by(2));
    let change = |set: &mut SortedSet| put_all(set, pairs, &options);
    let (counts, last) = call.keyspace.edit_collection(key, change);
    match last {
        _ if !options.increment => {
            let counted = counts.added + if options.count_changed { counts.moved } else { 0 };
            call.reply.integer(counted as i64);
        }
        Last::Is(score) => call.reply.double(score),
        Last::Refused => call.reply.null(),
        Last::NotANumber => return Err(NOT_A_NUMBER.into()),
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    added: usize,
    moved: usize,
}

/// What an increment came to.
#[derive(Clone, Copy, Debug)]
enum Last {
    Is(f64),
    Refused,
    NotANumber,
}

fn put_all<'a>(
    set: &mut SortedSet,
    pairs: impl ExactSizeIterator<Item = (&'a f64, &'a [u8])>,
    options: &Options,
) -> (Changed, (Counts, Last)) {
    let (mut counts, mut last) = (Counts::default(), Last::Refused);
    let expected = pairs.len();
    if set.len() == 0 {
        set.expect(expected);
    }
    for (&given, member) in pairs {
        let updated = set.update(member, |old| {
            let score = options.decide(old, given);
            last = match score {
                Some(score) => Last::Is(score),
                None if old.is_some_and(|old| (old + given).is_nan()) && !options.only_new => Last::NotANumber,
                None => Last::Refused,
            };
            score
        });
        counts.added += usize::from(updated == Updated::Added);
        counts.moved += usize::from(updated == Updated::Moved);
    }
    if counts.added + counts.moved == 0 {
        return (Changed::No, (counts, last));
    }
    set.expect(expected);
    (Changed::Yes, (counts, last))
}
