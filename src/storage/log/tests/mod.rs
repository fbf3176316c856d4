//! The log on a disk that loses what was not synced: against a model ([`model`]), and with its bytes damaged
//! ([`damage`]).

mod damage;
mod model;

use std::path::{Path, PathBuf};

use super::*;
use crate::storage::simulated::SimulatedDisk;

const DIR: &str = "/log";

fn open(machine: &SimulatedDisk) -> Result<(SegmentLog, Recovered), StorageError> {
    open_with(machine, 8192)
}

fn open_with(machine: &SimulatedDisk, segment_bytes: u64) -> Result<(SegmentLog, Recovered), StorageError> {
    let options = LogOptions { segment_bytes, zero_ahead_bytes: 1024, freed_bytes: 512, salt: 42 };
    SegmentLog::open(&machine.disk(), Path::new(DIR), options)
}

fn segment(generation: u64) -> PathBuf {
    segment_path(Path::new(DIR), generation)
}

/// A batch of one entry.
fn entry(group: u64, index: u64, payload: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.entry(group, index, 1, 0, payload);
    batch
}

fn write_synced(log: &mut SegmentLog, mut batch: WriteBatch) {
    log.write(&mut batch).unwrap();
    log.sync().unwrap();
}

#[test]
fn what_was_synced_is_there_after_a_crash() {
    let machine = SimulatedDisk::new(1);
    let (mut log, recovered) = open(&machine).unwrap();
    assert!(recovered.fresh && recovered.groups.is_empty());
    let mut batch = WriteBatch::new();
    batch.reset(7, 5, 5);
    batch.state(7, b"vote");
    batch.entry(7, 6, 5, 1, b"six");
    batch.entry(7, 7, 6, 2, b"seven");
    batch.entry(9, 1, 1, 0, b"");
    write_synced(&mut log, batch);
    machine.crash();

    let (_, recovered) = open(&machine).unwrap();
    assert!(!recovered.fresh && recovered.cut.is_none());
    let group = &recovered.groups[&7];
    assert_eq!(group.state.as_deref(), Some(&b"vote"[..]));
    assert_eq!(group.compacted, Position { index: 5, term: 5 });
    let entries: Vec<_> =
        group.entries.iter().map(|entry| (entry.index, entry.term, entry.kind, &entry.payload[..])).collect();
    assert_eq!(entries, [(6, 5, 1, &b"six"[..]), (7, 6, 2, b"seven")]);
    assert_eq!(recovered.groups[&9].entries.len(), 1);
}

#[test]
fn a_batch_and_its_log_can_go_to_another_thread() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    let batch = entry(1, 1, b"filled here");
    let log = std::thread::spawn(move || {
        write_synced(&mut log, batch);
        log
    });
    assert!(log.join().unwrap().usage().active_bytes > 128);
}

#[test]
fn compacted_segments_are_recycled_and_an_idle_group_pins_its_own() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    write_synced(&mut log, entry(2, 1, b"idle"));
    let run = |log: &mut SegmentLog, indexes: std::ops::Range<u64>| {
        for index in indexes {
            let mut batch = entry(1, index, &[7; 500]);
            batch.state(1, &index.to_le_bytes());
            batch.compact(1, index - 1, 1);
            write_synced(log, batch);
        }
    };
    run(&mut log, 1..100);
    let pinned = log.usage();
    assert!(pinned.live_segments > 6 && log.pinned_by(1) == [2], "{pinned:?} {:?}", log.pinned_by(1));
    assert!(log.pinned_by(100).is_empty());
    let mut batch = WriteBatch::new();
    batch.compact(2, 1, 1);
    write_synced(&mut log, batch);
    run(&mut log, 100..200);
    let free = log.usage();
    assert!(free.live_segments <= 2 && log.pinned_by(1).is_empty(), "{free:?}");
    assert_eq!(free.spare_segments + free.live_segments, usize::try_from(free.disk_bytes / 8192).unwrap());
    assert!(free.spare_segments <= unneeded::SPARE_SEGMENTS_MAX);
    let names = machine.disk().list_dir(Path::new(DIR)).unwrap().unwrap();
    assert_eq!(names.len(), free.live_segments + free.spare_segments, "{names:?}");

    machine.crash();
    let (log, recovered) = open(&machine).unwrap();
    assert_eq!(recovered.groups[&1].entries.len(), 1);
    assert_eq!(recovered.groups[&1].state.as_deref(), Some(&199_u64.to_le_bytes()[..]));
    assert_eq!(recovered.groups[&2].compacted, Position { index: 1, term: 1 });
    assert_eq!(log.usage(), free);
}

