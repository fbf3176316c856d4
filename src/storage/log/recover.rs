//! Opening a log: which segments must be there, what is in them, and whether the end may be cut.
//!
//! The argument for the cut is in the module docs of [`super`]. Everything else that is not as it was written is an
//! error that names file and offset.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LogOptions;
use super::format::{Record, SegmentHeader, UNIT_BYTES};
use super::ledger::{Ledger, Position};
use super::read::{Extent, SegmentContent, Stop, check_header};
use super::segment::{Segment, segment_path, write_zeros};
use crate::planted::{self, Bug};
use crate::storage::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::storage::error::StorageError;

/// What the log held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The log was made just now: there was none. Where the node knows of groups that had one, its log was lost.
    pub fresh: bool,
    /// The groups that were not forgotten.
    pub groups: BTreeMap<u64, RecoveredGroup>,
    /// The end of the last write before a crash, if it had to be cut: for the operator's information.
    pub cut: Option<Cut>,
}

/// What the log held of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The latest state.
    pub state: Option<Bytes>,
    /// Where the entries begin: after this position.
    pub compacted: Position,
    /// The entries, without gaps.
    pub entries: Vec<RecoveredEntry>,
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What the caller gave as its kind.
    pub kind: u8,
    /// What the caller gave as its payload.
    pub payload: Bytes,
}

/// Bytes of a write that a crash cut short, and that nobody was told to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where the log now ends.
    pub offset: u64,
}

/// The files of a log's directory.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By generation.
    pub segments: BTreeMap<u64, PathBuf>,
    /// Files that were segments.
    pub unneeded: Vec<PathBuf>,
    pub temporary: Vec<PathBuf>,
}

/// What opening an existing log gives.
pub(super) struct Opened {
    pub segment: Segment,
    pub ledger: Ledger,
    pub last_sequence: u64,
    /// The lengths of the live segments by generation.
    pub lengths: BTreeMap<u64, u64>,
    pub recovered: Recovered,
}

impl Files {
    pub(super) fn list(disk: &Disk, dir: &Path) -> Result<Self, StorageError> {
        let mut files = Self::default();
        for name in disk.list_dir(dir)?.unwrap_or_default() {
            let path = dir.join(&name);
            match name.split_once('.') {
                Some((number, "log")) if number.len() == 16 => match u64::from_str_radix(number, 16) {
                    Ok(generation) => drop(files.segments.insert(generation, path)),
                    Err(_) => continue,
                },
                Some((_, "spare" | "excess")) => files.unneeded.push(path),
                Some((_, "tmp")) => files.temporary.push(path),
                _ => {}
            }
        }
        Ok(files)
    }
}

/// Reads the segments, which are not empty, and makes the end of the newest ready to be written behind.
pub(super) fn recover(disk: &Disk, dir: &Path, files: &Files, options: &LogOptions) -> Result<Opened, StorageError> {
    let (&newest, newest_path) = files.segments.last_key_value().expect("the caller has seen a segment");
    let oldest = read_header(disk, newest_path, newest)?.oldest;
    let mut replay = Replay::default();
    let mut lengths = BTreeMap::new();
    let mut before: Option<Ended> = None;
    for generation in oldest..newest {
        let ended = read_closed(disk, dir, generation, before, &mut replay)?;
        lengths.insert(generation, ended.header.length);
        before = Some(ended);
    }

    let file = open_segment(disk, newest_path, newest)?;
    let segment = SegmentContent::check(newest_path, newest, file.read_all()?)?;
    let extent = segment.read(|record| replay.take(record, newest))?;
    if let Some(before) = &before {
        before.must_precede(&extent)?;
    }
    let remains_end = judge_tail(&segment, &extent)?;
    let (groups, ledger) = replay.finish(&segment_path(dir, oldest))?;
    // Up to here nothing was changed.
    if let Some(before) = before {
        before.seal()?;
    }
    let zeroed = settle_tail(&file, &segment, &extent, remains_end, options.zero_ahead_bytes)?;
    let is_cut = remains_end > extent.end as u64 || extent.stop == Stop::Torn;
    let cut = is_cut.then(|| Cut { path: newest_path.clone(), offset: extent.end as u64 });
    lengths.insert(newest, segment.header.length);
    Ok(Opened {
        segment: Segment::resume(file, segment.header, extent.end as u64, zeroed, options.zero_ahead_bytes)?,
        ledger,
        last_sequence: extent.last_sequence,
        lengths,
        recovered: Recovered { fresh: false, groups, cut },
    })
}

/// A segment that another follows.
struct Ended {
    file: DiskFile,
    header: SegmentHeader,
    extent: Extent,
}

/// Reads a segment that is not the newest: it was synced whole before the next was made, so nothing in it may be cut.
fn read_closed(
    disk: &Disk,
    dir: &Path,
    generation: u64,
    before: Option<Ended>,
    replay: &mut Replay,
) -> Result<Ended, StorageError> {
    let path = segment_path(dir, generation);
    let file = open_segment(disk, &path, generation)?;
    let segment = SegmentContent::check(&path, generation, file.read_all()?)?;
    let extent = segment.read(|record| replay.take(record, generation))?;
    if let Some(before) = before {
        before.must_precede(&extent)?;
    }
    match extent.stop {
        // Not sealed: the numbers tell whether a batch is missing, or a crash came before the seal, or into it.
        Stop::Sealed | Stop::Blank | Stop::Torn => Ok(Ended { file, header: segment.header, extent }),
        Stop::Damaged(what) => Err(StorageError::damaged(&path, extent.end as u64, what)),
    }
}

