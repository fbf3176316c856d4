//! Writing one segment: batches after each other into space that was made zero, durably, before.
//!
//! Invariant: before a batch is written, its space and the unit after it are zero on disk (or the segment ends there).
//! So after a power cut each of a batch's sectors holds what was written or zeros, never bytes of the segment's former
//! life, and what follows the last batch is zero: recovery tells a torn write from a flipped bit by that. The zeros go
//! ahead of the batches piece by piece and become durable with a batch's own sync, so they cost no sync of their own;
//! they also turn reserved space into written space, so that syncs need not touch the file system's journal.
//!
//! Nobody reads what is written here until the next start, so it goes past the operating system's cache, in whole blocks: the block
//! that the last batch ends in is written again with the next one, its first sectors as they are on disk, and the last block is
//! filled up with the zeros that are there already.

use std::path::{Path, PathBuf};

use super::batch::WriteBatch;
use super::format::{BatchHeader, BatchKind, SegmentHeader, UNIT_BYTES, padded};
use crate::storage::disk::{BLOCK_BYTES, BlockBuffer, Disk, DiskFile};
use crate::storage::error::StorageError;

const UNIT: u64 = UNIT_BYTES as u64;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// So many blocks are written at once at most.
const BLOCKS_MAX: usize = 64;
/// So many zeros are.
const ZEROS_BYTES: usize = 32 * BLOCK_BYTES;
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);
/// So many pieces make up the zeros that are ahead. Each goes with the sync of one batch, and whoever waits for that waits for the
/// zeros too, so they are small.
const ZERO_PIECES: u64 = 8;

/// As a [`BlockBuffer`] is.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: DiskFile,
    header: SegmentHeader,
    /// Where the next batch goes.
    end: u64,
    /// Up to here the file is zero from `end` on.
    zeroed: u64,
    /// Up to here it is so on disk.
    zeroed_durable: u64,
    /// Up to here what was written is on disk.
    durable: u64,
    zero_ahead_bytes: u64,
    /// What is written next. Begins with the block that `end` lies in, as it is in the file up to there.
    blocks: BlockBuffer,
}

/// The name of a segment's file.
pub(super) fn segment_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:016x}.log"))
}

/// The length that a segment needs for these batches (lengths with header and padding), in whole blocks.
pub(super) fn length_for(batches_bytes: u64) -> u64 {
    (UNIT + batches_bytes + UNIT).next_multiple_of(BLOCK)
}

/// The bytes that a batch with these records takes.
pub(super) fn batch_bytes(batch: &WriteBatch) -> u64 {
    UNIT + padded(batch.len() as u64)
}

impl Segment {
    /// Makes a segment of a file under another name; it has its own name, durably, when its header and its checkpoint
    /// are durable, so a segment that is found is whole up to there.
    pub(super) fn create(
        disk: &Disk,
        dir: &Path,
        file: DiskFile,
        header: SegmentHeader,
        checkpoint: (&mut WriteBatch, u64),
        zero_ahead_bytes: u64,
    ) -> Result<Self, StorageError> {
        let blocks = BlockBuffer::new(BLOCKS_MAX);
        let mut segment =
            Self { file, header, end: 0, zeroed: 0, zeroed_durable: 0, durable: 0, zero_ahead_bytes, blocks };
        segment.bypass_cache()?;
        let (batch, sequence) = checkpoint;
        // Recycled content goes first, then what replaces it: nothing relies on it before the file has its name.
        segment.zero_to(length_for(batch_bytes(batch)) + zero_ahead_bytes)?;
        segment.write_behind(&header.encode())?;
        segment.put(batch, BatchKind::Checkpoint, sequence, sequence - 1)?;
        segment.sync()?;
        segment.file.rename(disk, &segment_path(dir, header.generation))?;
        disk.sync_dir(dir)?;
        Ok(segment)
    }

    /// Goes on with a segment that recovery found to end at `end`, with nothing but zeros on disk up to `zeroed`.
    pub(super) fn resume(
        file: DiskFile,
        header: SegmentHeader,
        end: u64,
        zeroed: u64,
        zero_ahead_bytes: u64,
    ) -> Result<Self, StorageError> {
        let mut blocks = BlockBuffer::new(BLOCKS_MAX);
        file.read_at(end - end % BLOCK, &mut blocks[..in_block(end)])?;
        let segment =
            Self { file, header, end, zeroed, zeroed_durable: zeroed, durable: end, zero_ahead_bytes, blocks };
        segment.bypass_cache()?;
        Ok(segment)
    }

