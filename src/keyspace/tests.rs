//! Stories over the whole state machine: entries in, replies out, snapshots beside.

use super::*;
use crate::protocol::request::{Args, parse_array, write_array};
use crate::topology::{Epoch, LogTime, Slot};

pub const SEED: u64 = 7;

/// A keyspace that owns all slots.
pub fn whole() -> Keyspace {
    let mut keyspace = Keyspace::new(SEED);
    Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
    keyspace
}

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut out = Vec::new();
    write_array(&mut out, words.into_iter());
    out
}

/// Applies one request at a time, and says what came of it.
pub fn try_apply(keyspace: &mut Keyspace, time: u64, line: &str) -> (Applied, String) {
    let (request, mut out, seen) = (request(line), Vec::new(), keyspace.ownership());
    let entry = Entry::Write { seen, time: LogTime(time), seed: 0, resp3: false, identity: None, request: &request };
    let applied = keyspace.apply(&entry, &mut out).unwrap();
    (applied, String::from_utf8(out).unwrap())
}

pub fn apply(keyspace: &mut Keyspace, time: u64, line: &str) -> String {
    let (applied, reply) = try_apply(keyspace, time, line);
    assert_eq!(applied, Applied::Reply, "{line}");
    reply
}

pub fn try_read(keyspace: &Keyspace, clock: u64, line: &str) -> (Read, String) {
    let (bytes, mut spans, mut out) = (request(line), Vec::new(), Vec::new());
    parse_array(&bytes, &mut spans).unwrap();
    let at = ReadAt { clock: LogTime(clock), resp3: false };
    let read = keyspace.read(Args::new(&bytes, &spans), at, &mut out);
    (read, String::from_utf8(out).unwrap())
}

pub fn read(keyspace: &Keyspace, clock: u64, line: &str) -> String {
    let (read, reply) = try_read(keyspace, clock, line);
    assert_eq!(read, Read::Answered, "{line}");
    reply
}

pub fn tick(keyspace: &mut Keyspace, time: u64) {
    let applied = keyspace.apply(&Entry::Tick { time: LogTime(time) }, &mut Vec::new());
    assert_eq!(applied, Ok(Applied::Nothing));
}

#[test]
fn a_key_expires_by_log_time_and_a_reader_ahead_of_it_has_to_wait() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1000, "SET k v PX 500");
    assert_eq!(read(&keyspace, 1100, "PTTL k"), ":400\r\n");
    assert_eq!(read(&keyspace, 1499, "GET k"), "$1\r\nv\r\n");
    for line in ["GET k", "TTL k", "EXISTS other k", "MGET other k"] {
        assert_eq!(try_read(&keyspace, 1500, line), (Read::Unsettled, String::new()), "{line}");
    }
    assert_eq!(read(&keyspace, 1500, "KEYS *"), "*0\r\n");
    assert_eq!(read(&keyspace, 1500, "RANDOMKEY"), "$-1\r\n");
    assert_eq!(read(&keyspace, 1500, "SCAN 0"), "*2\r\n$1\r\n0\r\n*0\r\n");
    tick(&mut keyspace, 1500);
    assert_eq!(read(&keyspace, 1500, "GET k"), "$-1\r\n");
    assert_eq!(read(&keyspace, 100, "TTL k"), ":-2\r\n");
    assert_eq!(keyspace.usage().keys, 1, "gone, and not yet removed");
    assert_eq!(apply(&mut keyspace, 1400, "SETNX k w"), ":1\r\n");
    assert_eq!(keyspace.log_time(), LogTime(1500), "log time never goes back");
    assert_eq!(read(&keyspace, 1500, "TTL k"), ":-1\r\n");
}

#[test]
fn sweeps_remove_what_is_due_in_bounded_steps() {
    let mut keyspace = whole();
    for number in 0..10 {
        apply(&mut keyspace, 1000, &format!("SET {{tag}}{number} v PX {}", 100 + number));
    }
    let slot = Slot::of_key(b"{tag}");
    assert_eq!(keyspace.next_expiry(), Some(LogTime(1100)));
    assert_eq!(keyspace.due_sweeps(LogTime(1099), 10), []);
    assert_eq!(keyspace.due_sweeps(LogTime(1200), 10), [slot]);
    let sweep = |keyspace: &mut Keyspace, time, keys_max| {
        keyspace.apply(&Entry::Sweep { time: LogTime(time), slot, keys_max }, &mut Vec::new()).unwrap();
        keyspace.usage().keys
    };
    assert_eq!(sweep(&mut keyspace, 1104, 3), 7);
    assert_eq!(sweep(&mut keyspace, 1104, 3), 5, "five were due");
    assert_eq!(sweep(&mut keyspace, 1200, 100), 0);
    assert_eq!((keyspace.next_expiry(), keyspace.usage()), (None, Usage::default()));
    assert_eq!(sweep(&mut keyspace, 1300, 100), 0);
}

