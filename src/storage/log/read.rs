//! Reading one segment: its batches in order, and why they end where they do. Pure but for the file's path in errors.

use std::collections::VecDeque;
use std::path::Path;

use super::batch::Records;
use super::format::{
    BatchHeader, BatchKind, FORMAT_VERSION, NotAHeader, Record, SECTOR_BYTES, SegmentHeader, UNIT_BYTES, Unit,
};
use crate::planted::{self, Bug};
use crate::storage::error::StorageError;

/// A segment's content, its header checked.
pub(super) struct SegmentContent<'a> {
    pub path: &'a Path,
    pub header: SegmentHeader,
    pub content: Vec<u8>,
}

/// Where the batches of a segment end, and what is there.
pub(super) struct Extent {
    /// The first byte after the last valid batch.
    pub end: usize,
    /// The sequence number of the first batch, the checkpoint.
    pub first_sequence: u64,
    /// The sequence number of the last valid batch.
    pub last_sequence: u64,
    /// The start of the first valid batch that no later one says was synced.
    pub uncertain_from: usize,
    /// What follows the last valid batch.
    pub stop: Stop,
}

/// What follows the last valid batch of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The mark that the next segment exists.
    Sealed,
    /// Zeros where a header would be: nothing was written, or it never reached the disk.
    Blank,
    /// A batch whose end, or one of whose sectors, is still zero: its write was cut short.
    Torn,
    /// Bytes that no cut-short write leaves.
    Damaged(&'static str),
}

impl<'a> SegmentContent<'a> {
    /// Takes the content of the segment of this generation.
    pub(super) fn check(path: &'a Path, generation: u64, content: Vec<u8>) -> Result<Self, StorageError> {
        let unit = content.first_chunk().ok_or_else(|| StorageError::damaged(path, 0, "no header"))?;
        let header = check_header(path, generation, unit, content.len() as u64)?;
        Ok(Self { path, header, content })
    }

    /// Hands every record of the valid batches to `each`, and says where and why they end.
    pub(super) fn read(&self, mut each: impl FnMut(Record<'_>)) -> Result<Extent, StorageError> {
        let Some((checkpoint, body)) = self.batch_at(UNIT_BYTES, None).map_err(|_| self.no_checkpoint())? else {
            return Err(self.no_checkpoint());
        };
        let first_sequence = checkpoint.sequence;
        let mut uncertain = VecDeque::new();
        let (mut end, mut header, mut body) = (UNIT_BYTES, checkpoint, body);
        let stop = loop {
            self.hand_out(end, body, &mut each)?;
            uncertain.push_back((header.sequence, end));
            let synced = if header.kind == BatchKind::Checkpoint { header.sequence } else { header.synced };
            while uncertain.front().is_some_and(|(sequence, _)| *sequence <= synced) {
                uncertain.pop_front();
            }
            end += usize::try_from(header.batch_bytes()).expect("within the segment");
            match self.batch_at(end, Some(header.sequence)) {
                Ok(Some(next)) => (header, body) = next,
                Ok(None) => break Stop::Sealed,
                Err(stop) => break stop,
            }
        };
        if let Some((sequence, start)) =
            uncertain.front().filter(|_| stop == Stop::Blank && planted::is(Bug::TailCutTooFar))
        {
            (end, header.sequence) = (*start, sequence - 1);
        }
        let uncertain_from = uncertain.front().map_or(end, |(_, start)| *start);
        Ok(Extent { end, first_sequence, last_sequence: header.sequence, uncertain_from, stop })
    }

    /// The headers of this segment's life that lie at or after `from`, with their offsets: what is left of writes
    /// behind a batch that is not valid.
    pub(super) fn headers_from(&self, from: usize) -> impl Iterator<Item = (usize, BatchHeader)> + '_ {
        (from..self.content.len()).step_by(UNIT_BYTES).filter_map(|offset| Some((offset, self.header_at(offset)?)))
    }

