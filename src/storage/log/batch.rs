//! The records of one turn of the loop, encoded as they are added: the buffer is what goes to the file.

use super::format::{BATCH_LIMIT_BYTES, BatchHeader, Record, UNIT_BYTES, pad};

/// A cleared batch keeps at most this much room.
const KEPT_ROOM_BYTES: usize = 4 << 20;

/// Records to be written as one unit: after a crash all of them are there, or none. Made by [`WriteBatch::new`], used
/// again after [`WriteBatch::clear`].
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// Room for the header, then the records; the padding after them is there only while the batch is written.
    buffer: Vec<u8>,
}

impl Default for WriteBatch {
    fn default() -> Self {
        Self { buffer: vec![0; UNIT_BYTES] }
    }
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry of a group's log. It follows the group's last entry, or replaces all from its index on.
    pub fn entry(&mut self, group: u64, index: u64, term: u64, kind: u8, payload: &[u8]) {
        Record::Entry { group, index, term, kind, payload }.encode(&mut self.buffer);
    }

    /// Sets a group's state; the latest wins.
    pub fn state(&mut self, group: u64, state: &[u8]) {
        Record::State { group, state }.encode(&mut self.buffer);
    }

    /// The group's entries up to this position are not needed any more: a durable snapshot covers them. Entries after
    /// it stay.
    pub fn compact(&mut self, group: u64, index: u64, term: u64) {
        Record::Compact { group, index, term }.encode(&mut self.buffer);
    }

    /// The group's log starts afresh after this position, and all its entries go, also those after it: for a new group,
    /// and after a snapshot of a leader was installed.
    pub fn reset(&mut self, group: u64, index: u64, term: u64) {
        Record::Reset { group, index, term }.encode(&mut self.buffer);
    }

    /// The group is destroyed: its entries and its state go.
    pub fn forget(&mut self, group: u64) {
        Record::Forget { group }.encode(&mut self.buffer);
    }

    /// Removes all records and keeps the room, but not that of an unusually long batch.
    pub fn clear(&mut self) {
        self.buffer.truncate(UNIT_BYTES);
        self.buffer.shrink_to(KEPT_ROOM_BYTES);
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == UNIT_BYTES
    }

    /// The length of the records in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len() - UNIT_BYTES
    }

    pub(super) fn is_past_limit(&self) -> bool {
        self.buffer.len() > BATCH_LIMIT_BYTES
    }

    pub(super) fn records(&self) -> Records<'_> {
        Records { rest: &self.buffer[UNIT_BYTES..] }
    }

    /// Hands the bytes of the batch under this header to `write`; length and checksum of the body are filled in.
    pub(super) fn framed<T>(&mut self, mut header: BatchHeader, salt: u64, write: impl FnOnce(&[u8]) -> T) -> T {
        let end = self.buffer.len();
        header.body_bytes = u32::try_from(end - UNIT_BYTES).expect("within the limit of a batch");
        pad(&mut self.buffer);
        header.body_checksum = crc32fast::hash(&self.buffer[UNIT_BYTES..]);
        self.buffer[..UNIT_BYTES].copy_from_slice(&header.encode(salt));
        let outcome = write(&self.buffer);
        self.buffer.truncate(end);
        outcome
    }
}

/// The records of a body, in order; ends early, with [`Records::is_whole`] false, where one is malformed.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Whether nothing is left.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (record, rest) = Record::decode(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}
