//! Stories of blocked clients on the state machine alone, and a model that no element is lost or doubled in.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::tests::{read, try_apply, whole};
use super::super::value::{Collection, List};
use super::super::{Applied, Entry, Keyspace, Loader};
use super::*;
use crate::protocol::request::write_array;
use crate::topology::{Epoch, LogTime, SessionId};

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut out = Vec::new();
    write_array(&mut out, words.into_iter());
    out
}

fn identity(sequence: u64) -> Identity {
    Identity { id: WriteId { session: SessionId(5), sequence }, low: 0, born: LogTime(1) }
}

/// Applies a blocking command under a number; its reply, if it is answered at once.
fn block(keyspace: &mut Keyspace, sequence: u64, line: &str) -> (Applied, String) {
    let (request, mut out) = (request(line), Vec::new());
    let identity = identity(sequence);
    let entry = Entry::Block { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity, request: &request };
    let applied = keyspace.apply(&entry, &mut out).unwrap();
    (applied, String::from_utf8(out).unwrap())
}

fn waits(keyspace: &mut Keyspace, sequence: u64, line: &str) {
    assert_eq!(block(keyspace, sequence, line), (Applied::Waits(identity(sequence).id), String::new()), "{line}");
}

fn cancel(keyspace: &mut Keyspace, sequence: u64, how: CancelHow) {
    let slot = Slot::of_key(if keyspace.has(Slot::of_key(b"a")) { b"a" } else { b"k0" });
    let entry = Entry::Cancel { time: LogTime(1), how, resp3: false, slot, identity: identity(sequence) };
    assert_eq!(keyspace.apply(&entry, &mut Vec::new()), Ok(Applied::Nothing));
}

/// These elements are put at the end of a list.
fn push(keyspace: &mut Keyspace, key: &str, elements: &[&str]) {
    let (applied, reply) = try_apply(keyspace, 1, &format!("RPUSH {key} {}", elements.join(" ")));
    assert!(applied == Applied::Reply && reply.starts_with(':'), "{reply}");
}

fn elements(keyspace: &Keyspace, key: &str) -> Vec<String> {
    let list = keyspace.peek(key.as_bytes()).and_then(|record| List::of(&record.value));
    list.into_iter().flat_map(List::iter).map(|e| String::from_utf8(e.to_vec()).unwrap()).collect()
}

/// Who got what since the last look.
fn served(keyspace: &mut Keyspace) -> Vec<(u64, String)> {
    let text = |answer| match answer {
        Answer::Reply(reply) => String::from_utf8(reply.to_vec()).unwrap(),
        Answer::Gone => "gone".to_owned(),
    };
    keyspace.take_served().into_iter().map(|served| (served.id.sequence, text(served.answer))).collect()
}

fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{element}\r\n", key.len(), element.len())
}

#[test]
fn the_first_who_came_is_served_first() {
    let mut k = whole();
    waits(&mut k, 1, "BLPOP a b 0");
    waits(&mut k, 2, "BRPOP b 0");
    waits(&mut k, 3, "BLPOP b a a 0");
    push(&mut k, "b", &["1", "2"]);
    assert_eq!(served(&mut k), [(1, popped("b", "1")), (2, popped("b", "2"))]);
    assert_eq!((elements(&k, "b").len(), k.usage().keys), (0, 0));
    push(&mut k, "a", &["3", "4"]);
    assert_eq!(served(&mut k), [(3, popped("a", "3"))]);
    assert_eq!(elements(&k, "a"), ["4"]);
    assert_eq!(block(&mut k, 4, "BLPOP b a 0"), (Applied::Reply, popped("a", "4")));
    assert_eq!(k.waiter_count(), 0);
}

