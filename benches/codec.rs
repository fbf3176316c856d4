//! What a request costs before anything is sent: finding it, knowing its command, knowing its slot.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pontoon::protocol::command::{lookup, resolve};
use pontoon::protocol::reply_scan::{array_elements, reply_end};
use pontoon::protocol::request::{Args, Limits, Parsed, RequestParser, Span, parse_array, write_array};
use pontoon::topology::Slot;

/// A pipeline of requests, as redis-benchmark sends them.
const REQUESTS: usize = 32;

fn pipeline(request: impl Fn(usize) -> Vec<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..REQUESTS {
        write_array(&mut out, request(number).iter().map(Vec::as_slice));
    }
    out
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

/// Finds every request of a pipeline and hands it on.
fn each_request(stream: &[u8], spans: &mut Vec<Span>, side: &mut Vec<u8>, mut then: impl FnMut(Args<'_>)) {
    let (mut parser, limits, mut at) = (RequestParser::default(), Limits::default(), 0);
    while let Ok(Parsed::Request { consumed, .. }) = parser.parse(&stream[at..], &limits, spans, side) {
        then(Args::new(&stream[at..at + consumed], spans));
        at += consumed;
    }
    assert_eq!(at, stream.len());
}

fn requests(criterion: &mut Criterion) {
    let gets = pipeline(|number| vec![b"GET".to_vec(), key(number)]);
    let sets = pipeline(|number| vec![b"SET".to_vec(), key(number), vec![b'x'; 100]]);
    let (mut spans, mut side) = (Vec::new(), Vec::new());
    let mut group = criterion.benchmark_group("32 requests");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for (name, stream) in [("GET", &gets), ("SET", &sets)] {
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| {
                each_request(black_box(stream), &mut spans, &mut side, |args| {
                    black_box(args.len());
                });
            });
        });
        group.bench_function(format!("parse, resolve and route {name}"), |bencher| {
            bencher.iter(|| {
                each_request(black_box(stream), &mut spans, &mut side, |args| {
                    let spec = resolve(args).expect("a known command");
                    let position = spec.key_positions(args).next().expect("a key");
                    black_box((spec.is_write(), Slot::of_key(args.get(position))));
                });
            });
        });
    }
    group.finish();
}

fn pieces(criterion: &mut Criterion) {
    criterion.bench_function("lookup", |bencher| bencher.iter(|| lookup(black_box(b"INCRBYFLOAT"))));
    criterion.bench_function("slot of a key of 16 bytes", |bencher| {
        bencher.iter(|| Slot::of_key(black_box(b"key:000000000042")));
    });
    let mut set = Vec::new();
    write_array(&mut set, [&b"SET"[..], b"key:000000000042", &[b'x'; 100]].into_iter());
    let mut spans = Vec::new();
    criterion.bench_function("canonical parse of SET", |bencher| {
        bencher.iter(|| parse_array(black_box(&set), &mut spans));
    });
    let mut reply = Vec::new();
    write_array(&mut reply, std::iter::repeat_n(&[b'x'; 100][..], 10));
    criterion.bench_function("end of an array reply of 10", |bencher| bencher.iter(|| reply_end(black_box(&reply))));
    criterion.bench_function("elements of an array reply of 10", |bencher| {
        bencher.iter(|| array_elements(black_box(&reply), &mut spans));
    });
}

criterion_group!(benches, requests, pieces);
criterion_main!(benches);
