//! Commands on the bits of strings.

use rand::prelude::*;

use super::{Command, Generator};

impl Generator {
    pub fn bit_command(&mut self) -> Command {
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
}
