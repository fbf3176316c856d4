//! Commands on strings.

use rand::prelude::*;

use super::{Command, Generator, KEYS, Mix};

/// Strings, their bits, and keys.
pub const STRINGS: Mix = Mix {
    families: &[(56, Generator::string_command), (15, Generator::bit_command), (29, Generator::key_command)],
    keys: &KEYS,
    for_sort: false,
};

impl Generator {
    pub fn string_command(&mut self) -> Command {
        let (key, other) = (self.own_key(), self.own_key());
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
}
