//! Transactions, keys that are watched, clients that wait.

use super::*;
use crate::protocol::identity::CancelHow;

#[test]
fn a_transaction_that_a_demoted_leader_refuses_waits_too() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.fail_over("h:1", "h:2");
    assert_eq!(world.asks(client, &format!("MULTI\nINCR {a}\nPING\nINCR {a}\nEXEC")), "+OK +QUEUED +QUEUED +QUEUED");
    world.pass(300);
    assert_eq!(world.heard(client), "*3 :1 +PONG :2");
}

#[test]
fn what_is_watched_is_watched_on_a_connection_of_the_clients_own() {
    let (a, b) = keys();
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    assert_eq!(
        world.asks(client, &format!("WATCH {a}\nGET {a}\nMULTI\nSET {a} 1\nEXEC")),
        "+OK $-1 +OK +QUEUED *1 +OK"
    );
    let sockets = world.sockets.len();
    world.send(client, &format!("WATCH {a}"));
    assert_eq!(world.asks(other, &format!("SET {a} 2")), "+OK");
    assert_eq!(world.asks(client, &format!("MULTI\nSET {a} 3\nEXEC\nGET {a}")), "+OK +OK +QUEUED *-1 $1 2");
    assert_eq!(world.asks(client, &format!("WATCH {a}\nUNWATCH\nMULTI\nGET {a}\nEXEC")), "+OK +OK +OK +QUEUED *1 $1 2");
    assert_eq!(world.asks(client, &format!("WATCH {a}\nMULTI\nDISCARD\nGET {a}")), "+OK +OK +OK $1 2");
    assert_eq!(world.sockets.len(), sockets, "the one that is idle is used again");
    assert!(world.asks(client, &format!("WATCH {a} {b}")).starts_with("-CROSSSLOT"));
    assert!(world.asks(client, "MULTI\nEXEC").ends_with("so that nobody guards its keys"));
}

#[test]
fn nothing_is_carried_out_that_nobody_guards() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("WATCH {a}"));
    world.break_server("h:1");
    world.pass(300);
    world.send(client, &format!("MULTI\nSET {a} 1\nEXEC"));
    let heard = world.heard(client);
    assert!(heard.contains("-EXECABORT") && heard.ends_with("nobody guards its keys"), "{heard}");
    assert!(world.done("h:1").iter().all(|line| !line.starts_with("SET")));
    assert_eq!(world.asks(client, &format!("SET {a} 1")), "+OK");
}

#[test]
fn a_client_that_waits_holds_up_nobody_and_may_go() {
    let (a, _) = keys();
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    assert_eq!(world.asks(client, &format!("SET {a} 1\nBLPOP q{a} 0")), "+OK");
    assert_eq!(world.asks(other, &format!("GET {a}")), "$1 1");
    world.pass(20_000);
    assert_eq!(world.heard(client), "", "no deadline ends it");
    let node = world.sockets.iter().find(|(_, socket)| socket.blocked.is_some()).map(|(node, _)| *node).unwrap();
    let id = world.sockets[&node].id;
    world.engine.unblock(1, CancelHow::Unblocked);
    world.turn();
    assert_eq!(world.servers.values().flat_map(|server| server.unblocked.clone()).collect::<Vec<_>>(), [id]);
    world.engine.node_data(NodeIndex(node), b"*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
    world.turn();
    assert_eq!(world.heard(client), "*2 $1 q $1 v");
    world.sockets.get_mut(&node).unwrap().blocked = None;
    world.send(client, &format!("BLPOP q{a} 0"));
    world.engine.client_ended(client);
    world.turn();
    assert!(world.closed.contains(&client) && !world.sockets.contains_key(&node), "its server is to notice");
}

#[test]
fn a_wait_without_a_leader_can_be_ended() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").dead = true;
    world.break_server("h:1");
    world.send(client, &format!("BLPOP {a} 0"));
    world.engine.unblock(1, CancelHow::Timeout);
    world.turn();
    assert_eq!(world.heard(client), "*-1");
    assert_eq!(world.engine.waiting, 0);
}

#[test]
fn what_comes_while_a_client_waits_is_taken_when_it_waits_no_more() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("BLPOP q{a} 0"));
    assert!(world.engine.wants_input(client), "its end is to be noticed");
    world.send(client, "PING");
    world.send(client, "PING 2");
    assert_eq!(world.heard(client), "");
    let node = world.sockets.iter().find(|(_, socket)| socket.blocked.is_some()).map(|(node, _)| *node).unwrap();
    world.sockets.get_mut(&node).unwrap().blocked = None;
    world.engine.node_data(NodeIndex(node), b"*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
    world.turn();
    world.turn();
    assert_eq!(world.heard(client), "*2 $1 q $1 v +PONG $1 2");
    assert_eq!(world.asks(client, "PING"), "+PONG");
}

