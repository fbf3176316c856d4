//! One segment log per node, shared by all its Raft groups, so that one write and one sync serve every group that has
//! something to say in a turn of the loop.
//!
//! # Terms
//! A *batch* is what one [`SegmentLog::write`] writes: all of it is there after a crash, or none. *Records* are its
//! parts: entries of a group's log, a group's state, and what is no longer needed. A *segment* is a preallocated file of
//! batches; its *generation* counts the segments ever made, so the bytes that a recycled file still holds are never
//! taken for new. A *checkpoint* is the first batch of every segment and repeats each group's newest state and
//! compaction; so a segment is needed only for its entries, and the oldest one is free when each of them is compacted
//! or replaced. Segments are freed from the oldest on, when a new one is made. A group that is idle keeps the segment of
//! its oldest entry and all after it: [`SegmentLog::pinned_by`] names it, and a snapshot of it, followed by a
//! compaction, lets them go.
//!
//! # What may be cut
//! Batches are numbered without gaps over all segments, and each carries the highest number that was durable when it was
//! written. A segment gets its name only when its header and checkpoint are durable, and only after everything before
//! it is. The space of a batch, and the unit after it, are zero on disk before it is written (see `segment.rs`). Hence:
//!
//! 1. A crash can only spoil batches that were written after the last sync that returned. All of them are at the end of
//!    the newest segment, and none of them, nor any later batch, says that one of them was durable.
//! 2. After a power cut each sector of a spoiled batch holds what was written or zeros; after the death of the process
//!    alone the batch may also end at any byte, with zeros from there on. A header lies in one sector. The last byte of a
//!    header, and of a batch, is never written as zero.
//! 3. So recovery stops at the first batch N that is not valid, and cuts there only if N is in the newest segment, is not
//!    its checkpoint, was cut short (its header is zero or ends in zero, or its header is valid and one of its sectors is
//!    zero or its last byte is), and no header behind it says that N was synced. Any other invalid byte is damage: it is
//!    reported with file and offset, and the log does not open.
//! 4. What follows from there is removed durably before anything is written: else a batch of the lost turn could come
//!    back to life behind a new batch of the same number and length. And what is kept is written and synced again, since
//!    it may have been in memory alone when the process before was killed, or after its sync failed.
//!
//! One thing cannot be told from a torn write: the very last batch with a whole sector, or its end, turned to zeros (or
//! damaged elsewhere while a sector of its content is zeros). The group's other replicas are the cure.
//! A missing segment shows by the gap in the generations, at the oldest end by what the newest header says is needed, at
//! the newest end by the seal that the one before it carries.
//!
//! A failed write or sync is final: the operating system may have dropped what it could not write, so the log answers
//! every later call with the same error, and the process must end. Deliberately absent: reading entries back while
//! running (they are in memory above), rewriting of old entries, threads.

mod batch;
mod format;
mod ledger;
mod read;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod unneeded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use batch::WriteBatch;
pub use ledger::Position;
pub use recover::{Cut, Recovered, RecoveredEntry, RecoveredGroup};

use self::format::{BATCH_LIMIT_BYTES, SegmentHeader};
use self::ledger::Ledger;
use self::recover::Files;
use self::segment::{Segment, batch_bytes, length_for, segment_path};
use self::unneeded::Unneeded;
use super::disk::{Disk, DiskFile, FREED_BYTES};
use super::error::StorageError;

/// How a log is laid out. Existing segments keep what they were made with.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The length of a segment file. A batch that is longer gets a longer segment for itself.
    pub segment_bytes: u64,
    /// How far space is made zero ahead of the batches.
    pub zero_ahead_bytes: u64,
    /// So much of what is needed no more goes with a batch; as much as the batch is long, if that is more.
    pub freed_bytes: u64,
    /// A random number, so that a client's value cannot imitate the header of a batch.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, zero_ahead_bytes: 1 << 20, freed_bytes: FREED_BYTES, salt: 0 }
    }
}

