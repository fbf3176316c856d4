//! Commands on hashes, and on fields that expire, which Valkey has.

use rand::prelude::*;

use super::{Command, Generator, Mix};

const HASH_KEYS: [&[u8]; 5] = [b"h1", b"h2", b"h3", b"{t}h", b"h"];

/// Hashes as Redis knows them.
pub const HASHES: Mix = Mix {
    families: &[(80, Generator::hash_command), (5, Generator::string_command), (15, Generator::key_command)],
    keys: &HASH_KEYS,
    for_sort: false,
};

/// Hashes with fields that expire, without the commands whose answers differ from Redis to Valkey in other ways.
pub const FIELD_EXPIRIES: Mix = Mix {
    families: &[
        (40, Generator::hash_command_of_valkey),
        (55, Generator::field_expiry_command),
        (5, Generator::moving_command),
    ],
    keys: &HASH_KEYS,
    for_sort: false,
};

impl Generator {
    /// One of few fields, so that commands meet.
    fn field(&mut self) -> Vec<u8> {
        match self.random.random_range(0..40) {
            0 => self.pick(&["", "\0\u{ff}", "123", "-1"]).into(),
            1 => vec![b'f'; self.pick(&[63, 64, 65, 300])],
            _ => self.pick(&["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"]).into(),
        }
    }

    fn fields(&mut self) -> Command {
        (0..self.random.random_range(1..5)).map(|_| self.field()).collect()
    }

    fn pairs(&mut self) -> Command {
        let count = if self.one_in(150) { self.pick(&[511, 512, 513]) } else { self.random.random_range(1..4) };
        let many = count > 100;
        // Redis 7.0 counts the fields that there are in the end, 7.2 those that are given at once.
        let name = |generator: &mut Self, number: usize| match many && (count > 512 || !generator.one_in(50)) {
            true => format!("n{number}").into(),
            false => generator.field(),
        };
        (0..count).flat_map(|number| [name(self, number), self.value()]).collect()
    }

    pub fn hash_command(&mut self) -> Command {
        let key = self.own_key();
        match self.random.random_range(0..32) {
            0..=5 => {
                let (name, pairs) = (self.pick(&["HSET", "HSET", "HMSET"]), self.pairs());
                self.words(name, std::iter::once(key).chain(pairs))
            }
            6..=7 => {
                let (field, value) = (self.field(), self.value());
                self.words("HSETNX", [key, field, value])
            }
            8..=11 => {
                let (name, field) = (self.pick(&["HGET", "HEXISTS", "HSTRLEN"]), self.field());
                self.words(name, [key, field])
            }
            12..=13 => {
                let fields = self.fields();
                self.words("HMGET", std::iter::once(key).chain(fields))
            }
            14..=17 => {
                let fields = self.fields();
                self.words("HDEL", std::iter::once(key).chain(fields))
            }
            18..=21 => {
                let name = self.pick(&["HGETALL", "HKEYS", "HVALS", "HLEN"]);
                self.words(name, [key])
            }
            22..=23 => {
                let (field, by) = (self.field(), self.integer());
                self.words("HINCRBY", [key, field, by])
            }
            24..=25 => {
                let (field, by) = (self.field(), self.float());
                self.words("HINCRBYFLOAT", [key, field, by])
            }
            26..=27 => self.hrandfield(key),
            28 => self.words("OBJECT", [b"ENCODING".to_vec(), key]),
            29 => self.words("DEL", [key]),
            _ => self.hscan(key),
        }
    }

    /// Valkey reads other cursors than Redis, and has NOVALUES.
    fn hash_command_of_valkey(&mut self) -> Command {
        let mut command = self.hash_command();
        if command[0] == b"HSCAN" {
            command[2] = b"0".to_vec();
            if self.one_in(3) {
                command.push(self.pick(&["NOVALUES", "novalues"]).into());
            }
        }
        command
    }

    fn hrandfield(&mut self, key: Vec<u8>) -> Command {
        let mut command = self.words("HRANDFIELD", [key]);
        if !self.one_in(4) {
            let counts = ["0", "1", "2", "3", "5", "100", "-1", "-3", "-20", "abc", "1.5", "9223372036854775807"];
            let edges = ["-9223372036854775808", "4611686018427387904"];
            command.push(if self.one_in(10) { self.pick(&edges) } else { self.pick(&counts) }.into());
            match self.random.random_range(0..8) {
                0..=3 => command.push(self.pick(&["WITHVALUES", "withvalues"]).into()),
                4 => command.push(b"WITHSCORES".to_vec()),
                5 if self.one_in(4) => command.extend([b"WITHVALUES".to_vec(), b"x".to_vec()]),
                _ => {}
            }
        }
        command
    }

