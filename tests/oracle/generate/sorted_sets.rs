//! Commands on sorted sets.

use rand::prelude::*;

use super::{Command, Generator, Mix};

/// Sorted sets, some sets among their inputs, and keys.
pub const SORTED_SETS: Mix = Mix {
    families: &[(78, Generator::sorted_set_command), (3, Generator::plain_set_command), (19, Generator::key_command)],
    keys: &[b"z1", b"z2", b"z3", b"{z}4", b"z5"],
    for_sort: false,
};

/// All members of this key have the same score.
pub(super) const LEXICAL: &[u8] = b"zlex";
const SCORES: [&str; 34] = [
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "3",
    "1.5",
    "-1.5",
    "0.1",
    "1e3",
    "1e19",
    "-1e22",
    "1.1e-7",
    "5e-324",
    "1e308",
    "inf",
    "-inf",
    "+inf",
    "Infinity",
    "nan",
    "abc",
    "",
    " 1",
    "1 ",
    "0x10",
    "1e400",
    "1e-400",
    "3.0",
    "100",
    "9007199254740993",
    "4611686018427387904",
    "-4611686018427387905",
    "(1",
];
const SCORE_BOUNDS: [&str; 18] = [
    "-inf", "+inf", "inf", "(0", "0", "(1", "1", "(-1", "3", "(3", "1e400", "(inf", "(-inf", "nan", "x", "", "(", " 2",
];
const LEX_BOUNDS: [&str; 16] =
    ["-", "+", "[a", "(a", "[b", "(b", "[m", "(m5", "[m5", "[zz", "(", "[", "a", "", "-x", "+\0x"];

impl Generator {
    fn scored_member(&mut self) -> Vec<u8> {
        match self.random.random_range(0..20) {
            0 => self.value(),
            1 => self.pick(&["a", "b", "c", "bb", "\u{ff}", ""]).into(),
            2 if self.one_in(30) => vec![b'w'; self.pick(&[64, 65, 300])],
            3..=8 => format!("m{}", self.random.random_range(0..12)).into(),
            _ => self.random.random_range(0..30).to_string().into(),
        }
    }

    fn score(&mut self) -> Vec<u8> {
        match self.random.random_range(0..10) {
            0..=1 => self.pick(&SCORES).into(),
            2 => self.random.random::<f64>().to_string().into(),
            3 => format!("{}.{}", self.random.random_range(-20..20), self.random.random_range(0..1000)).into(),
            _ => self.random.random_range(-5..15).to_string().into(),
        }
    }

    fn score_bound(&mut self) -> Vec<u8> {
        match self.random.random_range(0..3) {
            0 => self.pick(&SCORE_BOUNDS).into(),
            1 => format!("({}", self.random.random_range(-6..16)).into(),
            _ => self.random.random_range(-6..16).to_string().into(),
        }
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.random.random_range(0..3) {
            0 => self.pick(&LEX_BOUNDS).into(),
            _ => [self.pick(&["[", "("]).as_bytes(), &self.scored_member()].concat(),
        }
    }

    fn rank(&mut self) -> Vec<u8> {
        if self.one_in(8) { self.integer() } else { self.random.random_range(-14..14).to_string().into() }
    }

    fn pop_count(&mut self) -> Vec<u8> {
        if self.one_in(8) { self.integer() } else { self.random.random_range(0..5).to_string().into() }
    }

    pub fn sorted_set_command(&mut self) -> Command {
        let (key, member) = (self.own_key(), self.scored_member());
        match self.random.random_range(0..40) {
            0..=8 => self.zadd(key),
            9 => {
                let score = self.score();
                self.words("ZINCRBY", [key, score, member])
            }
            10 => {
                let members: Command = (0..self.random.random_range(1..4)).map(|_| self.scored_member()).collect();
                self.words("ZREM", std::iter::once(key).chain(members))
            }
            11 => self.words("ZCARD", [key]),
            12 => self.words("ZSCORE", [key, member]),
            13 => {
                let members: Command = (0..self.random.random_range(1..5)).map(|_| self.scored_member()).collect();
                self.words("ZMSCORE", std::iter::once(key).chain(members))
            }
            14..=15 => {
                let name = self.pick(&["ZRANK", "ZREVRANK"]);
                self.words(name, [key, member])
            }
            16 => {
                let (min, max) = (self.score_bound(), self.score_bound());
                self.words("ZCOUNT", [key, min, max])
            }
            17..=21 => self.zrange(key),
            22..=24 => self.zrange_by_score(key),
            25..=27 => self.lexical(),
            28 => self.zremrange(key),
            29..=30 => {
                let name = self.pick(&["ZPOPMIN", "ZPOPMAX"]);
                let count = self.flip().then(|| self.pop_count());
                self.words(name, std::iter::once(key).chain(count))
            }
            31 => self.zmpop(),
            32..=35 => self.combine(),
            36 => self.zrandmember(key),
            37 => self.zscan(key),
            38 => self.words("OBJECT", [b"ENCODING".to_vec(), key]),
            _ => self.grow(key),
        }
    }

