//! The interleavings of a write with itself: it comes again at once, after others, over a snapshot, in parts.

use super::super::tests::whole;
use super::super::{Applied, Entry, Keyspace, Loader, put_rejected};
use crate::protocol::errors;
use crate::protocol::identity::Identity;
use crate::protocol::request::write_array;
use crate::protocol::split::put_ordinal;
use crate::protocol::transaction;
use crate::topology::{Epoch, LogTime, SessionId, Slot, WriteId};

const NOW: LogTime = LogTime(1_000_000);

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut out = Vec::new();
    write_array(&mut out, words.into_iter());
    out
}

fn identity(sequence: u64) -> Identity {
    Identity { id: WriteId { session: SessionId(5), sequence }, low: 0, born: NOW }
}

fn apply(keyspace: &mut Keyspace, entry: &Entry<'_>) -> (Applied, String) {
    let mut out = Vec::new();
    let applied = keyspace.apply(entry, &mut out).unwrap();
    (applied, String::from_utf8(out).unwrap())
}

fn write_as(keyspace: &mut Keyspace, identity: Identity, time: LogTime, line: &str) -> (Applied, String) {
    // Another seed each time: what was drawn the first time counts.
    let seed = keyspace.remembered_usage().replies ^ time.get();
    let request = request(line);
    apply(keyspace, &Entry::Write { seen: 0, time, seed, resp3: false, identity: Some(identity), request: &request })
}

fn write(keyspace: &mut Keyspace, sequence: u64, line: &str) -> (Applied, String) {
    write_as(keyspace, identity(sequence), NOW, line)
}

fn split(keyspace: &mut Keyspace, sequence: u64, parts: &[(u32, &str)]) -> (Applied, String) {
    let mut body = Vec::new();
    for (ordinal, line) in parts {
        put_ordinal(&mut body, *ordinal);
        body.extend(request(line));
    }
    let identity = identity(sequence);
    apply(keyspace, &Entry::Split { seen: 0, time: NOW, seed: 1, resp3: false, identity, body: &body })
}

fn exec(keyspace: &mut Keyspace, sequence: u64, watched: &[(&str, u64)], lines: &[&str]) -> (Applied, String) {
    let requests: Vec<u8> = lines.iter().flat_map(|line| request(line)).collect();
    let mut body = Vec::new();
    transaction::put(&mut body, watched.iter().map(|(key, version)| (key.as_bytes(), *version)), &requests);
    let identity = Some(identity(sequence));
    apply(keyspace, &Entry::Exec { seen: 0, time: NOW, seed: 1, resp3: false, identity, body: &body })
}

fn restored(keyspace: &Keyspace) -> Keyspace {
    let mut loader = Loader::new();
    keyspace.freeze().pieces(0).for_each(|piece| loader.push(&piece).unwrap());
    loader.finish().unwrap()
}

#[test]
fn every_kind_of_write_is_executed_once_and_answered_alike() {
    let mut k = whole();
    for line in ["SET s 1", "RPUSH l a b c d", "SADD set a b c d e f", "ZADD z 1 a 2 b", "HSET h f 1"] {
        k.apply(
            &Entry::Write { seen: 0, time: NOW, seed: 1, resp3: false, identity: None, request: &request(line) },
            &mut Vec::new(),
        )
        .unwrap();
    }
    let lines = [
        "INCR s",
        "APPEND s x",
        "INCR s",
        "SETNX new 1",
        "SET new 2 GET",
        "GETDEL new",
        "LPUSH l x",
        "LPOP l",
        "RPOP l 2",
        "LMOVE l m LEFT RIGHT",
        "SPOP set",
        "SPOP set 2",
        "SADD set q",
        "ZINCRBY z 5 a",
        "ZPOPMIN z",
        "HINCRBY h f 1",
        "HDEL h f",
        "DEL s",
        "INCR l",
        "SETRANGE s 5 y",
        "EXPIRE l 100",
        "RENAME l r",
        "NOSUCH x",
        "SET",
        "FLUSHALL",
    ];
    for (sequence, line) in lines.iter().enumerate() {
        let first = write(&mut k, sequence as u64, line);
        assert_eq!(first.0, Applied::Reply, "{line}");
        let digest = k.digest();
        assert_eq!(write(&mut k, sequence as u64, line), (Applied::Repeated, first.1.clone()), "{line}");
        let mut other = restored(&k);
        assert_eq!(write(&mut other, sequence as u64, line), (Applied::Repeated, first.1.clone()), "{line}, restored");
        assert_eq!((k.digest(), other.digest()), (digest.clone(), digest), "{line} changed something the second time");
    }
    for (sequence, line) in lines.iter().enumerate() {
        assert_eq!(write(&mut k, sequence as u64, line).0, Applied::Repeated, "{line}, much later");
    }
    assert_eq!(k.freeze().digest(Default::default()), restored(&k).freeze().digest(Default::default()));
}