    /// A scan that covers all fields in one call, or has a mistake.
    fn hscan(&mut self, key: Vec<u8>) -> Command {
        let cursor = self.pick(&["0", "0", "0", "0", "", "+0", "abc", " 0", "1.0", "99999999999999999999"]);
        let mut command = self.words("HSCAN", [key, cursor.into(), b"COUNT".to_vec(), b"100000".to_vec()]);
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..8) {
                0..=4 => command.extend([b"MATCH".to_vec(), self.pick(&["*", "f*", "f[1-4]", "n?", "", "?"]).into()]),
                5..=6 => command.extend([b"COUNT".to_vec(), self.pick(&["100000", "0", "-1", "x"]).into()]),
                _ => command.push(self.pick(&["MATCH", "foo", "TYPE"]).into()),
            }
        }
        command
    }

    /// FIELDS, the number of fields, and the fields, each with `width` arguments.
    fn counted(&mut self, width: usize) -> Command {
        let fields = self.fields();
        let count = match self.one_in(20) {
            true => self.pick(&["0", "-1", "2", "x", "", "9223372036854775807"]).into(),
            false => fields.len().to_string().into(),
        };
        let word = if self.one_in(30) { "FIELD" } else { self.pick(&["FIELDS", "fields"]) };
        let mut command: Command = vec![word.into(), count];
        for field in fields {
            command.push(field);
            command.extend((1..width).map(|_| self.value()));
        }
        command
    }

    pub fn field_expiry_command(&mut self) -> Command {
        let key = self.own_key();
        let (name, width) = match self.random.random_range(0..20) {
            0..=5 => return self.hexpire(key),
            6..=9 => (self.pick(&["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME"]), 1),
            10..=11 => ("HPERSIST", 1),
            12..=15 => ("HSETEX", 2),
            16..=18 => ("HGETEX", 1),
            _ => ("HGETDEL", 1),
        };
        let mut command = self.words(name, [key]);
        if width == 2 || name == "HGETEX" {
            for _ in 0..self.random.random_range(0..3) {
                match self.random.random_range(0..9) {
                    0 => command.push(self.pick(&["NX", "xx"]).into()),
                    1..=2 => command.push(self.pick(&["FNX", "fxx"]).into()),
                    3 => command.push(b"KEEPTTL".to_vec()),
                    4 => command.push(b"PERSIST".to_vec()),
                    5 if self.one_in(4) => command.push(self.pick(&["EX", "GET", ""]).into()),
                    _ => command.extend(self.time_option()),
                }
            }
        }
        command.extend(self.counted(width));
        within_seconds(command)
    }

    fn hexpire(&mut self, key: Vec<u8>) -> Command {
        let (name, milliseconds, absolute) = self.pick(&[
            ("HEXPIRE", false, false),
            ("HPEXPIRE", true, false),
            ("HEXPIREAT", false, true),
            ("HPEXPIREAT", true, true),
        ]);
        let time = self.time(milliseconds, absolute);
        let mut command = self.words(name, [key, time]);
        for _ in 0..self.random.random_range(0..3) {
            command.push(self.pick(&["NX", "xx", "GT", "LT", "GT", "LT", "foo"]).into());
        }
        command.extend(self.counted(1));
        within_seconds(command)
    }

    /// What carries fields to another key.
    fn moving_command(&mut self) -> Command {
        let (key, other) = (self.own_key(), self.own_key());
        let name = self.pick(&["RENAME", "COPY", "EXISTS", "TYPE"]);
        match name {
            "COPY" => self.words(name, [key, other, b"REPLACE".to_vec()]),
            "RENAME" => self.words(name, [key, other]),
            _ => self.words(name, [key]),
        }
    }
}

/// Valkey rounds the last half of a second before the end of time past it.
fn within_seconds(mut command: Command) -> Command {
    let last = command.iter_mut().filter(|arg| arg.as_slice() == b"9223372036854775807");
    last.for_each(|arg| *arg = b"9223372036854775000".to_vec());
    command
}
