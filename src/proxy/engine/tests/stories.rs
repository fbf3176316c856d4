//! One behaviour each, as a client and the nodes see it.

use super::*;

#[test]
fn answers_that_come_out_of_order_reach_the_client_in_order() {
    let mut w = World::new();
    let c = w.client();
    let (a, b) = (key_of(0, 1), key_of(1, 1));
    w.send(c, &["SET", &a, "1"]);
    w.send(c, &["SET", &b, "2"]);
    w.send(c, &["PING"]);
    let (first, second) = (w.take(0), w.take(1));
    assert!(first.head.write && first.head.shard == ShardId(1) && second.head.shard == ShardId(2));
    assert_eq!(first.head.slot, Some(Slot::of_key(a.as_bytes())));
    w.reply(1, &second, 11, "+two\r\n");
    assert_eq!(w.read(c), "");
    w.reply(0, &first, 11, "+one\r\n");
    assert_eq!(w.read(c), "+one\r\n+two\r\n+PONG\r\n");
    w.nothing_left();
}

#[test]
fn split_commands_run_in_parallel_and_are_merged() {
    let mut w = World::new();
    let c = w.client();
    let (a, b) = (key_of(0, 1), key_of(1, 1));
    w.send(c, &["MSET", &a, "1", &b, "2"]);
    let (first, second) = (w.take(0), w.take(1));
    assert_eq!(String::from_utf8_lossy(&first.body), format!("*3\r\n$4\r\nMSET\r\n${}\r\n{a}\r\n$1\r\n1\r\n", a.len()));
    w.reply(1, &second, 11, "+OK\r\n");
    w.reply(0, &first, 11, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.send(c, &["DEL", &a, &b]);
    let (first, second) = (w.take(0), w.take(1));
    w.reply(0, &first, 12, ":1\r\n");
    w.reply(1, &second, 12, "-ERR disk on fire\r\n");
    let expected =
        "-ERR the part of this request for shard b failed: disk on fire; the parts for other shards took effect\r\n";
    assert_eq!(w.read(c), expected);
    w.send(c, &["RENAME", &a, &b]);
    assert!(w.read(c).starts_with("-CROSSSLOT "));
    w.nothing_left();
}

#[test]
fn mget_is_interleaved_and_one_shard_alone_is_passed_through() {
    let mut w = World::new();
    let c = w.client();
    w.read_at_leaders(c);
    let (a, b, a2) = (key_of(0, 1), key_of(1, 1), key_of(0, 2));
    w.send(c, &["MGET", &a, &b, &a2]);
    let (first, second) = (w.take(0), w.take(1));
    w.reply(0, &first, 11, "*2\r\n$1\r\nx\r\n$-1\r\n");
    w.reply(1, &second, 11, "*1\r\n$1\r\ny\r\n");
    assert_eq!(w.read(c), "*3\r\n$1\r\nx\r\n$1\r\ny\r\n$-1\r\n");
    w.send(c, &["mget", &a, &a2]);
    let got = w.take(0);
    assert!(got.body.starts_with(b"*3\r\n$4\r\nmget\r\n"));
    w.reply(0, &got, 11, "*2\r\n$-1\r\n$-1\r\n");
    assert_eq!(w.read(c), "*2\r\n$-1\r\n$-1\r\n");
}

#[test]
fn whole_keyspace_commands_go_to_every_shard_and_scan_to_the_cursors() {
    let mut w = World::new();
    let c = w.client();
    w.read_at_leaders(c);
    w.send(c, &["DBSIZE"]);
    let (first, second) = (w.take(0), w.take(1));
    assert!(first.head.slot.is_none() && first.head.covers);
    w.cover(0, &first, &[], ":40\r\n");
    w.cover(1, &second, &[], ":2\r\n");
    assert_eq!(w.read(c), ":42\r\n");
    w.send(c, &["SCAN", &(9000_u64 << 48 | 5).to_string()]);
    let got = w.take(1);
    w.reply(1, &got, 11, "*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(w.read(c), "*2\r\n$1\r\n0\r\n*0\r\n");
    w.send(c, &["SCAN", "x"]);
    assert_eq!(w.read(c), "-ERR invalid cursor\r\n");
}

#[test]
fn a_leaders_death_parks_requests_of_its_shard_and_delays_no_other() {
    let mut w = World::new();
    let (c, other) = (w.client(), w.client());
    w.cut(0);
    let (a, b) = (key_of(0, 1), key_of(1, 1));
    w.send(c, &["SET", &a, "1"]);
    w.send(c, &["GET", &a]);
    w.send(other, &["SET", &b, "1"]);
    let got = w.take(1);
    w.reply(1, &got, 11, "+OK\r\n");
    assert_eq!(w.read(other), "+OK\r\n");
    assert_eq!(w.read(c), "");
    w.elect(0, 2);
    let (set, get) = (w.take(2), w.take(2));
    assert!(set.head.write && !get.head.write && get.head.after_writes);
    w.reply(2, &set, 12, "+OK\r\n");
    w.reply(2, &get, 12, "$1\r\n1\r\n");
    assert_eq!(w.read(c), "+OK\r\n$1\r\n1\r\n");
    w.nothing_left();
}

#[test]
fn refused_requests_are_sent_again_in_order_under_the_next_generation() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    for value in ["1", "2", "3"] {
        w.send(c, &["SET", &a, value]);
    }
    let got: Vec<_> = (0..3).map(|_| w.take(0)).collect();
    assert!(got.iter().all(|g| g.head.generation == 0));
    w.reply(0, &got[0], 11, "+OK\r\n");
    w.refuse(0, &got[1], RefusalReason::NotLeader, Some(ReplicaId(6)));
    // The line is closed: a new request waits, nothing is sent until the last one came back.
    w.send(c, &["SET", &a, "4"]);
    assert!(w.nodes[0].got.is_empty() && w.nodes[2].got.is_empty());
    w.refuse(0, &got[2], RefusalReason::Superseded, None);
    let again: Vec<_> = (0..3).map(|_| w.take(2)).collect();
    assert_eq!(again[0].body, got[1].body);
    assert_eq!(again[1].body, got[2].body);
    assert!(again[2].body.ends_with(b"4\r\n"));
    assert!(again.iter().all(|g| g.head.generation == 1));
    for got in &again {
        w.reply(2, got, 12, "+OK\r\n");
    }
    assert_eq!(w.read(c), "+OK\r\n".repeat(4));
    w.nothing_left();
}

#[test]
fn a_write_that_never_left_is_sent_to_the_next_leader() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.write_bytes_max = 0;
    w.engine.client_data(c, format!("*3\r\n$3\r\nSET\r\n${}\r\n{a}\r\n$1\r\n1\r\n", a.len()).as_bytes());
    assert_eq!(
        w.engine.node_output(NodeIndex(0)).sent_position(),
        w.engine.node_output(NodeIndex(0)).position() - { w.engine.node_output(NodeIndex(0)).waiting_bytes() as u64 }
    );
    w.write_bytes_max = usize::MAX;
    w.nodes[0] = FakeNode::default();
    w.engine.node_lost(NodeIndex(0), &LinkError::Socket("cut".into()));
    w.elect(0, 1);
    let got = w.take(1);
    w.reply(1, &got, 12, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.nothing_left();
}

#[test]
fn without_a_leader_a_request_waits_until_its_deadline_and_was_not_applied() {
    let mut w = World::new();
    let c = w.client();
    w.cut(0);
    w.send(c, &["SET", &key_of(0, 1), "1"]);
    w.tick(9_900);
    assert_eq!(w.read(c), "");
    w.tick(300);
    assert!(w.read(c).starts_with("-UNAVAILABLE "));
    w.nothing_left();
}

#[test]
fn a_silent_node_is_given_up_and_its_reads_go_elsewhere() {
    let mut w = World::new();
    let c = w.client();
    w.level(c, ReadLevel::Any);
    w.send(c, &["GET", &key_of(0, 1)]);
    let silent = w.only();
    let others: Vec<_> = (0..3).filter(|n| *n != silent).collect();
    for _ in 0..16 {
        others.iter().for_each(|n| w.push_status(*n));
        w.tick(100);
    }
    let other = *others.iter().find(|n| !w.nodes[**n].got.is_empty()).unwrap();
    let got = w.take(other);
    w.reply(other, &got, 12, "$-1\r\n");
    assert_eq!(w.read(c), "$-1\r\n");
}

#[test]
fn session_reads_go_to_replicas_that_have_what_the_client_saw() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.send(c, &["SET", &a, "1"]);
    let got = w.take(0);
    w.reply(0, &got, 50, "+OK\r\n");
    for _ in 0..20 {
        w.send(c, &["GET", &a]);
        let got = w.take(0);
        assert_eq!(got.head.floor, LogIndex(50));
        w.reply(0, &got, 50, "$1\r\n1\r\n");
    }
    let status = w.status(2, 60);
    w.feed(2, |out| status.put(out));
    let mut readers = [0; 3];
    for _ in 0..60 {
        w.send(c, &["GET", &a]);
        let node = w.only();
        readers[node] += 1;
        let got = w.take(node);
        w.reply(node, &got, 60, "$1\r\n1\r\n");
        // What node 2 showed, the leader is not known to have: from then on only node 2 or the leader will do.
    }
    assert_eq!(readers[1], 0, "{readers:?}");
    assert!(readers[0] > 0 && readers[2] > 0, "{readers:?}");
}

