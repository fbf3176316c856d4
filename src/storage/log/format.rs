//! The bytes of a segment: its header, the header of a batch, the header of a record. Pure: no files here.
//!
//! All numbers are little endian. Segment and batch headers take one unit of 64 bytes at a multiple of 64, so that no
//! header lies across two sectors: after a power cut each is there whole or not at all. The last byte of a batch's
//! header, and of the padding that brings a batch to whole units, is not zero, so that a write that was cut short in
//! space that was zero before shows by a zero there.

use crc32fast::Hasher;

/// Headers and batches start and end at multiples of this.
pub(super) const UNIT_BYTES: usize = 64;
/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
/// The version that this release writes and reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// A batch may not be longer than this, headers included.
pub(super) const BATCH_LIMIT_BYTES: usize = 1 << 30;
/// The bytes in front of every record's payload.
pub(super) const RECORD_HEADER_BYTES: usize = 32;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"PONTLOG\n");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"PoBa");
/// Ends every header of a batch, and every batch.
pub(super) const PADDING: u8 = 0xa5;

/// One unit of bytes.
pub(super) type Unit = [u8; UNIT_BYTES];

/// The first unit of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Which segment this is: one more than the segment before it. A recycled file gets a new one.
    pub generation: u64,
    /// The length of the file.
    pub length: u64,
    /// The oldest segment that was still needed when this one was made: all from there to here must exist.
    pub oldest: u64,
    /// Enters the checksums of this segment's batch headers, so that a payload cannot imitate one.
    pub salt: u64,
}

/// Why the first unit of a segment is not a header of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAHeader {
    Damaged,
    Version(u32),
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// What callers wrote.
    Records = 1,
    /// The first of each segment: every group's newest state and compaction, so that older segments can go.
    Checkpoint = 2,
    /// Nothing: the next segment exists. Carries the sequence number of the batch before it.
    Seal = 3,
}

