//! Transactions: what a shard gets of them, and what a client reads whatever happens to it.

use super::*;
use crate::protocol::request::{Span, write_array};
use crate::protocol::transaction::{next_request, split};

/// What a node got as a transaction: watched keys with their versions, and the requests.
fn transaction(got: &Got) -> (Vec<(String, u64)>, Vec<String>) {
    assert!(got.head.transaction && got.head.write, "{got:?}");
    let mut spans: Vec<Span> = Vec::new();
    let sent = split(&got.body, &mut spans).unwrap();
    let watched = sent.watched().map(|(key, version)| (String::from_utf8_lossy(key).into_owned(), version)).collect();
    let (mut rest, mut requests) = (sent.requests(), Vec::new());
    while let Some(request) = next_request(&mut rest, &mut spans) {
        let words = spans.iter().map(|s| String::from_utf8_lossy(&request[s.start as usize..s.end as usize]));
        requests.push(words.collect::<Vec<_>>().join(" "));
    }
    (watched, requests)
}

fn packet(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        write_array(&mut bytes, words.into_iter());
    }
    bytes
}

impl World {
    fn says(&mut self, client: u32, lines: &[&str]) -> String {
        self.send_raw(client, &packet(lines));
        self.read(client)
    }
}

#[test]
fn a_transaction_is_one_write_of_its_shard() {
    let mut w = World::new();
    let c = w.client();
    let (a, b) = (key_of(0, 1), key_of(0, 2));
    let lines = ["MULTI", &format!("INCR {a}"), &format!("MGET {a} {b}"), "EXEC", "PING"];
    assert_eq!(w.says(c, &lines), "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    let got = w.take(0);
    assert_eq!(got.head.slot, Some(Slot::of_key(a.as_bytes())), "its record belongs to the first key that is named");
    assert_eq!(transaction(&got), (vec![], vec![format!("INCR {a}"), format!("MGET {a} {b}")]));
    w.reply(0, &got, 11, "*2\r\n:1\r\n*2\r\n$1\r\n1\r\n$-1\r\n");
    assert_eq!(w.read(c), "*2\r\n:1\r\n*2\r\n$1\r\n1\r\n$-1\r\n+PONG\r\n");
    assert_eq!((w.engine.stats.transactions.get(), w.engine.stats.transactions_aborted.get()), (1, 0));
    w.nothing_left();
}

#[test]
fn exec_in_the_packet_of_watch_waits_for_the_versions() {
    let mut w = World::new();
    let c = w.client();
    w.level(c, ReadLevel::Any);
    let k = key_of(0, 1);
    let (watch, get, set) = (format!("WATCH {k}"), format!("GET {k}"), format!("SET {k} v"));
    assert_eq!(w.says(c, &[&watch, &get, "MULTI", &set, "EXEC", &get]), "");
    let node = w.only();
    let got = w.take(node);
    assert_eq!((got.head.level, got.head.write, &got.body), (ReadLevel::Session, false, &packet(&[&watch])));
    assert!(w.nodes.iter().all(|n| n.got.is_empty()), "nothing overtakes it");
    w.reply(node, &got, 25, "*1\r\n:7\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    let node = w.only();
    let read = w.take(node);
    assert_eq!((read.head.level, read.head.floor), (ReadLevel::Session, LogIndex(25)), "the value is not older");
    w.reply(node, &read, 25, "$1\r\nx\r\n");
    assert_eq!(w.read(c), "$1\r\nx\r\n+OK\r\n+QUEUED\r\n");
    let exec = w.take(0);
    assert_eq!(transaction(&exec), (vec![(k, 7)], vec![set]));
    w.reply(0, &exec, 26, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n");
    assert_eq!(w.engine.stats.transactions_aborted.get(), 1);
    let node = w.only();
    let read = w.take(node);
    assert_eq!(read.head.level, ReadLevel::Any, "nothing is watched any more");
    w.reply(node, &read, 26, "$1\r\nx\r\n");
    w.nothing_left();
}

#[test]
fn a_watch_that_failed_is_never_taken_for_one_that_did_not() {
    let mut w = World::new();
    let c = w.client();
    let (k, far) = (key_of(0, 1), key_of(1, 1));
    let (watch, set) = (format!("WATCH {k}"), format!("SET {k} v"));
    w.says(c, &[&watch, "MULTI", &set, "EXEC", "MULTI", &set, "EXEC"]);
    let node = w.only();
    let got = w.take(node);
    w.refuse(node, &got, RefusalReason::DeadlinePassed, None);
    let replies = w.read(c);
    assert!(
        replies.starts_with("-TIMEOUT this read was not answered in time\r\n+OK\r\n+QUEUED\r\n-EXECABORT "),
        "{replies}"
    );
    assert!(replies.ends_with("\r\n+OK\r\n+QUEUED\r\n"), "{replies}");
    assert_eq!(transaction(&w.take(0)), (vec![], vec![set.clone()]), "the next one has nothing to do with it");
    let c = w.client();
    let replies = w.says(c, &[&format!("WATCH {k} {far}"), "MULTI", &set, "EXEC", "UNWATCH"]);
    assert!(replies.starts_with("-CROSSSLOT "), "{replies}");
    assert!(replies.contains("\r\n+OK\r\n+QUEUED\r\n-EXECABORT ") && replies.ends_with("\r\n+OK\r\n"), "{replies}");
    w.says(c, &[&format!("WATCH {k} {far}"), "UNWATCH", "MULTI", &set, "EXEC"]);
    assert_eq!(transaction(&w.take(0)), (vec![], vec![set]));
}

#[test]
fn keys_of_another_shard_break_the_transaction() {
    let mut w = World::new();
    let c = w.client();
    let (k, far) = (key_of(0, 1), key_of(1, 1));
    let cross = format!("-{}\r\n", crate::protocol::errors::CROSS_SLOT);
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let (get, get_far) = (format!("GET {k}"), format!("GET {far}"));
    assert_eq!(
        w.says(c, &["MULTI", &get, &get_far, &get, "EXEC", "PING"]),
        format!("+OK\r\n+QUEUED\r\n{cross}+QUEUED\r\n{abort}+PONG\r\n")
    );
    assert_eq!(w.says(c, &["MULTI", &format!("MGET {k} {far}"), "EXEC"]), format!("+OK\r\n{cross}{abort}"));
    let replies = w.says(c, &["MULTI", "DBSIZE", "EXEC"]);
    assert!(
        replies.starts_with("+OK\r\n-CROSSSLOT 'dbsize' concerns every shard") && replies.ends_with(abort),
        "{replies}"
    );
    // Another shard than the one of a watched key.
    w.says(c, &[&format!("WATCH {k}")]);
    let node = w.only();
    let got = w.take(node);
    w.reply(node, &got, 11, "*1\r\n:7\r\n");
    assert_eq!(w.says(c, &["MULTI", &get_far, "EXEC"]), format!("+OK\r\n+OK\r\n{cross}{abort}"));
    assert_eq!(w.engine.transaction_bytes, 0);
    w.nothing_left();
}

#[test]
fn commands_of_the_connection_are_carried_out_if_the_shard_carried_out_its_own() {
    let mut w = World::new();
    let c = w.client();
    let set = format!("SET {} v", key_of(0, 1));
    let lines =
        ["MULTI", "PING", &set, "CLIENT SETNAME me", "CLIENT GETNAME", "SELECT 1", "UNWATCH", "EXEC", "CLIENT GETNAME"];
    w.says(c, &lines);
    let got = w.take(0);
    assert_eq!(transaction(&got).1, std::slice::from_ref(&set));
    assert_eq!(w.read(c), "", "the name that comes later waits for the one that comes first");
    w.reply(0, &got, 11, "*1\r\n+OK\r\n");
    assert_eq!(
        w.read(c),
        "*6\r\n+PONG\r\n+OK\r\n+OK\r\n$2\r\nme\r\n-ERR DB index is out of range\r\n+OK\r\n$2\r\nme\r\n"
    );
    w.says(c, &["MULTI", &set, "CLIENT SETNAME other", "EXEC", "CLIENT GETNAME"]);
    let got = w.take(0);
    w.reply(0, &got, 12, "*-1\r\n");
    assert_eq!(w.read(c), "*-1\r\n$2\r\nme\r\n");
    assert_eq!(
        w.says(c, &["MULTI", "PING", "EXEC", "MULTI", "EXEC"]),
        "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n+OK\r\n*0\r\n"
    );
    w.nothing_left();
}

#[test]
fn watched_keys_are_judged_even_if_nothing_is_queued() {
    let mut w = World::new();
    let c = w.client();
    let k = key_of(1, 1);
    w.says(c, &[&format!("WATCH {k}")]);
    let node = w.only();
    let got = w.take(node);
    w.reply(node, &got, 11, "*1\r\n:7\r\n");
    w.says(c, &["MULTI", "PING", "EXEC"]);
    let got = w.take(1);
    assert_eq!(transaction(&got), (vec![(k, 7)], vec![]));
    w.reply(1, &got, 11, "*0\r\n");
    assert_eq!(w.read(c), "*1\r\n+PONG\r\n");
}

#[test]
fn a_refused_or_lost_transaction_is_sent_again() {
    let mut w = World::new();
    let c = w.client();
    let set = format!("SET {} v", key_of(0, 1));
    w.says(c, &["MULTI", &set, "EXEC", "MULTI", &set, "EXEC"]);
    let (first, second) = (w.take(0), w.take(0));
    w.leaders[0] = (2, 2);
    w.push_status(2);
    w.refuse(0, &first, RefusalReason::NotLeader, Some(ReplicaId(6)));
    w.refuse(0, &second, RefusalReason::Superseded, Some(ReplicaId(6)));
    let (first, second) = (w.take(2), w.take(2));
    assert!(first.head.generation > 0 && first.head.generation == second.head.generation);
    assert_eq!(transaction(&first).1, [set]);
    w.reply(2, &first, 12, "*1\r\n+OK\r\n");
    w.cut(2);
    w.elect(0, 1);
    let again = w.take(1);
    assert!(again.head.retried && again.head.identity.map(|i| i.id) == second.head.identity.map(|i| i.id));
    assert_eq!(transaction(&again).1, transaction(&second).1);
    w.reply(1, &again, 13, "*1\r\n+OK\r\n");
    let replies = w.read(c);
    assert!(replies.ends_with("*1\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"), "{replies}");
    w.nothing_left();
}

#[test]
fn reset_discard_and_a_broken_connection_leave_nothing_behind() {
    let mut w = World::new();
    let k = key_of(0, 1);
    let (watch, set) = (format!("WATCH {k}"), format!("SET {k} v"));
    for end in [&["RESET"][..], &["DISCARD"], &["DISCARD", "UNWATCH"]] {
        let c = w.client();
        w.says(c, &[&watch]);
        let node = w.only();
        let got = w.take(node);
        w.reply(node, &got, 11, "*1\r\n:7\r\n");
        w.says(c, &["MULTI", &set]);
        assert!(w.engine.transaction_bytes > 0);
        w.says(c, end);
        assert_eq!(w.engine.transaction_bytes, 0);
        assert!(w.says(c, &["EXEC"]).starts_with("-ERR EXEC without MULTI"));
        w.says(c, &["MULTI", &set, "EXEC"]);
        let got = w.take(0);
        assert_eq!(transaction(&got), (vec![], vec![set.clone()]), "{end:?}");
        w.reply(0, &got, 12, "*1\r\n+OK\r\n");
    }
    let c = w.client();
    w.says(c, &["MULTI", &set]);
    w.engine.client_broke(c);
    let c = w.client();
    w.says(c, &[&watch, "MULTI", &set]);
    w.engine.client_broke(c);
    assert_eq!(w.engine.transaction_bytes, 0);
    w.nothing_left();
}

#[test]
fn what_is_queued_is_bounded() {
    let mut w = World::with(WorkerLimits {
        transaction_bytes_max: 1000,
        transactions_bytes_max: 1500,
        ..WorkerLimits::default()
    });
    let (c, d) = (w.client(), w.client());
    let set = format!("SET {} {}", key_of(0, 1), "v".repeat(700));
    let replies = w.says(c, &["MULTI", &set, &set, "EXEC"]);
    assert!(
        replies.contains("+QUEUED\r\n-ERR the transaction is larger than the limit of 1000 bytes\r\n-EXECABORT"),
        "{replies}"
    );
    w.says(c, &["MULTI", &set]);
    let replies = w.says(d, &["MULTI", &set, "EXEC"]);
    assert!(replies.starts_with("+OK\r\n-UNAVAILABLE too many bytes are queued"), "{replies}");
    w.says(c, &["DISCARD"]);
    assert_eq!(w.says(d, &["MULTI", &set]), "+OK\r\n+QUEUED\r\n");
    w.nothing_left();
}

#[test]
fn a_client_in_a_transaction_shows_it() {
    let mut w = World::new();
    let (c, d) = (w.client(), w.client());
    w.says(c, &["MULTI", "PING", "PING"]);
    let list = w.says(d, &["CLIENT LIST"]);
    let line = list.lines().find(|line| line.starts_with("id=1 ")).unwrap();
    assert!(line.contains(" flags=x ") && line.contains(" multi=2 watch=0 "), "{line}");
    assert!(w.says(c, &["CLIENT REPLY OFF"]).starts_with("-ERR Command not allowed inside a transaction"));
    assert!(w.says(c, &["EXEC"]).starts_with("-EXECABORT "));
    // A reply that is not wanted is not given, and the commands are carried out.
    w.says(c, &["CLIENT REPLY OFF"]);
    assert_eq!(w.says(c, &["MULTI", "CLIENT SETNAME x", "EXEC"]), "");
    assert_eq!(w.says(c, &["CLIENT REPLY ON", "CLIENT GETNAME"]), "+OK\r\n$1\r\nx\r\n");
}
