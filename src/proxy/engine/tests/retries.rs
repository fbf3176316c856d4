//! Writes that are asked for again: under the name that they had, until somebody says what became of them.

use super::*;
use crate::topology::WriteId;

/// The name that a request came under.
fn name(got: &Got) -> WriteId {
    got.head.identity.expect("a write has a name").id
}

fn low(got: &Got) -> u64 {
    got.head.identity.expect("a write has a name").low
}

#[test]
fn a_write_over_a_broken_connection_is_asked_for_again_under_its_name() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.read_at_leaders(c);
    w.send(c, &["INCR", &a]);
    w.send(c, &["INCR", &a]);
    w.send(c, &["GET", &a]);
    let (first, second) = (w.take(0), w.take(0));
    assert!(name(&first) != name(&second) && !first.head.retried);
    w.cut(0);
    assert_eq!(w.read(c), "", "nobody was told anything");
    w.elect(0, 1);
    let (one, two, get) = (w.take(1), w.take(1), w.take(1));
    assert_eq!((name(&one), name(&two)), (name(&first), name(&second)), "in their order");
    assert!(one.head.retried && two.head.retried && get.head.after_writes);
    assert_eq!(one.head.identity.unwrap().born, first.head.identity.unwrap().born, "its birth is not refreshed");
    w.reply(1, &one, 12, ":1\r\n");
    w.reply(1, &two, 13, ":2\r\n");
    w.reply(1, &get, 13, "$1\r\n2\r\n");
    assert_eq!(w.read(c), ":1\r\n:2\r\n$1\r\n2\r\n");
    w.nothing_left();
}

#[test]
fn r11_a_write_of_unknown_outcome_is_asked_for_until_its_deadline_and_then_unknown() {
    let mut w = World::new();
    let (c, a) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &a, "x"]);
    let mut names = Vec::new();
    for _ in 0..10 {
        let got = w.take(0);
        names.push(name(&got));
        w.refuse(0, &got, RefusalReason::Unknown, Some(ReplicaId(4)));
        w.tick(50);
        w.tick(50);
    }
    names.dedup();
    assert_eq!(names.len(), 1, "one name for all");
    let got = w.take(0);
    w.refuse(0, &got, RefusalReason::DeadlinePassed, Some(ReplicaId(4)));
    assert!(w.read(c).starts_with("-TIMEOUT the outcome of this write is unknown"));
    // The leader is away: the last that was heard of this one is that nobody knows.
    w.send(c, &["APPEND", &a, "y"]);
    w.tick(50);
    assert!(low(&w.nodes[0].got[0]) > names[0].sequence, "the first is given up for good");
    w.cut(0);
    (0..110).for_each(|_| w.tick(100));
    assert!(w.read(c).starts_with("-TIMEOUT the outcome of this write is unknown"));
    w.nothing_left();
}

#[test]
fn a_write_that_was_surely_not_taken_is_not_called_unknown() {
    let mut w = World::new();
    let (c, a) = (w.client(), key_of(0, 1));
    w.send(c, &["APPEND", &a, "x"]);
    for reason in [RefusalReason::NotLeader, RefusalReason::Dropped, RefusalReason::Busy, RefusalReason::NotOwner] {
        let got = w.take(0);
        assert!(!got.head.retried, "each said that nothing was changed");
        w.refuse(0, &got, reason, Some(ReplicaId(4)));
        w.push_status(0);
        w.tick(50);
    }
    let got = w.take(0);
    w.refuse(0, &got, RefusalReason::DeadlinePassed, Some(ReplicaId(4)));
    assert!(w.read(c).starts_with("-UNAVAILABLE "));
    w.nothing_left();
}

#[test]
fn a_name_that_the_shard_forgot_is_replaced_unless_it_may_have_been_taken() {
    let mut w = World::new();
    let (c, a) = (w.client(), key_of(0, 1));
    w.send(c, &["INCR", &a]);
    let got = w.take(0);
    w.refuse(0, &got, RefusalReason::Forgotten, Some(ReplicaId(4)));
    w.tick(50);
    let again = w.take(0);
    assert!(name(&again).sequence > name(&got).sequence && low(&again) == name(&again).sequence);
    w.refuse(0, &again, RefusalReason::Unknown, Some(ReplicaId(4)));
    w.tick(50);
    let again = w.take(0);
    w.refuse(0, &again, RefusalReason::Forgotten, Some(ReplicaId(4)));
    assert!(w.read(c).starts_with("-TIMEOUT the outcome of this write is unknown"));
    w.nothing_left();
}