#[test]
fn r9_a_late_copy_is_dropped_whatever_is_still_remembered() {
    let mut k = whole();
    assert_eq!(write(&mut k, 1, "INCR a").1, ":1\r\n");
    // Its session has the answer.
    let acknowledges = Identity { low: 2, ..identity(2) };
    assert_eq!(write_as(&mut k, acknowledges, NOW, "INCR a").1, ":2\r\n");
    assert_eq!(write(&mut k, 1, "INCR a"), (Applied::Forgotten, String::new()), "below low");
    // Its session was silent until it was forgotten.
    let late = LogTime(NOW.get() + 200_000);
    for _ in 0..5 {
        apply(&mut k, &Entry::Tick { time: late });
    }
    assert_eq!((k.remembered_usage().sessions, k.has_old_answers(late)), (0, false));
    for sequence in [1, 2, 3] {
        assert_eq!(
            write_as(&mut k, identity(sequence), late, "INCR a"),
            (Applied::Forgotten, String::new()),
            "by its birth"
        );
    }
    let fresh = Identity { born: late, ..identity(4) };
    assert_eq!(write_as(&mut k, fresh, late, "INCR a").1, ":3\r\n");
}

#[test]
fn r5_a_refused_write_leaves_no_record_and_is_executed_where_it_belongs() {
    let (mine, foreign) = (Slot::of_key(b"mine"), Slot::of_key(b"foreign"));
    let mut k = Keyspace::new(7);
    k.own(mine, Epoch(1));
    let before = k.freeze().digest(Default::default());
    assert_eq!(write(&mut k, 1, "INCR foreign").0, Applied::NotOwner(foreign));
    assert_eq!(split(&mut k, 2, &[(0, "DEL mine"), (1, "DEL foreign")]).0, Applied::NotOwner(foreign));
    let after = k.freeze().digest(Default::default());
    assert_eq!((after.remembered, after.slots), (before.remembered, before.slots));
    assert_eq!(write(&mut k, 3, "RENAME mine foreign").0, Applied::NotOwner(foreign));
    assert_eq!(k.remembered_usage().replies, 0);
    k.own(foreign, Epoch(2));
    assert_eq!(write(&mut k, 1, "INCR foreign"), (Applied::Reply, ":1\r\n".to_owned()));
}

#[test]
fn r10_each_part_of_a_split_command_is_executed_once_however_they_come_together() {
    let mut k = whole();
    let parts = [(0, "MSET a 1"), (1, "MSET b 2"), (2, "MSET c 3")];
    assert_eq!(split(&mut k, 10, &parts), (Applied::Reply, "+OK\r\n+OK\r\n+OK\r\n".to_owned()));
    write(&mut k, 20, "SET b later");
    assert_eq!(split(&mut k, 10, &parts), (Applied::Repeated, "+OK\r\n+OK\r\n+OK\r\n".to_owned()));
    assert_eq!(write(&mut k, 21, "GETDEL b").1, "$5\r\nlater\r\n");
    // Other parts stand together the second time, as when slots have moved between.
    let del = [(0, "DEL a"), (2, "DEL c")];
    assert_eq!(split(&mut k, 30, &del).1, ":1\r\n:1\r\n");
    let again = split(&mut k, 30, &[(0, "DEL a"), (1, "DEL nothing"), (2, "DEL c")]);
    assert_eq!(again, (Applied::Reply, ":1\r\n:0\r\n:1\r\n".to_owned()), "two of them were deleted the first time");
    assert_eq!(write(&mut k, 32, "DEL c"), (Applied::Repeated, ":1\r\n".to_owned()), "alone, under the same name");
    // A key that cannot be: none is set.
    let long = format!("MSET {} 1", "k".repeat(70_000));
    let (applied, reply) = split(&mut k, 40, &[(0, "MSET x 1"), (1, &long)]);
    assert!(applied == Applied::Reply && reply.starts_with("-ERR the key") && reply.matches("-ERR").count() == 2);
    assert_eq!(write(&mut k, 50, "DEL x").1, ":0\r\n");
}

