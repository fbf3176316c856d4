//! A stream of items as bytes that may be cut anywhere: each item `u32 length | bytes`, little endian. What snapshots carry
//! besides slots.

const LENGTH_BYTES: usize = 4;

/// What gives items one by one.
pub trait Source {
    /// Appends the next item; `false`: there is none.
    fn fill(&mut self, item: &mut Vec<u8>) -> bool;
}

/// Items as bytes.
#[derive(Clone, Debug)]
pub struct ItemPieces<S> {
    source: S,
    /// The item that is being written, and how much of it was.
    item: Vec<u8>,
    written: usize,
}

impl<S: Source> ItemPieces<S> {
    /// Before the first item.
    pub const fn new(source: S) -> Self {
        Self { source, item: Vec::new(), written: 0 }
    }

    /// Appends at most `room` bytes of the stream, at least one; `false`: there was nothing left.
    pub fn write(&mut self, room: usize, out: &mut Vec<u8>) -> bool {
        let mut room = room.max(1);
        let mut wrote = false;
        while room > 0 {
            if self.written == self.item.len() && !self.next_item() {
                return wrote;
            }
            let end = self.item.len().min(self.written + room);
            out.extend_from_slice(&self.item[self.written..end]);
            room -= end - self.written;
            self.written = end;
            wrote = true;
        }
        wrote
    }

    fn next_item(&mut self) -> bool {
        self.item.clear();
        self.written = 0;
        self.item.extend_from_slice(&[0; LENGTH_BYTES]);
        if !self.source.fill(&mut self.item) {
            self.item.clear();
            return false;
        }
        let length = (self.item.len() - LENGTH_BYTES) as u32;
        self.item[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        true
    }
}

/// Items from bytes.
#[derive(Debug, Default)]
pub struct ItemReader {
    rest: Vec<u8>,
}

impl ItemReader {
    /// Takes the next bytes, and hands the items over that are all there.
    ///
    /// # Errors
    /// What `take` says of an item.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some((head, more)) = rest[at..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_le_bytes(*head) as usize;
            let Some(item) = more.get(..length) else { break };
            take(item)?;
            at += LENGTH_BYTES + length;
        }
        self.rest = rest;
        self.rest.drain(..at);
        Ok(())
    }

    /// Whether an item is not all there.
    pub const fn is_cut(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// The fields of an item.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next bytes.
    ///
    /// # Errors
    /// There are not so many.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (head, rest) = self.0.split_first_chunk().ok_or("an item shorter than it must be")?;
        self.0 = rest;
        Ok(*head)
    }

    /// A number.
    ///
    /// # Errors
    /// There is none.
    pub fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length, and as many bytes.
    ///
    /// # Errors
    /// They are not there.
    pub fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or("an item shorter than it must be")?;
        self.0 = rest;
        Ok(head)
    }

    /// Whether all of it was read.
    ///
    /// # Errors
    /// It was not.
    pub const fn end(&self) -> Result<(), &'static str> {
        if self.0.is_empty() { Ok(()) } else { Err("an item longer than it may be") }
    }
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends numbers.
pub fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}