#[test]
fn reads_are_spread_over_all_replicas() {
    let mut w = World::new();
    let c = w.client();
    for level in [ReadLevel::Any, ReadLevel::Session] {
        w.level(c, level);
        let mut readers = [0; 3];
        for _ in 0..900 {
            w.send(c, &["GET", &key_of(0, 1)]);
            let node = w.only();
            readers[node] += 1;
            let got = w.take(node);
            assert_eq!(got.head.level, level);
            w.reply(node, &got, 10, "$-1\r\n");
        }
        assert!(readers.iter().all(|count| (200..=400).contains(count)), "{level:?}: {readers:?}");
    }
}

#[test]
fn strong_reads_are_spread_when_the_leader_has_much_to_do() {
    let mut w = World::new();
    for client in 0..300 {
        let c = w.client();
        w.level(c, ReadLevel::Strong);
        w.send(c, &["GET", &key_of(0, 1)]);
        assert!(client < 64 || w.nodes[0].got.len() >= 64, "a few are asked about together");
    }
    let got: Vec<_> = w.nodes.iter().map(|n| n.got.len()).collect();
    assert!(got.iter().all(|count| *count > 60), "{got:?}");
}

#[test]
fn a_strong_read_that_a_follower_hands_back_goes_to_the_leader_before_all_behind_it() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.level(c, ReadLevel::Strong);
    // The leader is busy, and so is one follower.
    let follower = 2;
    for node in 0..2 {
        w.engine.routing.node_mut(NodeIndex(node)).in_flight = 100;
    }
    while w.nodes[follower].got.is_empty() {
        w.send(c, &["GET", &a]);
        for node in 0..2 {
            while !w.nodes[node].got.is_empty() {
                let got = w.take(node);
                w.reply(node, &got, 10, "$-1\r\n");
                assert_eq!(w.read(c), "$-1\r\n");
            }
        }
    }
    w.send(c, &["GET", &a]);
    w.send(c, &["SET", &a, "1"]);
    let (first, second) = (w.take(follower), w.take(follower));
    assert_eq!((first.head.level, second.head.level), (ReadLevel::Strong, ReadLevel::Strong));
    w.refuse(follower, &first, RefusalReason::Behind, Some(ReplicaId(4)));
    assert!(w.nodes.iter().all(|n| n.got.is_empty()), "the second is not back yet, and must not be overtaken");
    w.refuse(follower, &second, RefusalReason::Superseded, None);
    for _ in 0..2 {
        let got = w.take(0);
        assert_eq!((got.head.level, got.head.generation), (ReadLevel::Strong, 1));
        assert!(w.nodes[0].got.iter().all(|g| !g.head.write), "the write would be seen by the reads before it");
        w.reply(0, &got, 11, "$-1\r\n");
    }
    let set = w.take(0);
    assert!(set.head.write);
    w.reply(0, &set, 12, "+OK\r\n");
    assert_eq!(w.read(c), "$-1\r\n$-1\r\n+OK\r\n");
}

