//! Commands that the engine answers by itself, as far as they tell of the engine.

use super::*;
use crate::control::reload::FileTrouble;
use crate::protocol::control::ProxyReport;

#[test]
fn a_client_sees_the_request_that_it_is_seen_by() {
    let mut w = World::new();
    let (c, other) = (w.client(), w.client());
    w.send(other, &["PING"]);
    for request in [["client", "list"], ["client", "info"]] {
        w.send(c, &request);
        let heard = w.read(c);
        let own = heard.lines().find(|line| line.contains("id=1 ")).unwrap();
        assert!(own.contains(" qbuf=26 ") && own.contains(&format!(" cmd={} ", request.join("|"))), "{own}");
    }
}

#[test]
fn commands_of_the_connection_are_slow_where_all_are() {
    let mut w = World::new();
    let c = w.client();
    for request in [
        &["PING"][..],
        &["CONFIG", "SET", "slowlog-log-slower-than", "0"],
        &["SLOWLOG", "RESET"],
        &["HELLO", "2", "AUTH", "me", "secret"],
        &["CONFIG", "SET", "requirepass", "secret"],
    ] {
        w.send(c, request);
    }
    w.read(c);
    w.send(c, &["SLOWLOG", "GET"]);
    let heard = w.read(c);
    assert!(heard.starts_with("*1\r\n*6\r\n") && heard.contains("\r\nSLOWLOG\r\n$5\r\nRESET\r\n"), "{heard}");
}

#[test]
fn clients_that_a_pause_holds_are_told() {
    let mut w = World::new();
    let (c, held) = (w.client(), w.client());
    w.engine.pause(w.now + Duration::from_secs(60), true);
    w.send(held, &["SET", "k", "v"]);
    w.tick(1000);
    w.send(c, &["INFO", "clients"]);
    assert!(w.read(c).contains("\r\nblocked_clients:1\r\n"));
    w.engine.pause(w.now, false);
    w.tick(1000);
    w.tick(1000);
    w.send(c, &["INFO", "clients"]);
    assert!(w.read(c).contains("\r\nblocked_clients:0\r\n"));
}

#[test]
fn nodes_hear_who_a_proxy_is_and_what_is_wrong_with_its_file_as_long_as_it_is() {
    let mut w = World::new();
    let trouble = |w: &World, node: usize| w.nodes[node].report.as_ref().unwrap().file_trouble.clone();
    // A node that is silent for so long is given up, comes back, and hears it then.
    let settle = |w: &mut World| (0..30).for_each(|_| w.tick(100));
    assert!((0..3).all(|node| trouble(&w, node).is_none()));
    let told = FileTrouble::default();
    w.engine.process.set_file_trouble(told.clone());
    told.set(Some((u64::MAX, "x".repeat(ProxyReport::REASON_BYTES_MAX) + "y")));
    settle(&mut w);
    assert!((0..3).all(|node| trouble(&w, node).unwrap().ends_with("xx")));
    // One that comes back hears it too.
    w.cut(1);
    w.mend(1);
    assert!(trouble(&w, 1).is_some());
    told.set(None);
    settle(&mut w);
    assert!((0..3).all(|node| trouble(&w, node).is_none()));
    // What is in conflict with version 1 is nobody's trouble once 2 is accepted.
    told.set(Some((0, "old".to_owned())));
    settle(&mut w);
    assert!((0..3).all(|node| trouble(&w, node).is_none()));
}
