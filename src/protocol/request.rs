//! A client's request: an array of byte strings, seen where it lies in a buffer.

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

    /// The arguments from `position` on.
    pub fn from(&self, position: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans[position..].iter().map(move |span| &bytes[span.start as usize..span.end as usize])
    }
}
