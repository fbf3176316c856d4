//! How fast a sorted set of a million members is: new members, new scores, pops, ranges by rank, score and member; and
//! what it costs in memory.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon::keyspace::{Entry, Keyspace, ReadAt};
use pontoon::protocol::request::{Args, parse_array, write_array};
use pontoon::topology::{Epoch, LogTime, Slot};

const MEMBERS: u64 = 1_000_000;
/// Commands of one kind with different arguments.
const VARIANTS: u64 = 100_000;
const PAGE_BYTES: u64 = 4096;

/// The resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says what a process holds");
    let pages =
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("its second word is a number");
    pages * PAGE_BYTES
}

fn request(line: &str) -> Vec<u8> {
    let mut request = Vec::new();
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    write_array(&mut request, words.into_iter());
    request
}

/// Numbers below the number of members, all over the place.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MEMBERS
}

fn bench_write(criterion: &mut Criterion, keyspace: &mut Keyspace, name: &str, line: impl Fn(u64) -> String) {
    let requests: Vec<Vec<u8>> = (0..VARIANTS).map(|number| request(&line(number))).collect();
    let (mut out, mut turns) = (Vec::new(), requests.iter().cycle());
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            let request = turns.next().expect("they never end");
            let entry = Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request };
            black_box(keyspace.apply(&entry, &mut out)).expect("a good entry");
        });
    });
}

fn bench_read(criterion: &mut Criterion, keyspace: &Keyspace, name: &str, line: impl Fn(u64) -> String) {
    let requests: Vec<Vec<u8>> = (0..VARIANTS).map(|number| request(&line(number))).collect();
    let (mut out, mut spans, mut turns) = (Vec::new(), Vec::new(), requests.iter().cycle());
    let at = ReadAt { clock: LogTime(2_000), resp3: false };
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            let request = turns.next().expect("they never end");
            parse_array(request, &mut spans).expect("our own bytes");
            black_box(keyspace.read(Args::new(request, &spans), at, &mut out))
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let before = resident_bytes();
    let mut out = Vec::new();
    for number in 0..MEMBERS {
        let request = request(&format!("ZADD z {} member:{:09}", scattered(number), scattered(number * 7 + 3)));
        let entry =
            Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut out).expect("a good entry");
        out.clear();
    }
    let full = resident_bytes() - before;
    let request = request("ZCARD z");
    let entry =
        Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request };
    keyspace.apply(&entry, &mut out).expect("a good entry");
    println!("members {}: {} MiB", String::from_utf8_lossy(&out).trim(), full >> 20);
    println!("by its own account: {} MiB", keyspace.usage().bytes >> 20);
    bench_read(criterion, &keyspace, "ZSCORE", |number| format!("ZSCORE z member:{:09}", scattered(number)));
    bench_read(criterion, &keyspace, "ZRANK", |number| format!("ZRANK z member:{:09}", scattered(number)));
    bench_read(criterion, &keyspace, "ZRANGE of 100 by rank", |number| {
        format!("ZRANGE z {0} {1}", scattered(number), scattered(number) + 99)
    });
    bench_read(criterion, &keyspace, "ZRANGE of 100 by rank, with scores", |number| {
        format!("ZRANGE z {0} {1} WITHSCORES", scattered(number), scattered(number) + 99)
    });
    bench_read(criterion, &keyspace, "ZRANGE of 100 by score", |number| {
        format!("ZRANGEBYSCORE z {} +inf LIMIT 0 100", scattered(number))
    });
    bench_read(criterion, &keyspace, "ZCOUNT", |number| {
        format!("ZCOUNT z {} {}", scattered(number), scattered(number) + 10_000)
    });
    bench_write(criterion, &mut keyspace, "ZADD of the same score", |number| {
        format!("ZADD same 0 element:{}", number % 2)
    });
    bench_write(criterion, &mut keyspace, "ZINCRBY by 1", |number| {
        format!("ZINCRBY z 1 member:{:09}", scattered(number))
    });
    bench_write(criterion, &mut keyspace, "ZINCRBY past a tenth of all", |number| {
        format!("ZINCRBY z 100000 member:{:09}", scattered(number))
    });
    bench_write(criterion, &mut keyspace, "ZADD and ZPOPMIN in turn", |number| match number % 2 {
        0 => format!("ZADD z {} new:{number:09}", scattered(number)),
        _ => "ZPOPMIN z".to_owned(),
    });
    for number in 0..MEMBERS / 100 {
        let members: Vec<String> = (0..100).map(|at| format!("0 member:{:09}", scattered(number * 100 + at))).collect();
        let request = self::request(&format!("ZADD lex {}", members.join(" ")));
        let entry =
            Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut out).expect("a good entry");
        out.clear();
    }
    bench_read(criterion, &keyspace, "ZRANGE of 100 by member", |number| {
        format!("ZRANGEBYLEX lex [member:{:09} + LIMIT 0 100", scattered(number))
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