#[test]
fn a_request_that_comes_again_is_executed_once() {
    let mut k = whole();
    push(&mut k, "a", &["1", "2", "3"]);
    for applied in [Applied::Reply, Applied::Repeated, Applied::Repeated] {
        assert_eq!(block(&mut k, 1, "BLPOP a 0"), (applied, popped("a", "1")));
    }
    assert_eq!(block(&mut k, 2, "BLMOVE a b LEFT LEFT 0").1, "$1\r\n2\r\n");
    waits(&mut k, 3, "BLPOP c 0");
    waits(&mut k, 3, "BLPOP c 0");
    push(&mut k, "c", &["4", "5"]);
    assert_eq!(served(&mut k), [(3, popped("c", "4"))]);
    assert_eq!(block(&mut k, 3, "BLPOP c 0"), (Applied::Repeated, popped("c", "4")));
    assert_eq!((elements(&k, "a"), elements(&k, "c")), (vec!["3".to_owned()], vec!["5".to_owned()]));
}

#[test]
fn the_end_of_a_wait_is_what_the_state_says() {
    let mut k = whole();
    for sequence in 1..=3 {
        waits(&mut k, sequence, "BLPOP a 0");
    }
    cancel(&mut k, 1, CancelHow::Timeout);
    cancel(&mut k, 2, CancelHow::Unblocked);
    cancel(&mut k, 3, CancelHow::Gone);
    let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_owned();
    let ends = [(1, "*-1\r\n".to_owned()), (2, unblocked.clone()), (3, "gone".to_owned())];
    assert_eq!(served(&mut k), ends);
    push(&mut k, "a", &["1"]);
    assert_eq!((served(&mut k), elements(&k, "a").len()), (vec![], 1));
    assert_eq!(block(&mut k, 1, "BLPOP a 0"), (Applied::Repeated, "*-1\r\n".to_owned()));
    assert_eq!(block(&mut k, 2, "BLPOP a 0"), (Applied::Repeated, unblocked));
    assert_eq!(block(&mut k, 3, "BLPOP a 0"), (Applied::Cancelled, String::new()));
    // Served before its time was over.
    assert_eq!(block(&mut k, 4, "BLPOP a 0"), (Applied::Reply, popped("a", "1")));
    cancel(&mut k, 4, CancelHow::Timeout);
    assert_eq!(block(&mut k, 4, "BLPOP a 0"), (Applied::Repeated, popped("a", "1")));
    // Its end overtook it.
    cancel(&mut k, 5, CancelHow::Timeout);
    assert_eq!(block(&mut k, 5, "BLPOP a 0"), (Applied::Repeated, "*-1\r\n".to_owned()));
    assert_eq!(k.waiter_count(), 0);
}

#[test]
fn a_served_move_serves_the_next() {
    let mut k = whole();
    waits(&mut k, 1, "BLMOVE a b LEFT RIGHT 0");
    waits(&mut k, 2, "BRPOPLPUSH b c 0");
    waits(&mut k, 3, "BLPOP c 0");
    push(&mut k, "a", &["x"]);
    let moved = || "$1\r\nx\r\n".to_owned();
    assert_eq!(served(&mut k), [(1, moved()), (2, moved()), (3, popped("c", "x"))]);
    assert_eq!(k.usage().keys, 0);
    waits(&mut k, 4, "BRPOPLPUSH a a 0");
    waits(&mut k, 5, "BRPOPLPUSH b a 0");
    push(&mut k, "a", &["1", "2"]);
    assert_eq!(served(&mut k), [(4, "$1\r\n2\r\n".to_owned())]);
    assert_eq!(elements(&k, "a"), ["2", "1"]);
}

#[test]
fn only_a_key_of_the_right_type_wakes() {
    let mut k = whole();
    try_apply(&mut k, 1, "SET s x");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".to_owned();
    assert_eq!(block(&mut k, 1, "BLPOP a s 0"), (Applied::Reply, wrong.clone()));
    waits(&mut k, 2, "BLPOP a 0");
    waits(&mut k, 3, "BRPOPLPUSH b s 0");
    try_apply(&mut k, 1, "SET a x");
    assert_eq!(served(&mut k), []);
    try_apply(&mut k, 1, "DEL a");
    push(&mut k, "b", &["1"]);
    assert_eq!(served(&mut k), [(3, wrong)]);
    assert_eq!(elements(&k, "b"), ["1"]);
    // The name of a list that was there before.
    assert_eq!(try_apply(&mut k, 1, "RENAME b a").1, "+OK\r\n");
    assert_eq!(served(&mut k), [(2, popped("a", "1"))]);
    assert_eq!(read(&k, 1, "EXISTS a"), ":0\r\n");
}