/// The first unit of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub kind: BatchKind,
    pub generation: u64,
    /// Where in the file this header is.
    pub offset: u64,
    /// One more than that of the batch before it, over all segments.
    pub sequence: u64,
    /// The highest sequence number that was durable when this batch was written.
    pub synced: u64,
    /// The length of the records, without padding.
    pub body_bytes: u32,
    /// Over the records and the padding.
    pub body_checksum: u32,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry { group: u64, index: u64, term: u64, kind: u8, payload: &'a [u8] },
    State { group: u64, state: &'a [u8] },
    Compact { group: u64, index: u64, term: u64 },
    Reset { group: u64, index: u64, term: u64 },
    Forget { group: u64 },
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Unit {
        let mut unit = [0; UNIT_BYTES];
        unit[..8].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        unit[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        for (place, number) in [(16, self.generation), (24, self.length), (32, self.oldest), (40, self.salt)] {
            unit[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = segment_checksum(&unit);
        unit[12..16].copy_from_slice(&checksum.to_le_bytes());
        unit
    }

    pub(super) fn decode(unit: &Unit) -> Result<Self, NotAHeader> {
        if u64_at(unit, 0) != SEGMENT_MAGIC || u32_at(unit, 12) != segment_checksum(unit) {
            return Err(NotAHeader::Damaged);
        }
        match u32_at(unit, 8) {
            FORMAT_VERSION => Ok(Self {
                generation: u64_at(unit, 16),
                length: u64_at(unit, 24),
                oldest: u64_at(unit, 32),
                salt: u64_at(unit, 40),
            }),
            other => Err(NotAHeader::Version(other)),
        }
    }
}

/// Over all but the checksum itself. The same in every version of the format, so that a version can be believed.
fn segment_checksum(unit: &Unit) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&unit[..12]);
    hasher.update(&unit[16..]);
    hasher.finalize()
}

impl BatchHeader {
    pub(super) fn encode(&self, salt: u64) -> Unit {
        let mut unit = [0; UNIT_BYTES];
        unit[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        for (place, number) in [(8, self.generation), (16, self.offset), (24, self.sequence), (32, self.synced)] {
            unit[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (place, number) in [(40, self.body_bytes), (44, self.body_checksum), (48, self.kind as u32)] {
            unit[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        unit[UNIT_BYTES - 1] = PADDING;
        let checksum = batch_checksum(&unit, salt);
        unit[4..8].copy_from_slice(&checksum.to_le_bytes());
        unit
    }

    /// The header in this unit; `None` where the checksum fails.
    pub(super) fn decode(unit: &Unit, salt: u64) -> Option<Self> {
        if u32_at(unit, 0) != BATCH_MAGIC || u32_at(unit, 4) != batch_checksum(unit, salt) {
            return None;
        }
        let kind = match u32_at(unit, 48) {
            1 => BatchKind::Records,
            2 => BatchKind::Checkpoint,
            3 => BatchKind::Seal,
            _ => return None,
        };
        Some(Self {
            kind,
            generation: u64_at(unit, 8),
            offset: u64_at(unit, 16),
            sequence: u64_at(unit, 24),
            synced: u64_at(unit, 32),
            body_bytes: u32_at(unit, 40),
            body_checksum: u32_at(unit, 44),
        })
    }

    /// The bytes that the batch takes in the file.
    pub(super) fn batch_bytes(&self) -> u64 {
        match self.kind {
            BatchKind::Seal => UNIT_BYTES as u64,
            BatchKind::Records | BatchKind::Checkpoint => UNIT_BYTES as u64 + padded(u64::from(self.body_bytes)),
        }
    }
}

fn batch_checksum(unit: &Unit, salt: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&unit[..4]);
    hasher.update(&unit[8..]);
    hasher.finalize()
}

/// The length of a body with its padding: whole units, and at least one byte more.
pub(super) fn padded(body_bytes: u64) -> u64 {
    (body_bytes / UNIT_BYTES as u64 + 1) * UNIT_BYTES as u64
}

/// Pads what is in `buffer` to whole units.
pub(super) fn pad(buffer: &mut Vec<u8>) {
    buffer.resize((buffer.len() / UNIT_BYTES + 1) * UNIT_BYTES, PADDING);
}

impl<'a> Record<'a> {
    pub(super) fn group(&self) -> u64 {
        let (Self::Entry { group, .. }
        | Self::State { group, .. }
        | Self::Compact { group, .. }
        | Self::Reset { group, .. }
        | Self::Forget { group }) = self;
        *group
    }

    pub(super) fn encode(&self, buffer: &mut Vec<u8>) {
        let none: &[u8] = &[];
        let (tag, kind, group, first, second, payload) = match *self {
            Self::Entry { group, index, term, kind, payload } => (1, kind, group, index, term, payload),
            Self::State { group, state } => (2, 0, group, 0, 0, state),
            Self::Compact { group, index, term } => (3, 0, group, index, term, none),
            Self::Reset { group, index, term } => (4, 0, group, index, term, none),
            Self::Forget { group } => (5, 0, group, 0, 0, none),
        };
        // A payload past four gigabytes makes a batch past its limit, which is refused before it is written.
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut header = [0; RECORD_HEADER_BYTES];
        (header[0], header[1]) = (tag, kind);
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&group.to_le_bytes());
        header[16..24].copy_from_slice(&u64::to_le_bytes(first));
        header[24..32].copy_from_slice(&u64::to_le_bytes(second));
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(payload);
    }

    /// The first record of `body` and the bytes after it; `None` where there is no whole record.
    pub(super) fn decode(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = body.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let (payload, rest) = rest.split_at_checked(usize::try_from(u32_at(header, 4)).ok()?)?;
        let (group, first, second) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 24));
        let record = match header[0] {
            1 => Self::Entry { group, index: first, term: second, kind: header[1], payload },
            2 => Self::State { group, state: payload },
            3 => Self::Compact { group, index: first, term: second },
            4 => Self::Reset { group, index: first, term: second },
            5 => Self::Forget { group },
            _ => return None,
        };
        Some((record, rest))
    }
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_every_flip_shows() {
        let segment = SegmentHeader { generation: 3, length: 1 << 20, oldest: 2, salt: 99 };
        let batch = BatchHeader {
            kind: BatchKind::Records,
            generation: 3,
            offset: 128,
            sequence: 17,
            synced: 16,
            body_bytes: 100,
            body_checksum: 0xfeed,
        };
        assert_eq!(SegmentHeader::decode(&segment.encode()), Ok(segment));
        assert_eq!(BatchHeader::decode(&batch.encode(99), 99), Some(batch));
        assert_eq!(BatchHeader::decode(&batch.encode(98), 99), None, "another salt");
        for bit in 0..UNIT_BYTES * 8 {
            let flip = |mut unit: Unit| {
                unit[bit / 8] ^= 1 << (bit % 8);
                unit
            };
            assert_eq!(SegmentHeader::decode(&flip(segment.encode())), Err(NotAHeader::Damaged), "bit {bit}");
            assert_eq!(BatchHeader::decode(&flip(batch.encode(99)), 99), None, "bit {bit}");
        }
    }

    #[test]
    fn records_read_back_and_a_cut_one_is_none() {
        let records = [
            Record::Entry { group: 1, index: 2, term: 3, kind: 4, payload: b"five" },
            Record::State { group: u64::MAX, state: b"" },
            Record::Compact { group: 1, index: 2, term: 3 },
            Record::Reset { group: 1, index: 9, term: 8 },
            Record::Forget { group: 1 },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(Record::decode(&bytes[..cut]), None);
            }
            bytes.push(7);
            assert_eq!(Record::decode(&bytes), Some((record, &[7][..])));
        }
    }

    #[test]
    fn padding_ends_every_batch_with_a_byte_that_is_not_zero() {
        for len in [0, 1, 63, 64, 65] {
            let mut buffer = vec![0; len];
            pad(&mut buffer);
            assert_eq!(buffer.len() as u64, padded(len as u64));
            assert_eq!(buffer.last(), Some(&PADDING));
        }
    }
}
