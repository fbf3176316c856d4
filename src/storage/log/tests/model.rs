//! Random batches with a crash, a kill or a fault at a random point, again and again, against a model.
//!
//! After each, the log must hold the batches up to some point: at least all that were synced, in order, and nothing
//! else. What it has shown once it must show again, whatever crash comes next.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::storage::log::recover::{RecoveredEntry, RecoveredGroup};

const CASES: u64 = 2_000;
const LIVES: usize = 6;

type Groups = BTreeMap<u64, RecoveredGroup>;

/// SplitMix64 (Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[test]
fn every_crash_leaves_a_prefix_of_the_batches_with_all_that_was_synced() {
    let mut coverage = Coverage::default();
    for seed in 0..CASES {
        let outcome = std::panic::catch_unwind(|| Case::new(seed).run());
        match outcome {
            Ok(seen) => coverage.add(&seen),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // A model test that never meets what it is for proves nothing.
    let Coverage { cuts, recycled, lost, kept, faults } = coverage;
    assert!(cuts > 500 && recycled > 500 && lost > 500 && kept > 500 && faults > 500, "{coverage:?}");
}

#[derive(Debug, Default)]
struct Coverage {
    /// Recoveries that cut a torn write.
    cuts: u64,
    /// Lives that ended with more segments made than exist.
    recycled: u64,
    /// Recoveries that lost unsynced batches.
    lost: u64,
    /// Recoveries that kept unsynced batches.
    kept: u64,
    /// Lives that ended with an error.
    faults: u64,
}

impl Coverage {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.recycled += other.recycled;
        self.lost += other.lost;
        self.kept += other.kept;
        self.faults += other.faults;
    }
}

struct Case {
    dice: Dice,
    machine: SimulatedDisk,
    /// Not always whole blocks, as older releases made segments.
    segment_bytes: u64,
    /// What may be found at the next opening: after the last sync, and after each batch since.
    candidates: Vec<Groups>,
    seen: Coverage,
}

impl Case {
    fn new(seed: u64) -> Self {
        let (dice, machine) = (Dice(seed), SimulatedDisk::new(seed));
        let segment_bytes = if seed.is_multiple_of(4) { 8000 } else { 8192 };
        Self { dice, machine, segment_bytes, candidates: vec![Groups::new()], seen: Coverage::default() }
    }

    fn run(mut self) -> Coverage {
        for _ in 0..LIVES {
            let mut log = self.open();
            self.live(&mut log);
            self.seen.recycled += u64::from(log.active.generation() > 3 + log.usage().live_segments as u64);
            self.end_life();
        }
        self.open();
        self.seen
    }

    /// Opens the log, perhaps with crashes in between, and checks what it holds.
    fn open(&mut self) -> SegmentLog {
        if self.dice.one_in(3) {
            self.machine.stop(1 + self.dice.below(12));
        }
        loop {
            match open_with(&self.machine, self.segment_bytes) {
                Ok((log, recovered)) => {
                    self.check(&recovered);
                    return log;
                }
                Err(StorageError::Io { .. }) => self.end_life(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn check(&mut self, recovered: &Recovered) {
        let found = self.candidates.iter().position(|candidate| *candidate == recovered.groups);
        let Some(found) = found else {
            panic!("found {:#?}\nof {:#?}", recovered.groups, self.candidates);
        };
        self.seen.cuts += u64::from(recovered.cut.is_some());
        self.seen.kept += u64::from(found > 0);
        self.seen.lost += u64::from(found + 1 < self.candidates.len());
        // From here on nothing else may be found.
        self.candidates = vec![self.candidates.swap_remove(found)];
    }

    fn live(&mut self, log: &mut SegmentLog) {
        match self.dice.below(8) {
            0 => self.machine.fail_write(1 + self.dice.below(40)),
            1 => self.machine.fail_sync(1 + self.dice.below(20)),
            2 => self.machine.stop(1 + self.dice.below(80)),
            3 => self.machine.limit_bytes(Some(20_000 + self.dice.below(30_000))),
            _ => {}
        }
        let often = 1 + self.dice.below(8);
        for _ in 0..self.dice.below(40) {
            let mut groups = self.candidates.last().expect("at least the synced one").clone();
            let mut batch = WriteBatch::new();
            for _ in 0..=self.dice.below(4) {
                self.record(&mut batch, &mut groups);
            }
            if !batch.is_empty() {
                self.candidates.push(groups);
            }
            if log.write(&mut batch).is_err() {
                self.seen.faults += 1;
                return;
            }
            if self.dice.one_in(often) {
                if log.sync().is_err() {
                    self.seen.faults += 1;
                    return;
                }
                self.candidates = self.candidates.split_off(self.candidates.len() - 1);
            }
        }
    }

    fn end_life(&mut self) {
        self.machine.limit_bytes(None);
        if self.dice.one_in(4) { self.machine.kill() } else { self.machine.crash() }
    }

    /// Adds a record to the batch and to the model.
    fn record(&mut self, batch: &mut WriteBatch, groups: &mut Groups) {
        let id = 1 + self.dice.below(3);
        let group = groups.get(&id).cloned().unwrap_or_default();
        let compacted = group.compacted.index;
        let last = group.entries.last().map_or(compacted, |entry| entry.index);
        match self.dice.below(16) {
            0 => {
                batch.forget(id);
                groups.remove(&id);
            }
            1 => {
                let index = last.saturating_sub(5) + self.dice.below(10);
                let position = self.position(index);
                batch.reset(id, position.index, position.term);
                let group = groups.entry(id).or_default();
                (group.compacted, group.entries) = (position, Vec::new());
            }
            2 | 3 => {
                let state = self.bytes(60);
                batch.state(id, &state);
                groups.entry(id).or_default().state = Some(state);
            }
            4..=7 => {
                let ahead = if self.dice.one_in(4) { 4 } else { 0 };
                let index = compacted + 1 + self.dice.below(last - compacted + 1 + ahead);
                let position = self.position(index);
                batch.compact(id, position.index, position.term);
                let group = groups.entry(id).or_default();
                group.compacted = position;
                group.entries.retain(|entry| entry.index > position.index);
            }
            _ => {
                let replaces = if self.dice.one_in(5) { self.dice.below(last - compacted + 1) } else { 0 };
                let first = last + 1 - replaces;
                let group = groups.entry(id).or_default();
                group.entries.retain(|entry| entry.index < first);
                for index in first..=first + self.dice.below(4) {
                    let (term, kind) = (self.dice.below(9), u8::try_from(self.dice.below(256)).unwrap());
                    let payload = self.payload();
                    batch.entry(id, index, term, kind, &payload);
                    group.entries.push(RecoveredEntry { index, term, kind, payload });
                }
            }
        }
    }

    /// Never the position before the first entry: a group without anything is no group after a checkpoint.
    fn position(&mut self, index: u64) -> Position {
        Position { index: index.max(1), term: 1 + self.dice.below(9) }
    }

    /// Zeros, a copy of the log itself, a payload longer than a segment; mostly something small.
    fn payload(&mut self) -> Bytes {
        match self.dice.below(40) {
            0 => vec![0; usize::try_from(self.dice.below(3_000)).unwrap()].into(),
            1 => {
                let disk = self.machine.disk();
                let names = disk.list_dir(Path::new(DIR)).unwrap().unwrap();
                let newest = names.iter().rfind(|name| name.ends_with(".log")).unwrap();
                let content = disk.open(&Path::new(DIR).join(newest)).unwrap().unwrap().read_all().unwrap();
                let end = content.len().min(2_000);
                Bytes::copy_from_slice(&content[..end])
            }
            2 => self.bytes(12_000),
            _ => self.bytes(300),
        }
    }

    fn bytes(&mut self, bound: u64) -> Bytes {
        let len = self.dice.below(bound);
        let first = self.dice.below(256);
        (0..len).map(|place| u8::try_from((first + place) % 256).unwrap()).collect()
    }
}