    pub(super) fn generation(&self) -> u64 {
        self.header.generation
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a batch of this length fits, and the seal after it.
    pub(super) fn has_room(&self, batch_bytes: u64) -> bool {
        self.end + batch_bytes + UNIT <= self.header.length
    }

    /// Writes a batch behind the last one. The caller has checked that there is room.
    pub(super) fn append(&mut self, batch: &mut WriteBatch, sequence: u64, synced: u64) -> Result<(), StorageError> {
        let needed = self.end + batch_bytes(batch) + UNIT;
        if needed > self.zeroed_durable {
            self.zero_to(needed + self.zero_ahead_bytes)?;
            self.sync()?;
        }
        self.put(batch, BatchKind::Records, sequence, synced)?;
        let ahead = self.end + self.zero_ahead_bytes;
        if self.zeroed + self.zero_ahead_bytes / ZERO_PIECES <= ahead {
            self.zero_to(ahead)?;
        }
        Ok(())
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_from(self.durable)?;
        (self.durable, self.zeroed_durable) = (self.end, self.zeroed);
        Ok(())
    }

    /// Writes durably that the next segment exists, so that its loss would be noticed.
    pub(super) fn seal(mut self, last_sequence: u64) -> Result<(), StorageError> {
        let header = self.batch_header(BatchKind::Seal, last_sequence, last_sequence);
        self.write_behind(&header.encode(self.header.salt))?;
        self.sync()
    }

    fn put(&mut self, batch: &mut WriteBatch, kind: BatchKind, sequence: u64, synced: u64) -> Result<(), StorageError> {
        let header = self.batch_header(kind, sequence, synced);
        batch.framed(header, self.header.salt, |bytes| self.write_behind(bytes))
    }

    /// Writes bytes behind the end, for which there are zeros.
    fn write_behind(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let held = in_block(self.end);
            let begin = self.end - held as u64;
            let (now, later) = bytes.split_at(bytes.len().min(self.blocks.len() - held));
            let filled = held + now.len();
            self.blocks[held..filled].copy_from_slice(now);
            let whole = self.up_to_block(begin + filled as u64) - begin;
            let whole = usize::try_from(whole).expect("at most the length of the buffer");
            self.blocks[filled..whole].fill(0);
            self.file.write_at(begin, &self.blocks[..whole])?;
            self.end += now.len() as u64;
            self.blocks.copy_within(filled - in_block(self.end)..filled, 0);
            bytes = later;
        }
        Ok(())
    }

    /// The end of the block that begins there or holds what is before it; the file's own end where that comes first, which only a file
    /// of an older release has within a block.
    fn up_to_block(&self, offset: u64) -> u64 {
        offset.next_multiple_of(BLOCK).min(self.header.length)
    }

    fn bypass_cache(&self) -> Result<(), StorageError> {
        if self.header.length.is_multiple_of(BLOCK) {
            self.file.bypass_cache()?;
        }
        Ok(())
    }

    fn batch_header(&self, kind: BatchKind, sequence: u64, synced: u64) -> BatchHeader {
        let (generation, offset) = (self.header.generation, self.end);
        BatchHeader { kind, generation, offset, sequence, synced, body_bytes: 0, body_checksum: 0 }
    }

    fn zero_to(&mut self, to: u64) -> Result<(), StorageError> {
        let to = self.up_to_block(to);
        write_zeros(&self.file, self.zeroed, to)?;
        self.zeroed = self.zeroed.max(to);
        Ok(())
    }
}

/// Where in its block an offset is.
fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).expect("less than a block")
}

/// Makes the bytes from `from` to `to` zero.
pub(super) fn write_zeros(file: &DiskFile, mut from: u64, to: u64) -> Result<(), StorageError> {
    while from < to {
        let piece = (to - from).min(ZEROS_BYTES as u64);
        file.write_at(from, &ZEROS.0[..usize::try_from(piece).expect("at most the length of the zeros")])?;
        from += piece;
    }
    Ok(())
}