#[test]
fn r10_a_record_is_looked_up_before_the_ownership_of_other_slots() {
    let (mine, other) = (Slot::of_key(b"mine"), Slot::of_key(b"other"));
    let mut k = Keyspace::new(7);
    k.own(mine, Epoch(1));
    k.own(other, Epoch(1));
    write(&mut k, 1, "SET mine 1");
    let renamed = write(&mut k, 2, "RENAME mine other");
    let done = exec(&mut k, 3, &[], &["INCR mine", "INCR other"]);
    assert_eq!((renamed.1.as_str(), done.1.as_str()), ("+OK\r\n", "*2\r\n:1\r\n:2\r\n"));
    // As where the other slot has moved away.
    let remembered = std::mem::take(&mut k.remembered);
    let mut k = Keyspace::new(7);
    k.remembered = remembered;
    k.own(mine, Epoch(1));
    assert_eq!(write(&mut k, 2, "RENAME mine other"), (Applied::Repeated, renamed.1));
    assert_eq!(exec(&mut k, 3, &[], &["INCR mine", "INCR other"]), (Applied::Repeated, done.1));
    assert_eq!(exec(&mut k, 4, &[], &["INCR mine", "INCR other"]).0, Applied::NotOwner(other));
}

#[test]
fn a_transaction_is_executed_once_and_one_that_was_aborted_stays_so() {
    let mut k = whole();
    assert_eq!(exec(&mut k, 1, &[], &["INCR a", "LPUSH a x", "SPOP none"]).1.matches(":1\r\n").count(), 1);
    let (first, again) = (exec(&mut k, 2, &[], &["INCR a"]), exec(&mut k, 2, &[], &["INCR a"]));
    assert_eq!((first.0, again), (Applied::Reply, (Applied::Repeated, "*1\r\n:2\r\n".to_owned())));
    let version = k.version_of(b"a").unwrap();
    write(&mut k, 3, "INCR a");
    assert_eq!(exec(&mut k, 4, &[("a", version)], &["INCR b"]).1, "*-1\r\n");
    let now = k.version_of(b"a").unwrap();
    assert_eq!(exec(&mut k, 4, &[("a", now)], &["INCR b"]), (Applied::Repeated, "*-1\r\n".to_owned()));
    assert_eq!(write(&mut k, 5, "GETDEL b").1, "$-1\r\n");
}

#[test]
fn r6_a_transaction_is_answered_alike_by_all_replicas_whatever_was_read_from_them() {
    let (mut one, mut other) = (whole(), whole());
    for keyspace in [&mut one, &mut other] {
        for number in 0..100 {
            write(keyspace, number, &format!("SADD s{number} a b c d e f g"));
        }
    }
    for _ in 0..10 {
        super::super::tests::read(&one, NOW.get() + 5000, "GET s1");
        super::super::tests::read(&one, NOW.get() + 5000, "RANDOMKEY");
    }
    let lines = ["RANDOMKEY", "SRANDMEMBER s1 3", "OBJECT IDLETIME s1", "SPOP s2"];
    assert_eq!(exec(&mut one, 200, &[], &lines), exec(&mut other, 200, &[], &lines));
    assert_eq!(one.freeze().digest(Default::default()), other.freeze().digest(Default::default()));
}

#[test]
fn replicas_that_restart_from_snapshots_anywhere_remember_alike() {
    let mut k = whole();
    let mut behind = whole();
    for number in 0..3000_u64 {
        let born = LogTime(NOW.get() + number * 100);
        let id = WriteId { session: SessionId(u128::from(number % 7)), sequence: number };
        let identity = Identity { id, low: number.saturating_sub(number % 50), born };
        for keyspace in [&mut k, &mut behind] {
            let seed = number;
            let request = request(&format!("INCRBY n{} {number}", number % 30));
            apply(
                keyspace,
                &Entry::Write { seen: 0, time: born, seed, resp3: false, identity: Some(identity), request: &request },
            );
        }
        if number % 97 == 0 {
            behind = restored(&behind);
        }
    }
    assert_eq!(k.freeze().digest(Default::default()), behind.freeze().digest(Default::default()));
    assert_eq!(k.remembered_usage(), behind.remembered_usage());
}

