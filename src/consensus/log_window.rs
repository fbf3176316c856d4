//! The part of a group's log that Raft can still ask for, in memory.
//!
//! Entries share their bytes with the messages that brought them. The window's start moves with [`LogWindow::compact`]:
//! a follower that needs older entries is sent a snapshot. The log on disk may go back further; only a restart reads it.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::{HardState, SnapshotPoint};
use crate::topology::{LogIndex, Term};

/// One entry as the log on disk keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub index: LogIndex,
    /// The term it was proposed in.
    pub term: Term,
    /// Zero for data; others are changes of members.
    pub kind: u8,
    /// What it says.
    pub data: Bytes,
}

impl LogEntry {
    /// An entry of the library's.
    pub(super) fn of(entry: Entry) -> Self {
        let kind = entry.get_entry_type() as u8;
        Self { index: LogIndex(entry.index), term: Term(entry.term), kind, data: entry.data }
    }
}

/// The storage that raft-rs reads.
#[derive(Debug)]
pub(super) struct LogWindow {
    /// The index and term before the first entry, and the members that raft-rs starts with.
    start: SnapshotPoint,
    /// What a snapshot for a follower would be: the applied point.
    applied: SnapshotPoint,
    hard_state: HardState,
    entries: VecDeque<Entry>,
    entries_bytes: usize,
}

impl LogWindow {
    pub(super) fn new(start: SnapshotPoint, hard_state: HardState) -> Self {
        Self { applied: start.clone(), start, hard_state, entries: VecDeque::new(), entries_bytes: 0 }
    }

    /// Appends entries, the first of which may replace an old tail.
    ///
    /// Invariant: no gap. raft-rs never makes one.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index <= self.last() + 1 && first.index > self.start.index.0, "a gap in the log");
        let keep = (first.index - self.start.index.0 - 1) as usize;
        let replaced: usize = self.entries.drain(keep..).map(|e| e.data.len()).sum();
        self.entries_bytes -= replaced;
        self.entries_bytes += entries.iter().map(|e| e.data.len()).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets entries up to `index`, which must be applied.
    pub(super) fn compact(&mut self, index: LogIndex) {
        let index = index.0.min(self.applied.index.0);
        if index <= self.start.index.0 {
            return;
        }
        let Ok(term) = self.term(index) else { return };
        let count = (index - self.start.index.0) as usize;
        let dropped: usize = self.entries.drain(..count).map(|e| e.data.len()).sum();
        self.entries_bytes -= dropped;
        (self.start.index, self.start.term) = (LogIndex(index), Term(term));
    }

    /// Starts anew after a snapshot.
    pub(super) fn install(&mut self, point: SnapshotPoint) {
        self.applied = point.clone();
        self.start = point;
        self.entries.clear();
        self.entries_bytes = 0;
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn set_applied(&mut self, index: LogIndex, term: Term) {
        (self.applied.index, self.applied.term) = (index, term);
    }

    pub(super) fn set_members(&mut self, members: super::Members) {
        self.applied.members = members;
    }

    pub(super) const fn applied(&self) -> &SnapshotPoint {
        &self.applied
    }

    pub(super) const fn bytes(&self) -> usize {
        self.entries_bytes
    }

    pub(super) fn last(&self) -> u64 {
        self.start.index.0 + self.entries.len() as u64
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<(Term, Bytes)> {
        let place = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?).map(|entry| (Term(entry.term), entry.data.clone()))
    }

    /// Where to cut so that at most `bytes_max` of entries stay, at most at `last`. Costs a step for each entry cut off.
    pub(super) fn cut_for(&self, bytes_max: usize, last: LogIndex) -> LogIndex {
        let mut bytes = self.entries_bytes;
        let mut index = self.start.index.0;
        for entry in &self.entries {
            if bytes <= bytes_max || entry.index > last.0 {
                break;
            }
            bytes -= entry.data.len();
            index = entry.index;
        }
        LogIndex(index)
    }
}

impl Storage for LogWindow {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let HardState { term, vote, commit } = self.hard_state;
        let mut hard = raft::eraftpb::HardState::default();
        hard.set_term(term.0);
        hard.set_vote(vote.0);
        hard.set_commit(commit.0);
        Ok(RaftState::new(hard, self.start.members.to_conf_state()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let from = (low - self.start.index.0 - 1) as usize;
        let to = (high - self.start.index.0 - 1) as usize;
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let within = self.entries.range(from..to).enumerate().take_while(|(position, entry)| {
            bytes += entry.data.len() as u64 + 32;
            *position == 0 || bytes <= bytes_max
        });
        Ok(within.map(|(_, entry)| entry.clone()).collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.index.0 {
            return Ok(self.start.term.0);
        }
        if index < self.start.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.start.index.0 - 1) as usize);
        entry.map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.index.0 < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(self.applied.to_snapshot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ReplicaId;

    #[test]
    fn a_cut_leaves_what_was_asked_for_and_what_lies_behind_the_last_that_may_go() {
        let mut window = LogWindow::new(SnapshotPoint::birth([ReplicaId(1)]), HardState::default());
        let first = window.start.index.0 + 1;
        let entry = |index| Entry { index, data: vec![0; 100].into(), ..Entry::default() };
        window.append(&(first..first + 10).map(entry).collect::<Vec<_>>());
        assert_eq!(window.cut_for(300, LogIndex(u64::MAX)), LogIndex(first + 6));
        assert_eq!(window.cut_for(300, LogIndex(first + 2)), LogIndex(first + 2), "a member still needs the others");
        assert_eq!(window.cut_for(2000, LogIndex(u64::MAX)), window.start.index);
        window.applied.index = LogIndex(first + 9);
        window.compact(LogIndex(first + 2));
        assert_eq!((window.bytes(), window.start.index), (700, LogIndex(first + 2)));
    }
}
