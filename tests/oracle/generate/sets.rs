//! Commands on sets.

use rand::prelude::*;

use super::{Command, Generator, Mix, PATTERNS};

/// Sets, and keys.
pub const SETS: Mix = Mix {
    families: &[(74, Generator::set_command), (22, Generator::key_command), (4, Generator::string_command)],
    keys: &[b"s1", b"s2", b"s3", b"s4", b"{s}5", b"{s}6"],
    for_sort: false,
};

impl Generator {
    pub fn set_command(&mut self) -> Command {
        let (key, other) = (self.own_key(), self.own_key());
        match self.random.random_range(0..32) {
            0..=6 => self.sadd(key),
            7..=9 => {
                let members = self.members(1..6);
                self.words("SREM", [vec![key], members].concat())
            }
            10 => self.words("SCARD", [key]),
            11 => {
                let member = self.member();
                self.words("SISMEMBER", [key, member])
            }
            12..=13 => {
                let members = self.members(1..5);
                self.words("SMISMEMBER", [vec![key], members].concat())
            }
            14..=15 => self.words("SMEMBERS", [key]),
            16..=17 => {
                let member = self.member();
                self.words("SMOVE", [key, other, member])
            }
            18 => self.spop(key),
            19..=20 => self.srandmember(key),
            21..=23 => {
                let name = self.pick(&["SINTER", "SUNION", "SDIFF"]);
                let keys = self.set_keys();
                self.words(name, keys)
            }
            24..=27 => {
                let name = self.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
                let keys = self.set_keys();
                self.words(name, [vec![key], keys].concat())
            }
            28 => self.sintercard(),
            29..=30 => self.sscan(key),
            _ => self.words("OBJECT", [b"ENCODING".to_vec(), key]),
        }
    }

    fn set_keys(&mut self) -> Command {
        (0..self.random.random_range(1..5)).map(|_| self.own_key()).collect()
    }

    /// A few members, or a run of numbers or words that takes a set past a limit of its encoding.
    fn sadd(&mut self, key: Vec<u8>) -> Command {
        let members = if self.one_in(6) {
            let count = self.pick(&[30, 100, 127, 128, 129, 200, 500]);
            let start = self.random.random_range(-20..300_i64);
            let prefix = self.pick(&["", "", "w"]);
            (start..start + count).map(|number| format!("{prefix}{number}").into()).collect()
        } else {
            self.members(1..7)
        };
        self.words("SADD", [vec![key], members].concat())
    }

    fn members(&mut self, count: std::ops::Range<usize>) -> Command {
        (0..self.random.random_range(count)).map(|_| self.member()).collect()
    }

    pub fn member(&mut self) -> Vec<u8> {
        match self.random.random_range(0..16) {
            0..=8 => self.random.random_range(-5..60_i64).to_string().into(),
            9 => format!("w{}", self.random.random_range(0..40)).into(),
            10 => vec![b'm'; self.pick(&[63, 64, 65, 255, 256, 257])],
            11..=12 => self.value(),
            13 => self.integer(),
            _ => self.pick(&["a", "b", "c", "d", "e"]).into(),
        }
    }

    /// What is popped is each side's own choice, so the key goes with it.
    fn spop(&mut self, key: Vec<u8>) -> Command {
        self.queued = Some(self.words("DEL", [key.clone()]));
        let mut command = self.words("SPOP", [key]);
        if !self.one_in(3) {
            command.push(self.count());
        }
        command
    }

    fn srandmember(&mut self, key: Vec<u8>) -> Command {
        let mut command = self.words("SRANDMEMBER", [key]);
        if !self.one_in(3) {
            command.push(self.count());
        }
        command
    }

    /// A count of random members: small, or the one that has no opposite, or none at all.
    pub fn count(&mut self) -> Vec<u8> {
        match self.random.random_range(0..8) {
            0 => self.pick(&["9223372036854775807", "-9223372036854775808", "abc", "", "1.5", "0"]).into(),
            1 => self.random.random_range(0..700_i64).to_string().into(),
            _ => self.random.random_range(-12..20_i64).to_string().into(),
        }
    }

    fn sintercard(&mut self) -> Command {
        let keys = self.set_keys();
        let count = match self.one_in(5) {
            true => self.integer(),
            false => keys.len().to_string().into(),
        };
        let mut command = self.words("SINTERCARD", [vec![count], keys].concat());
        for _ in 0..self.random.random_range(0..3_u32).saturating_sub(1) {
            command.push(self.pick(&["LIMIT", "limit", "foo"]).into());
            command.push(self.integer());
        }
        command
    }

    /// A scan that covers the set in one call, or has a mistake.
    fn sscan(&mut self, key: Vec<u8>) -> Command {
        let cursor = self.pick(&["0", "0", "0", "0", "", "+0", "abc", " 0", "1.0", "99999999999999999999"]);
        let mut command = self.words("SSCAN", [key, cursor.into(), b"COUNT".to_vec(), b"100000".to_vec()]);
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..8) {
                0..=4 => {
                    let pattern = self.pick(&PATTERNS);
                    command.extend([b"MATCH".to_vec(), self.pick(&[pattern, "1*", "*2", "w?", "[0-9]"]).into()]);
                }
                5 => command.extend([b"TYPE".to_vec(), b"set".to_vec()]),
                6 => command.extend([b"COUNT".to_vec(), self.pick(&["100000", "0", "-1", "x"]).into()]),
                _ => command.push(self.pick(&["MATCH", "foo"]).into()),
            }
        }
        command
    }
}
