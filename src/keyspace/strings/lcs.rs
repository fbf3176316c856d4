//! LCS: the longest common subsequence of two strings, by the table of the lengths for all pairs of prefixes.

use std::ops::Range;

use super::super::call::{CommandError, CommandResult, ReadCall, Word, integer};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    length: bool,
    indexes: bool,
    match_length_min: i64,
    with_match_length: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut position = 3;
        while position < args.len() {
            let word = Word::of(args.get(position));
            match word.as_slice() {
                b"IDX" => options.indexes = true,
                b"LEN" => options.length = true,
                b"WITHMATCHLEN" => options.with_match_length = true,
                b"MINMATCHLEN" if position + 1 < args.len() => {
                    position += 1;
                    options.match_length_min = integer(args, position)?.max(0);
                }
                _ => return Err(errors::SYNTAX.into()),
            }
            position += 1;
        }
        if options.length && options.indexes {
            return Err(errors::LCS_LENGTH_AND_INDEXES.into());
        }
        Ok(options)
    }
}

pub fn lcs(call: &mut ReadCall<'_>) -> CommandResult {
    let bytes_of = |key| match call.text(key) {
        Ok(text) => Ok(text.map_or_else(Vec::new, |text| text.with_bytes(<[u8]>::to_vec))),
        Err(_) => Err(errors::LCS_NOT_STRINGS),
    };
    let a = bytes_of(call.args.get(1))?;
    let b = bytes_of(call.args.get(2))?;
    let options = Options::parse(call.args)?;
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    if cells.saturating_mul(4) > u64::from(call.keyspace.limits.value_bytes_max) {
        return Err(errors::LCS_TOO_LONG.into());
    }
    let table = Table::of(&a, &b);
    if options.indexes {
        reply_indexes(&mut call.reply, &table, options);
    } else if options.length {
        call.reply.integer(i64::from(table.length(a.len(), b.len())));
    } else {
        let mut common: Vec<u8> = table.matches().map(|(at, _)| a[at]).collect();
        common.reverse();
        call.reply.bulk(&common);
    }
    Ok(())
}

struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    lengths: Vec<u32>,
}

impl<'a> Table<'a> {
    fn of(a: &'a [u8], b: &'a [u8]) -> Self {
        let width = b.len() + 1;
        let mut lengths = vec![0; (a.len() + 1) * width];
        for (i, byte_a) in a.iter().enumerate() {
            let (above, row) = lengths[i * width..].split_at_mut(width);
            for (j, byte_b) in b.iter().enumerate() {
                row[j + 1] = if byte_a == byte_b { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Self { a, b, lengths }
    }

    /// For the first `i` bytes of one string and the first `j` of the other.
    fn length(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * (self.b.len() + 1) + j]
    }

    /// The positions of the common bytes, last one first.
    fn matches(&self) -> impl Iterator<Item = (usize, usize)> {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if self.a[i - 1] == self.b[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                if self.length(i - 1, j) > self.length(i, j - 1) { i -= 1 } else { j -= 1 }
            }
            None
        })
    }

    /// The runs of common bytes, last one first.
    fn runs(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for (i, j) in self.matches() {
            match runs.last_mut() {
                Some((a, b)) if (a.start, b.start) == (i + 1, j + 1) => (a.start, b.start) = (i, j),
                _ => runs.push((i..i + 1, j..j + 1)),
            }
        }
        runs
    }
}

fn reply_indexes(reply: &mut ReplyWriter<'_>, table: &Table<'_>, options: Options) {
    let mut runs = table.runs();
    runs.retain(|(a, _)| a.len() as i64 >= options.match_length_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(runs.len());
    for (a, b) in runs {
        reply.array(if options.with_match_length { 3 } else { 2 });
        for range in [&a, &b] {
            reply.array(2);
            reply.integer(range.start as i64);
            reply.integer(range.end as i64 - 1);
        }
        if options.with_match_length {
            reply.integer(a.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(table.length(table.a.len(), table.b.len())));
}
