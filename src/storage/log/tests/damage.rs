//! Bytes that are not as they were written: a torn end is cut, everything else is refused with file and offset, and
//! what is refused is left as it was.

use std::collections::BTreeMap;

use super::*;
use crate::storage::log::format::{RECORD_HEADER_BYTES, SECTOR_BYTES, UNIT_BYTES};
use crate::storage::log::recover::RecoveredGroup;

const SECTOR: u64 = SECTOR_BYTES as u64;

/// A log of several segments without a crash, with what it holds before and after its last batch.
struct Sample {
    machine: SimulatedDisk,
    newest: u64,
    last_batch: std::ops::Range<u64>,
    before: BTreeMap<u64, RecoveredGroup>,
    after: BTreeMap<u64, RecoveredGroup>,
}

impl Sample {
    /// The payload of the last batch has this length; all payloads are without zeros.
    fn with_last(payload_bytes: usize) -> Self {
        let machine = SimulatedDisk::new(3);
        let (mut log, _) = open(&machine).unwrap();
        for index in 1..=40 {
            let mut batch = entry(1, index, &vec![7; 300 + usize::try_from(index).unwrap()]);
            batch.state(1, b"state");
            write_synced(&mut log, batch);
        }
        let start = log.active.end();
        let before = recovered(&machine);
        write_synced(&mut log, entry(1, 41, &vec![7; payload_bytes]));
        let after = recovered(&machine);
        let (newest, end) = (log.active.generation(), log.active.end());
        assert!(newest >= 3 && start < end, "several segments, the last batch in the newest");
        machine.kill();
        Self { machine, newest, last_batch: start..end, before, after }
    }
}

/// What a fork of the disk holds.
fn recovered(machine: &SimulatedDisk) -> BTreeMap<u64, RecoveredGroup> {
    open(&machine.fork()).unwrap().1.groups
}

fn content(machine: &SimulatedDisk, path: &Path) -> Vec<u8> {
    machine.disk().open(path).unwrap().unwrap().read_all().unwrap()
}

/// Opens the log, which must refuse and change nothing.
fn refusal(machine: &SimulatedDisk) -> StorageError {
    let files = |machine: &SimulatedDisk| {
        let names = machine.disk().list_dir(Path::new(DIR)).unwrap().unwrap();
        names.into_iter().map(|name| content(machine, &Path::new(DIR).join(name))).collect::<Vec<_>>()
    };
    let before = files(machine);
    let error = open(machine).map(|(_, recovered)| recovered).expect_err("damage");
    assert!(before == files(machine), "{error}: but something was changed");
    error
}

#[test]
fn a_flip_of_any_byte_that_was_written_is_refused_with_its_place() {
    let sample = Sample::with_last(700);
    for generation in 1..=sample.newest {
        let path = segment(generation);
        let written = content(&sample.machine, &path).iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for offset in 0..written as u64 {
            let machine = sample.machine.fork();
            machine.flip(&path, offset, 1 << (offset % 8));
            match refusal(&machine) {
                StorageError::Damaged { path: named, offset: start, .. } => {
                    assert!(named == path && start <= offset, "{} {offset}: {named:?} {start}", path.display());
                    assert!(offset - start < 2 * SECTOR, "{offset} is far from {start}");
                }
                error => panic!("{}: byte {offset}: {error}", path.display()),
            }
        }
    }
}

#[test]
fn any_torn_form_of_the_last_batch_is_cut() {
    for payload_bytes in [1, 300, 700, 1500] {
        let sample = Sample::with_last(payload_bytes);
        let (path, range) = (segment(sample.newest), sample.last_batch.clone());
        let sectors: Vec<u64> = (range.start / SECTOR..range.end.div_ceil(SECTOR)).collect();
        for lost in 1_u32..1 << sectors.len() {
            let machine = sample.machine.fork();
            for (place, sector) in sectors.iter().enumerate().filter(|(place, _)| lost >> place & 1 == 1) {
                let from = range.start.max(sector * SECTOR);
                let to = range.end.min((sector + 1) * SECTOR);
                blank(&machine, &path, from..to);
                assert!(place < 5);
            }
            let (mut log, found) = open(&machine).unwrap();
            assert!(found.groups == sample.before, "{payload_bytes} bytes, sectors {lost:b} lost");
            // A new last batch of the same number and length does not bring back what was cut.
            write_synced(&mut log, entry(1, 41, b"another"));
            machine.crash();
            let groups = open(&machine).unwrap().1.groups;
            assert_eq!(groups[&1].entries.last().unwrap().payload, &b"another"[..]);
            assert_eq!(groups[&1].entries.len(), 41);
        }
        assert!(recovered(&sample.machine) == sample.after);
    }
}

#[test]
fn the_last_batch_cut_short_at_any_byte_is_cut() {
    let sample = Sample::with_last(700);
    let (path, range) = (segment(sample.newest), sample.last_batch.clone());
    for from in range.clone() {
        let machine = sample.machine.fork();
        blank(&machine, &path, from..range.end);
        let (_, found) = open(&machine).unwrap();
        assert!(found.groups == sample.before, "from byte {from}");
        assert!(found.cut == (from > range.start).then(|| Cut { path: path.clone(), offset: range.start }), "{from}");
    }
}