#[test]
fn a_request_with_a_key_of_a_foreign_slot_changes_nothing() {
    let mut keyspace = Keyspace::new(SEED);
    let (mine, foreign) = (Slot::of_key(b"mine"), Slot::of_key(b"foreign"));
    keyspace.own(mine, Epoch(3));
    assert_eq!((keyspace.owns(mine), keyspace.owns(foreign)), (Some(Epoch(3)), None));
    for line in ["MSET mine 1 foreign 2", "SET foreign 1", "RENAME mine foreign", "BITOP AND mine mine foreign"] {
        assert_eq!(try_apply(&mut keyspace, 1, line), (Applied::NotOwner(foreign), String::new()), "{line}");
    }
    assert_eq!(keyspace.usage(), Usage::default());
    assert_eq!(try_read(&keyspace, 1, "MGET mine foreign").0, Read::NotOwner(foreign));
    assert_eq!(apply(&mut keyspace, 1, "SET mine 1"), "+OK\r\n");
    let sweep = Entry::Sweep { time: LogTime(1), slot: foreign, keys_max: 10 };
    assert_eq!(keyspace.apply(&sweep, &mut Vec::new()), Ok(Applied::Nothing));
}

#[test]
fn bytes_that_are_no_request_stop_the_replica() {
    let mut keyspace = whole();
    let entry =
        Entry::Write { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity: None, request: b"*1\r\n$3\r\nGE" };
    assert!(matches!(keyspace.apply(&entry, &mut Vec::new()), Err(EntryError::Malformed(_))));
}

#[test]
fn keys_and_values_over_their_limits_are_refused() {
    let mut keyspace = whole();
    let long_key = "k".repeat(keyspace.limits().key_bytes_max as usize + 1);
    let refused = apply(&mut keyspace, 1, &format!("SET {long_key} v"));
    assert!(refused.starts_with("-ERR the key is larger than the limit"), "{refused}");
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(apply(&mut keyspace, 1, "SETRANGE k 67108864 v"), too_long);
    assert_eq!(apply(&mut keyspace, 1, "SETRANGE k 9223372036854775807 v"), too_long);
    assert_eq!(apply(&mut keyspace, 1, "SETRANGE k 67108863 v"), ":67108864\r\n");
    assert_eq!(apply(&mut keyspace, 1, "APPEND k v"), too_long);
    assert_eq!(apply(&mut keyspace, 1, "DEL k"), ":1\r\n");
    assert!(keyspace.take_garbage().is_some(), "a large value is left to be freed elsewhere");
    assert!(keyspace.take_garbage().is_none());
}

#[test]
fn a_flush_empties_all_slots_and_leaves_their_data_to_be_freed() {
    let mut keyspace = whole();
    for number in 0..100 {
        apply(&mut keyspace, 1, &format!("SET {number} v EX 100"));
    }
    let version = keyspace.version_of(b"7").unwrap();
    assert_eq!(apply(&mut keyspace, 1, "FLUSHALL ASYNC"), "+OK\r\n");
    assert_eq!((keyspace.usage(), keyspace.next_expiry()), (Usage::default(), None));
    assert!(keyspace.version_of(b"7").unwrap() > version, "absent keys carry the version of the flush");
    assert_eq!(keyspace.owned().len(), 16384);
    assert!(keyspace.take_garbage().is_some_and(|garbage| !garbage.is_empty()));
}

#[test]
fn versions_rise_with_every_write_and_removal() {
    let mut keyspace = whole();
    let mut last = keyspace.version_of(b"k").unwrap();
    for (line, rises) in [
        ("SET k 1", true),
        ("INCR k", true),
        ("GET k", false),
        ("SET k 1 NX", false),
        ("EXPIRE k 100", true),
        ("PERSIST k", true),
        ("PERSIST k", false),
        ("APPEND k x", true),
        ("INCR k", false),
        ("DEL k", true),
        ("DEL k", false),
    ] {
        apply(&mut keyspace, 1, line);
        let version = keyspace.version_of(b"k").unwrap();
        assert_eq!(version > last, rises, "{line}");
        last = version;
    }
}

#[test]
fn a_scan_stops_where_the_shard_owns_no_more() {
    let mut keyspace = Keyspace::new(SEED);
    (100..200).for_each(|number| keyspace.own(Slot::new(number).unwrap(), Epoch(1)));
    assert_eq!(try_read(&keyspace, 1, "SCAN 0").0, Read::NotOwner(Slot::new(0).unwrap()));
    let at = |slot: u64| slot << 48;
    let next = at(200).to_string();
    let reply = format!("*2\r\n${}\r\n{next}\r\n*0\r\n", next.len());
    assert_eq!(read(&keyspace, 1, &format!("SCAN {}", at(150) + 77)), reply);
    assert_eq!(read(&keyspace, 1, &format!("SCAN {}", at(16384))), "*2\r\n$1\r\n0\r\n*0\r\n");
    (200..16384).for_each(|number| keyspace.own(Slot::new(number).unwrap(), Epoch(1)));
    assert_eq!(read(&keyspace, 1, &format!("SCAN {}", at(150))), "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn a_key_that_was_set_and_expired_at_once_is_another_to_those_who_watch_it() {
    let mut keyspace = whole();
    let before = keyspace.version_of(b"k");
    assert_eq!(apply(&mut keyspace, 5000, "SET k v PXAT 1"), "+OK\r\n");
    assert_eq!(read(&keyspace, 5000, "EXISTS k"), ":0\r\n");
    assert!(keyspace.version_of(b"k") > before);
}