#[test]
fn a_batch_longer_than_a_segment_gets_one_of_its_own() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    write_synced(&mut log, entry(1, 1, b"small"));
    write_synced(&mut log, entry(1, 2, &[9; 100_000]));
    write_synced(&mut log, entry(1, 3, b"small again"));
    machine.crash();
    let (mut log, recovered) = open(&machine).unwrap();
    assert_eq!(recovered.groups[&1].entries.iter().map(|e| e.payload.len()).collect::<Vec<_>>(), [5, 100_000, 11]);
    // What follows is in the long one too, as long as its last block has room.
    for index in 4..30 {
        write_synced(&mut log, entry(1, index, &[7; 500]));
    }
    let mut batch = WriteBatch::new();
    batch.compact(1, 29, 1);
    write_synced(&mut log, batch);
    for index in 30..230 {
        let mut batch = entry(1, index, &[7; 500]);
        batch.compact(1, index - 1, 1);
        write_synced(&mut log, batch);
    }
    assert!(log.usage().disk_bytes <= 5 * 8192, "the long one is not kept: {:?}", log.usage());
}

/// A batch of one entry, and a compaction up to the one before it.
fn lone_entry(index: u64, payload: &[u8]) -> WriteBatch {
    let mut batch = entry(1, index, payload);
    batch.compact(1, index - 1, 1);
    batch
}

#[test]
fn what_is_needed_no_more_goes_as_fast_as_more_is_written() {
    // Batches with a segment each, of a segment's length and longer: what they leave is bounded.
    for length in [8_192, 20_000] {
        let machine = SimulatedDisk::new(1);
        let (mut log, _) = open(&machine).unwrap();
        for index in 1..=200 {
            write_synced(&mut log, lone_entry(index, &vec![7; length]));
            let usage = log.usage();
            assert!(usage.disk_bytes <= 6 * (length as u64 + 8_192), "{length} bytes, write {index}: {usage:?}");
            assert_eq!(machine.used_bytes(), usage.disk_bytes);
        }
    }
    // And compactions that free many segments at once, batches of all lengths between them: no cycle takes more than the first.
    for length in [100, 1_000, 3_000, 7_000] {
        let machine = SimulatedDisk::new(1);
        let (mut log, _) = open(&machine).unwrap();
        let writes = 16 * 8_192 / length;
        let mut peaks = [0; 8];
        for (cycle, peak) in peaks.iter_mut().enumerate() {
            for write in 1..=writes {
                let index = (cycle * writes + write) as u64;
                let payload = vec![7; length];
                let batch = if write == writes { lone_entry(index, &payload) } else { entry(1, index, &payload) };
                write_synced(&mut log, batch);
                *peak = log.usage().disk_bytes.max(*peak);
            }
        }
        assert!(peaks[7] <= peaks[0] + 4 * 8_192, "{length} bytes: {peaks:?}");
    }
}

#[test]
fn on_a_full_disk_what_is_needed_no_more_makes_room() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    let mut next = 1;
    let mut write = |log: &mut SegmentLog, batch: fn(u64, &[u8]) -> WriteBatch, length: usize| {
        write_synced(log, batch(next, &vec![7; length]));
        next += 1;
    };
    let pins = |index: u64, payload: &[u8]| entry(1, index, payload);
    while log.usage().live_segments < 16 {
        write(&mut log, pins, 4_000);
    }
    // Whole segments that wait are used again.
    machine.limit_bytes(Some(machine.used_bytes() + 2 * 8_192));
    while log.usage().live_segments > 2 {
        write(&mut log, lone_entry, 4_000);
    }
    while log.usage().live_segments < 12 {
        write(&mut log, pins, 4_000);
    }
    while log.usage().live_segments > 2 {
        write(&mut log, lone_entry, 4_000);
    }
    // And go where a longer one must be made.
    assert!(log.usage().spare_segments > 4, "{:?}", log.usage());
    machine.limit_bytes(Some(2 * 8_192 + 64_000));
    write(&mut log, lone_entry, 60_000);
    machine.crash();
    let (_, recovered) = open(&machine).unwrap();
    assert_eq!(recovered.groups[&1].entries[0].payload.len(), 60_000);
}

