//! Random commands: few keys, so that commands meet; values and arguments at the edges of what they may be.
//!
//! Times are coarse and never equal, so that no answer hangs on the millisecond in which a side looked at its clock.

use rand::prelude::*;
use rand::rngs::StdRng;

type Command = Vec<Vec<u8>>;

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

pub struct Generator {
    random: StdRng,
    start_seconds: u64,
    /// What has to come next.
    queued: Option<Command>,
}

impl Generator {
    pub fn new(seed: u64, now_ms: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), start_seconds: now_ms / 1000, queued: None }
    }

    pub fn flip(&mut self) -> bool {
        self.random.random()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.pick(&KEYS).to_vec()
    }

    fn integer(&mut self) -> Vec<u8> {
        if self.one_in(3) {
            return self.pick(&INTEGERS).into();
        }
        self.random.random_range(-12..40_i64).to_string().into()
    }

    fn float(&mut self) -> Vec<u8> {
        if self.one_in(2) {
            return self.pick(&FLOATS).into();
        }
        let whole = self.random.random_range(-1000..1000_i64);
        format!("{whole}.{}", self.random.random_range(0..100_000)).into()
    }

    fn value(&mut self) -> Vec<u8> {
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
    fn offset(&mut self) -> Vec<u8> {
        match self.random.random_range(0..12) {
            0 => self.pick(&["-1", "536870912", "67108864000", "9223372036854775807", "abc", "", "1.0"]).into(),
            1 => self.random.random_range(0..600).to_string().into(),
            _ => self.random.random_range(0..70).to_string().into(),
        }
    }

    /// Seconds from now; coarse and never twice the same.
    fn seconds(&mut self) -> u64 {
        10_000 + self.random.random_range(0..1_000_000) * 200
    }

    /// A time for an option or command of this unit, sometimes a wrong one.
    fn time(&mut self, milliseconds: bool, absolute: bool) -> Vec<u8> {
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

    fn time_option(&mut self) -> Command {
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
        if command[0] == b"SCAN" {
            // A cursor of ours means nothing to Redis, and it reads one up to the first zero byte.
            return command.truncate(self.pick(&[1, 3]));
        }
        match self.random.random_range(0..4) {
            0 if command.len() > 1 => drop(command.pop()),
            1 => {
                let wrong = self.wrong_argument(command);
                command.push(wrong);
            }
            2 if command.len() > 1 => {
                let at = self.random.random_range(1..command.len());
                command[at] = self.wrong_argument(command);
            }
            _ => command.insert(1, self.key()),
        }
        // A spoiled offset must not ask both sides for a huge string.
        let huge = |arg: &Vec<u8>| arg.len() > 4 && arg.iter().all(u8::is_ascii_digit);
        if ["SETRANGE", "SETBIT", "BITFIELD"].iter().any(|name| command[0].eq_ignore_ascii_case(name.as_bytes())) {
            command.iter_mut().filter(|arg| huge(arg)).for_each(|arg| *arg = b"99".to_vec());
        }
    }

    /// An argument that is not of this command's making, and never a time that would end during the run.
    fn wrong_argument(&mut self, command: &Command) -> Vec<u8> {
        let timed: [&[u8]; 8] =
            [b"SET", b"SETEX", b"PSETEX", b"GETEX", b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"];
        match timed.contains(&command[0].as_slice()) {
            true => self.pick(&["0", "-5", "abc", "1.5", "", "\0\u{ff}"]).into(),
            false if self.flip() => self.integer(),
            false => self.value(),
        }
    }

    fn well_formed(&mut self) -> Command {
        match self.random.random_range(0..100) {
            0..=55 => self.string_command(),
            56..=70 => self.bit_command(),
            _ => self.key_command(),
        }
    }

    fn words(&mut self, name: &str, args: impl IntoIterator<Item = Vec<u8>>) -> Command {
        std::iter::once(name.into()).chain(args).collect()
    }

    fn string_command(&mut self) -> Command {
        let (key, other) = (self.key(), self.key());
        match self.random.random_range(0..24) {
            0..=3 => self.set(),
            4..=5 => self.words("GET", [key]),
            6 => {
                let name = self.pick(&["SETNX", "GETSET", "APPEND", "APPEND"]);
                let value = self.value();
                self.words(name, [key, value])
            }
            7 => {
                let milliseconds = self.flip();
                let (time, value) = (self.time(milliseconds, false), self.value());
                self.words(if milliseconds { "PSETEX" } else { "SETEX" }, [key, time, value])
            }
            8 => {
                let name = self.pick(&["GETDEL", "STRLEN"]);
                self.words(name, [key])
            }
            9 => self.getex(),
            10 => {
                let keys: Command = (0..self.random.random_range(1..5)).map(|_| self.key()).collect();
                self.words("MGET", keys)
            }
            11 => {
                let name = self.pick(&["MSET", "MSETNX"]);
                let pairs: Command =
                    (0..self.random.random_range(1..4)).flat_map(|_| [self.key(), self.value()]).collect();
                self.words(name, pairs)
            }
            12..=13 => {
                let name = self.pick(&["GETRANGE", "SUBSTR"]);
                let (start, end) = (self.integer(), self.integer());
                self.words(name, [key, start, end])
            }
            14 => {
                let (offset, value) = (self.offset(), self.value());
                self.words("SETRANGE", [key, offset, value])
            }
            15..=16 => {
                let (name, by) = (self.pick(&["INCRBY", "DECRBY"]), self.integer());
                self.words(name, [key, by])
            }
            17..=18 => {
                let name = self.pick(&["INCR", "DECR"]);
                self.words(name, [key])
            }
            19..=21 => {
                let by = self.float();
                self.words("INCRBYFLOAT", [key, by])
            }
            _ => self.lcs(key, other),
        }
    }

    fn set(&mut self) -> Command {
        let (key, value) = (self.key(), self.value());
        let mut command = self.words("SET", [key, value]);
        if self.flip() {
            return command;
        }
        for _ in 0..self.random.random_range(0..4) {
            match self.random.random_range(0..6) {
                0..=1 => command.push(self.pick(&["NX", "xx"]).into()),
                2 => command.push(b"GET".to_vec()),
                3 => command.push(b"KEEPTTL".to_vec()),
                4 if self.one_in(5) => command.push(self.pick(&["PERSIST", "EX", "foo", ""]).into()),
                _ => command.extend(self.time_option()),
            }
        }
        command
    }

    fn getex(&mut self) -> Command {
        let key = self.key();
        let mut command = self.words("GETEX", [key]);
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..6) {
                0..=1 => command.push(b"PERSIST".to_vec()),
                2 if self.one_in(3) => command.push(self.pick(&["NX", "KEEPTTL", "EX", "foo"]).into()),
                _ => command.extend(self.time_option()),
            }
        }
        command
    }

    fn lcs(&mut self, key: Vec<u8>, other: Vec<u8>) -> Command {
        let mut command = self.words("LCS", [key, other]);
        for _ in 0..self.random.random_range(0..4) {
            match self.random.random_range(0..8) {
                0 => command.push(b"LEN".to_vec()),
                1..=3 => command.push(b"IDX".to_vec()),
                4..=5 => command.push(b"withmatchlen".to_vec()),
                6 => command.extend([b"MINMATCHLEN".to_vec(), self.integer()]),
                _ => command.push(self.pick(&["MINMATCHLEN", "foo"]).into()),
            }
        }
        command
    }

    fn bit_command(&mut self) -> Command {
        let key = self.key();
        match self.random.random_range(0..12) {
            0..=1 => {
                let (offset, bit) = (self.offset(), self.pick(&["0", "1", "1", "2", "-1", "x"]).into());
                self.words("SETBIT", [key, offset, bit])
            }
            2 => {
                let offset = self.offset();
                self.words("GETBIT", [key, offset])
            }
            3..=6 => {
                let mut command = if self.flip() {
                    self.words("BITCOUNT", [key])
                } else {
                    let bit = self.pick(&["0", "1", "1", "0", "2", "x"]).into();
                    self.words("BITPOS", [key, bit])
                };
                let ranges = self.random.random_range(0..4).min(2);
                (0..ranges).for_each(|_| command.push(self.integer()));
                if self.flip() {
                    command.push(self.pick(&["BIT", "byte", "BIT", "foo"]).into());
                }
                command
            }
            7..=8 => {
                let name = self.pick(&["AND", "or", "XOR", "NOT", "foo"]);
                let count = if name == "NOT" && !self.one_in(5) { 1 } else { self.random.random_range(1..4) };
                let sources: Command = (0..count).map(|_| self.key()).collect();
                self.words("BITOP", [vec![name.into(), key], sources].concat())
            }
            _ => self.bitfield(key),
        }
    }

    fn bitfield(&mut self, key: Vec<u8>) -> Command {
        let read_only = self.one_in(4);
        let mut command = self.words(if read_only { "BITFIELD_RO" } else { "BITFIELD" }, [key]);
        for _ in 0..self.random.random_range(0..4) {
            if self.one_in(3) && !read_only {
                let mode = self.pick(&["WRAP", "sat", "FAIL", "FAIL", "SAT"]);
                command.extend([b"OVERFLOW".to_vec(), mode.into()]);
                if self.one_in(20) {
                    command.push(b"foo".to_vec());
                }
            }
            let field = match self.random.random_range(0..20) {
                0 => self.pick(&["u64", "i65", "u0", "i0", "x8", "", "u", "i08"]).into(),
                1..=2 => self.pick(&["i64", "u63", "i1", "u1"]).into(),
                _ => format!("{}{}", self.pick(&["i", "u"]), self.random.random_range(1..64)),
            };
            let mut offset = self.offset();
            if self.one_in(3) {
                offset.insert(0, b'#');
            }
            let action = if read_only && !self.one_in(10) { "GET" } else { self.pick(&["GET", "set", "INCRBY"]) };
            command.extend([action.into(), field.into(), offset]);
            if action != "GET" {
                let number = match self.random.random_range(0..3) {
                    0 => self.random.random_range(i64::MIN..i64::MAX).to_string().into(),
                    _ => self.integer(),
                };
                command.push(number);
            }
        }
        command
    }

    fn key_command(&mut self) -> Command {
        let (key, other) = (self.key(), self.key());
        match self.random.random_range(0..24) {
            0..=2 => {
                let name = self.pick(&["DEL", "UNLINK", "EXISTS", "TOUCH"]);
                let keys: Command = (0..self.random.random_range(1..4)).map(|_| self.key()).collect();
                self.words(name, keys)
            }
            3..=7 => self.expire(key),
            8..=11 => {
                let name = self.pick(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]);
                self.words(name, [key])
            }
            12 => self.words("PERSIST", [key]),
            13 => self.words("TYPE", [key]),
            14..=15 => {
                let name = self.pick(&["RENAME", "RENAMENX"]);
                self.words(name, [key, other])
            }
            16 => self.copy(key, other),
            17 => self.pattern_command(),
            18 => self.scan(),
            19..=21 => {
                let words = ["ENCODING", "encoding", "REFCOUNT", "IDLETIME", "FREQ", "HELP", "foo"];
                let word = self.pick(&words);
                let key = (word != "HELP").then_some(key);
                self.words("OBJECT", std::iter::once(word.into()).chain(key))
            }
            22 => {
                let mut command = self.words("MEMORY", [b"USAGE".to_vec(), key]);
                if self.flip() {
                    command.extend([b"SAMPLES".to_vec(), self.integer()]);
                }
                command
            }
            _ => self.rare(),
        }
    }

    fn expire(&mut self, key: Vec<u8>) -> Command {
        let (name, milliseconds, absolute) = self.pick(&[
            ("EXPIRE", false, false),
            ("PEXPIRE", true, false),
            ("EXPIREAT", false, true),
            ("PEXPIREAT", true, true),
        ]);
        let time = self.time(milliseconds, absolute);
        let mut command = self.words(name, [key, time]);
        for _ in 0..self.random.random_range(0..3) {
            command.push(self.pick(&["NX", "xx", "GT", "LT", "GT", "LT", "foo\u{ff}"]).into());
        }
        command
    }

    fn copy(&mut self, key: Vec<u8>, other: Vec<u8>) -> Command {
        let mut command = self.words("COPY", [key, other]);
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..4) {
                0 => command.extend([b"DB".to_vec(), self.pick(&["0", "1", "-1", "x", "99999999999"]).into()]),
                1 if self.one_in(4) => command.push(b"DB".to_vec()),
                _ => command.push(b"REPLACE".to_vec()),
            }
        }
        command
    }

    fn pattern_command(&mut self) -> Command {
        let pattern = self.pick(&PATTERNS);
        self.words("KEYS", [pattern.into()])
    }

    /// A scan that covers all keys in one call, or has a mistake.
    fn scan(&mut self) -> Command {
        let cursor = self.pick(&["0", "0", "0", "0", "", "+0", "abc", " 0", "1.0", "99999999999999999999"]);
        let mut command = self.words("SCAN", [cursor.into(), b"COUNT".to_vec(), b"100000".to_vec()]);
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..8) {
                0..=3 => command.extend([b"MATCH".to_vec(), self.pick(&PATTERNS).into()]),
                4..=5 => command.extend([b"type".to_vec(), self.pick(&["string", "STRING", "list", "nosuch"]).into()]),
                6 => command.extend([b"COUNT".to_vec(), self.pick(&["100000", "0", "-1", "x"]).into()]),
                _ => command.push(self.pick(&["MATCH", "foo"]).into()),
            }
        }
        command
    }

    fn rare(&mut self) -> Command {
        match self.random.random_range(0..8) {
            0 => {
                let name = self.pick(&["FLUSHALL", "FLUSHDB"]);
                let mut command = self.words(name, []);
                if self.flip() {
                    command.push(self.pick(&["ASYNC", "sync", "foo"]).into());
                }
                command
            }
            1..=3 => self.words("RANDOMKEY", []),
            4..=6 => {
                // SET with a time in the past leaves Redis a key to be removed at the next look: look at all first.
                self.queued = Some(self.words("DBSIZE", []));
                self.words("SCAN", [b"0".to_vec(), b"COUNT".to_vec(), b"100000".to_vec()])
            }
            _ => {
                let value = self.value();
                self.words("NOSUCHCOMMAND", [value])
            }
        }
    }
}