#[test]
fn r9_low_is_the_oldest_write_of_all_clients_that_is_needed() {
    let mut w = World::new();
    let (one, other, gone) = (w.client(), w.client(), w.client());
    w.send(one, &["INCR", &key_of(0, 1)]);
    w.send(gone, &["INCR", &key_of(0, 2)]);
    w.send(other, &["INCR", &key_of(1, 1)]);
    w.send(other, &["INCR", &key_of(1, 2)]);
    let first = w.take(0);
    let (second, third) = (w.take(1), w.take(1));
    w.reply(1, &second, 11, ":1\r\n");
    w.reply(1, &third, 12, ":1\r\n");
    w.send(other, &["INCR", &key_of(1, 3)]);
    assert_eq!(low(&w.nodes[1].got[0]), name(&first).sequence, "of another shard and another client");
    w.engine.client_broke(gone);
    w.reply(0, &first, 11, ":1\r\n");
    w.send(one, &["INCR", &key_of(0, 1)]);
    let newest = w.nodes[0].got.last().unwrap();
    assert_eq!(low(newest), name(&w.nodes[1].got[0]).sequence, "nobody waits for that of a client that has gone");
}

#[test]
fn a_command_over_several_slots_has_a_name_for_each() {
    let mut w = World::new();
    let c = w.client();
    let keys = [key_of(0, 1), key_of(0, 2), key_of(1, 3), key_of(0, 4)];
    w.send(c, &["DEL", &keys[0], &keys[1], &keys[2], &keys[3]]);
    w.send(c, &["MSET", &keys[0], "1", &keys[1], "2"]);
    w.send(c, &["MSET", "{t}1", "1", "{t}2", "2"]);
    let (del, mset) = (w.take(0), w.take(0));
    let tagged = if Slot::of_key(b"t").index() >= 8192 { 1 } else { 0 };
    let one = w.take(1);
    assert!(del.head.split && mset.head.split && !one.head.split);
    let mut spans = Vec::new();
    assert_eq!(crate::protocol::split::count(&del.body, &mut spans), 3);
    assert_eq!(name(&mset).sequence, name(&one).sequence + 1, "three, one, and then this");
    assert_eq!(name(&one).sequence, name(&del).sequence + 3);
    let plain = w.take(tagged);
    assert!(!plain.head.split, "one slot is one write");
    assert_eq!(name(&plain).sequence, name(&mset).sequence + 2);
    w.cut(0);
    w.elect(0, 2);
    let (del, mset) = (w.take(2), w.take(2));
    assert!(del.head.split && del.head.retried);
    w.reply(2, &del, 12, ":1\r\n:0\r\n:1\r\n");
    w.reply(1, &one, 11, ":1\r\n");
    w.reply(2, &mset, 13, "+OK\r\n+OK\r\n");
    if tagged == 1 {
        w.reply(1, &plain, 12, "+OK\r\n")
    } else {
        w.reply(2, &w.nodes[2].got[0].clone(), 14, "+OK\r\n")
    }
    assert_eq!(w.read(c), ":3\r\n+OK\r\n+OK\r\n");
    w.nothing_left();
}

#[test]
fn what_an_old_leader_has_is_asked_of_the_new_one_at_once() {
    let mut w = World::new();
    let (c, a) = (w.client(), key_of(0, 1));
    w.send(c, &["INCR", &a]);
    w.send(c, &["GET", &a]);
    w.send(c, &["INCR", &key_of(1, 1)]);
    let (old, get, other) = (w.take(0), w.take(0), w.take(1));
    w.elect(0, 2);
    let (again, get_again) = (w.take(2), w.take(2));
    assert!(again.head.retried && name(&again) == name(&old) && !get_again.head.write);
    // The old one was only cut off, and is heard of again.
    w.reply(0, &old, 11, ":1\r\n");
    w.reply(0, &get, 11, "$1\r\n1\r\n");
    assert_eq!(w.read(c), "", "that is not the answer to the question that was asked last");
    w.reply(2, &again, 12, ":1\r\n");
    w.reply(2, &get_again, 12, "$1\r\n1\r\n");
    w.reply(1, &other, 12, ":9\r\n");
    assert_eq!(w.read(c), ":1\r\n$1\r\n1\r\n:9\r\n");
    assert_eq!(w.nodes[1].got.len(), 0, "the other shard's leader is as it was");
    w.nothing_left();
}

