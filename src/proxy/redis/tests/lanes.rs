//! Connections beside a server's first one: those that speak RESP3, and those of clients' own.

use super::*;

/// How many connections were opened to a server since it was last looked.
fn connects(world: &mut World, addr: &str) -> usize {
    std::mem::take(&mut world.server(addr).connects)
}

#[test]
fn a_lane_that_is_refused_at_its_greeting_is_tried_again_after_pauses() {
    let (a, _) = keys();
    for refusal in ["NOAUTH Authentication required.", "ERR max number of clients reached", ""] {
        let mut world = World::new();
        let (old, new) = (world.client(), world.client());
        world.server("h:1").refuses_hello = Some(refusal);
        connects(&mut world, "h:1");
        world.send(new, &format!("HELLO 3\nGET {a}"));
        world.heard(new);
        assert_eq!(world.asks(old, &format!("SET {a} 1")), "+OK", "who speaks RESP2 does not wait for it");
        world.pass(2_000);
        let tried = connects(&mut world, "h:1");
        assert!((2..20).contains(&tried), "{refusal}: {tried} times");
        world.pass(8_200);
        let heard = world.heard(new);
        assert!(heard.starts_with("-UNAVAILABLE this request was not sent"), "{refusal}: {heard}");
        let why = if refusal.is_empty() { "connection reset by peer" } else { refusal };
        assert!(heard.contains("h:1") && heard.contains(why), "{refusal}: {heard}");
        world.send(new, &format!("GET {a}"));
        world.server("h:1").refuses_hello = None;
        world.pass(1_500);
        assert_eq!(world.heard(new), "$1 1");
        assert!(world.engine.is_ready());
    }
}

#[test]
fn a_server_that_does_not_know_hello_is_asked_in_resp2() {
    let (a, _) = keys();
    for refusal in
        ["ERR unknown command `HELLO`, with args beginning with: `3`, ", "NOPROTO unsupported protocol version"]
    {
        let mut world = World::new();
        let client = world.client();
        world.server("h:1").refuses_hello = Some(refusal);
        world.send(client, "HELLO 3");
        world.heard(client);
        assert_eq!(world.asks(client, &format!("SET {a} 1\nGET {a}\nWATCH {a}\nMULTI\nGET {a}\nEXEC")), {
            "+OK $1 1 +OK +OK +QUEUED *1 $1 1"
        });
        connects(&mut world, "h:1");
        world.pass(3_000);
        assert_eq!(connects(&mut world, "h:1"), 0, "it was told once");
    }
}

#[test]
fn a_client_whose_own_connection_is_refused_holds_up_nobody() {
    let (a, _) = keys();
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    world.server("h:1").refuses_connections = Some("ERR max number of clients reached");
    connects(&mut world, "h:1");
    world.send(client, &format!("BLPOP q{a} 1"));
    assert_eq!(world.asks(other, &format!("SET {a} 1\nGET {a}")), "+OK $1 1");
    world.pass(1_000);
    let tried = connects(&mut world, "h:1");
    assert!((2..12).contains(&tried), "{tried} times");
    world.pass(9_200);
    let heard = world.heard(client);
    assert!(heard.starts_with("-UNAVAILABLE") && heard.contains("max number of clients"), "{heard}");
}

#[test]
fn a_lane_that_dies_silently_is_noticed_while_nobody_asks() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("HELLO 3\nGET {a}"));
    world.heard(client);
    let lane = *world.sockets.iter().find(|(_, socket)| socket.addr == "h:1" && socket.resp3).unwrap().0;
    world.sockets.get_mut(&lane).unwrap().cut = true;
    world.pass(4_000);
    assert!(!world.sockets.contains_key(&lane), "it was given up");
    assert_eq!(world.asks(client, &format!("SET {a} 1\nGET {a}")), "+OK $1 1");
}

#[test]
fn a_lane_is_not_given_up_because_its_server_is_slow() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("HELLO 3\nGET {a}"));
    world.heard(client);
    world.server("h:1").frozen = true;
    world.send(client, &format!("INCR {a}"));
    world.pass(5_000);
    world.thaw("h:1");
    assert_eq!(world.heard(client), ":1");
}
