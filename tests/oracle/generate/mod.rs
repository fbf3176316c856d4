//! Random commands: few keys, so that commands meet; values and arguments at the edges of what they may be.
//!
//! A file for each family of commands, and for each type a [`Mix`] of families that is drawn from in one run. Times are
//! coarse and never equal, so that no answer hangs on the millisecond in which a side looked at its clock.

mod bits;
mod hashes;
mod keys;
mod lists;
mod mixed;
mod sets;
mod sort;
mod sorted_sets;
mod strings;

pub use hashes::{FIELD_EXPIRIES, HASHES};
pub use lists::LISTS;
pub use mixed::MIXED;
pub use sets::SETS;
pub use sort::{SORT, is_set};
pub use sorted_sets::SORTED_SETS;
pub use strings::STRINGS;

use rand::prelude::*;
use rand::rngs::StdRng;

pub type Command = Vec<Vec<u8>>;

const KEYS: [&[u8]; 10] =
    [b"a", b"b", b"{t}1", b"{t}2", b"key:with:a:longer:name:than:fits", b"\x00\xff\r\n", b"", b"n1", b"n2", b"*[?]"];
const INTEGERS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "8",
    "10",
    "-5",
    "100",
    "9999",
    "10000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "4294967296",
    "",
    "abc",
    "1.5",
    " 1",
    "+1",
    "01",
    "-0",
];
const FLOATS: [&str; 26] = [
    "0",
    "1",
    "-1",
    "0.1",
    "0.2",
    "3.0e3",
    "1.5",
    "-2.25",
    "1e-7",
    "123456789.123456789",
    "5e300",
    "-5e300",
    "1e4932",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    "1.0 ",
    " 1",
    "0x1A",
    "1e400",
    "3.14159265358979323846",
    "1e-4950",
    "17179869184",
    "0.00000000000000001",
];
const PATTERNS: [&str; 12] = ["*", "?", "a*", "[ab]", "[^a]", "\\*[*", "n[0-1]", "key:*:than*", "{t}?", "", "[", "**"];

/// A family of commands, and how often it is drawn beside the others.
pub type Family = (u32, fn(&mut Generator) -> Command);

/// What one run draws its commands from.
pub struct Mix {
    /// Its families.
    pub families: &'static [Family],
    /// The keys of the type that the run is about. The others of the run hold anything.
    pub keys: &'static [&'static [u8]],
    /// Whether it is SORT's: a key's name tells its type all the run long, so no argument may take another's place, and no text has a
    /// zero byte.
    pub for_sort: bool,
}

pub struct Generator {
    mix: &'static Mix,
    random: StdRng,
    start_seconds: u64,
    /// What has to come next.
    queued: Option<Command>,
}

impl Generator {
    pub fn new(mix: &'static Mix, seed: u64, now_ms: u64) -> Self {
        Self { mix, random: StdRng::seed_from_u64(seed), start_seconds: now_ms / 1000, queued: None }
    }

    pub fn flip(&mut self) -> bool {
        self.random.random()
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }

    /// Any key of the run.
    pub fn key(&mut self) -> Vec<u8> {
        let own = self.mix.keys.len();
        let at = self.random.random_range(0..own + KEYS.len());
        if at < own { self.mix.keys[at].into() } else { KEYS[at - own].into() }
    }

    /// Mostly a key of the type that the run is about.
    pub fn own_key(&mut self) -> Vec<u8> {
        if self.one_in(12) { self.key() } else { self.pick(self.mix.keys).into() }
    }

    pub fn integer(&mut self) -> Vec<u8> {
        if self.one_in(3) {
            return self.pick(&INTEGERS).into();
        }
        self.random.random_range(-12..40_i64).to_string().into()
    }

    pub fn float(&mut self) -> Vec<u8> {
        if self.one_in(2) {
            return self.pick(&FLOATS).into();
        }
        let whole = self.random.random_range(-1000..1000_i64);
        format!("{whole}.{}", self.random.random_range(0..100_000)).into()
    }

    pub fn value(&mut self) -> Vec<u8> {
        match self.random.random_range(0..12) {
            0..=3 => self.integer(),
            4 => self.float(),
            5 => vec![b'x'; self.pick(&[20, 21, 22, 23, 43, 44, 45, 46, 64])],
            6 if self.one_in(8) => vec![b'L'; self.pick(&[1023, 1024, 1025, 3000])],
            7 => self.random.random::<[u8; 9]>().to_vec(),
            8 => self.pick(&["ohmytext", "mynewtext", "foobar", "\u{ff}\u{f0}\u{0}", "\0\0\0\0\0", "aaaa"]).into(),
            9 => self.random.random_range(i64::MIN..i64::MAX).to_string().into(),
            _ => (0..self.random.random_range(0..20)).map(|_| self.random.random_range(b'a'..b'e')).collect(),
        }
    }