#[test]
fn zeros_that_no_torn_write_leaves_are_refused() {
    let sample = Sample::with_last(700);
    let (path, range) = (segment(sample.newest), sample.last_batch.clone());
    let payload = range.start + (UNIT_BYTES + RECORD_HEADER_BYTES) as u64;
    for from in payload..payload + 700 - 2 {
        let machine = sample.machine.fork();
        blank(&machine, &path, from..from + 2);
        let error = refusal(&machine);
        assert!(matches!(error, StorageError::Damaged { offset, .. } if offset == range.start), "{from}: {error}");
    }
}

#[test]
fn a_batch_that_later_ones_say_was_synced_is_never_cut() {
    let sample = Sample::with_last(700);
    let path = segment(sample.newest);
    let batches = batch_offsets(&content(&sample.machine, &path));
    assert!(batches.len() > 4);
    for pair in batches.windows(2) {
        let machine = sample.machine.fork();
        blank(&machine, &path, pair[0]..pair[1]);
        let error = refusal(&machine).to_string();
        assert!(error.contains(&format!("{}: damaged at byte {}: ", path.display(), pair[0])), "{error}");
    }
    // In a segment that others follow, the last batch neither.
    let path = segment(sample.newest - 1);
    let batches = batch_offsets(&content(&sample.machine, &path));
    let (last, seal) = (batches[batches.len() - 2], batches[batches.len() - 1]);
    let machine = sample.machine.fork();
    blank(&machine, &path, last..seal + UNIT_BYTES as u64);
    let error = refusal(&machine).to_string();
    assert!(error.starts_with(&format!("{}: damaged at byte {last}: the batches end", path.display())), "{error}");
}

#[test]
fn a_missing_or_shortened_segment_is_refused() {
    let sample = Sample::with_last(700);
    for generation in 1..=sample.newest {
        let machine = sample.machine.fork();
        machine.disk().remove(&segment(generation)).unwrap();
        let error = refusal(&machine);
        let named = segment(generation);
        assert!(matches!(&error, StorageError::Missing { path, .. } if *path == named), "{generation}: {error}");

        let machine = sample.machine.fork();
        let short = &content(&machine, &segment(generation))[..8000];
        machine.disk().create(&segment(generation)).unwrap().write_at(0, short).unwrap();
        let error = refusal(&machine).to_string();
        let expected = "damaged at byte 8000: the file is 8000 bytes long, not 8192 as it was made";
        assert_eq!(error, format!("{}: {expected}", named.display()));
    }
}

#[test]
fn a_missing_newest_segment_is_noticed_whatever_crash_came_while_it_was_made() {
    let start = SimulatedDisk::new(5);
    let (mut log, _) = open(&start).unwrap();
    for index in 1..=6 {
        write_synced(&mut log, entry(1, index, &[7; 1000]));
    }
    assert_eq!(log.active.generation(), 1);
    drop(log);
    start.kill();
    for step in 1..30 {
        let machine = start.fork();
        let (mut log, _) = open(&machine).unwrap();
        machine.stop(step);
        let _ = log.write(&mut entry(1, 7, &[7; 1000]));
        machine.crash();
        let (mut log, recovered) = open(&machine).unwrap();
        let next = 1 + recovered.groups[&1].entries.len() as u64;
        write_synced(&mut log, entry(1, next, &[7; 1000]));
        assert_eq!(log.active.generation(), 2);
        machine.crash();
        machine.disk().remove(&segment(2)).unwrap();
        let error = refusal(&machine).to_string();
        assert!(error.starts_with("/log/0000000000000002.log: missing, but /log/0000000000000001.log says"), "{error}");
    }
}

#[test]
fn segments_under_each_others_names_are_refused() {
    let sample = Sample::with_last(700);
    let machine = sample.machine.fork();
    let (one, two) = (content(&machine, &segment(1)), content(&machine, &segment(2)));
    machine.disk().open(&segment(1)).unwrap().unwrap().write_at(0, &two).unwrap();
    machine.disk().open(&segment(2)).unwrap().unwrap().write_at(0, &one).unwrap();
    let error = refusal(&machine).to_string();
    assert!(error.ends_with("01.log: damaged at byte 0: the header is of segment 0000000000000002"), "{error}");
}

/// The offsets of the headers in a segment, rising.
fn batch_offsets(content: &[u8]) -> Vec<u64> {
    let is_batch = |place: &usize| content[*place..].starts_with(b"PoBa");
    (0..content.len()).step_by(UNIT_BYTES).filter(is_batch).map(|place| place as u64).collect()
}

fn blank(machine: &SimulatedDisk, path: &Path, range: std::ops::Range<u64>) {
    let content = content(machine, path);
    for offset in range {
        machine.flip(path, offset, content[usize::try_from(offset).unwrap()]);
    }
}