impl Ended {
    fn must_precede(&self, next: &Extent) -> Result<(), StorageError> {
        if next.first_sequence == self.extent.last_sequence + 1 {
            return Ok(());
        }
        let (last, next) = (self.extent.last_sequence, next.first_sequence);
        let what = format!("the batches end with number {last}, and the next segment begins with {next}");
        Err(StorageError::damaged(self.file.path(), self.extent.end as u64, what))
    }

    /// A crash may have come between making the next segment and sealing this one.
    fn seal(self) -> Result<(), StorageError> {
        if self.extent.stop == Stop::Sealed {
            return Ok(());
        }
        let end = self.extent.end as u64;
        Segment::resume(self.file, self.header, end, self.header.length, 0)?.seal(self.extent.last_sequence)
    }
}

/// Judges what follows the last valid batch of the newest segment: an error, or where the remains of it end that must
/// not come back to life.
fn judge_tail(segment: &SegmentContent<'_>, extent: &Extent) -> Result<u64, StorageError> {
    let (path, end) = (segment.path, extent.end as u64);
    match extent.stop {
        Stop::Blank | Stop::Torn => {}
        Stop::Damaged(_) if planted::is(Bug::DamageCut) => return Ok(segment.content.len() as u64),
        Stop::Damaged(what) => return Err(StorageError::damaged(path, end, what)),
        Stop::Sealed => {
            let evidence = format!("{} says at byte {end} that it was made", path.display());
            let next = segment_path(path.parent().unwrap_or(path), segment.header.generation + 1);
            return Err(StorageError::Missing { path: next, evidence });
        }
    }
    let mut remains_end = end;
    for (offset, header) in segment.headers_from(extent.end) {
        if header.synced > extent.last_sequence {
            let what = format!("no valid batch, though a later one at byte {offset} says that it was synced");
            return Err(StorageError::damaged(path, end, what));
        }
        remains_end = (offset + UNIT_BYTES) as u64;
    }
    Ok(remains_end)
}

/// Makes durable what is kept of the newest segment and what is cut. Returns how far it is zero behind its end.
fn settle_tail(
    file: &DiskFile,
    segment: &SegmentContent<'_>,
    extent: &Extent,
    remains_end: u64,
    zero_ahead_bytes: u64,
) -> Result<u64, StorageError> {
    // A valid batch may be in memory alone (its process was killed, or its sync failed): written again, it is dirty
    // again, and the sync means something.
    file.write_at(extent.uncertain_from as u64, &segment.content[extent.uncertain_from..extent.end])?;
    let end = extent.end as u64;
    let zeroed =
        remains_end.max(end + zero_ahead_bytes).next_multiple_of(BLOCK_BYTES as u64).min(segment.header.length);
    write_zeros(file, end, zeroed)?;
    file.sync()?;
    Ok(zeroed)
}

fn open_segment(disk: &Disk, path: &Path, generation: u64) -> Result<DiskFile, StorageError> {
    disk.open(path)?.ok_or_else(|| StorageError::Missing {
        path: path.to_path_buf(),
        evidence: format!("the log goes on after segment {generation:016x}"),
    })
}

fn read_header(disk: &Disk, path: &Path, generation: u64) -> Result<SegmentHeader, StorageError> {
    let file = open_segment(disk, path, generation)?;
    let mut unit = [0; UNIT_BYTES];
    file.read_at(0, &mut unit)?;
    check_header(path, generation, &unit, file.len()?)
}

/// The groups as the records make them, in order.
#[derive(Default)]
struct Replay {
    groups: BTreeMap<u64, ReplayedGroup>,
}

/// Between the oldest segment and the newest there may be gaps that later records close, since what was replaced or
/// compacted by then may have been in segments that are gone. At the end there may be none.
#[derive(Default)]
struct ReplayedGroup {
    state: Option<Bytes>,
    compacted: Position,
    /// With the generation of the segment that holds it.
    entries: VecDeque<(u64, RecoveredEntry)>,
}

impl Replay {
    fn take(&mut self, record: Record<'_>, generation: u64) {
        match record {
            Record::Entry { group, index, term, kind, payload } => {
                let entries = &mut self.groups.entry(group).or_default().entries;
                while entries.back().is_some_and(|(_, last)| last.index >= index) {
                    entries.pop_back();
                }
                let payload = Bytes::copy_from_slice(payload);
                entries.push_back((generation, RecoveredEntry { index, term, kind, payload }));
            }
            Record::State { group, state } => {
                self.groups.entry(group).or_default().state = Some(Bytes::copy_from_slice(state));
            }
            Record::Compact { group, index, term } => {
                let group = self.groups.entry(group).or_default();
                if index > group.compacted.index {
                    group.compacted = Position { index, term };
                }
                while group.entries.front().is_some_and(|(_, first)| first.index <= index) {
                    group.entries.pop_front();
                }
            }
            Record::Reset { group, index, term } => {
                let group = self.groups.entry(group).or_default();
                group.entries.clear();
                group.compacted = Position { index, term };
            }
            Record::Forget { group } => {
                self.groups.remove(&group);
            }
        }
    }

    fn finish(self, oldest: &Path) -> Result<(BTreeMap<u64, RecoveredGroup>, Ledger), StorageError> {
        let mut ledger = Ledger::default();
        let mut groups = BTreeMap::new();
        for (id, group) in self.groups {
            let places = group.entries.iter().map(|(generation, entry)| (entry.index, *generation));
            ledger.restore(id, group.state.as_deref(), group.compacted, places).map_err(|what| {
                StorageError::damaged(oldest, 0, format!("group {id}: {what}: a segment before this one is needed"))
            })?;
            let entries = group.entries.into_iter().map(|(_, entry)| entry).collect();
            groups.insert(id, RecoveredGroup { state: group.state, compacted: group.compacted, entries });
        }
        Ok((groups, ledger))
    }
}