#[test]
fn a_write_behind_reads_that_a_follower_has_waits_for_them() {
    let mut w = World::new();
    let c = w.client();
    w.level(c, ReadLevel::Any);
    let a = key_of(0, 1);
    let reader = loop {
        w.send(c, &["GET", &a]);
        let node = w.only();
        if node != 0 {
            break node;
        }
        let got = w.take(0);
        w.reply(0, &got, 10, "$-1\r\n");
        w.read(c);
    };
    w.send(c, &["SET", &a, "1"]);
    w.send(c, &["GET", &a]);
    assert_eq!(w.only(), reader);
    let got = w.take(reader);
    w.reply(reader, &got, 10, "$-1\r\n");
    let (set, get) = (w.take(0), w.take(0));
    assert!(set.head.write && get.head.after_writes);
    w.reply(0, &set, 11, "+OK\r\n");
    w.reply(0, &get, 11, "$1\r\n1\r\n");
    assert_eq!(w.read(c), "$-1\r\n+OK\r\n$1\r\n1\r\n");
    w.nothing_left();
}

#[test]
fn a_follower_that_is_behind_makes_the_leader_answer() {
    let mut w = World::new();
    let c = w.client();
    w.level(c, ReadLevel::Any);
    let a = key_of(0, 1);
    for _ in 0..30 {
        w.send(c, &["GET", &a]);
        let node = w.only();
        let got = w.take(node);
        if node == 0 {
            w.reply(0, &got, 10, "$-1\r\n");
            continue;
        }
        w.refuse(node, &got, RefusalReason::Behind, None);
        let again = w.take(0);
        assert!(again.head.generation > got.head.generation);
        w.reply(0, &again, 10, "$-1\r\n");
    }
    assert_eq!(w.read(c), "$-1\r\n".repeat(30));
    w.nothing_left();
}

