//! The languages that the load speaks, as bytes without sockets: `Resp` here, `etcd.rs` and `nats.rs` for the others. All three
//! run in the same loop, so that the client's part of a difference is small.

use pontoon::protocol::reply_scan::{is_error, is_null, reply_end};
use pontoon::protocol::request::write_array;

/// What to ask for, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    Set,
    /// So many keys at once.
    MultiGet(usize),
}

/// Requests of one kind over some keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub op: Op,
    pub value_bytes: usize,
    pub keys: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any of so many.
    Any(u64),
    /// One after the other, from the first.
    Each,
}

/// Picks keys.
pub struct Picker {
    keys: Keys,
    state: u64,
    next: u64,
}

impl Picker {
    pub fn new(keys: Keys, client: usize) -> Self {
        Self { keys, state: client as u64, next: 0 }
    }

    fn number(&mut self) -> u64 {
        match self.keys {
            Keys::Any(count) => {
                // SplitMix64.
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed >> 32) % count
            }
            Keys::Each => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    /// Writes the digits of the next key over the ones that are there.
    pub fn put(&mut self, digits: &mut [u8]) {
        let mut number = self.number();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// The number at a key's end.
pub const KEY_DIGITS: usize = 9;

/// A key before its number is put in; values of each size have keys of their own.
pub fn blank_key(value_bytes: usize) -> String {
    format!("k{value_bytes}:{:0KEY_DIGITS$}", 0)
}

/// A request with places for keys.
pub struct Template {
    bytes: Vec<u8>,
    /// Where digits begin.
    holes: Vec<usize>,
}

impl Template {
    pub fn new(bytes: Vec<u8>, key: &[u8]) -> Self {
        let starts = memchr::memmem::find_iter(&bytes, key).map(|at| at + key.len() - KEY_DIGITS).collect();
        Self { bytes, holes: starts }
    }

    pub fn write(&self, out: &mut Vec<u8>, picker: &mut Picker) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for hole in &self.holes {
            picker.put(&mut out[start + hole..start + hole + KEY_DIGITS]);
        }
    }
}

/// What the beginning of the received bytes is.
pub enum Heard {
    /// Not all of it is there.
    Part,
    /// So many bytes that answer nothing.
    Other(usize),
    Answer {
        length: usize,
        /// Why it is no success.
        error: Option<String>,
    },
}

/// One client's side of a protocol.
pub trait Speaker {
    /// Sent first; and how many answers come to it.
    fn greeting(&self) -> (Vec<u8>, usize);
    fn request(&mut self, out: &mut Vec<u8>);
    /// Reads on; what has to be answered at once goes to `out`.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Heard, String>;
}

/// A Redis client.
pub struct Resp {
    template: Template,
    picker: Picker,
    greeting: Vec<u8>,
    null_is_wrong: bool,
}

impl Resp {
    /// `level`: how its reads are answered, if not by default.
    pub fn new(work: Work, client: usize, level: Option<&str>) -> Self {
        let (key, value) = (blank_key(work.value_bytes), vec![b'x'; work.value_bytes]);
        let mut bytes = Vec::new();
        match work.op {
            Op::Get => write_array(&mut bytes, [b"GET", key.as_bytes()].into_iter()),
            Op::Set => write_array(&mut bytes, [b"SET", key.as_bytes(), &value].into_iter()),
            Op::MultiGet(count) => {
                let words: Vec<&[u8]> =
                    std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(key.as_bytes(), count)).collect();
                write_array(&mut bytes, words.into_iter());
            }
        }
        let mut greeting = Vec::new();
        if let Some(level) = level {
            write_array(&mut greeting, [&b"CLIENT"[..], b"READS", level.as_bytes()].into_iter());
        }
        Self {
            template: Template::new(bytes, key.as_bytes()),
            picker: Picker::new(work.keys, client),
            greeting,
            null_is_wrong: work.op == Op::Get,
        }
    }
}

impl Speaker for Resp {
    fn greeting(&self) -> (Vec<u8>, usize) {
        (self.greeting.clone(), usize::from(!self.greeting.is_empty()))
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        self.template.write(out, &mut self.picker);
    }

    fn hear(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Result<Heard, String> {
        let Some(length) = reply_end(bytes).map_err(|bad| bad.to_string())? else { return Ok(Heard::Part) };
        let reply = &bytes[..length];
        let error = if is_error(reply) {
            Some(String::from_utf8_lossy(reply).trim_end().to_owned())
        } else {
            (self.null_is_wrong && is_null(reply)).then(|| "a key is missing".to_owned())
        };
        Ok(Heard::Answer { length, error })
    }
}
