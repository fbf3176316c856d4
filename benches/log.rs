//! Durable writes a second of the segment log against the bare disk: the same bytes with one fdatasync each, into a file
//! whose space was written before, and appended to a file that grows.
//!
//! `cargo bench --bench log`; the files are made below the target directory. Read ratios: the disk decides the rest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pontoon::storage::{Disk, LogOptions, SegmentLog, WriteBatch};

const PAYLOAD: [u8; 128] = [7; 128];
const BATCHES: [u64; 4] = [1, 16, 64, 256];
const GROUPS: u64 = 4;
const FILE_BYTES: u64 = 64 << 20;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

fn main() {
    println!("{:<34} {:>8} {:>12} {:>9} {:>9} {:>9}", "", "batch", "writes/s", "p50 us", "p99 us", "max us");
    for entries in BATCHES {
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the files");
            segment_log(&dir.path().join("log"), entries);
            bare_disk(&dir.path().join("written"), entries, true);
            bare_disk(&dir.path().join("growing"), entries, false);
        }
    }
}

/// One batch, over some groups, and one sync a turn; what is old is compacted, so segments are recycled.
fn segment_log(dir: &Path, entries: u64) {
    let (mut log, _) = SegmentLog::open(&Disk::system(), dir, LogOptions::default()).expect("a log");
    let mut batch = WriteBatch::new();
    let mut last = [0; GROUPS as usize];
    measure("segment log", entries, |turn| {
        batch.clear();
        for entry in 0..entries {
            let group = (turn + entry) % GROUPS;
            let last = &mut last[group as usize];
            *last += 1;
            batch.entry(group, *last, 1, 0, &PAYLOAD);
            if *last % 1000 == 0 {
                batch.compact(group, *last - 500, 1);
            }
        }
        log.write(&mut batch).expect("written");
        log.sync().expect("synced");
    });
    println!("    {:?}", log.usage());
    drop(log);
    measure_once("    opened again in", || {
        SegmentLog::open(&Disk::system(), dir, LogOptions::default()).expect("a log")
    });
}

/// The bytes of a batch as the log lays them out, in a bare file.
fn bare_disk(path: &Path, entries: u64, written_before: bool) {
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("a file");
    if written_before {
        let zeros = vec![0; 1 << 20];
        (0..FILE_BYTES >> 20).for_each(|piece| file.write_all_at(&zeros, piece << 20).expect("written"));
        file.sync_all().expect("synced");
    }
    let bytes = vec![7; usize::try_from(entries * (PAYLOAD.len() as u64 + 32) + 64).expect("small")];
    let places = FILE_BYTES / bytes.len() as u64;
    let name = if written_before { "fdatasync, space written before" } else { "fdatasync, growing file" };
    measure(name, entries, |turn| {
        let place = if written_before { turn % places } else { turn };
        file.write_all_at(&bytes, place * bytes.len() as u64).expect("written");
        file.sync_data().expect("synced");
    });
}

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn measure_once<T>(name: &str, act: impl FnOnce() -> T) {
    let start = Instant::now();
    act();
    println!("{name} {:?}", start.elapsed());
}

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn measure(name: &str, entries: u64, mut turn: impl FnMut(u64)) {
    let (start, mut number) = (Instant::now(), 0);
    while start.elapsed() < WARM_UP {
        turn(number);
        number += 1;
    }
    let (start, mut spans) = (Instant::now(), Vec::new());
    while start.elapsed() < MEASURED {
        let began = Instant::now();
        turn(number);
        spans.push(began.elapsed().as_micros());
        number += 1;
    }
    let rate = (spans.len() as u64 * entries) as f64 / start.elapsed().as_secs_f64();
    spans.sort_unstable();
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize];
    println!("{name:<34} {entries:>8} {rate:>12.0} {:>9} {:>9} {:>9}", at(0.5), at(0.99), at(1.0));
}