/// What a log takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// All files of the log together.
    pub disk_bytes: u64,
    /// Segments that hold, or may hold, what is needed; the active one included.
    pub live_segments: usize,
    /// Segments that wait to be used again.
    pub spare_segments: usize,
    /// What is written in the active segment.
    pub active_bytes: u64,
}

/// The log of one node. One thread owns it; batches can be filled elsewhere.
#[derive(Debug)]
pub struct SegmentLog {
    disk: Disk,
    dir: PathBuf,
    options: LogOptions,
    active: Segment,
    ledger: Ledger,
    /// The number of the last batch that was written.
    sequence: u64,
    /// The number of the last batch that is durable.
    synced: u64,
    /// The lengths of the live segments by generation; the active one included.
    lengths: BTreeMap<u64, u64>,
    unneeded: Unneeded,
    poison: Option<StorageError>,
}

impl SegmentLog {
    /// Opens the log of a directory, or makes one where there is none. What is recovered is durable when this returns.
    pub fn open(disk: &Disk, dir: &Path, options: LogOptions) -> Result<(Self, Recovered), StorageError> {
        disk.create_dir(dir)?;
        let files = Files::list(disk, dir)?;
        if files.segments.is_empty() {
            return Self::create(disk, dir, &files, options);
        }
        // What the directory shows may be in memory alone.
        disk.sync_dir(dir)?;
        let opened = recover::recover(disk, dir, &files, &options)?;
        let mut log = Self {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            unneeded: Unneeded::new(disk, &options),
            options,
            active: opened.segment,
            ledger: opened.ledger,
            sequence: opened.last_sequence,
            synced: opened.last_sequence,
            lengths: opened.lengths,
            poison: None,
        };
        log.adopt_unneeded(&files)?;
        Ok((log, opened.recovered))
    }

    /// Writes a batch behind the last one. It is durable when [`Self::sync`] has returned. After an error the log is
    /// poisoned: every later call fails with the same error.
    pub fn write(&mut self, batch: &mut WriteBatch) -> Result<(), StorageError> {
        self.unless_poisoned(|log| log.write_batch(batch))
    }