#[test]
fn depth_and_output_limits_stop_parsing_and_lose_nothing() {
    let mut w = World::with(WorkerLimits { pipeline_depth_max: 4, output_bytes_max: 64, ..WorkerLimits::default() });
    let c = w.client();
    let a = key_of(0, 1);
    let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{a}\r\n$1\r\n1\r\n", a.len());
    w.send_raw(c, request.repeat(10).as_bytes());
    assert_eq!(w.nodes[0].got.len(), 4);
    assert!(!w.engine.wants_input(c));
    for answered in 0..10 {
        let got = w.take(0);
        w.reply(0, &got, 11 + answered, "+OK\r\n");
    }
    assert_eq!(w.read(c), "+OK\r\n".repeat(10));
    assert!(w.engine.wants_input(c));
    assert_eq!(w.resumed.last(), Some(&c));
    // A client that does not read its replies is not read either.
    w.write_bytes_max = 0;
    w.engine.client_data(c, "*1\r\n$4\r\nPING\r\n".repeat(100).as_bytes());
    assert!(!w.engine.wants_input(c));
    assert!(w.engine.client_output(c).unwrap().waiting_bytes() <= 64 + 7);
    w.write_bytes_max = usize::MAX;
    w.send_to_client(c);
    for _ in 0..100 {
        w.turn();
    }
    assert_eq!(w.read(c), "+PONG\r\n".repeat(100));
    w.nothing_left();
}