#[test]
fn r9_a_session_that_had_to_go_for_others_leaves_no_write_to_be_executed_twice() {
    for speaks_between in [false, true] {
        let mut k = whole();
        assert_eq!(write(&mut k, 5, "INCR a").1, ":1\r\n");
        let later = LogTime(NOW.get() + 2000);
        // As many sessions as may be, all within the time in which the answer may be asked for.
        for session in 1000..1000 + (1 << 18) {
            let id = WriteId { session: SessionId(session), sequence: 1 };
            k.remembered.hear(Identity { id, low: 1, born: later }, later);
        }
        apply(&mut k, &Entry::Tick { time: later });
        assert!(!k.knows_write(identity(5).id));
        if speaks_between {
            let other = Identity { born: later, ..identity(6) };
            assert_eq!(write_as(&mut k, other, later, "INCR b").1, ":1\r\n");
        }
        assert_eq!(write_as(&mut k, identity(5), later, "INCR a"), (Applied::Forgotten, String::new()));
        let then = LogTime(later.get() + 1);
        assert_eq!(write_as(&mut k, Identity { born: then, ..identity(7) }, then, "INCR a").1, ":2\r\n");
    }
}

#[test]
fn r6_what_is_forgotten_little_by_little_is_the_same_on_a_replica_that_restarted() {
    let mut k = whole();
    for number in 0..5000 {
        let identity = Identity { low: if number == 4000 { 37 } else { 0 }, ..identity(number) };
        write_as(&mut k, identity, NOW, "INCR a");
    }
    let mut other = restored(&k);
    let late = LogTime(NOW.get() + 200_000);
    for _ in 0..3 {
        apply(&mut k, &Entry::Tick { time: late });
        apply(&mut other, &Entry::Tick { time: late });
        assert_eq!(k.remembered_usage(), other.remembered_usage());
        assert_eq!(k.freeze().digest(Default::default()), other.freeze().digest(Default::default()));
    }
    assert!(k.remembered_usage().replies > 0, "it is not over yet");
}

#[test]
fn r9_what_was_rejected_for_want_of_memory_is_not_executed_behind_what_followed_it() {
    let mut k = whole();
    let (slot, other) = (Slot::of_key(b"a"), Slot::of_key(b"b"));
    let mut parts = Vec::new();
    put_rejected(&mut parts, 0, slot);
    put_rejected(&mut parts, 3, other);
    let reject = |k: &mut Keyspace, sequence, transaction| {
        let parts = if transaction { &parts[..6] } else { &parts };
        apply(k, &Entry::Reject { time: NOW, transaction, identity: identity(sequence), parts })
    };
    let full = format!("-{}\r\n", errors::OUT_OF_MEMORY);
    assert_eq!(
        reject(&mut k, 1, true),
        (Applied::Reply, format!("-{}\r\n", errors::exec_abort(errors::OUT_OF_MEMORY)))
    );
    assert_eq!(reject(&mut k, 10, false), (Applied::Reply, full.repeat(2)));
    assert_eq!(write(&mut k, 20, "GET a").1, "$-1\r\n");
    // The answers were lost; there is room again.
    assert_eq!(exec(&mut k, 1, &[], &["SET a 1"]).0, Applied::Repeated);
    assert_eq!(split(&mut k, 10, &[(0, "MSET a 1"), (3, "MSET b 1")]), (Applied::Repeated, full.repeat(2)));
    assert_eq!(write(&mut k, 30, "EXISTS a b").1, ":0\r\n");
    // And one that was executed stays executed.
    assert_eq!(write(&mut k, 40, "INCR a").1, ":1\r\n");
    parts.truncate(6);
    assert_eq!(
        apply(&mut k, &Entry::Reject { time: NOW, transaction: false, identity: identity(40), parts: &parts }),
        (Applied::Repeated, ":1\r\n".to_owned())
    );
    let mut none = Keyspace::new(1);
    assert_eq!(
        apply(&mut none, &Entry::Reject { time: NOW, transaction: false, identity: identity(1), parts: &parts }).0,
        Applied::NotOwner(slot)
    );
    assert_eq!(none.remembered_usage().replies, 0);
}
