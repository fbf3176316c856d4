//! What a million things cost in memory, as resident bytes: 16-byte keys with 100-byte values in all slots; or, said as
//! an argument, the fields of one hash (`hash`), of as many hashes as have a hundred each (`hashes`), or of one hash in
//! which all expire (`expiries`).

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
    let entry = Entry::Write { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity: None, request: &request };
    keyspace.apply(&entry, out).expect("a good entry");
    out.clear();
}

/// Applies a million fields, a hundred at a time, to the hash that `key` names for their number.
fn fields(command: &str, key: impl Fn(u64) -> String, options: &[&[u8]]) {
    const FIELDS: u64 = 100;
    let mut out = Vec::new();
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let empty = resident_bytes();
    for hash in 0..KEYS / FIELDS {
        let numbers = hash * FIELDS..(hash + 1) * FIELDS;
        let (key, names): (_, Vec<String>) = (key(hash), numbers.map(|number| format!("field:{number:07}")).collect());
        let mut words: Vec<&[u8]> = vec![command.as_bytes(), key.as_bytes()];
        words.extend(options);
        names.iter().for_each(|name| words.extend([name.as_bytes(), &name.as_bytes()[3..]]));
        apply(&mut keyspace, &words, &mut out);
    }
    let full = resident_bytes() - empty;
    println!("{KEYS} fields: {} MiB, {} bytes each", full / (1024 * 1024), full / KEYS);
    println!("by its own account: {} MiB", keyspace.usage().bytes / (1024 * 1024));
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("hash") => fields("HSET", |_| "hash".to_owned(), &[]),
        Some("hashes") => fields("HSET", |hash| format!("hash:{hash:08}"), &[]),
        Some("expiries") => fields("HSETEX", |_| "hash".to_owned(), &[b"EX", b"1000", b"FIELDS", b"100"]),
        _ => keys(),
    }
}

fn keys() {
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