#[test]
fn a_file_of_which_a_part_is_freed_is_never_used_again() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    // Its length: 16 segments.
    write_synced(&mut log, entry(1, 1, &[7; 130_000]));
    let mut index = 2;
    let is_as_long_as_a_segment = |log: &SegmentLog| {
        let names = machine.disk().list_dir(Path::new(DIR)).unwrap().unwrap();
        let excess = names.iter().find(|name| name.ends_with(".excess"));
        let length = excess.map(|name| machine.disk().open(&log.dir.join(name)).unwrap().unwrap().len().unwrap());
        length == Some(8_192)
    };
    while !is_as_long_as_a_segment(&log) {
        assert!(index < 1_000);
        // Padded, and freed, 256 bytes at least, so that every multiple of a segment's length is met.
        write_synced(&mut log, lone_entry(index, b""));
        index += 1;
    }
    let spares = log.usage().spare_segments;
    machine.kill();
    let (log, _) = open(&machine).unwrap();
    assert_eq!(log.usage().spare_segments, spares);
}

#[test]
fn a_failed_write_or_sync_poisons_the_log_for_ever() {
    type Fault = fn(&SimulatedDisk);
    let faults: [(Fault, &str); 4] = [
        (|machine| machine.fail_write(1), "/log/0000000000000001.log: cannot write at byte "),
        (|machine| machine.fail_sync(1), "/log/0000000000000001.log: cannot sync at byte "),
        (|machine| machine.limit_bytes(Some(10_000)), "/log/segment.tmp: cannot reserve space for the file: "),
        (|machine| machine.stop(3), "/log/0000000000000001.log: cannot "),
    ];
    for (fault, expected) in faults {
        let machine = SimulatedDisk::new(1);
        let (mut log, _) = open(&machine).unwrap();
        fault(&machine);
        let mut index = 0;
        let first = loop {
            index += 1;
            assert!(index < 100, "{expected}");
            if let Err(error) = log.write(&mut entry(1, index, &[7; 500])).and_then(|()| log.sync()) {
                break error.to_string();
            }
        };
        assert!(first.starts_with(expected), "{first}");
        machine.limit_bytes(None);
        assert_eq!(log.sync().unwrap_err().to_string(), first);
        assert_eq!(log.write(&mut entry(1, index, b"")).unwrap_err().to_string(), first);
        assert_eq!(log.write(&mut WriteBatch::new()).unwrap_err().to_string(), first);
        machine.crash();
        let (_, recovered) = open(&machine).unwrap();
        let found = recovered.groups.get(&1).map_or(0, |group| group.entries.len() as u64);
        assert!((index - 1..=index).contains(&found), "{found} of {index}");
    }
}

#[test]
fn a_gap_or_a_batch_past_the_limit_is_refused_with_the_group() {
    let machine = SimulatedDisk::new(1);
    let (mut log, _) = open(&machine).unwrap();
    let error = log.write(&mut entry(3, 2, b"")).unwrap_err().to_string();
    assert_eq!(error, "group 3: entry 2 leaves a gap after the last index 0");
    assert_eq!(log.sync().unwrap_err().to_string(), error);
}

#[test]
fn on_the_real_disk_it_reads_back_what_it_wrote() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let options = LogOptions { segment_bytes: 1 << 16, zero_ahead_bytes: 1 << 13, freed_bytes: 1 << 10, salt: 42 };
    let open = || SegmentLog::open(&Disk::system(), &dir, options.clone()).unwrap();
    let (mut log, _) = open();
    // The last is longer than what is written at once.
    for index in 1..=500 {
        let mut batch = entry(1, index, &vec![7; if index < 500 { 500 } else { 700_000 }]);
        batch.compact(1, index.saturating_sub(100), 1);
        log.write(&mut batch).unwrap();
    }
    log.sync().unwrap();
    let usage = log.usage();
    drop(log);
    let (log, recovered) = open();
    let entries = &recovered.groups[&1].entries;
    assert_eq!((entries.len(), entries[99].payload.len()), (100, 700_000));
    assert!(entries.iter().all(|entry| entry.payload.iter().all(|byte| *byte == 7)));
    assert_eq!(log.usage(), usage);
    let on_disk: u64 = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, usage.disk_bytes);
}
