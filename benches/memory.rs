//! What a million keys cost in memory: 16-byte keys with 100-byte values in all slots, as resident bytes.

use pontoon::keyspace::{Entry, Keyspace};
use pontoon::protocol::request::write_array;
use pontoon::topology::{Epoch, LogTime, Slot};

const KEYS: u64 = 1_000_000;
const PAGE_BYTES: u64 = 4096;

/// The resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says what a process holds");
    let pages =
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("its second word is a number");
    pages * PAGE_BYTES
}

fn apply(keyspace: &mut Keyspace, words: &[&[u8]], out: &mut Vec<u8>) {
    let mut request = Vec::new();
    write_array(&mut request, words.iter().copied());
    let entry = Entry::Write { time: LogTime(1), seed: 0, resp3: false, request: &request };
    keyspace.apply(&entry, out).expect("a good entry");
    out.clear();
}

fn main() {
    let (before, mut out) = (resident_bytes(), Vec::new());
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let empty = resident_bytes();
    for number in 0..KEYS {
        apply(&mut keyspace, &[b"SET", format!("key:{number:012}").as_bytes(), &[b'v'; 100]], &mut out);
    }
    let full = resident_bytes();
    let mib = |bytes: u64| bytes / (1024 * 1024);
    println!("empty keyspace: {} KiB", (empty - before) / 1024);
    println!("{KEYS} keys: {} MiB, {} bytes each", mib(full - before), (full - before) / KEYS);
    println!("by its own account: {} MiB", mib(keyspace.usage().bytes));
    let pieces = keyspace.freeze().pieces(256 * 1024);
    let bytes: usize = pieces.map(|piece| piece.len()).sum();
    println!("snapshot: {} MiB, and {} MiB more resident after it", mib(bytes as u64), mib(resident_bytes() - full));
    // Every chunk is copied while the snapshot is held: the worst that a snapshot costs.
    let frozen = keyspace.freeze();
    for number in 0..KEYS {
        apply(&mut keyspace, &[b"SET", format!("key:{number:012}").as_bytes(), &[b'w'; 100]], &mut out);
    }
    println!("all keys rewritten under a held snapshot: {} MiB", mib(resident_bytes() - before));
    drop(frozen);
    println!("after it is dropped: {} MiB", mib(resident_bytes() - before));
}