/// The file with the two groups the other way round, so that every slot is another group's.
fn swapped() -> Arc<RedisConfig> {
    let text = FILE.replace("'a'", "'x'").replace("'b'", "'a'").replace("'x'", "'b'");
    let text = text.replace("'h:1', 'h:2'", "'h:0', 'h:0'").replace("'h:3', 'h:4'", "'h:1', 'h:2'");
    config(&text.replace("'h:0', 'h:0'", "'h:3', 'h:4'").replace("version = 1", "version = 2\nremap = true"))
}

#[test]
fn what_was_watched_in_another_group_is_not_guarded() {
    let (a, _) = keys();
    for reads_between in [false, true] {
        for and_back in [false, true] {
            let mut world = World::new();
            let client = world.client();
            assert_eq!(world.asks(client, &format!("SET {a} 1\nWATCH {a}\nGET {a}")), "+OK +OK $1 1");
            world.engine.follow(&swapped());
            world.pass(50);
            if reads_between {
                assert_eq!(world.asks(client, &format!("GET {a}")), "$-1");
            }
            if and_back {
                world.engine.follow(&config(&FILE.replace("version = 1", "version = 3")));
                world.pass(50);
            }
            world.done("h:1");
            let heard = world.asks(client, &format!("MULTI\nSET {a} 2\nEXEC\nPING"));
            assert!(heard.ends_with("*-1 +PONG"), "{heard}");
            let done = [world.done("h:1"), world.done("h:3")].concat();
            assert!(done.iter().all(|line| !line.starts_with("SET")), "{done:?}");
            assert_eq!(world.asks(client, &format!("WATCH {a}\nMULTI\nSET {a} 3\nEXEC")), "+OK +OK +QUEUED *1 +OK");
        }
    }
}

#[test]
fn what_is_watched_while_slots_go_to_another_group_is_not_guarded() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").frozen = true;
    world.send(client, &format!("WATCH {a}"));
    world.engine.follow(&swapped());
    world.turn();
    world.thaw("h:1");
    world.pass(100);
    let heard = world.asks(client, &format!("MULTI\nSET {a} 2\nEXEC"));
    assert!(heard.ends_with("*-1"), "{heard}");
    assert_eq!(world.done("h:3"), Vec::<String>::new());
}

#[test]
fn what_is_watched_twice_is_guarded_in_one_place() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    world.send(client, &format!("WATCH {a}"));
    let one = FILE.replace("name = 'b'", "name = 'b'\nweight = 0").replace("version = 1", "version = 2\nremap = true");
    world.engine.follow(&config(&one));
    world.pass(50);
    let heard = world.asks(client, &format!("WATCH {b}\nMULTI\nSET {a} 1\nEXEC"));
    assert!(heard.ends_with("*1 +OK"), "the group of what was watched before is the same: {heard}");
}

#[test]
fn what_a_demoted_leader_guards_is_not_carried_out_there() {
    let (a, _) = keys();
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    assert_eq!(world.asks(client, &format!("SET {a} 1\nWATCH {a}\nMULTI\nGET {a}")), "+OK +OK +OK +QUEUED");
    // Nobody has told the proxy yet.
    world.fail_over("h:1", "h:2");
    assert_eq!(
        world.asks(client, "EXEC"),
        "-EXECABORT Transaction discarded because of: a WATCH before it failed, so that nobody guards its keys"
    );
    // Now it was told by a refusal, and has not asked who leads.
    world.pass(300);
    world.heard(client);
    assert_eq!(world.asks(client, &format!("WATCH {a}\nMULTI\nGET {a}")), "+OK +OK +QUEUED");
    world.fail_over("h:2", "h:1");
    world.send(other, &format!("SET {a} 2"));
    world.done("h:2");
    world.send(client, "EXEC");
    assert_eq!(world.done("h:2"), Vec::<String>::new(), "a leader that is doubted carries nothing out");
    world.pass(300);
    assert!(world.heard(client).starts_with("-EXECABORT"));
    assert_eq!(world.heard(other), "+OK");
}

#[test]
fn what_is_guarded_waits_while_its_leader_is_doubted() {
    let (a, _) = keys();
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    assert_eq!(world.asks(client, &format!("WATCH {a}\nMULTI\nSET {a} 1")), "+OK +OK +QUEUED");
    world.server("h:1").loading = true;
    world.send(other, &format!("GET {a}"));
    world.server("h:1").loading = false;
    world.send(client, "EXEC");
    world.pass(300);
    assert_eq!((world.heard(client), world.heard(other)), ("*1 +OK".to_owned(), "$-1".to_owned()));
}
