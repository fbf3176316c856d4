//! What the log still needs: for each group its newest state and compaction, and in which segments its entries are.
//! Pure: it decides which segments are free and what a checkpoint says.
//!
//! Invariants: a group's runs are in the order of both index and generation, without gaps, and all after its
//! compaction.

use std::collections::{BTreeMap, VecDeque};

use super::batch::WriteBatch;
use super::format::Record;
use crate::storage::error::StorageError;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    groups: BTreeMap<u64, Group>,
}

#[derive(Debug, Default)]
struct Group {
    state: Option<Vec<u8>>,
    compacted: Position,
    last_index: u64,
    runs: VecDeque<Run>,
}

/// A position in a group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The index; zero before the first entry.
    pub index: u64,
    /// The term of the entry there.
    pub term: u64,
}

/// Consecutive entries of a group in one segment.
#[derive(Debug)]
struct Run {
    generation: u64,
    first: u64,
    last: u64,
}

impl Ledger {
    /// Takes over a record that goes to the segment of this generation.
    pub(super) fn apply(&mut self, record: Record<'_>, generation: u64) -> Result<(), StorageError> {
        match record {
            Record::Entry { group, index, .. } => {
                self.groups
                    .entry(group)
                    .or_default()
                    .append(index, generation)
                    .map_err(|what| StorageError::refused(group, what))?;
            }
            Record::State { group, state } => {
                let kept = self.groups.entry(group).or_default().state.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(state);
            }
            Record::Compact { group, index, term } => {
                self.groups.entry(group).or_default().compact(Position { index, term });
            }
            Record::Reset { group, index, term } => {
                let group = self.groups.entry(group).or_default();
                group.runs.clear();
                group.compacted = Position { index, term };
                group.last_index = index;
            }
            Record::Forget { group } => {
                self.groups.remove(&group);
            }
        }
        Ok(())
    }

    /// Takes over what recovery found of a group: its entries with the segments that hold them.
    pub(super) fn restore(
        &mut self,
        group: u64,
        state: Option<&[u8]>,
        compacted: Position,
        entries: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), String> {
        let group = self.groups.entry(group).or_default();
        group.state = state.map(<[u8]>::to_vec);
        (group.compacted, group.last_index) = (compacted, compacted.index);
        for (index, generation) in entries {
            group.append(index, generation)?;
        }
        Ok(())
    }

    /// The oldest segment that holds an entry that is needed, and the groups that need it.
    pub(super) fn oldest_needed(&self) -> Option<(u64, Vec<u64>)> {
        let pins = self.groups.iter().filter_map(|(id, group)| Some((group.runs.front()?.generation, *id)));
        let oldest = pins.clone().map(|(generation, _)| generation).min()?;
        Some((oldest, pins.filter(|(generation, _)| *generation == oldest).map(|(_, id)| id).collect()))
    }

    /// Writes what a new segment must repeat so that the older ones are not needed for it.
    pub(super) fn checkpoint(&self, batch: &mut WriteBatch) {
        for (id, group) in &self.groups {
            if group.compacted != Position::default() {
                batch.compact(*id, group.compacted.index, group.compacted.term);
            }
            if let Some(state) = &group.state {
                batch.state(*id, state);
            }
        }
    }
}

impl Group {
    fn append(&mut self, index: u64, generation: u64) -> Result<(), String> {
        if index <= self.compacted.index {
            return Err(format!("entry {index} is at or below the compacted index {}", self.compacted.index));
        }
        if index > self.last_index + 1 {
            return Err(format!("entry {index} leaves a gap after the last index {}", self.last_index));
        }
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
        self.last_index = index;
        match self.runs.back_mut() {
            Some(run) if run.generation == generation => run.last = index,
            Some(run) => {
                run.last = index - 1;
                self.runs.push_back(Run { generation, first: index, last: index });
            }
            None => self.runs.push_back(Run { generation, first: index, last: index }),
        }
        Ok(())
    }

    fn compact(&mut self, position: Position) {
        if position.index <= self.compacted.index {
            return;
        }
        self.compacted = position;
        self.last_index = self.last_index.max(position.index);
        while self.runs.front().is_some_and(|run| run.last <= position.index) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(position.index + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(ledger: &mut Ledger, group: u64, indexes: std::ops::RangeInclusive<u64>, generation: u64) {
        for index in indexes {
            ledger.apply(Record::Entry { group, index, term: 1, kind: 0, payload: b"" }, generation).unwrap();
        }
    }

    #[test]
    fn a_segment_is_needed_until_its_entries_are_compacted_or_replaced() {
        let mut ledger = Ledger::default();
        append(&mut ledger, 1, 1..=10, 1);
        append(&mut ledger, 2, 1..=5, 2);
        append(&mut ledger, 1, 11..=20, 3);
        assert_eq!(ledger.oldest_needed(), Some((1, vec![1])));
        ledger.apply(Record::Compact { group: 1, index: 9, term: 1 }, 3).unwrap();
        assert_eq!(ledger.oldest_needed(), Some((1, vec![1])));
        append(&mut ledger, 1, 10..=10, 3);
        assert_eq!(ledger.oldest_needed(), Some((2, vec![2])), "entry 10 was replaced, and with it those after it");
        append(&mut ledger, 1, 11..=11, 4);
        ledger.apply(Record::Reset { group: 2, index: 50, term: 4 }, 4).unwrap();
        assert_eq!(ledger.oldest_needed(), Some((3, vec![1])));
        append(&mut ledger, 2, 51..=51, 4);
        ledger.apply(Record::Forget { group: 1 }, 4).unwrap();
        assert_eq!(ledger.oldest_needed(), Some((4, vec![2])));
    }

    #[test]
    fn entries_without_a_place_are_refused() {
        let mut ledger = Ledger::default();
        let entry = |index| Record::Entry { group: 7, index, term: 1, kind: 0, payload: b"" };
        let refusal = |ledger: &mut Ledger, index| ledger.apply(entry(index), 1).unwrap_err().to_string();
        assert_eq!(refusal(&mut ledger, 2), "group 7: entry 2 leaves a gap after the last index 0");
        ledger.apply(Record::Reset { group: 7, index: 5, term: 5 }, 1).unwrap();
        assert_eq!(refusal(&mut ledger, 5), "group 7: entry 5 is at or below the compacted index 5");
        ledger.apply(entry(6), 1).unwrap();
    }
}
