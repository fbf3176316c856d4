//! How fast lists are: queues at both ends of a short and of a long list, and reads of a range, as redis-benchmark asks
//! for them; and what a million elements in one list cost in memory.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon::keyspace::{Entry, Keyspace, ReadAt};
use pontoon::protocol::request::{Args, parse_array, write_array};
use pontoon::topology::{Epoch, LogTime, Slot};

const LONG: usize = 1_000_000;
const PAGE_BYTES: u64 = 4096;

/// The resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says what a process holds");
    let pages =
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("its second word is a number");
    pages * PAGE_BYTES
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    write_array(&mut request, words.iter().copied());
    request
}

fn apply(keyspace: &mut Keyspace, words: &[&[u8]], out: &mut Vec<u8>) {
    let entry =
        Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request(words) };
    keyspace.apply(&entry, out).expect("a good entry");
    out.clear();
}

/// The commands in turn, each from its log entry's bytes.
fn bench_turns(criterion: &mut Criterion, keyspace: &mut Keyspace, name: &str, commands: &[&[&[u8]]]) {
    let encode = |words: &&[&[u8]]| {
        let mut entry = Vec::new();
        Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request(words) }
            .encode(&mut entry);
        entry
    };
    let entries: Vec<Vec<u8>> = commands.iter().map(encode).collect();
    let mut out = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            for entry in &entries {
                out.clear();
                let entry = Entry::decode(entry).expect("our own bytes");
                black_box(keyspace.apply(&entry, &mut out)).expect("a good entry");
            }
        });
    });
}

fn bench_read(criterion: &mut Criterion, keyspace: &Keyspace, name: &str, words: &[&[u8]]) {
    let request = request(words);
    let (mut out, mut spans) = (Vec::new(), Vec::new());
    let at = ReadAt { clock: LogTime(2_000), resp3: false };
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            parse_array(&request, &mut spans).expect("our own bytes");
            black_box(keyspace.read(Args::new(&request, &spans), at, &mut out))
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let mut out = Vec::new();
    let before = resident_bytes();
    for number in 0..LONG {
        // 10 to 100 bytes each.
        apply(&mut keyspace, &[b"RPUSH", b"long", &vec![b'v'; 10 + number * 7919 % 91]], &mut out);
    }
    println!("{LONG} elements of 10 to 100 bytes: {} MiB", (resident_bytes() - before) >> 20);
    for _ in 0..1000 {
        apply(&mut keyspace, &[b"RPUSH", b"short", b"xxx"], &mut out);
    }
    for key in [&b"short"[..], b"long"] {
        let of = |what: &str| format!("{what} of the {} list", String::from_utf8_lossy(key));
        bench_turns(criterion, &mut keyspace, &of("LPUSH, RPOP"), &[&[b"LPUSH", key, b"xxx"], &[b"RPOP", key]]);
        bench_turns(criterion, &mut keyspace, &of("LPUSH, LPOP"), &[&[b"LPUSH", key, b"xxx"], &[b"LPOP", key]]);
        bench_turns(criterion, &mut keyspace, &of("RPUSH, LPOP"), &[&[b"RPUSH", key, b"xxx"], &[b"LPOP", key]]);
    }
    bench_turns(
        criterion,
        &mut keyspace,
        "LSET in the middle of the long list",
        &[&[b"LSET", b"long", b"500000", b"y"]],
    );
    for last in ["99", "299", "499", "599"] {
        bench_read(criterion, &keyspace, &format!("LRANGE 0 {last}"), &[b"LRANGE", b"short", b"0", last.as_bytes()]);
    }
    bench_read(criterion, &keyspace, "LINDEX 500000", &[b"LINDEX", b"long", b"500000"]);
    bench_read(criterion, &keyspace, "LPOS over the whole long list", &[b"LPOS", b"long", b"nowhere"]);
}

criterion_group!(benches, bench);
criterion_main!(benches);