#[test]
fn several_keys_and_bad_arguments() {
    let mut k = whole();
    assert_eq!(block(&mut k, 1, "BLPOP a x").1, "-ERR timeout is not a float or out of range\r\n");
    assert_eq!(block(&mut k, 2, "BLMOVE a b LEFT up 0").1, "-ERR syntax error\r\n");
    assert_eq!(block(&mut k, 3, "BLPOP a").1, "-ERR wrong number of arguments for 'blpop' command\r\n");
    // A plain write of a blocking command does not wait: that is what a transaction is made of.
    assert_eq!(try_apply(&mut k, 1, "BLPOP a 0"), (Applied::Reply, "*-1\r\n".to_owned()));
    assert_eq!(try_apply(&mut k, 1, "BRPOPLPUSH a b 0"), (Applied::Reply, "$-1\r\n".to_owned()));
    let text = request("GET a");
    let entry =
        Entry::Block { seen: 0, time: LogTime(1), seed: 0, resp3: false, identity: identity(9), request: &text };
    assert!(k.apply(&entry, &mut Vec::new()).is_err());
}

#[test]
fn a_key_that_is_too_long_is_neither_made_nor_waited_for() {
    let mut k = whole();
    let long = "k".repeat(k.limits().key_bytes_max as usize + 1);
    push(&mut k, "a", &["1"]);
    let (applied, error) = block(&mut k, 1, &format!("BLMOVE a {long} LEFT LEFT 0"));
    assert!(applied == Applied::Reply && error.starts_with("-ERR the key"), "{error}");
    assert!(block(&mut k, 2, &format!("BLPOP {long} 0")).1.starts_with("-ERR the key"));
    assert_eq!((elements(&k, "a").len(), k.waiter_count()), (1, 0));
}

#[test]
fn many_keys_are_told_apart_in_time() {
    let mut k = whole();
    let keys: Vec<String> = (0..100_000).map(|n| format!("k{}", n % 90_000)).collect();
    waits(&mut k, 1, &format!("BLPOP {} 0", keys.join(" ")));
    assert!(k.knows_write(identity(1).id) && !k.knows_write(identity(2).id));
    push(&mut k, "k89999", &["x"]);
    assert_eq!(served(&mut k), [(1, popped("k89999", "x"))]);
    assert!(k.knows_write(identity(1).id) && k.blocking.waiting.is_empty());
}

#[test]
fn every_blocking_command_pops_as_its_plain_relative() {
    let (mut k, mut expected) = (whole(), Vec::new());
    for (sequence, line, answer) in [
        (1, "BLMPOP 0 2 a b LEFT COUNT 2", "*2\r\n$1\r\na\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n"),
        (2, "BLMPOP 0 1 a RIGHT", "*2\r\n$1\r\na\r\n*1\r\n$1\r\n4\r\n"),
        (3, "BRPOP b a 0", "*2\r\n$1\r\na\r\n$1\r\n3\r\n"),
        (4, "BZPOPMAX a z 0", "*3\r\n$1\r\nz\r\n$1\r\nd\r\n$1\r\n4\r\n"),
        (
            5,
            "BZMPOP 0 2 y z MIN COUNT 2",
            "*2\r\n$1\r\nz\r\n*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n",
        ),
        (6, "BZPOPMIN z 0", "*3\r\n$1\r\nz\r\n$1\r\nc\r\n$1\r\n3\r\n"),
    ] {
        waits(&mut k, sequence, line);
        assert_eq!(served(&mut k), []);
        expected.push((sequence, answer.to_owned()));
    }
    push(&mut k, "a", &["1", "2", "3", "4"]);
    try_apply(&mut k, 1, "ZADD z 1 a 2 b 3 c 4 d");
    assert_eq!(served(&mut k), expected);
    assert_eq!(k.usage().keys, 0);
    for (sequence, line, error) in [
        (10, "BLMPOP 0 0 a LEFT", "-ERR numkeys should be greater than 0\r\n"),
        (11, "BLMPOP 0 1 a up", "-ERR syntax error\r\n"),
        (12, "BZMPOP x 0 a MIN", "-ERR timeout is not a float or out of range\r\n"),
        (13, "BZMPOP 0 1 a MIN COUNT 0", "-ERR count should be greater than 0\r\n"),
    ] {
        assert_eq!(block(&mut k, sequence, line), (Applied::Reply, error.to_owned()), "{line}");
    }
}