#[test]
fn waiting_requests_are_bounded_and_a_full_room_stops_only_those_who_wait() {
    let mut w = World::with(WorkerLimits { waiting_requests_max: 5, ..WorkerLimits::default() });
    w.cut(0);
    let (c, d) = (w.client(), w.client());
    let a = key_of(0, 1);
    let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{a}\r\n$1\r\n1\r\n", a.len());
    w.send_raw(c, request.repeat(20).as_bytes());
    assert!(!w.engine.wants_input(c));
    assert_eq!(w.engine.waiting, 5);
    w.send(d, &["SET", &key_of(1, 1), "1"]);
    let got = w.take(1);
    w.reply(1, &got, 11, "+OK\r\n");
    assert_eq!(w.read(d), "+OK\r\n");
    w.elect(0, 2);
    for _ in 0..20 {
        w.tick(10);
        while !w.nodes[2].got.is_empty() {
            let got = w.take(2);
            w.reply(2, &got, 12, "+OK\r\n");
        }
    }
    assert_eq!(w.read(c), "+OK\r\n".repeat(20));
    w.nothing_left();
}

#[test]
fn large_values_pass_in_both_directions_whatever_the_pieces() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    let value = "v".repeat(3 << 20);
    let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{a}\r\n${}\r\n{value}\r\n", a.len(), value.len());
    let ping = "*1\r\n$4\r\nPING\r\n";
    for piece in [request.clone(), ping.to_owned()].concat().as_bytes().chunks(65_536) {
        w.send_raw(c, piece);
    }
    let got = w.take(0);
    assert!(got.body == request.as_bytes());
    let reply = format!("${}\r\n{value}\r\n", value.len());
    w.reply(0, &got, 11, &reply);
    assert!(w.read(c) == reply + "+PONG\r\n");
    w.nothing_left();
}

#[test]
fn malformed_bytes_get_one_error_after_the_replies_before_and_the_end() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.send_raw(c, format!("*3\r\n$3\r\nSET\r\n${}\r\n{a}\r\n$1\r\n1\r\n*1\r\n!junk\r\nPING\r\n", a.len()).as_bytes());
    let got = w.take(0);
    assert!(w.closed.is_empty());
    w.reply(0, &got, 11, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    assert_eq!(w.closed, [c]);
    w.nothing_left();
}

#[test]
fn a_client_that_leaves_takes_its_requests_along() {
    let mut w = World::new();
    let c = w.client();
    let (a, b) = (key_of(0, 1), key_of(1, 1));
    w.send(c, &["SET", &a, "1"]);
    w.send(c, &["MSET", &a, "1", &b, "1"]);
    let late = w.take(0);
    w.engine.client_broke(c);
    w.nothing_left();
    let next = w.client();
    w.send(next, &["SET", &a, "2"]);
    w.reply(0, &late, 11, "+late\r\n");
    assert_eq!(w.read(next), "");
    let _ = w.take(0);
    let got = w.take(0);
    w.reply(0, &got, 12, "+OK\r\n");
    assert_eq!(w.read(next), "+OK\r\n");
}

#[test]
fn a_new_address_moves_the_connection_and_keeps_the_clients() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.read_at_leaders(c);
    w.send(c, &["GET", &a]);
    let mut catalog = (*w.catalog).clone();
    catalog.revision = Revision(2);
    catalog.nodes.get_mut(&NodeName::new("n1")).unwrap().addr = "127.0.0.1:9".to_owned();
    w.nodes[0].got.clear();
    w.engine.learn_catalog(&Arc::new(catalog));
    w.turn();
    w.tick(100);
    w.push_status(0);
    w.turn();
    let got = w.take(0);
    w.reply(0, &got, 11, "$-1\r\n");
    assert_eq!(w.read(c), "$-1\r\n");
}

#[test]
fn a_node_of_another_cluster_is_not_used() {
    let mut w = World::new();
    w.cut(0);
    w.tick(100);
    w.engine.node_connected(NodeIndex(0));
    let (cluster, node, incarnation) = (Some(ClusterId(8)), NodeName::new("n1"), Incarnation(1));
    let welcome = Welcome { cluster, node, incarnation, keeps_leases: false };
    let json = serde_json::to_vec(&welcome).unwrap();
    w.feed(0, |out| put_message(out, Kind::Welcome, |out| out.extend(json)));
    assert!(!w.engine.routing().node(NodeIndex(0)).up);
    let orders = w.engine.take_orders();
    assert!(orders.iter().any(|o| matches!(o, Order::Disconnect(NodeIndex(0)))), "{orders:?}");
}

