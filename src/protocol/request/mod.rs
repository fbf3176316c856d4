//! A client's request: an array of byte strings, seen where it lies in a buffer.
//!
//! Three ways in: [`RequestParser`] for bytes from a client, who may do anything; [`parse_array`] for bytes that our
//! own parser has passed (a log entry, a frame); [`write_array`] for the parts of a request that was split.
//! Invariant: whoever holds [`Args`] holds at least one argument, and every span lies inside the bytes.

mod canonical;
mod inline;
mod limits;
mod parser;

pub use canonical::{Malformed, parse_array, parse_first, second_argument, write_array};
pub use limits::Limits;
pub use parser::{Form, Parsed, ProtocolError, RequestParser};

/// Where one argument lies in the bytes of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The arguments of one request, the command's name first. Never empty.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Sees `bytes` through `spans`, all of which lie inside it.
    pub const fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many there are, the command's name included.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, which no parser makes.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `position`.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, position: usize) -> &'a [u8] {
        let span = self.spans[position];
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// The command's name as the client wrote it.
    pub fn name(&self) -> &'a [u8] {
        self.get(0)
    }

    /// The arguments from `position` on; none when there are fewer.
    pub fn from(&self, position: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        let spans = self.spans.get(position..).unwrap_or_default();
        spans.iter().map(move |span| &bytes[span.start as usize..span.end as usize])
    }

    /// The request that the arguments from `position` on are. Its bytes are still those of all.
    pub fn tail(&self, position: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(position..).unwrap_or_default() }
    }

    /// Whether the argument at `position` is there and is `word`, in whatever case.
    pub fn is(&self, position: usize, word: &str) -> bool {
        position < self.len() && self.get(position).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The request as one RESP array.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}
