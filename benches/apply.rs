//! How fast a shard's state machine is: commands applied from their log entries, and reads, over a million keys.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon::keyspace::{Entry, Keyspace, ReadAt};
use pontoon::protocol::request::{Args, parse_array, write_array};
use pontoon::topology::{Epoch, LogTime, Slot};

const KEYS: u64 = 1_000_000;
/// Prepared requests; more than any cache of the processor holds of their keys.
const REQUESTS: usize = 65_536;

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

/// Numbers that visit all keys without order.
fn scattered(step: usize) -> u64 {
    (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS
}

fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let (mut request, mut entry) = (Vec::new(), Vec::new());
    write_array(&mut request, words.iter().copied());
    Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request }
        .encode(&mut entry);
    entry
}

fn filled() -> Keyspace {
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let mut out = Vec::new();
    for number in 0..KEYS {
        let entry = encoded(&[b"SET", &key(number), &[b'v'; 100]]);
        keyspace.apply(&Entry::decode(&entry).expect("our own bytes"), &mut out).expect("a good entry");
        out.clear();
    }
    keyspace
}

fn bench_apply(criterion: &mut Criterion, keyspace: &mut Keyspace, name: &str, entry: impl Fn(&[u8]) -> Vec<u8>) {
    let entries: Vec<Vec<u8>> = (0..REQUESTS).map(|step| entry(&key(scattered(step)))).collect();
    let (mut out, mut next) = (Vec::new(), 0);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            next = (next + 1) % REQUESTS;
            let entry = Entry::decode(&entries[next]).expect("our own bytes");
            black_box(keyspace.apply(&entry, &mut out)).expect("a good entry")
        });
    });
}

fn bench_read(criterion: &mut Criterion, keyspace: &Keyspace) {
    let mut requests = Vec::new();
    for step in 0..REQUESTS {
        let mut request = Vec::new();
        write_array(&mut request, [&b"GET"[..], &key(scattered(step))].into_iter());
        requests.push(request);
    }
    let (mut out, mut spans, mut next) = (Vec::new(), Vec::new(), 0);
    let at = ReadAt { clock: LogTime(2_000), resp3: false };
    criterion.bench_function("parse and read GET", |bencher| {
        bencher.iter(|| {
            out.clear();
            next = (next + 1) % REQUESTS;
            parse_array(&requests[next], &mut spans).expect("our own bytes");
            black_box(keyspace.read(Args::new(&requests[next], &spans), at, &mut out))
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let mut keyspace = filled();
    let set = |key: &[u8]| encoded(&[b"SET", key, &[b'w'; 100]]);
    bench_apply(criterion, &mut keyspace, "decode and apply SET, 100 bytes", set);
    bench_read(criterion, &keyspace);
    criterion.bench_function("freeze 1M keys", |bencher| bencher.iter(|| black_box(keyspace.freeze())));
    // The snapshot holds every chunk, so the first write into each copies it.
    let frozen = keyspace.freeze();
    bench_apply(criterion, &mut keyspace, "decode and apply SET while a snapshot is held", set);
    drop(frozen);
    bench_apply(criterion, &mut keyspace, "decode and apply INCR", |key| {
        encoded(&[b"INCR", &[b"counter:", &key[key.len() - 3..]].concat()])
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