#[test]
fn nothing_is_written_before_its_birth_can_be_told() {
    let mut w = World::new();
    w.stranger();
    let (c, a) = (w.client(), key_of(0, 1));
    w.push_status(1);
    w.push_status(2);
    w.send(c, &["INCR", &a]);
    w.tick(50);
    assert!(w.nodes.iter().all(|node| node.got.is_empty()), "followers do not know what time it is");
    w.push_status(0);
    w.turn();
    let got = w.take(0);
    assert!(got.head.identity.unwrap().born > LogTime(0));
    w.reply(0, &got, 11, ":1\r\n");
    assert_eq!(w.read(c), ":1\r\n");
    w.nothing_left();
}

#[test]
fn r1_a_forgotten_write_is_not_sent_again_behind_a_later_one_that_may_have_been_taken() {
    for taken in [false, true] {
        let mut w = World::new();
        let (c, a) = (w.client(), key_of(0, 1));
        w.send(c, &["SET", &a, "first"]);
        w.send(c, &["SET", &a, "second"]);
        w.send(c, &["APPEND", &a, "!"]);
        let (first, second, third) = (w.take(0), w.take(0), w.take(0));
        w.refuse(0, &first, RefusalReason::Forgotten, None);
        let reason = if taken { RefusalReason::Unknown } else { RefusalReason::Superseded };
        w.refuse(0, &second, reason, None);
        w.refuse(0, &third, RefusalReason::Superseded, None);
        w.tick(50);
        if !taken {
            let again = [w.take(0), w.take(0), w.take(0)];
            let words = ["first", "second", "!"];
            assert!(again.iter().zip(words).all(|(got, word)| String::from_utf8_lossy(&got.body).contains(word)));
            assert_ne!(name(&again[0]), name(&first));
            again.iter().for_each(|got| w.reply(0, got, 12, "+OK\r\n"));
            assert_eq!(w.read(c), "+OK\r\n+OK\r\n+OK\r\n");
        } else {
            let again = [w.take(0), w.take(0)];
            assert_eq!((name(&again[0]), name(&again[1])), (name(&second), name(&third)));
            again.iter().for_each(|got| w.reply(0, got, 12, "+OK\r\n"));
            let read = w.read(c);
            assert!(read.starts_with("-UNAVAILABLE ") && read.ends_with("\r\n+OK\r\n+OK\r\n"), "{read}");
        }
        w.nothing_left();
    }
}

#[test]
fn without_a_catalog_a_pipeline_waits_once_for_all() {
    let mut w = World::new();
    w.engine = Engine::new(w.engine.settings.clone(), shared(), w.now);
    let c = w.client();
    for _ in 0..3 {
        w.engine.client_data(c, b"GET a\r\nGET b\r\nGET c\r\n");
        (0..95).for_each(|_| w.tick(100));
        assert_eq!(w.read(c), "");
        (0..10).for_each(|_| w.tick(100));
        assert_eq!(w.read(c).matches("-").count(), 3, "all of them have waited their time");
    }
}

#[test]
fn what_waited_for_a_catalog_has_waited_already() {
    let mut w = World::new();
    w.engine = Engine::new(w.engine.settings.clone(), shared(), w.now);
    let c = w.client();
    w.engine.client_data(c, b"MULTI\r\nGET a\r\nEXEC\r\nGET a\r\n");
    (0..95).for_each(|_| w.tick(100));
    // The catalog comes, but none of its nodes is there.
    w.engine.learn_catalog(&w.catalog.clone());
    w.nodes.iter_mut().for_each(|node| node.connected = false);
    (0..10).for_each(|_| w.tick(100));
    assert_eq!(w.read(c).matches("-").count(), 2, "ten seconds after they came");
}
