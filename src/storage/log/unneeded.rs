//! Files that the log needs no more: whole segments wait to be used again, whatever else there is goes, a little with each batch.
//!
//! A file has one of two names. `.spare`: it may be whole, and is if it is as long as a segment. `.excess`: it is being freed, so its
//! length is not durable and it is never used again. A crash may undo the change from one to the other, and then leaves a file of
//! which nothing is in memory alone: its length is the durable one.

use std::path::{Path, PathBuf};

use super::LogOptions;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::StorageError;

/// Free segments that are kept to be used again; more are freed.
pub(super) const SPARE_SEGMENTS_MAX: usize = 2;

#[derive(Debug)]
pub(super) struct Unneeded {
    disk: Disk,
    /// The length of a segment that can be used again.
    segment_bytes: u64,
    /// Whole segments.
    spares: Vec<PathBuf>,
    /// Files that will be freed, and how long they are.
    excess: Vec<(PathBuf, u64)>,
    /// The file that is being freed, and what is left of it. One at a time: each is an open file.
    freeing: Option<(DiskFile, u64)>,
}

impl Unneeded {
    pub(super) fn new(disk: &Disk, options: &LogOptions) -> Self {
        let segment_bytes = options.segment_bytes;
        Self { disk: disk.clone(), segment_bytes, spares: Vec::new(), excess: Vec::new(), freeing: None }
    }

    /// Takes its name from a segment. Should a crash undo that, opening the log does it again.
    pub(super) fn retire(&mut self, dir: &Path, generation: u64, path: &Path) -> Result<(), StorageError> {
        let spare = dir.join(format!("{generation:016x}.spare"));
        self.disk.rename(path, &spare)?;
        self.adopt(spare)
    }

    /// Takes a file that has one of the two names already.
    pub(super) fn adopt(&mut self, path: PathBuf) -> Result<(), StorageError> {
        let Some(file) = self.disk.open(&path)? else { return Ok(()) };
        let length = file.len()?;
        if length == self.segment_bytes && path.extension().is_some_and(|kind| kind == "spare") {
            self.spares.push(path);
        } else {
            self.excess.push((path, length));
        }
        Ok(())
    }

    /// A whole segment of this length, if there is one.
    pub(super) fn take(&mut self, length: u64) -> Result<Option<DiskFile>, StorageError> {
        if length != self.segment_bytes {
            return Ok(None);
        }
        while let Some(path) = self.spares.pop() {
            if let Some(file) = self.disk.open(&path)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Frees so many bytes, if there are as many to be freed.
    pub(super) fn free(&mut self, mut bytes: u64) -> Result<(), StorageError> {
        while bytes > 0 {
            if self.freeing.is_none() {
                self.freeing = self.next_to_free()?;
            }
            let Some((file, left)) = &mut self.freeing else { break };
            if *left > bytes {
                *left -= bytes;
                return file.shrink(*left);
            }
            bytes -= *left;
            self.disk.remove(file.path())?;
            self.freeing = None;
        }
        Ok(())
    }

    /// Frees all, the spares too, where space has run out; whether there was anything.
    pub(super) fn free_all(&mut self) -> Result<bool, StorageError> {
        let had_some = self.bytes() > 0;
        for path in std::mem::take(&mut self.spares) {
            self.excess.push((path, self.segment_bytes));
        }
        self.free(u64::MAX)?;
        Ok(had_some)
    }

    /// What the files take.
    pub(super) fn bytes(&self) -> u64 {
        let excess: u64 = self.excess.iter().map(|(_, length)| length).sum();
        let freeing = self.freeing.as_ref().map_or(0, |(_, left)| *left);
        self.spares.len() as u64 * self.segment_bytes + excess + freeing
    }

    /// How many segments can be used again.
    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    fn next_to_free(&mut self) -> Result<Option<(DiskFile, u64)>, StorageError> {
        while let Some((path, length)) = self.excess.pop().or_else(|| self.surplus_spare()) {
            if let Some(mut file) = self.disk.open(&path)? {
                file.rename(&self.disk, &path.with_extension("excess"))?;
                return Ok(Some((file, length)));
            }
        }
        Ok(None)
    }

    fn surplus_spare(&mut self) -> Option<(PathBuf, u64)> {
        let spare = if self.spares.len() > SPARE_SEGMENTS_MAX { self.spares.pop() } else { None };
        spare.map(|path| (path, self.segment_bytes))
    }
}
