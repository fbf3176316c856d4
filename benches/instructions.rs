//! Instructions per operation of codec, route and apply: a number that does not swing with the machine's load, so that a change
//! of a hundredth shows and a change for the worse fails.
//!
//! ```text
//! cargo bench --bench instructions [-- bless] [WORD...]
//! ```
//!
//! Each case runs once under callgrind (Debian: valgrind), which counts inside of `measured_part` alone. The counts of the last
//! `bless` are in `instructions.toml` beside this file: more than 2% above one of them is a failure, more than 2% below asks
//! for another `bless`. They are of one compiler; under another one the table is shown and nothing fails.
//!
//! Deliberately absent: hardware counters, which virtual machines rarely have, and harnesses that need a runner installed.

#![allow(clippy::disallowed_methods, reason = "a measurement starts processes and keeps a file")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use pontoon::control::routing::RoutingTable;
use pontoon::keyspace::{Entry, Keyspace, ReadAt};
use pontoon::protocol::command::resolve;
use pontoon::protocol::reply_scan::{array_elements, reply_end};
use pontoon::protocol::request::{Args, Limits, Parsed, RequestParser, parse_array, write_array};
use pontoon::topology::{Catalog, ClusterId, Epoch, LogTime, ShardsConfig, Slot};
use serde::{Deserialize, Serialize};

/// Of each case, so that what surrounds them does not count.
const OPERATIONS: usize = 1_000;
const KEYS: usize = 10_000;
const TOLERANCE: f64 = 0.02;
/// This program, run for one case.
const CASE: &str = "--case";

/// Work that was prepared: `OPERATIONS` of them each time it is called.
type Work = Box<dyn FnMut()>;
type Prepare = fn() -> Work;

const CASES: [(&str, Prepare); 10] = [
    ("codec: parse GET", || parsed(get)),
    ("codec: parse SET of 100 bytes", || parsed(set)),
    ("codec: end of a reply of 100 bytes", reply_ends),
    ("codec: elements of a reply of 10", reply_elements),
    ("route: parse, resolve, slot and owner of GET", || routed(get)),
    ("route: parse, resolve, slots and owners of MGET of 10", || routed(multi_get)),
    ("apply: decode and apply SET of 100 bytes", || applied(set)),
    ("apply: decode and apply INCR", || applied(increment)),
    ("apply: decode and apply HSET", || applied(hash_set)),
    ("apply: parse and read GET", reads),
];

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
    Box::new(move || {
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
    Box::new(move || {
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
    Box::new(move || {
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
    Box::new(move || {
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
    Box::new(move || {
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
    Box::new(move || {
        for request in &requests {
            out.clear();
            parse_array(black_box(request), &mut spans).expect("our own bytes");
            black_box(keyspace.read(Args::new(request, &spans), at, &mut out));
        }
    })
}

/// Callgrind counts in here alone; it finds the function by its name.
#[inline(never)]
fn measured_part(work: &mut Work) {
    black_box(work)();
}

/// What `bless` keeps.
#[derive(Default, Serialize, Deserialize)]
struct Blessed {
    /// `rustc --version` of the compiler that made what was counted.
    compiler: String,
    /// Instructions of one operation.
    instructions: BTreeMap<String, f64>,
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions.toml"].iter().collect()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Runs one case in a process of its own under callgrind.
fn count(case: &str) -> Result<f64, String> {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{}", std::process::id()));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_part*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(program).args([CASE, case]);
    let output = valgrind.output().map_err(|error| format!("valgrind (Debian: valgrind): {error}"))?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    let count = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<f64>().ok());
    let count = count.filter(|count| *count > 0.0);
    count.map(|count| count / OPERATIONS as f64).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn run_case(name: &str) {
    let (_, prepare) = CASES.iter().find(|(known, _)| *known == name).expect("a case");
    let mut work = prepare();
    // What is allocated once is there then.
    work();
    measured_part(&mut work);
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name] = &args[..]
        && first == CASE
    {
        run_case(name);
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "bless").collect();
    let bless = args.iter().any(|arg| arg == "bless");
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let mut blessed: Blessed = toml::from_str(&text).unwrap_or_default();
    let is_comparable = blessed.compiler == compiler();
    println!("| instructions of one operation | now | blessed | ratio |\n| --- | --- | --- | --- |");
    let mut worse = 0;
    for (name, _) in CASES.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(*word)))
    {
        let now = match count(name) {
            Ok(now) => now,
            Err(why) => {
                eprintln!("{name}: {why}");
                return ExitCode::FAILURE;
            }
        };
        let before = blessed.instructions.get(*name).copied();
        let ratio = before.map_or(1.0, |before| now / before);
        let said = match ratio {
            ratio if ratio > 1.0 + TOLERANCE => " WORSE",
            ratio if ratio < 1.0 - TOLERANCE => " better: bless it",
            _ => "",
        };
        worse += usize::from(ratio > 1.0 + TOLERANCE);
        println!("| {name} | {now:.1} | {} | {ratio:.3}{said} |", before.map_or("-".to_owned(), |b| format!("{b:.1}")));
        blessed.instructions.insert((*name).to_owned(), (now * 10.0).round() / 10.0);
    }
    if bless {
        blessed.compiler = compiler();
        std::fs::write(file(), toml::to_string(&blessed).expect("numbers and texts")).expect("the file is ours");
    } else if !is_comparable {
        println!("Blessed under {:?}, this is {:?}: nothing is compared.", blessed.compiler, compiler());
    }
    if worse > 0 && is_comparable && !bless { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
