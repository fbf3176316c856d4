//! Where the keys are among the arguments of a request.

use super::flags::KeyFlags;
use crate::protocol::numbers::parse_i64;
use crate::protocol::request::Args;

/// Some keys of a command: where they are, what is done to them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where they are.
    pub place: KeyPlace,
    /// What the command does to them.
    pub flags: KeyFlags,
    /// A remark for people.
    pub note: Option<&'static str>,
}

/// Where keys are. The command's name is at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// One in every `step` arguments from `first` on, up to `last`: relative to the first, or from the end if negative
    /// (-1 is the last argument).
    Run {
        /// The first position.
        first: u8,
        /// The last one.
        last: i8,
        /// The distance.
        step: u8,
    },
    /// As many as the argument at `number` says, behind it.
    Counted {
        /// The position of the number.
        number: u8,
    },
    /// The argument behind the last `STORE` among the options of SORT.
    SortStore,
    /// The argument behind the last `STORE` or `STOREDIST` of GEORADIUS, among the options from this position on.
    GeoStore {
        /// The position.
        options: u8,
    },
    /// The first half of the arguments behind `STREAMS`.
    Streams,
    /// Named by patterns and values, which only the command itself can tell.
    Unknown,
}

impl KeyPlace {
    /// First position and one past the last, and the distance, in a request.
    fn run(self, args: Args<'_>) -> (usize, usize, usize) {
        let count = args.len();
        match self {
            Self::Run { first, last, step } => {
                let end = if last < 0 {
                    (count + 1).saturating_sub(usize::from(last.unsigned_abs()))
                } else {
                    usize::from(first) + last.unsigned_abs() as usize + 1
                };
                (first.into(), end.min(count), step.into())
            }
            Self::Counted { number } => {
                let first = usize::from(number) + 1;
                let said = if first < count { parse_i64(args.get(first - 1)) } else { None };
                let said = said.and_then(|said| usize::try_from(said).ok()).unwrap_or(0);
                (first, first.saturating_add(said).min(count), 1)
            }
            Self::SortStore => only(sort_target(args)),
            Self::GeoStore { options } => only(geo_target(args, options.into())),
            Self::Streams => {
                let first = (stream_options(args)..count).find(|at| args.is(*at, "streams")).map_or(count, |at| at + 1);
                (first, first + (count - first) / 2, 1)
            }
            Self::Unknown => (0, 0, 1),
        }
    }
}

/// One key, or none.
fn only(target: Option<usize>) -> (usize, usize, usize) {
    (target.unwrap_or(0), target.map_or(0, |target| target + 1), 1)
}

/// The position of the key that GEORADIUS stores to.
fn geo_target(args: Args<'_>, options: usize) -> Option<usize> {
    let is_store = |at: &usize| args.is(*at, "store") || args.is(*at, "storedist");
    (options..args.len().saturating_sub(1)).rev().find(is_store).map(|at| at + 1)
}

/// Where the options of a read of streams begin: a group and a consumer may have the name of an option.
pub fn stream_options(args: Args<'_>) -> usize {
    if args.len() > 1 && args.is(1, "group") { 4 } else { 1 }
}

/// The position of the key that SORT stores to.
fn sort_target(args: Args<'_>) -> Option<usize> {
    let (mut at, mut target) = (2, None);
    while at < args.len() {
        at += if args.is(at, "limit") {
            3
        } else if args.is(at, "get") || args.is(at, "by") {
            2
        } else if args.is(at, "store") {
            target = Some(at + 1).filter(|&target| target < args.len());
            2
        } else {
            1
        };
    }
    target
}

/// The positions of the keys of one request.
#[derive(Clone, Debug)]
pub struct KeyPositions<'a> {
    specs: &'static [KeySpec],
    args: Args<'a>,
    next: usize,
    end: usize,
    step: usize,
    flags: KeyFlags,
}

impl<'a> KeyPositions<'a> {
    pub(super) const fn new(specs: &'static [KeySpec], args: Args<'a>) -> Self {
        Self { specs, args, next: 0, end: 0, step: 1, flags: KeyFlags::of(&[]) }
    }

    /// As the iterator, with what the command does to each key.
    #[inline]
    pub fn next_with_flags(&mut self) -> Option<(usize, KeyFlags)> {
        while self.next >= self.end {
            let (spec, rest) = self.specs.split_first()?;
            (self.next, self.end, self.step) = spec.place.run(self.args);
            (self.specs, self.flags) = (rest, spec.flags);
        }
        let position = self.next;
        self.next += self.step;
        Some((position, self.flags))
    }
}

impl Iterator for KeyPositions<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.next_with_flags().map(|(position, _)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookup;
    use crate::protocol::request::{Args, parse_array, write_array};

    /// The keys that the table finds in a request.
    fn keys(line: &str) -> Vec<String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        write_array(&mut bytes, words.iter().copied());
        parse_array(&bytes, &mut spans).unwrap();
        let args = Args::new(&bytes, &spans);
        let spec = lookup(words[0]).unwrap();
        let spec = if words.len() > 1 { spec.subcommand(words[1]).unwrap() } else { spec };
        spec.key_positions(args).map(|at| String::from_utf8_lossy(args.get(at)).into_owned()).collect()
    }

    #[test]
    fn keys_are_where_the_table_says() {
        let cases: &[(&str, &[&str])] = &[
            ("get k", &["k"]),
            ("ping k", &[]),
            ("mget a b c", &["a", "b", "c"]),
            ("mset a 1 b 2", &["a", "b"]),
            ("mset a 1 b", &["a", "b"]),
            ("bitop and t a b", &["t", "a", "b"]),
            ("lcs a b len", &["a", "b"]),
            ("copy a b replace", &["a", "b"]),
            ("rename a b", &["a", "b"]),
            ("rename a", &["a"]),
            ("get", &[]),
            ("mget", &[]),
            ("bitop", &[]),
            ("object encoding k", &["k"]),
            ("lmpop 2 a b left count 3", &["a", "b"]),
            ("lmpop 9 a b", &["a", "b"]),
            ("lmpop -1 a b", &[]),
            ("lmpop x a b", &[]),
            ("lmpop", &[]),
            ("zunionstore t 2 a b weights 1 2", &["t", "a", "b"]),
            ("zunion 1 a withscores", &["a"]),
            ("sort k", &["k"]),
            ("sort k by store get store limit 0 store desc", &["k"]),
            ("sort k store a STORE b alpha", &["k", "b"]),
            ("sort k store", &["k"]),
        ];
        for (line, expected) in cases {
            assert_eq!(keys(line), *expected, "{line}");
        }
    }
}