    pub fn plain_set_command(&mut self) -> Command {
        let key = self.pick(&[&b"s1"[..], b"s2"]).to_vec();
        let name = self.pick(&["SADD", "SADD", "SREM"]);
        let members: Command = (0..self.random.random_range(1..5)).map(|_| self.scored_member()).collect();
        self.words(name, std::iter::once(key).chain(members))
    }

    fn zadd(&mut self, key: Vec<u8>) -> Command {
        let mut command = self.words("ZADD", [key]);
        if self.one_in(3) {
            for _ in 0..self.random.random_range(0..4) {
                command.push(self.pick(&["NX", "xx", "GT", "lt", "CH", "ch", "INCR"]).into());
            }
        }
        let pairs = if self.one_in(6) { 12 } else { self.random.random_range(1..4) };
        for _ in 0..pairs {
            command.push(self.score());
            command.push(self.scored_member());
        }
        command
    }

    /// Many members at once, so that it becomes a skip list.
    fn grow(&mut self, key: Vec<u8>) -> Command {
        let mut command = self.words("ZADD", [key]);
        let first = self.random.random_range(0..200);
        for number in first..first + self.pick(&[60, 127, 128, 129]) {
            let score = self.random.random_range(-4..12) as f64 / self.pick(&[1.0, 1.0, 3.0]);
            command.extend([score.to_string().into(), format!("m{number}").into()]);
        }
        command
    }

    fn limit(&mut self, command: &mut Command) {
        if self.one_in(3) {
            let (offset, count) = (self.rank(), self.rank());
            command.extend([b"LIMIT".to_vec(), offset, count]);
        }
    }

    fn zrange(&mut self, key: Vec<u8>) -> Command {
        let stored = self.one_in(5).then(|| self.own_key());
        let name = if stored.is_some() { "ZRANGESTORE" } else { self.pick(&["ZRANGE", "ZRANGE", "ZREVRANGE"]) };
        let kind = self.pick(&["", "", "BYSCORE", "byscore"]);
        let (min, max) =
            if kind.is_empty() { (self.rank(), self.rank()) } else { (self.score_bound(), self.score_bound()) };
        let mut command = self.words(name, stored.into_iter().chain([key, min, max]));
        if !kind.is_empty() {
            command.push(kind.into());
            self.limit(&mut command);
        }
        for _ in 0..self.random.random_range(0..3) {
            command.push(self.pick(&["REV", "WITHSCORES", "withscores", "rev", "BYLEX", "LIMIT"]).into());
        }
        command
    }

