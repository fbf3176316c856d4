//! What clients read when all goes well, and when a server is slow.

use std::time::Duration;

use super::*;

#[test]
fn replies_come_in_the_order_of_the_requests_however_they_are_cut() {
    let (a, b) = keys();
    for read_bytes_max in [1, 2, 3, 7, usize::MAX] {
        let mut world = World { read_bytes_max, ..World::new() };
        let client = world.client();
        let lines = format!("SET {a} 1\nSET {b} 22\nGET {b}\nGET {a}\nPING\nMGET {b} {a} none\nDEL {a} {b}\nGET {a}");
        let heard = world.asks(client, &lines);
        assert_eq!(heard, "+OK +OK $2 22 $1 1 +PONG *3 $2 22 $1 1 $-1 :2 $-1", "{read_bytes_max}");
    }
}

#[test]
fn a_slow_server_holds_up_nobody_but_whoever_asked_it() {
    let (a, b) = keys();
    let limits = WorkerLimits { request_deadline: Duration::from_secs(2), ..WorkerLimits::default() };
    let mut world = World::with(FILE, limits);
    let (waits, goes_on) = (world.client(), world.client());
    world.server("h:1").frozen = true;
    assert_eq!(world.asks(waits, &format!("INCR {a}\nGET {a}\nGET {b}")), "");
    assert_eq!(world.asks(goes_on, &format!("SET {b} 1\nGET {b}")), "+OK $1 1");
    world.pass(2_100);
    let heard = world.heard(waits);
    assert!(heard.starts_with("-TIMEOUT the outcome of this write is unknown"), "{heard}");
    assert!(heard.contains("-TIMEOUT this read was not answered in time"), "{heard}");
    // What comes late is nobody's answer.
    world.thaw("h:1");
    world.pass(200);
    assert_eq!(world.heard(waits), "");
    assert_eq!(world.asks(waits, &format!("GET {a}")), "$1 1");
}

#[test]
fn clients_of_resp3_read_what_a_server_says_in_it() {
    let (a, _) = keys();
    let mut world = World::new();
    let (old, new) = (world.client(), world.client());
    assert!(world.asks(new, "HELLO 3").starts_with("%7"));
    assert_eq!(world.asks(new, &format!("GET {a}")), "_");
    assert_eq!(world.asks(old, &format!("GET {a}")), "$-1");
    // The version changes between two requests, not among those on their way.
    let heard = world.asks(new, &format!("SET {a} 1\nHELLO 2\nGET {a}\nGET none"));
    assert!(heard.starts_with("+OK *14 ") && heard.contains("$1 1"), "{heard}");
}

#[test]
fn a_scan_goes_over_all_groups() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("SET {a} 1\nSET {b} 1"));
    world.heard(client);
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for _ in 0..4 {
        let page = world.asks(client, &format!("SCAN {cursor} COUNT 5"));
        let words: Vec<&str> = page.split(' ').collect();
        cursor = words[2].to_owned();
        found.extend(words.get(5).map(|key| (*key).to_owned()));
    }
    assert_eq!((cursor.as_str(), found), ("0", vec![a, b]));
    for wrong in ["x", "-1", "99999999999999999999", "1970324836974592", "7"] {
        let heard = world.asks(client, &format!("SCAN {wrong}"));
        assert!(heard == "-ERR invalid cursor", "{wrong}: {heard}");
    }
    assert_eq!(world.asks(client, "DBSIZE"), ":2");
}

#[test]
fn commands_that_only_servers_know_go_to_the_shard_of_their_key() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    for line in [format!("EVAL return 1 {b} {a}"), format!("PFADD {a} x"), format!("XREAD STREAMS {a} 0")] {
        let heard = world.asks(client, &line);
        assert_eq!(heard, "-ERR unknown command", "{line}");
    }
    assert_eq!(world.done("h:1").len() + world.done("h:3").len(), 3);
    for line in [
        format!("XREAD STREAMS {a} {b} 0 0"),
        format!("SUNION {a} {b}"),
        format!("SORT {a} STORE {b}"),
        format!("GEORADIUS {a} 1 2 3 km STORE {b}"),
        format!("GEORADIUSBYMEMBER {a} m 3 km COUNT 1 STOREDIST {b}"),
    ] {
        assert!(world.asks(client, &line).starts_with("-CROSSSLOT"), "{line}");
    }
    assert!(world.done("h:1").is_empty() && world.done("h:3").is_empty());
    for line in ["PUBLISH c m", "SUBSCRIBE c", "UNSUBSCRIBE"] {
        assert!(world.asks(client, line).starts_with("-ERR pub/sub is not for shards of Redis servers"), "{line}");
    }
    assert!(world.asks(client, "WAIT 1 1").starts_with("-ERR WAIT is not for"));
}

#[test]
fn a_failed_part_fails_the_whole_and_is_named() {
    let (a, b) = keys();
    let limits = WorkerLimits { request_deadline: Duration::from_secs(1), ..WorkerLimits::default() };
    let mut world = World::with(FILE, limits);
    let client = world.client();
    world.server("h:3").frozen = true;
    world.send(client, &format!("MSET {a} 1 {b} 1"));
    world.pass(1_200);
    let heard = world.heard(client);
    assert!(heard.starts_with("-TIMEOUT the part of this request for shard b failed: the outcome"), "{heard}");
    assert!(heard.ends_with("the parts for other shards took effect"), "{heard}");
}

#[test]
fn replies_are_not_wanted_where_the_client_says_so() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    let heard = world.asks(client, &format!("CLIENT REPLY OFF\nSET {a} 1\nMSET {a} 2 {b} 2\nCLIENT REPLY ON\nGET {a}"));
    assert_eq!(heard, "+OK $1 2");
}

#[test]
fn large_values_go_both_ways() {
    let (a, _) = keys();
    for read_bytes_max in [1000, 65_536] {
        let mut world = World { read_bytes_max, ..World::new() };
        let client = world.client();
        let value = "x".repeat(300_000);
        assert_eq!(world.asks(client, &format!("SET {a} {value}")), "+OK");
        assert_eq!(world.asks(client, &format!("GET {a}\nGET {a}")), format!("$300000 {value} $300000 {value}"));
    }
}

#[test]
fn who_is_gone_leaves_nothing_behind() {
    let (a, b) = keys();
    let mut world = World::new();
    world.server("h:1").frozen = true;
    let client = world.client();
    world.send(client, &format!("GET {a}\nMGET {a} {b}\nSET {b} 1"));
    world.engine.client_broke(client);
    world.thaw("h:1");
    world.pass(200);
    let other = world.client();
    assert_eq!(world.asks(other, &format!("GET {a}\nGET {b}")), "$-1 $1 1");
    assert_eq!((world.engine.records.used(), world.engine.waiting), (0, 0));
}