    /// An offset that is small, or far out of range.
    pub fn offset(&mut self) -> Vec<u8> {
        match self.random.random_range(0..12) {
            0 => self.pick(&["-1", "536870912", "67108864000", "9223372036854775807", "abc", "", "1.0"]).into(),
            1 => self.random.random_range(0..600).to_string().into(),
            _ => self.random.random_range(0..70).to_string().into(),
        }
    }

    /// Seconds from now; coarse and never twice the same.
    pub fn seconds(&mut self) -> u64 {
        10_000 + self.random.random_range(0..1_000_000) * 200
    }

    /// A time for an option or command of this unit, sometimes a wrong one.
    pub fn time(&mut self, milliseconds: bool, absolute: bool) -> Vec<u8> {
        if self.one_in(5) {
            let wrong =
                ["0", "-1", "-1000", "abc", "", "9223372036854775807", "9223372036854775", "-9223372036854775808"];
            return self.pick(&wrong).into();
        }
        if absolute && self.one_in(6) {
            return self.pick(&["1", "1000", "1000000"]).into();
        }
        // Half a step beside all relative times, and more than the run can take.
        let seconds = self.seconds() + if absolute { self.start_seconds + 100 } else { 0 };
        (seconds * if milliseconds { 1000 } else { 1 }).to_string().into()
    }

    pub fn time_option(&mut self) -> Command {
        let word = self.pick(&["EX", "px", "EXAT", "PXAT"]);
        let time = self.time(word.to_ascii_lowercase().starts_with('p'), word.ends_with("AT"));
        vec![word.into(), time]
    }

    pub fn command(&mut self) -> Command {
        if let Some(command) = self.queued.take() {
            return command;
        }
        let mut command = self.well_formed();
        if self.queued.is_none() && self.one_in(40) {
            self.spoil(&mut command);
        }
        if self.one_in(4) {
            command[0].make_ascii_lowercase();
        }
        command
    }

    /// An argument too few, too many, or of another kind.
    fn spoil(&mut self, command: &mut Command) {
        if command[0].ends_with(b"SCAN") {
            // A cursor of ours means nothing to Redis, and it reads one up to the first zero byte.
            let length = self.pick(&[1, command.len() - 1]);
            return command.truncate(length);
        }
        // SORT of a key in another slot than its patterns is an error of ours alone, and lexical ranges have no meaning
        // where a spoiled score is not that of all others.
        let lexical = command.iter().any(|arg| arg == sorted_sets::LEXICAL);
        let in_place = lexical || command[0].starts_with(b"SORT") || self.mix.for_sort;
        let ways = if in_place { 2 } else { 4 };
        match self.random.random_range(0..ways) {
            0 if command.len() > 1 => drop(command.pop()),
            1 => {
                let mut wrong = self.wrong_argument(command);
                wrong.retain(|&byte| byte != 0 || !self.mix.for_sort);
                command.push(wrong);
            }
            2 if command.len() > 1 => {
                let at = self.random.random_range(1..command.len());
                command[at] = self.wrong_argument(command);
            }
            _ => command.insert(1, self.key()),
        }
        // A spoiled number must not ask both sides for a huge string, nor for endless members.
        let huge = |arg: &Vec<u8>| arg.len() > 4 && arg.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if ["SETRANGE", "SETBIT", "BITFIELD", "HRANDFIELD", "SRANDMEMBER", "ZRANDMEMBER"]
            .iter()
            .any(|name| command[0].eq_ignore_ascii_case(name.as_bytes()))
        {
            command.iter_mut().filter(|arg| huge(arg)).for_each(|arg| *arg = b"99".to_vec());
        }
    }

    /// An argument that is not of this command's making, and never a time that would end during the run.
    fn wrong_argument(&mut self, command: &Command) -> Vec<u8> {
        let timed: [&[u8]; 10] = [
            b"SET",
            b"SETEX",
            b"PSETEX",
            b"GETEX",
            b"EXPIRE",
            b"PEXPIRE",
            b"EXPIREAT",
            b"PEXPIREAT",
            b"HSETEX",
            b"HGETEX",
        ];
        let is_hexpire = command[0].starts_with(b"H") && command[0].windows(6).any(|part| part == b"EXPIRE");
        match is_hexpire || timed.contains(&command[0].as_slice()) {
            true => self.pick(&["0", "-5", "abc", "1.5", "", "\0\u{ff}"]).into(),
            false if self.flip() => self.integer(),
            false => self.value(),
        }
    }

    fn well_formed(&mut self) -> Command {
        let families = self.mix.families;
        let total: u32 = families.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.random_range(0..total);
        for (weight, family) in families {
            match drawn.checked_sub(*weight) {
                Some(rest) => drawn = rest,
                None => return family(self),
            }
        }
        unreachable!("less than all weights together was drawn")
    }

    pub fn words(&mut self, name: &str, args: impl IntoIterator<Item = Vec<u8>>) -> Command {
        std::iter::once(name.into()).chain(args).collect()
    }
}