#[test]
fn before_a_catalog_is_known_requests_wait_and_the_proxy_answers_for_itself() {
    let mut w = World::new();
    let settings = w.engine.settings.clone();
    w.engine = Engine::new(settings, shared(), w.now);
    let c = w.client();
    w.send(c, &["PING"]);
    w.send(c, &["GET", &key_of(0, 1)]);
    assert_eq!(w.read(c), "+PONG\r\n");
    assert!(!w.engine.wants_input(c));
    w.tick(10_100);
    assert!(w.read(c).starts_with("-UNAVAILABLE "));
    w.send(c, &["SET", &key_of(0, 1), "1"]);
    w.engine.learn_catalog(&w.catalog.clone());
    w.turn();
    w.mend(0);
    let got = w.take(0);
    w.reply(0, &got, 11, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
}

#[test]
fn what_follows_a_strong_read_neither_overtakes_it_nor_shows_less() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.read_at_leaders(c);
    w.send(c, &["GET", &a]);
    w.send(c, &["CLIENT", "READS", "session"]);
    w.send(c, &["GET", &a]);
    w.send(c, &["SET", &a, "2"]);
    let (first, second) = (w.take(0), w.take(0));
    assert_eq!((first.head.level, second.head.level), (ReadLevel::Strong, ReadLevel::Strong));
    assert!(w.nodes[0].got.is_empty(), "the write would be seen by the reads before it");
    w.reply(0, &first, 11, "$1\r\n1\r\n");
    w.reply(0, &second, 11, "$1\r\n1\r\n");
    let set = w.take(0);
    w.send(c, &["GET", &a]);
    let get = w.take(0);
    assert!(set.head.write && get.head.after_writes && get.head.level == ReadLevel::Session);
    w.reply(0, &set, 12, "+OK\r\n");
    // The first read behind the write is not answered, so the next one must not be answered at an earlier index.
    w.send(c, &["GET", &a]);
    let last = w.take(0);
    assert!(last.head.after_writes);
    w.reply(0, &get, 13, "$1\r\n2\r\n");
    w.reply(0, &last, 13, "$1\r\n2\r\n");
    assert_eq!(w.read(c), "$1\r\n1\r\n+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n$1\r\n2\r\n");
    w.nothing_left();
}

#[test]
fn a_node_with_a_large_request_may_be_silent_longer_than_one_without() {
    let mut w = World::new();
    let c = w.client();
    let value = "x".repeat(3 << 20);
    w.send(c, &["SET", &key_of(0, 1), &value]);
    let set = w.take(0);
    (0..16).for_each(|_| w.tick(100));
    w.reply(0, &set, 11, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n", "it was at work");
    w.send(c, &["SET", &key_of(0, 1), &value]);
    (0..17).for_each(|_| w.tick(100));
    let set = w.take(0);
    assert!(!set.head.retried && w.nodes[0].got.is_empty());
    w.mend(0);
    let set = w.nodes[0].got.pop().unwrap();
    w.nodes[0].got.clear();
    assert!(set.head.retried, "it was gone after all, and is asked again");
    w.reply(0, &set, 12, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.nothing_left();
}

#[test]
fn a_node_whose_address_changes_answers_what_it_has_first() {
    let mut w = World::new();
    let c = w.client();
    let a = key_of(0, 1);
    w.send(c, &["SET", &a, "1"]);
    let set = w.take(0);
    let mut catalog = Catalog::clone(&w.catalog);
    catalog.revision = Revision(2);
    catalog.nodes.get_mut(&NodeName::new("n1")).unwrap().addr = "127.0.0.1:9".to_owned();
    w.engine.learn_catalog(&Arc::new(catalog));
    w.turn();
    w.send(c, &["SET", &a, "2"]);
    w.tick(100);
    assert!(w.nodes[0].got.is_empty(), "the new request waits for the new address");
    w.reply(0, &set, 11, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.tick(100);
    w.push_status(0);
    w.turn();
    let set = w.take(0);
    w.reply(0, &set, 12, "+OK\r\n");
    assert_eq!(w.read(c), "+OK\r\n");
    w.nothing_left();
}
