//! SORT and SORT_RO over lists, sets and sorted sets, and the keys that they look at.
//!
//! All keys are in one slot, as ours have to be. No number is out of range: after one, Redis may take any other for it, since it
//! never resets `errno`. Names tell types here ([`is_set`]), and elements have no zero bytes, at which Redis stops when it compares. Where equals
//! were stored in whatever order, the key goes at once.

use rand::prelude::*;

use super::{Command, Generator, Mix};

/// SORT, what it sorts, and what it sorts by.
pub const SORT: Mix =
    Mix { families: &[(60, Generator::sort), (40, Generator::sort_data)], keys: &KEYS, for_sort: true };

const KEYS: [&[u8]; 6] = [b"{x}l1", b"{x}l2", b"{x}s1", b"{x}s2", b"{x}z1", b"{x}z2"];
const PATTERNS: [&str; 8] =
    ["{x}w_*", "{x}w_*", "{x}h_*->n", "{x}h_*->t", "{x}h_*->", "{x}h_*->none", "{x}w_*x", "{x}*_1"];

/// Whether a key holds a set in this run.
pub fn is_set(key: &[u8]) -> bool {
    key.starts_with(b"{x}s")
}

impl Generator {
    fn sortable(&mut self) -> Vec<u8> {
        match self.random.random_range(0..40) {
            0 => self.pick(&["abc", "b", "", "1x", "nan", "--1"]).into(),
            1..=6 => self.pick(&["1.5", "-2.25", "1e3", "inf", "-Infinity", "0x1F", " 7", "+3", "007", "1."]).into(),
            _ => self.random.random_range(-5..40_i64).to_string().into(),
        }
    }

    fn sort_data(&mut self) -> Command {
        let key: Vec<u8> = self.pick(&KEYS).into();
        let count = if self.one_in(10) { 150 } else { self.random.random_range(1..6) };
        match self.random.random_range(0..20) {
            0..=4 => match key.get(3) {
                Some(b's') => {
                    let elements: Command = (0..count).map(|_| self.sortable()).collect();
                    self.words("SADD", [vec![key], elements].concat())
                }
                Some(b'z') => {
                    let pairs: Command = (0..count)
                        .flat_map(|_| [self.random.random_range(0..9_i64).to_string().into(), self.sortable()])
                        .collect();
                    self.words("ZADD", [vec![key], pairs].concat())
                }
                _ => {
                    let elements: Command = (0..count).map(|_| self.sortable()).collect();
                    self.words("RPUSH", [vec![key], elements].concat())
                }
            },
            5..=9 => {
                let (other, value) = (self.weight_key('w'), self.sortable());
                self.words("SET", [other, value])
            }
            10..=14 => {
                let (other, field) = (self.weight_key('h'), self.pick(&["n", "t"]).into());
                let value = self.sortable();
                self.words("HSET", [other, field, value])
            }
            15 => self.words("DEL", [key]),
            16 => {
                let kind = self.pick(&['w', 'h']);
                let other = self.weight_key(kind);
                self.words("DEL", [other])
            }
            // SORT makes a sorted set a skiplist in Redis, and leaves it what it is here.
            17 if key[3] != b'z' => self.words("OBJECT", [b"ENCODING".to_vec(), key]),
            _ => self.words("LRANGE", [key, b"0".to_vec(), b"-1".to_vec()]),
        }
    }

    fn weight_key(&mut self, kind: char) -> Vec<u8> {
        format!("{{x}}{kind}_{}", self.random.random_range(-5..40)).into()
    }

    fn sort(&mut self) -> Command {
        let key = if self.one_in(20) { self.weight_key('w') } else { self.pick(&KEYS).into() };
        let name = self.pick(&["SORT", "SORT", "SORT_RO"]);
        let mut command = self.words(name, [key]);
        let (mut ties, mut target) = (false, None);
        for _ in 0..self.random.random_range(0..5) {
            match self.random.random_range(0..24) {
                0..=2 => command.push(b"DESC".to_vec()),
                3 => command.push(b"asc".to_vec()),
                4..=8 => {
                    command.push(b"ALPHA".to_vec());
                    ties = true;
                }
                9..=12 => command.extend([b"LIMIT".to_vec(), self.integer(), self.integer()]),
                13..=15 => {
                    let pattern = self.pick(&PATTERNS);
                    command.extend([b"BY".to_vec(), self.pick(&[pattern, pattern, pattern, "nosort", "#"]).into()]);
                }
                16..=18 => {
                    let pattern = self.pick(&PATTERNS);
                    command.extend([b"GET".to_vec(), self.pick(&[pattern, pattern, "#", "constant", ""]).into()]);
                }
                19..=22 => {
                    let key: Vec<u8> = self.pick(&["{x}l1", "{x}l2"]).into();
                    command.extend([b"STORE".to_vec(), key.clone()]);
                    target = Some(key);
                }
                _ => command.push(self.pick(&["LIMIT", "BY", "GET", "STORE", "foo", "WITHSCORES"]).into()),
            }
        }
        if let Some(target) = target
            && ties
        {
            self.queued = Some(self.words("DEL", [target]));
        }
        command
    }
}