#[test]
fn a_transaction_is_over_before_anybody_is_served() {
    use crate::protocol::transaction::put;
    let mut k = whole();
    waits(&mut k, 1, "BLPOP a 0");
    let exec = |k: &mut Keyspace, lines: &[&str]| {
        let requests: Vec<u8> = lines.iter().flat_map(|line| request(line)).collect();
        let (mut body, mut out) = (Vec::new(), Vec::new());
        put(&mut body, std::iter::empty::<(&[u8], u64)>(), &requests);
        k.apply(
            &Entry::Exec { seen: 0, time: LogTime(1), seed: 1, resp3: false, identity: None, body: &body },
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    };
    exec(&mut k, &["RPUSH a 1", "DEL a"]);
    exec(&mut k, &["RPUSH a 1", "DEL a", "SET a x"]);
    assert_eq!(served(&mut k), []);
    exec(&mut k, &["DEL a", "LPUSH a 1", "LPUSH a 2", "LPUSH a 3"]);
    assert_eq!(served(&mut k), [(1, popped("a", "3"))]);
    assert_eq!(exec(&mut k, &["BLPOP none 0", "BLMOVE none a LEFT LEFT 0"]), "*2\r\n*-1\r\n$-1\r\n");
}

fn restored(keyspace: &Keyspace, piece_bytes: usize) -> Keyspace {
    let mut loader = Loader::new();
    keyspace.freeze().pieces(piece_bytes).for_each(|piece| loader.push(&piece).unwrap());
    loader.finish().unwrap()
}

#[test]
fn a_restored_replica_knows_who_waits_and_what_became_of_the_others() {
    let mut k = whole();
    for sequence in 1..200 {
        waits(&mut k, sequence, &format!("BLPOP {} a{} b 0", "k".repeat(sequence as usize), sequence % 7));
    }
    push(&mut k, "a3", &["1", "2", "3"]);
    cancel(&mut k, 4, CancelHow::Gone);
    let before = served(&mut k);
    assert_eq!(before.len(), 4);
    for piece_bytes in [0, usize::MAX] {
        let mut back = restored(&k, piece_bytes);
        assert_eq!(
            (back.waiter_count(), back.remembered_usage(), back.digest()),
            (k.waiter_count(), k.remembered_usage(), k.digest())
        );
        let mut original = restored(&k, usize::MAX);
        for keyspace in [&mut original, &mut back] {
            push(keyspace, "b", &["x", "y"]);
        }
        assert_eq!(served(&mut original), served(&mut back));
        assert_eq!(block(&mut back, 3, "BLPOP kkk a3 b 0"), (Applied::Repeated, popped("a3", "1")));
        assert_eq!(block(&mut back, 4, "BLPOP kkkk a4 b 0").0, Applied::Cancelled);
        assert_eq!(original.digest(), back.digest());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Block { sequence: u64, keys: Vec<usize>, left: bool },
    Move { sequence: u64, from: usize, to: usize },
    Push { key: usize, count: usize },
    Cancel { sequence: u64 },
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || proptest::collection::vec(0..4_usize, 1..4);
    let step = prop_oneof![
        4 => (1..40_u64, keys(), any::<bool>()).prop_map(|(sequence, keys, left)| Step::Block { sequence, keys, left }),
        2 => (40..60_u64, 0..4_usize, 0..4_usize).prop_map(|(sequence, from, to)| Step::Move { sequence, from, to }),
        4 => (0..4_usize, 1..4_usize).prop_map(|(key, count)| Step::Push { key, count }),
        1 => (1..60_u64).prop_map(|sequence| Step::Cancel { sequence }),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_element_is_popped_once_or_still_there(steps in steps()) {
        let mut k = Keyspace::new(7);
        (0..4).for_each(|key| k.own(Slot::of_key(format!("k{key}").as_bytes()), Epoch(1)));
        let (mut pushed, mut answers) = (0_u64, BTreeMap::<u64, String>::new());
        let mut lines = BTreeMap::<u64, String>::new();
        let mut arrivals = Vec::<u64>::new();
        for step in steps {
            let is_due = |sequence: &u64, key: &str| k.waiter_slot(identity(*sequence).id).is_some() && waits_for(&lines[sequence], key);
            let next: Vec<u64> = match &step {
                Step::Push { key, count } => arrivals.iter().filter(|s| is_due(s, &format!("k{key}"))).take(*count).copied().collect(),
                _ => Vec::new(),
            };
            match step {
                Step::Block { sequence, keys, left } => {
                    let keys: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
                    let line = format!("{} {} 0", if left { "BLPOP" } else { "BRPOP" }, keys.join(" "));
                    ask(&mut k, sequence, line, &mut lines, &mut answers)?;
                }
                Step::Move { sequence, from, to } => {
                    let line = format!("BLMOVE k{from} k{to} LEFT RIGHT 0");
                    ask(&mut k, sequence, line, &mut lines, &mut answers)?;
                }
                Step::Push { key, count } => {
                    let names: Vec<String> = (pushed..pushed + count as u64).map(|n| n.to_string()).collect();
                    pushed += count as u64;
                    push(&mut k, &format!("k{key}"), &names.iter().map(String::as_str).collect::<Vec<_>>());
                }
                Step::Cancel { sequence } => cancel(&mut k, sequence, CancelHow::Timeout),
                Step::Restore => k = restored(&k, 0),
            }
            arrivals.extend(k.waiters().map(|(id, _)| id.sequence).filter(|s| !arrivals.contains(s)).collect::<Vec<_>>());
            let served = served(&mut k);
            prop_assert!(served.iter().map(|(sequence, _)| sequence).take(next.len()).eq(&next), "{:?} {:?}", next, served);
            for (sequence, reply) in served {
                if let Some(before) = answers.insert(sequence, reply.clone()) {
                    prop_assert_eq!(before, reply, "answered twice, differently");
                }
            }
            // Whoever waits for a key that has elements would have been served.
            for key in 0..4 {
                let key = format!("k{key}");
                prop_assert!(elements(&k, &key).is_empty() || !k.blocking.waiting.has_key(key.as_bytes()));
            }
        }
        let pops = answers.iter().filter(|(sequence, reply)| **sequence < 40 && *reply != "*-1\r\n");
        let mut seen: Vec<u64> = pops.map(|(_, reply)| reply.lines().last().unwrap().parse().unwrap()).collect();
        seen.extend((0..4).flat_map(|key| elements(&k, &format!("k{key}"))).map(|e| e.parse::<u64>().unwrap()));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
    }
}

/// Whether the client of a request waits for this key.
fn waits_for(line: &str, key: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let keys = if words[0] == "BLMOVE" { &words[1..2] } else { &words[1..words.len() - 1] };
    keys.contains(&key)
}

/// Sends a request under its number, always the same request under the same number.
fn ask(
    k: &mut Keyspace,
    sequence: u64,
    line: String,
    lines: &mut BTreeMap<u64, String>,
    answers: &mut BTreeMap<u64, String>,
) -> Result<(), TestCaseError> {
    let line = lines.entry(sequence).or_insert(line).clone();
    match block(k, sequence, &line) {
        (Applied::Reply | Applied::Repeated, reply) => {
            let before = answers.entry(sequence).or_insert_with(|| reply.clone());
            prop_assert_eq!(&*before, &reply, "answered twice, differently");
        }
        (Applied::Waits(_), _) => {}
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}
