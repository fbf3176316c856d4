//! LPOS: where elements of a value are.

use super::super::call::{CommandError, CommandResult, ReadCall, Word, integer};
use super::super::value::List;
use super::pop::count_from;
use crate::protocol::errors;
use crate::protocol::request::Args;

const RANK_ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
    negative to start from the end of the list";
const RANK_OUT_OF_RANGE: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
const COUNT_NEGATIVE: &str = "ERR COUNT can't be negative";
const MAXLEN_NEGATIVE: &str = "ERR MAXLEN can't be negative";

#[derive(Clone, Copy, Debug)]
struct Options {
    /// Which match is the first one wanted, from 1 on.
    rank: usize,
    from_tail: bool,
    /// How many matches; 0: all.
    count: Option<usize>,
    /// How many elements are looked at; 0: all.
    elements_max: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self { rank: 1, from_tail: false, count: None, elements_max: 0 };
        let mut position = 3;
        while position < args.len() {
            if position + 1 == args.len() {
                return Err(errors::SYNTAX.into());
            }
            let value = args.get(position + 1);
            match Word::of(args.get(position)).as_slice() {
                b"RANK" => options.set_rank(integer(args, position + 1)?)?,
                b"COUNT" => options.count = Some(count_from(value, 0, COUNT_NEGATIVE)?),
                b"MAXLEN" => options.elements_max = count_from(value, 0, MAXLEN_NEGATIVE)?,
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 2;
        }
        Ok(options)
    }

    fn set_rank(&mut self, rank: i64) -> CommandResult {
        match rank {
            i64::MIN => return Err(RANK_OUT_OF_RANGE.into()),
            0 => return Err(RANK_ZERO.into()),
            rank => (self.rank, self.from_tail) = (rank.unsigned_abs() as usize, rank < 0),
        }
        Ok(())
    }

    /// How many elements lie on the way to each match that is wanted.
    fn distances<'l>(self, elements: impl Iterator<Item = &'l [u8]>, wanted: &[u8]) -> Vec<usize> {
        let or_all = |number: usize| if number == 0 { usize::MAX } else { number };
        let matches = elements.take(or_all(self.elements_max)).enumerate().filter(|(_, element)| *element == wanted);
        let matches = matches.map(|(distance, _)| distance).skip(self.rank - 1);
        matches.take(or_all(self.count.unwrap_or(1))).collect()
    }
}

pub fn lpos(call: &mut ReadCall<'_>) -> CommandResult {
    let (options, wanted) = (Options::parse(call.args)?, call.args.get(2));
    let found: Vec<usize> = match call.collection::<List>(call.args.get(1))? {
        None => Vec::new(),
        Some(list) if options.from_tail => {
            let distances = options.distances(list.iter().rev(), wanted);
            distances.into_iter().map(|distance| list.len() - 1 - distance).collect()
        }
        Some(list) => options.distances(list.iter(), wanted),
    };
    if options.count.is_some() {
        call.reply.array(found.len());
        found.iter().for_each(|&index| call.reply.integer(index as i64));
    } else {
        match found.first() {
            Some(&index) => call.reply.integer(index as i64),
            None => call.reply.null(),
        }
    }
    Ok(())
}