    fn zrange_by_score(&mut self, key: Vec<u8>) -> Command {
        let name = self.pick(&["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]);
        let (min, max) = (self.score_bound(), self.score_bound());
        let mut command = self.words(name, [key, min, max]);
        if self.flip() {
            command.push(b"WITHSCORES".to_vec());
        }
        self.limit(&mut command);
        command
    }

    /// What has a meaning only where all scores are equal: on a key where they are.
    fn lexical(&mut self) -> Command {
        let (min, max) = (self.lex_bound(), self.lex_bound());
        let key = LEXICAL.to_vec();
        match self.random.random_range(0..12) {
            0..=3 => {
                let mut command = self.words("ZADD", [key]);
                for _ in 0..self.pick(&[1, 2, 3, 3, 70]) {
                    command.extend([b"0".to_vec(), self.scored_member()]);
                }
                command
            }
            4 => self.words("ZLEXCOUNT", [key, min, max]),
            5 if self.one_in(3) => self.words("ZREMRANGEBYLEX", [key, min, max]),
            5..=6 => {
                let mut command = self.words("ZRANGE", [key, min, max, b"BYLEX".to_vec()]);
                if self.flip() {
                    command.push(b"REV".to_vec());
                }
                self.limit(&mut command);
                command
            }
            7 => {
                let stored = self.own_key();
                let mut command = self.words("ZRANGESTORE", [stored, key, min, max, b"bylex".to_vec()]);
                self.limit(&mut command);
                command
            }
            _ => {
                let name = self.pick(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"]);
                let mut command = self.words(name, [key, min, max]);
                self.limit(&mut command);
                command
            }
        }
    }

    fn zremrange(&mut self, key: Vec<u8>) -> Command {
        if self.flip() {
            let (min, max) = (self.rank(), self.rank());
            return self.words("ZREMRANGEBYRANK", [key, min, max]);
        }
        let (min, max) = (self.score_bound(), self.score_bound());
        self.words("ZREMRANGEBYSCORE", [key, min, max])
    }

    /// A number of keys, mostly the right one, and the keys.
    fn counted_keys(&mut self) -> Command {
        let keys: Command = (0..self.random.random_range(1..4))
            .map(|_| if self.one_in(5) { self.pick(&["s1", "s2", "none"]).into() } else { self.own_key() })
            .collect();
        let number = if self.one_in(12) { self.integer() } else { keys.len().to_string().into() };
        std::iter::once(number).chain(keys).collect()
    }

    fn zmpop(&mut self) -> Command {
        let keys = self.counted_keys();
        let mut command = self.words("ZMPOP", keys);
        command.push(self.pick(&["MIN", "max", "MAX", "foo"]).into());
        for _ in 0..self.random.random_range(0..3).min(1) {
            command.extend([b"COUNT".to_vec(), self.pop_count()]);
        }
        command
    }

    fn combine(&mut self) -> Command {
        let keys = self.counted_keys();
        let inputs = keys.len() - 1;
        if self.one_in(6) {
            let mut command = self.words("ZINTERCARD", keys);
            if self.flip() {
                command.extend([b"LIMIT".to_vec(), self.pop_count()]);
            }
            return command;
        }
        let name = self.pick(&["ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]);
        let stored = name.ends_with("STORE").then(|| self.own_key());
        let mut command = self.words(name, stored.into_iter().chain(keys));
        for _ in 0..self.random.random_range(0..4) {
            match self.random.random_range(0..5) {
                0..=1 if !name.contains("DIFF") || self.one_in(8) => {
                    command.push(b"WEIGHTS".to_vec());
                    (0..inputs).for_each(|_| command.push(self.score()));
                }
                2..=3 if !name.contains("DIFF") || self.one_in(8) => {
                    command.extend([b"aggregate".to_vec(), self.pick(&["SUM", "min", "MAX", "max", "avg"]).into()]);
                }
                _ if !name.ends_with("STORE") || self.one_in(8) => command.push(b"WITHSCORES".to_vec()),
                _ => {}
            }
        }
        command
    }

    fn zrandmember(&mut self, key: Vec<u8>) -> Command {
        let mut command = self.words("ZRANDMEMBER", [key]);
        if self.one_in(4) {
            return command;
        }
        let edges = ["9223372036854775807", "-9223372036854775808", "4611686018427387904", "x", "0", "1000"];
        command.push(if self.one_in(4) { self.pick(&edges).into() } else { self.rank() });
        if self.flip() {
            command.push(self.pick(&["WITHSCORES", "withscores", "foo"]).into());
        }
        command
    }

    /// A walk that covers everything in one call, or has a mistake.
    fn zscan(&mut self, key: Vec<u8>) -> Command {
        let cursor = self.pick(&["0", "0", "0", "0", "0", "abc", ""]);
        let mut command = self.words("ZSCAN", [key, cursor.into(), b"COUNT".to_vec(), b"100000".to_vec()]);
        if self.one_in(3) {
            command.extend([b"MATCH".to_vec(), self.pick(&["*", "m*", "*1*", "?", "[ab]"]).into()]);
        }
        if self.one_in(8) {
            command.push(self.pick(&["COUNT", "TYPE", "foo"]).into());
        }
        command
    }
}
