//! What no comparison with Redis shows: what a write copies, and which writes a watcher sees.

use super::super::tests::{apply, read, whole};
use super::super::value::{Collection, List};
use super::super::{Entry, Keyspace};
use crate::protocol::request::write_array;
use crate::topology::LogTime;

const ELEMENTS: usize = 1_000_000;

/// A list of a million numbers, pushed by a thousand.
fn with_large_list() -> Keyspace {
    let mut keyspace = whole();
    for start in (0..ELEMENTS).step_by(1000) {
        let elements: Vec<String> = (start..start + 1000).map(|number| format!("element:{number}")).collect();
        let (mut request, mut out) = (Vec::new(), Vec::new());
        let words: Vec<&[u8]> =
            [&b"RPUSH"[..], b"k"].into_iter().chain(elements.iter().map(String::as_bytes)).collect();
        write_array(&mut request, words.into_iter());
        let entry =
            Entry::Write { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut out).unwrap();
    }
    keyspace
}

fn list<'k>(keyspace: &'k Keyspace, key: &[u8]) -> &'k List {
    List::of(&keyspace.peek(key).unwrap().value).unwrap()
}

#[test]
fn a_write_to_a_list_of_a_million_elements_copies_a_path_of_it() {
    let mut keyspace = with_large_list();
    assert!(list(&keyspace, b"k").nodes().len() > 7000, "few nodes would tell little");
    let mut copied_in_all = 0;
    // The copy shares everything, as a snapshot does.
    for line in [
        "LPUSH k x",
        "RPUSH k x",
        "LSET k 500000 another",
        "LINSERT k BEFORE element:700000 x",
        "LPOP k",
        "RPOP k 1000",
        "LREM k 2 element:300000",
        "LTRIM k 100 -100",
        "LMOVE k k LEFT RIGHT",
    ] {
        apply(&mut keyspace, 1, "COPY k frozen REPLACE");
        let before = list(&keyspace, b"frozen").len();
        apply(&mut keyspace, 1, line);
        let copied = list(&keyspace, b"k").nodes().difference(&list(&keyspace, b"frozen").nodes()).count();
        // At most the paths to two ends, and two nodes beside them.
        assert!(copied <= 8, "{line} copied {copied} nodes");
        assert_eq!(list(&keyspace, b"frozen").len(), before, "{line}");
        copied_in_all += copied;
    }
    assert!(copied_in_all >= 9, "what is written is copied");
}

#[test]
fn a_watcher_sees_the_writes_that_redis_tells_of() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "RPUSH k a b c");
    apply(&mut keyspace, 1, "SET string v");
    for (line, raises) in [
        ("LPUSHX none x", false),
        ("LPOP k 0", false),
        ("LINSERT k AFTER none x", false),
        ("LREM k 0 none", false),
        ("LSET k 17 x", false),
        ("LSET k x x", false),
        ("LMOVE none k LEFT LEFT", false),
        ("LMOVE k string LEFT LEFT", false),
        ("LMPOP 2 none string LEFT", false),
        ("LTRIM k 0 -1", true),
        ("LMOVE k k LEFT LEFT", true),
        ("LSET k 0 a", true),
        ("LPUSHX k x", true),
        ("LMPOP 2 none k LEFT COUNT 1", true),
        ("RPOPLPUSH k other", true),
        ("LREM k 0 a", true),
        ("LPOP k 5", true),
    ] {
        let before = keyspace.version_of(b"k");
        apply(&mut keyspace, 1, line);
        assert_eq!(keyspace.version_of(b"k") != before, raises, "{line}");
    }
    assert_eq!(read(&keyspace, 1, "EXISTS k"), ":0\r\n", "an emptied list is no key");
}

#[test]
fn removals_far_apart_and_close_together_leave_the_rest() {
    for distance in [2, 300] {
        let mut keyspace = whole();
        let elements: Vec<String> =
            (0..3000).map(|n| if n % distance == 0 { "x".into() } else { format!("e{n}") }).collect();
        apply(&mut keyspace, 1, &format!("RPUSH k {}", elements.join(" ")));
        let from_tail = apply(&mut keyspace, 1, "LREM k -3 x");
        assert_eq!(from_tail, ":3\r\n");
        apply(&mut keyspace, 1, "LREM k 0 x");
        let left: Vec<&[u8]> = elements.iter().filter(|element| *element != "x").map(|e| e.as_bytes()).collect();
        assert!(list(&keyspace, b"k").iter().eq(left.iter().copied()));
        let mut fresh = List::default();
        fresh.push_all(super::super::value::End::Right, left.iter().copied());
        assert_eq!(list(&keyspace, b"k").heap_bytes(), fresh.heap_bytes());
    }
}
