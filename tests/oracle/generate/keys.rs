//! Commands on keys of any type.

use rand::prelude::*;

use super::{Command, Generator, PATTERNS};

impl Generator {
    pub fn key_command(&mut self) -> Command {
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
                4..=5 => command.extend([
                    b"type".to_vec(),
                    self.pick(&["string", "STRING", "list", "SET", "hash", "zset", "nosuch"]).into(),
                ]),
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
