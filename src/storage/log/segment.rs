//! Writing one segment: batches after each other into space that was made zero, durably, before.
//!
//! Invariant: before a batch is written, its space and the unit after it are zero on disk (or the segment ends there).
//! So after a power cut each of a batch's sectors holds what was written or zeros, never bytes of the segment's former
//! life, and what follows the last batch is zero: recovery tells a torn write from a flipped bit by that. The zeros go
//! ahead of the batches piece by piece and become durable with a batch's own sync, so they cost no sync of their own;
//! they also turn reserved space into written space, so that syncs need not touch the file system's journal.

use std::path::{Path, PathBuf};

use super::batch::WriteBatch;
use super::format::{BatchHeader, BatchKind, SegmentHeader, UNIT_BYTES, padded};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::StorageError;

const UNIT: u64 = UNIT_BYTES as u64;
const ZEROS: &[u8] = &[0; 64 * 1024];
/// So many pieces make up the zeros that are ahead. Each goes with the sync of one batch, and whoever waits for that waits for the
/// zeros too, so they are small.
const ZERO_PIECES: u64 = 8;

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
}

/// The name of a segment's file.
pub(super) fn segment_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:016x}.log"))
}

/// The length that a segment needs for these batches (lengths with header and padding).
pub(super) fn length_for(batches_bytes: u64) -> u64 {
    UNIT + batches_bytes + UNIT
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
        let mut segment =
            Self { file, header, end: UNIT, zeroed: UNIT, zeroed_durable: UNIT, durable: 0, zero_ahead_bytes };
        let (batch, sequence) = checkpoint;
        // Recycled content goes first, then what replaces it: nothing relies on it before the file has its name.
        segment.zero_to(length_for(batch_bytes(batch)) + zero_ahead_bytes)?;
        segment.file.write_at(0, &header.encode())?;
        segment.put(batch, BatchKind::Checkpoint, sequence, sequence - 1)?;
        segment.sync()?;
        segment.file.rename(disk, &segment_path(dir, header.generation))?;
        disk.sync_dir(dir)?;
        Ok(segment)
    }

    /// Goes on with a segment that recovery found to end at `end`, with nothing but zeros on disk up to `zeroed`.
    pub(super) fn resume(file: DiskFile, header: SegmentHeader, end: u64, zeroed: u64, zero_ahead_bytes: u64) -> Self {
        Self { file, header, end, zeroed, zeroed_durable: zeroed, durable: end, zero_ahead_bytes }
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
        self.file.write_at(self.end, &header.encode(self.header.salt))?;
        self.sync()
    }

    fn put(&mut self, batch: &mut WriteBatch, kind: BatchKind, sequence: u64, synced: u64) -> Result<(), StorageError> {
        let header = self.batch_header(kind, sequence, synced);
        batch.framed(header, self.header.salt, |bytes| self.file.write_at(self.end, bytes))?;
        self.end += batch_bytes(batch);
        Ok(())
    }

    fn batch_header(&self, kind: BatchKind, sequence: u64, synced: u64) -> BatchHeader {
        let (generation, offset) = (self.header.generation, self.end);
        BatchHeader { kind, generation, offset, sequence, synced, body_bytes: 0, body_checksum: 0 }
    }

    fn zero_to(&mut self, to: u64) -> Result<(), StorageError> {
        let to = to.min(self.header.length);
        write_zeros(&self.file, self.zeroed, to)?;
        self.zeroed = self.zeroed.max(to);
        Ok(())
    }
}

/// Makes the bytes from `from` to `to` zero.
pub(super) fn write_zeros(file: &DiskFile, mut from: u64, to: u64) -> Result<(), StorageError> {
    while from < to {
        let piece = (to - from).min(ZEROS.len() as u64);
        file.write_at(from, &ZEROS[..usize::try_from(piece).expect("at most the length of the zeros")])?;
        from += piece;
    }
    Ok(())
}
