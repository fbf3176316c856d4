//! What is counted: each case prepares its work, then does it as often as it is told to.

use std::collections::BTreeMap;
use std::hint::black_box;

use pontoon::control::routing::RoutingTable;
use pontoon::keyspace::{Entry, Keyspace, ReadAt};
use pontoon::protocol::command::resolve;
use pontoon::protocol::reply_scan::{array_elements, reply_end};
use pontoon::protocol::request::{Args, Limits, Parsed, RequestParser, parse_array, write_array};
use pontoon::topology::{Catalog, ClusterId, Epoch, LogTime, ShardsConfig, Slot};

use crate::Meter;
use crate::proxy::turns;

/// Of each case, so that what surrounds them does not count.
pub const OPERATIONS: usize = 1_024;
const KEYS: usize = 10_000;
/// A value of 100 bytes as a reply.
const VALUE_BYTES: usize = b"$100\r\n".len() + 100 + 2;

/// Work that was prepared: `OPERATIONS` of them each time it is called.
pub type Work = Box<dyn FnMut(&Meter)>;
type Prepare = fn() -> Work;

pub const CASES: [(&str, Prepare); 14] = [
    ("codec: parse GET", || parsed(get)),
    ("codec: parse SET of 100 bytes", || parsed(set)),
    ("codec: end of a reply of 100 bytes", reply_ends),
    ("codec: elements of a reply of 10", reply_elements),
    ("route: parse, resolve, slot and owner of GET", || routed(get)),
    ("route: parse, resolve, slots and owners of MGET of 10", || routed(multi_get)),
    ("proxy over Redis: GET, 32 of one client", || turns(get, 1, 32, VALUE_BYTES)),
    ("proxy over Redis: GET, one of each of 64 clients", || turns(get, 64, 1, VALUE_BYTES)),
    ("proxy over Redis: SET, 32 of one client", || turns(set, 1, 32, b"+OK\r\n".len())),
    ("proxy over Redis: MGET of 10, one of each of 64 clients", || {
        turns(multi_get, 64, 1, b"*10\r\n".len() + 10 * VALUE_BYTES)
    }),
    ("apply: decode and apply SET of 100 bytes", || applied(set)),
    ("apply: decode and apply INCR", || applied(increment)),
    ("apply: decode and apply HSET", || applied(hash_set)),
    ("apply: parse and read GET", reads),
];

/// Work all of which counts.
fn counted(mut work: impl FnMut() + 'static) -> Work {
    Box::new(move |meter| meter.count(&mut work))
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{:012}", number.wrapping_mul(7_919) % KEYS).into_bytes()
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    write_array(&mut out, words.iter().copied());
    out
}

fn get(number: usize) -> Vec<u8> {
    request(&[b"GET", &key(number)])
}

fn multi_get(number: usize) -> Vec<u8> {
    let keys: Vec<Vec<u8>> = (number..number + 10).map(key).collect();
    let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
    request(&words)
}

fn set(number: usize) -> Vec<u8> {
    request(&[b"SET", &key(number), &[b'x'; 100]])
}

fn increment(number: usize) -> Vec<u8> {
    request(&[b"INCR", &[b"counter:", &key(number)[..]].concat()])
}

fn hash_set(number: usize) -> Vec<u8> {
    request(&[b"HSET", &[b"hash:", &key(number % 10)[..]].concat(), &key(number), b"value"])
}

fn each_request(stream: &[u8], mut then: impl FnMut(Args<'_>)) {
    let (mut parser, limits, mut at) = (RequestParser::default(), Limits::default(), 0);
    let (mut spans, mut side) = (Vec::with_capacity(16), Vec::new());
    while let Ok(Parsed::Request { consumed, .. }) = parser.parse(&stream[at..], &limits, &mut spans, &mut side) {
        then(Args::new(&stream[at..at + consumed], &spans));
        at += consumed;
    }
    assert_eq!(at, stream.len());
}

fn parsed(of: fn(usize) -> Vec<u8>) -> Work {
    let stream: Vec<u8> = (0..OPERATIONS).flat_map(of).collect();
    counted(move || {
        each_request(black_box(&stream), |args| {
            black_box(args.len());
        });
    })
}

fn routed(of: fn(usize) -> Vec<u8>) -> Work {
    let mut text = "version = 1\n[[node]]\nname = \"n1\"\naddr = \"127.0.0.1:7001\"\n".to_owned();
    for shard in ["a", "b", "c"] {
        text += &format!("[[shard]]\nname = \"{shard}\"\nnodes = [\"n1\"]\n");
    }
    let config = ShardsConfig::parse(&text, "shards.toml").expect("it is valid");
    let mut table = RoutingTable::new(None);
    table.adopt(&Catalog::found(ClusterId(1), 2, &config, &BTreeMap::new()));
    let stream: Vec<u8> = (0..OPERATIONS).flat_map(of).collect();
    counted(move || {
        each_request(black_box(&stream), |args| {
            let spec = resolve(args).expect("a known command");
            for position in spec.key_positions(args) {
                black_box(table.owner(Slot::of_key(args.get(position))));
            }
            black_box(spec.is_write());
        });
    })
}

fn reply_ends() -> Work {
    let reply = format!("$100\r\n{}\r\n", "x".repeat(100)).into_bytes();
    let stream = reply.repeat(OPERATIONS);
    counted(move || {
        let mut at = 0;
        while let Ok(Some(length)) = reply_end(black_box(&stream[at..])) {
            at += length;
        }
        assert_eq!(at, stream.len());
    })
}

fn reply_elements() -> Work {
    let mut reply = Vec::new();
    write_array(&mut reply, std::iter::repeat_n(&[b'x'; 100][..], 10));
    let mut spans = Vec::with_capacity(16);
    counted(move || {
        for _ in 0..OPERATIONS {
            black_box(array_elements(black_box(&reply), &mut spans)).expect("our own bytes");
        }
    })
}

fn entry(request: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    Entry::Write { seen: 0, time: LogTime(1_000), seed: 1, resp3: false, identity: None, request }.encode(&mut entry);
    entry
}

fn filled() -> Keyspace {
    let mut keyspace = Keyspace::new(7);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    let mut out = Vec::new();
    for number in 0..KEYS {
        let entry = entry(&request(&[b"SET", &key(number), &[b'v'; 100]]));
        keyspace.apply(&Entry::decode(&entry).expect("our own bytes"), &mut out).expect("a good entry");
        out.clear();
    }
    keyspace
}

fn applied(of: fn(usize) -> Vec<u8>) -> Work {
    let (mut keyspace, mut out) = (filled(), Vec::with_capacity(4096));
    let entries: Vec<Vec<u8>> = (0..OPERATIONS).map(|number| entry(&of(number))).collect();
    counted(move || {
        for entry in &entries {
            out.clear();
            let entry = Entry::decode(black_box(entry)).expect("our own bytes");
            black_box(keyspace.apply(&entry, &mut out)).expect("a good entry");
        }
    })
}

fn reads() -> Work {
    let (keyspace, mut out, mut spans) = (filled(), Vec::with_capacity(4096), Vec::with_capacity(16));
    let requests: Vec<Vec<u8>> = (0..OPERATIONS).map(get).collect();
    let at = ReadAt { clock: LogTime(2_000), resp3: false };
    counted(move || {
        for request in &requests {
            out.clear();
            parse_array(black_box(request), &mut spans).expect("our own bytes");
            black_box(keyspace.read(Args::new(request, &spans), at, &mut out));
        }
    })
}
