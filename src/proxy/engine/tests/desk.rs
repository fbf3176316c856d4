//! Commands that the engine answers by itself, as far as they tell of the engine.

use super::*;

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