    /// The batch after the one with this sequence number, or the checkpoint; `None` for the seal.
    fn batch_at(&self, offset: usize, before: Option<u64>) -> Result<Option<(BatchHeader, &[u8])>, Stop> {
        let unit = self.unit_at(offset).ok_or(Stop::Blank)?;
        if unit.iter().all(|byte| *byte == 0) {
            return Err(Stop::Blank);
        }
        let header = self.header_at(offset).ok_or(match unit[UNIT_BYTES - 1] {
            0 => Stop::Torn,
            _ => Stop::Damaged("the header of a batch"),
        })?;
        if before.is_some_and(|before| header.kind == BatchKind::Seal && header.sequence == before) {
            return Ok(None);
        }
        let expected = match before {
            Some(before) => header.kind == BatchKind::Records && Some(header.sequence) == before.checked_add(1),
            None => header.kind == BatchKind::Checkpoint,
        };
        if !expected {
            return Err(Stop::Damaged("a batch that does not follow the one before it"));
        }
        let len = usize::try_from(header.batch_bytes()).unwrap_or(usize::MAX);
        let end = offset.checked_add(len).filter(|end| *end <= self.content.len() - UNIT_BYTES);
        let end = end.ok_or(Stop::Damaged("a batch longer than the segment"))?;
        let padded = &self.content[offset + UNIT_BYTES..end];
        if crc32fast::hash(padded) != header.body_checksum {
            let torn = self.content[end - 1] == 0 || blank_sector(&self.content, offset, end);
            return Err(if torn { Stop::Torn } else { Stop::Damaged("the checksum of a batch") });
        }
        Ok(Some((header, &padded[..header.body_bytes as usize])))
    }

    fn hand_out(&self, offset: usize, body: &[u8], each: &mut impl FnMut(Record<'_>)) -> Result<(), StorageError> {
        let mut records = Records::of(body);
        records.by_ref().for_each(each);
        if !records.is_whole() {
            return Err(StorageError::damaged(self.path, offset as u64, "a batch of unknown records"));
        }
        Ok(())
    }

    fn header_at(&self, offset: usize) -> Option<BatchHeader> {
        let header = BatchHeader::decode(self.unit_at(offset)?, self.header.salt)?;
        (header.generation == self.header.generation && header.offset == offset as u64).then_some(header)
    }

    fn unit_at(&self, offset: usize) -> Option<&Unit> {
        self.content.get(offset..)?.first_chunk()
    }

    fn no_checkpoint(&self) -> StorageError {
        StorageError::damaged(self.path, UNIT_BYTES as u64, "the first batch of the segment")
    }
}

/// The header of the segment of this generation, in a file of this length.
pub(super) fn check_header(
    path: &Path,
    generation: u64,
    unit: &Unit,
    file_bytes: u64,
) -> Result<SegmentHeader, StorageError> {
    let header = SegmentHeader::decode(unit).map_err(|reason| match reason {
        NotAHeader::Version(found) => StorageError::Version { path: path.to_path_buf(), found, known: FORMAT_VERSION },
        NotAHeader::Damaged => StorageError::damaged(path, 0, "the header of the segment"),
    })?;
    if header.generation != generation || header.oldest > generation {
        let what = format!("the header is of segment {:016x}", header.generation);
        return Err(StorageError::damaged(path, 0, what));
    }
    if header.length != file_bytes {
        let what = format!("the file is {file_bytes} bytes long, not {} as it was made", header.length);
        return Err(StorageError::damaged(path, header.length.min(file_bytes), what));
    }
    Ok(header)
}

/// Whether a sector after the header's own still holds nothing of the batch from `offset` to `end`.
fn blank_sector(content: &[u8], offset: usize, end: usize) -> bool {
    let after_header = (offset / SECTOR_BYTES + 1) * SECTOR_BYTES;
    let sectors = content.get(after_header..end).unwrap_or_default();
    sectors.chunks(SECTOR_BYTES).any(|sector| sector.iter().all(|byte| *byte == 0))
}
