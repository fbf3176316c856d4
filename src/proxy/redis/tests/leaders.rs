//! Leaders that change: what waits, what goes where, and in which order.

use super::*;

#[test]
fn a_write_that_a_demoted_leader_refuses_waits_for_the_next_one() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.fail_over("h:1", "h:2");
    assert_eq!(world.asks(client, &format!("INCR {a}\nINCR {a}\nGET {a}")), "");
    world.pass(300);
    assert_eq!(world.heard(client), ":1 :2 $1 2");
    assert_eq!(world.done("h:2"), [format!("INCR {a}"), format!("INCR {a}"), format!("GET {a}")]);
    assert_eq!((world.engine.waiting, world.engine.waiting_bytes), (0, 0));
}

#[test]
fn while_nobody_leads_requests_wait_and_are_told_at_their_deadline() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").dead = true;
    world.break_server("h:1");
    assert_eq!(world.asks(client, &format!("SET {a} 1\nGET {a}\nSET {b} 1")), "");
    world.pass(5_000);
    assert_eq!(world.heard(client), "");
    world.server("h:2").replica = false;
    world.pass(200);
    assert_eq!(world.heard(client), "+OK $1 1 +OK");
    world.server("h:2").dead = true;
    world.break_server("h:2");
    world.send(client, &format!("SET {a} 2"));
    world.pass(10_200);
    let heard = world.heard(client);
    assert!(heard.starts_with("-UNAVAILABLE this request was not sent"), "{heard}");
}

#[test]
fn an_old_leader_that_comes_back_does_not_lead_again() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").dead = true;
    world.break_server("h:1");
    world.server("h:2").replica = false;
    world.pass(200);
    assert_eq!(world.asks(client, &format!("SET {a} 1")), "+OK");
    // It comes back empty, and does not know better.
    let returned = world.server("h:1");
    (returned.dead, returned.replicas) = (false, 0);
    world.pass(3_000);
    assert_eq!(world.asks(client, &format!("GET {a}")), "$1 1");
    assert!(world.done("h:1").is_empty());
}

#[test]
fn of_two_that_claim_to_lead_none_is_used_before_it_is_clear() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.break_server("h:1");
    for addr in ["h:1", "h:2"] {
        let server = world.server(addr);
        (server.replica, server.replicas) = (false, 0);
    }
    world.break_server("h:2");
    world.pass(1_500);
    assert_eq!(world.asks(client, &format!("SET {a} 1")), "");
    world.server("h:2").replica = true;
    world.pass(1_500);
    assert_eq!(world.heard(client), "+OK");
    assert_eq!(world.done("h:1"), [format!("SET {a} 1")]);
}

#[test]
fn reads_of_level_any_are_spread_over_replicas_that_can_answer() {
    let (a, _) = keys();
    let file = FILE.replace("['h:1', 'h:2']", "['h:1', 'h:2', 'h:5']");
    let mut world = World::with(&file, WorkerLimits::default());
    let (client, strong) = (world.client_at(ReadLevel::Any), world.client_at(ReadLevel::Strong));
    (0..50).for_each(|_| assert_eq!(world.asks(client, &format!("GET {a}")), "$-1"));
    let counts = ["h:1", "h:2", "h:5"].map(|addr| world.done(addr).len());
    assert!(counts[0] == 0 && counts[1] > 10 && counts[2] > 10, "{counts:?}");
    world.server("h:2").loading = true;
    (0..20).for_each(|_| assert_eq!(world.asks(client, &format!("GET {a}")), "$-1"));
    assert_eq!((world.done("h:2").len(), world.done("h:5").len()), (0, 20));
    world.server("h:5").dead = true;
    world.break_server("h:5");
    assert_eq!(world.asks(client, &format!("GET {a}")), "$-1", "the leader, where no replica can");
    assert_eq!(world.asks(strong, &format!("GET {a}\nSET {a} 1")), "$-1 +OK");
    assert_eq!(world.done("h:1").len(), 3);
}

#[test]
fn a_leader_that_loads_is_waited_for() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").loading = true;
    assert_eq!(world.asks(client, &format!("SET {a} 1\nGET {a}")), "");
    world.pass(1_000);
    assert_eq!(world.heard(client), "");
    world.server("h:1").loading = false;
    world.pass(300);
    assert_eq!(world.heard(client), "+OK $1 1");
}

#[test]
fn a_silent_leader_stays_one_until_another_one_leads() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").frozen = true;
    world.pass(3_000);
    assert_eq!(world.asks(client, &format!("INCR {a}\nGET {a}")), "");
    world.pass(1_000);
    assert_eq!(world.heard(client), "", "it may only be slow");
    world.server("h:2").replica = false;
    world.pass(1_500);
    let heard = world.heard(client);
    assert!(heard.starts_with("-TIMEOUT the outcome of this write is unknown"), "{heard}");
    assert!(heard.ends_with(" $-1"), "the read was repeated: {heard}");
}

#[test]
fn what_was_refused_never_goes_after_a_later_request() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").frozen = true;
    world.send(client, &format!("SET {a} 1\nSET {a} 2"));
    // It is demoted for the first of them, and leads again when the second comes.
    let node =
        world.sockets.iter().find(|(_, s)| s.addr == "h:1" && !s.input.is_empty()).map(|(node, _)| *node).unwrap();
    let mut spans = Vec::new();
    let socket = world.sockets.get_mut(&node).unwrap();
    let end = parse_first(&socket.input, &mut spans).unwrap();
    socket.input.drain(..end);
    socket.replies.extend(b"-READONLY You can't write against a read only replica.\r\n");
    world.thaw("h:1");
    world.pass(500);
    let heard = world.heard(client);
    assert!(heard.starts_with("-UNAVAILABLE this request was not sent") && heard.ends_with("+OK"), "{heard}");
    assert_eq!(world.done("h:1"), [format!("SET {a} 2")]);
}

#[test]
fn a_node_of_a_redis_cluster_is_named_as_what_it_is() {
    let (a, _) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").cluster = true;
    let heard = world.asks(client, &format!("GET {a}"));
    assert_eq!(
        heard,
        "-ERR server h:1 of shard a is a node of a Redis Cluster, which a file of Redis shards cannot name"
    );
}

#[test]
fn sentinels_decide_where_they_are_named() {
    let (a, _) = keys();
    let file = FILE
        .replace("servers = ['h:1', 'h:2']", "servers = ['h:1', 'h:2']\nsentinels = ['h:9']\nsentinel_master = 'm'");
    let mut world = World::with(&file, WorkerLimits::default());
    // Nobody is there who could be asked: what servers say counts.
    let client = world.client();
    assert_eq!(world.asks(client, &format!("SET {a} 1")), "+OK");
}