    /// Makes all written batches durable. After an error the log is poisoned.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.unless_poisoned(Self::sync_batches)
    }

    /// Whether a batch goes into the present segment: to make the next one takes longer than to write.
    pub fn has_room_for(&self, batch: &WriteBatch) -> bool {
        self.active.has_room(batch_bytes(batch))
    }

    /// What the log takes on disk.
    pub fn usage(&self) -> LogUsage {
        let live: u64 = self.lengths.values().sum();
        LogUsage {
            disk_bytes: live + self.unneeded.bytes(),
            live_segments: self.lengths.len(),
            spare_segments: self.unneeded.spares(),
            active_bytes: self.active.end(),
        }
    }

    /// The groups whose entries keep the oldest segment that is needed from being freed; none while at most so many
    /// segments are needed. A durable snapshot of each and a compaction up to it free the segment when the next one is made.
    pub fn pinned_by(&self, needed_max: u64) -> Vec<u64> {
        // Asked after each batch: no look at all groups while there cannot be more.
        if self.lengths.len() as u64 <= needed_max {
            return Vec::new();
        }
        match self.ledger.oldest_needed() {
            Some((generation, groups)) if generation + needed_max <= self.active.generation() => groups,
            _ => Vec::new(),
        }
    }

    fn create(disk: &Disk, dir: &Path, files: &Files, options: LogOptions) -> Result<(Self, Recovered), StorageError> {
        if let Some(unneeded) = files.unneeded.first() {
            let evidence = format!("{} was one", unneeded.display());
            return Err(StorageError::Missing { path: dir.join("*.log"), evidence });
        }
        let header = SegmentHeader { generation: 1, length: options.segment_bytes, oldest: 1, salt: options.salt };
        let file = new_file(disk, dir, header.length)?;
        let mut nothing = WriteBatch::new();
        let active = Segment::create(disk, dir, file, header, (&mut nothing, 1), options.zero_ahead_bytes)?;
        let log = Self {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            unneeded: Unneeded::new(disk, &options),
            options,
            active,
            ledger: Ledger::default(),
            sequence: 1,
            synced: 1,
            lengths: [(1, header.length)].into(),
            poison: None,
        };
        Ok((log, Recovered { fresh: true, ..Recovered::default() }))
    }

    /// Takes files that a crash left: segments from before the oldest that is needed, spares, half-made segments.
    fn adopt_unneeded(&mut self, files: &Files) -> Result<(), StorageError> {
        for path in &files.temporary {
            self.disk.remove(path)?;
        }
        for path in &files.unneeded {
            self.unneeded.adopt(path.clone())?;
        }
        let oldest = *self.lengths.keys().next().expect("the active segment");
        for (generation, path) in files.segments.range(..oldest) {
            self.unneeded.retire(&self.dir, *generation, path)?;
        }
        Ok(())
    }

    fn unless_poisoned(&mut self, act: impl FnOnce(&mut Self) -> Result<(), StorageError>) -> Result<(), StorageError> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        let outcome = act(self);
        self.poison = outcome.as_ref().err().cloned();
        outcome
    }

    fn write_batch(&mut self, batch: &mut WriteBatch) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        if batch.is_past_limit() {
            let what = format!("a batch of {} bytes, more than {BATCH_LIMIT_BYTES}", batch.len());
            let first = batch.records().next().map_or(0, |record| record.group());
            return Err(StorageError::refused(first, what));
        }
        if !self.active.has_room(batch_bytes(batch)) {
            self.start_segment(batch_bytes(batch))?;
        }
        for record in batch.records() {
            self.ledger.apply(record, self.active.generation())?;
        }
        self.unneeded.free(batch_bytes(batch).max(self.options.freed_bytes))?;
        self.sequence += 1;
        self.active.append(batch, self.sequence, self.synced)
    }

    fn sync_batches(&mut self) -> Result<(), StorageError> {
        if self.synced < self.sequence {
            self.active.sync()?;
            self.synced = self.sequence;
        }
        Ok(())
    }

    /// Makes the next segment, with room for a batch of this length, and frees those that are not needed from there on.
    fn start_segment(&mut self, batch_bytes_next: u64) -> Result<(), StorageError> {
        self.sync_batches()?;
        let mut checkpoint = WriteBatch::new();
        self.ledger.checkpoint(&mut checkpoint);
        let generation = self.active.generation() + 1;
        let oldest = self.ledger.oldest_needed().map_or(generation, |(oldest, _)| oldest);
        let length = self.options.segment_bytes.max(length_for(batch_bytes(&checkpoint) + batch_bytes_next));
        let header = SegmentHeader { generation, length, oldest, salt: self.options.salt };
        let file = self.file_of(length)?;
        let ahead = self.options.zero_ahead_bytes;
        let next = Segment::create(&self.disk, &self.dir, file, header, (&mut checkpoint, self.sequence + 1), ahead)?;
        std::mem::replace(&mut self.active, next).seal(self.sequence)?;
        self.sequence += 1;
        self.synced = self.sequence;
        self.lengths.insert(generation, length);
        let needed = self.lengths.split_off(&oldest);
        for generation in std::mem::replace(&mut self.lengths, needed).into_keys() {
            self.unneeded.retire(&self.dir, generation, &segment_path(&self.dir, generation))?;
        }
        Ok(())
    }

    fn file_of(&mut self, length: u64) -> Result<DiskFile, StorageError> {
        if let Some(file) = self.unneeded.take(length)? {
            return Ok(file);
        }
        // A long one is made anew each time: at least as much goes.
        self.unneeded.free(length - self.options.segment_bytes)?;
        match new_file(&self.disk, &self.dir, length) {
            Err(error) if error.is_out_of_space() && self.unneeded.free_all()? => {
                new_file(&self.disk, &self.dir, length)
            }
            made => made,
        }
    }
}

fn new_file(disk: &Disk, dir: &Path, length: u64) -> Result<DiskFile, StorageError> {
    let file = disk.create(&dir.join("segment.tmp"))?;
    file.allocate(length)?;
    Ok(file)
}
