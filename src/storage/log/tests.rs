//! The log against a model of it, on a disk that loses what was not synced.

use std::path::Path;

use super::*;
use crate::storage::simulated::SimulatedDisk;

const DIR: &str = "/log";

fn open(machine: &SimulatedDisk) -> Result<(SegmentLog, Recovered), StorageError> {
    let options = LogOptions { segment_bytes: 8192, zero_ahead_bytes: 1024, salt: 42 };
    SegmentLog::open(&machine.disk(), Path::new(DIR), options)
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
    log.write(&mut batch).unwrap();
    log.sync().unwrap();
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
