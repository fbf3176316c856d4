//! Connections that break at every point: what may have been done is of unknown outcome, and nothing is done twice.

use super::*;

#[test]
fn a_write_is_done_at_most_once_wherever_its_connection_breaks() {
    let (a, _) = keys();
    let mut unknown = 0;
    for after in 0..200 {
        let mut world = World::new();
        let client = world.client();
        world.breaks_after = Some(("h:1".to_owned(), after));
        world.send(client, &format!("INCR {a}\nGET {a}\nINCR {a}\nGET none"));
        world.pass(500);
        world.breaks_after = None;
        world.pass(500);
        let heard = world.heard(client);
        let asked = world.done("h:1").iter().filter(|line| line.starts_with("INCR")).count();
        let answered = heard.split(' ').filter(|word| word.starts_with(':')).count();
        let lost = heard.matches("-TIMEOUT the outcome of this write is unknown").count();
        assert_eq!(answered + lost, 2, "after {after} bytes: {heard}");
        assert!((answered..=answered + lost).contains(&asked), "after {after} bytes {asked} were done: {heard}");
        assert!(heard.ends_with("$-1"), "reads are repeated: {heard}");
        unknown += lost;
    }
    assert!(unknown > 0, "no break was where it matters");
}

#[test]
fn what_was_not_sent_goes_to_the_next_leader() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").dead = true;
    // The connection is gone, and nobody has noticed yet.
    world.breaks_after = Some(("h:1".to_owned(), 0));
    world.send(client, &format!("SET {a} 1\nGET {a}"));
    world.server("h:2").replica = false;
    world.pass(300);
    assert_eq!(world.heard(client), "+OK $1 1");
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let (a, _) = keys();
    for after in 0..160 {
        let mut world = World::new();
        let client = world.client();
        world.breaks_after = Some(("h:1".to_owned(), after));
        world.send(client, &format!("MULTI\nINCR {a}\nINCR {a}\nEXEC"));
        world.pass(1_000);
        let heard = world.heard(client);
        let done = world.done("h:1").len();
        assert!(heard.starts_with("+OK +QUEUED +QUEUED "), "{heard}");
        let committed = heard.ends_with("*2 :1 :2");
        assert!(committed || heard.contains("the outcome of this write is unknown"), "after {after}: {heard}");
        assert!(done == 2 || !committed && done == 0, "after {after}: {done} done, {heard}");
    }
}

#[test]
fn a_server_that_talks_nonsense_is_left() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    let node = world.sockets.iter().find(|(_, socket)| socket.addr == "h:1").map(|(node, _)| *node).unwrap();
    world.engine.node_data(NodeIndex(node), b"+nobody asked\r\n");
    world.turn();
    assert!(!world.sockets.contains_key(&node) || world.sockets[&node].id > 1);
    world.pass(300);
    assert_eq!(world.asks(client, &format!("SET {a} 1")), "+OK");
}
