//! Commands on lists.

use rand::prelude::*;

use super::{Command, Generator, Mix};

/// Lists, with some keys of other types beside them.
pub const LISTS: Mix = Mix {
    families: &[(85, Generator::list_command), (12, Generator::key_command), (3, Generator::string_command)],
    keys: &[b"l1", b"l2", b"l3", b"l4"],
    for_sort: false,
};

impl Generator {
    pub fn list_command(&mut self) -> Command {
        let key = self.own_key();
        match self.random.random_range(0..40) {
            0..=11 => self.list_push(key),
            12..=15 => {
                let name = self.pick(&["LPOP", "RPOP"]);
                let mut command = self.words(name, [key]);
                if self.flip() {
                    command.push(self.list_count());
                }
                command
            }
            16..=17 => self.list_multi_pop(),
            18 => self.words("LLEN", [key]),
            19..=20 => {
                let index = self.integer();
                self.words("LINDEX", [key, index])
            }
            21..=23 => {
                let (start, end) = (self.integer(), self.integer());
                self.words("LRANGE", [key, start, end])
            }
            24 => self.words("LRANGE", [key, b"0".to_vec(), b"-1".to_vec()]),
            25 => {
                let (start, end) = (self.integer(), self.integer());
                self.words("LTRIM", [key, start, end])
            }
            26..=27 => {
                // Redis 7.2 takes the lower half of an index alone.
                let index = Some(self.integer()).filter(|index| index.len() < 8).unwrap_or_default();
                let element = self.element();
                self.words("LSET", [key, index, element])
            }
            28..=29 => {
                let place = self.pick(&["BEFORE", "after", "BEFORE", "AFTER", "foo"]).into();
                let (pivot, element) = (self.element(), self.element());
                self.words("LINSERT", [key, place, pivot, element])
            }
            30..=31 => {
                let (count, element) = (self.integer(), self.element());
                self.words("LREM", [key, count, element])
            }
            32..=33 => {
                let (other, from, to) = (self.own_key(), self.list_end(), self.list_end());
                self.words("LMOVE", [key, other, from, to])
            }
            34 => {
                let other = self.own_key();
                self.words("RPOPLPUSH", [key, other])
            }
            35..=37 => self.list_position(key),
            _ => self.words("OBJECT", [b"ENCODING".to_vec(), key]),
        }
    }

    /// Few, so that they come again in one list; some at the limits of what is packed, or of one packed run.
    fn element(&mut self) -> Vec<u8> {
        match self.random.random_range(0..20) {
            0..=11 => self.pick(&["a", "b", "c", "1", "127", "128"]).into(),
            12 => self.value(),
            13 => self
                .pick(&["-1", "-4096", "-4097", "4095", "32768", "8388608", "2147483648", "9223372036854775807", "01"])
                .into(),
            14 if self.one_in(6) => vec![b'p'; self.pick(&[62, 63, 64, 127, 255, 256, 257, 2000, 4095, 4096, 9000])],
            _ => self.random.random_range(0..300).to_string().into(),
        }
    }

    fn list_push(&mut self, key: Vec<u8>) -> Command {
        let name = self.pick(&["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "rpushx"]);
        let count = if self.one_in(30) { self.random.random_range(1..300) } else { self.random.random_range(1..5) };
        let elements: Command = (0..count).map(|_| self.element()).collect();
        self.words(name, [vec![key], elements].concat())
    }

    fn list_count(&mut self) -> Vec<u8> {
        match self.one_in(8) {
            true => self.integer(),
            false => self.random.random_range(0..6).to_string().into(),
        }
    }

    fn list_end(&mut self) -> Vec<u8> {
        if self.one_in(30) { self.value() } else { self.pick(&["LEFT", "RIGHT", "left", "rIght"]).into() }
    }

    fn list_multi_pop(&mut self) -> Command {
        let keys: Command = (0..self.random.random_range(1..4)).map(|_| self.own_key()).collect();
        let numkeys = if self.one_in(12) { self.integer() } else { keys.len().to_string().into() };
        let end = self.list_end();
        let mut command = self.words("LMPOP", [vec![numkeys], keys, vec![end]].concat());
        while self.one_in(3) {
            command.extend([self.pick(&["COUNT", "count", "COUNT", "foo"]).into(), self.list_count()]);
        }
        if self.one_in(30) {
            command.push(b"COUNT".to_vec());
        }
        command
    }

    fn list_position(&mut self, key: Vec<u8>) -> Command {
        let element = self.element();
        let mut command = self.words("LPOS", [key, element]);
        while self.flip() {
            command.push(self.pick(&["RANK", "rank", "COUNT", "count", "MAXLEN", "maxlen", "foo"]).into());
            if !self.one_in(30) {
                let value =
                    if self.flip() { self.integer() } else { self.random.random_range(-3..5).to_string().into() };
                command.push(value);
            }
        }
        command
    }
}
