//! Leaders that are killed and replaced, as operators and sentinels do it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::ground::{Client, Proxy, Server, file, pontoon, until};

/// Counts as long as it is let: what was acknowledged, and what may have been.
fn count(mut client: Client, key: &str, go_on: &AtomicBool) -> (u64, u64) {
    let (mut acknowledged, mut unknown) = (0, 0);
    while go_on.load(Ordering::Relaxed) {
        let reply = client.ask(&format!("INCR {key}"));
        match &reply[..1] {
            ":" => acknowledged += 1,
            _ if reply.starts_with("-TIMEOUT the outcome of this write is unknown") => unknown += 1,
            _ => panic!("{reply}"),
        }
    }
    (acknowledged, unknown)
}

#[test]
fn a_leader_that_is_killed_is_waited_for() {
    let mut leader = Server::start(&[]);
    let replica = leader.replica();
    let proxy = Proxy::start(&file(1, "", &[&[&leader, &replica]]), &["--deadline-ms", "30000"]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k 1"), "+OK");
    until("the replica has it", || replica.client().ask("GET k") == "$1 1");
    leader.process.kill();
    let mut waiting = proxy.client();
    waiting.send("SET k 2");
    client.send("GET k");
    assert_eq!(replica.client().ask("REPLICAOF NO ONE"), "+OK");
    let began = Instant::now();
    let reply = waiting.reply();
    assert!(reply == "+OK" || reply.starts_with("-TIMEOUT the outcome"), "{reply}");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert!(["$1 1", "$1 2"].contains(&client.reply().as_str()), "a read is repeated");
    // The old leader comes back, empty, and does not know better.
    let returned = Server::start_at(leader.port, &[]);
    assert_eq!(client.ask("SET k 3"), "+OK");
    until("the proxy has heard it", || returned.client().ask("INFO stats").contains("total_connections_received"));
    assert_eq!((client.ask("GET k"), returned.client().ask("GET k")), ("$1 3".to_owned(), "$-1".to_owned()));
}

#[test]
fn a_planned_failover_counts_everything_once() {
    let (one, go_on) = (Server::start(&[]), AtomicBool::new(true));
    let two = one.replica();
    let proxy = Proxy::start(&file(1, "", &[&[&one, &two]]), &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("INCR k"), ":1");
    let counted = std::thread::scope(|scope| {
        let counting: Vec<_> = (0..4).map(|_| scope.spawn(|| count(proxy.client(), "k", &go_on))).collect();
        for (from, to) in [(&one, &two), (&two, &one), (&one, &two)] {
            until("the other follows", || from.client().ask("ROLE").contains(&to.port.to_string()));
            assert_eq!(from.client().ask("FAILOVER"), "+OK");
            until("the other leads", || to.client().ask("ROLE").contains("master"));
            until("writes go on there", || {
                let before = to.client().ask("GET k");
                let after = to.client().ask("GET k");
                after != before
            });
        }
        go_on.store(false, Ordering::Relaxed);
        counting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let acknowledged: u64 = 1 + counted.iter().map(|(acknowledged, _)| acknowledged).sum::<u64>();
    let unknown: u64 = counted.iter().map(|(_, unknown)| unknown).sum();
    let value: u64 = client.ask("GET k").rsplit(' ').next().unwrap().parse().unwrap();
    assert!((acknowledged..=acknowledged + unknown).contains(&value), "{acknowledged} + {unknown} against {value}");
}

#[test]
fn a_sentinel_says_who_leads() {
    let mut leader = Server::start(&[]);
    let replica = leader.replica();
    let sentinel = leader.sentinel();
    until("the sentinel knows the replica", || {
        sentinel.client().ask("SENTINEL REPLICAS group").contains(&replica.addr())
    });
    // The file has the leader alone: who comes after it, the sentinel says.
    let text = file(1, "", &[&[&leader]]);
    let text = format!("{text}sentinels = [\"{}\"]\nsentinel_master = \"group\"\n", sentinel.addr());
    let proxy = Proxy::start(&text, &["--deadline-ms", "30000"]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k 1"), "+OK");
    leader.process.kill();
    until("writes go on", || client.ask("SET k 2") == "+OK");
    assert_eq!(replica.client().ask("GET k"), "$1 2");
}

#[test]
fn reads_of_level_any_go_to_replicas() {
    let leader = Server::start(&[]);
    let replicas = [leader.replica(), leader.replica()];
    let proxy = Proxy::start(&file(1, "", &[&[&leader, &replicas[0], &replicas[1]]]), &["--reads", "any"]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k 1"), "+OK");
    until("all replicas have it", || replicas.iter().all(|replica| replica.client().ask("GET k") == "$1 1"));
    let served = |server: &Server| {
        let stats = server.client().ask("INFO commandstats");
        let calls =
            stats.split("cmdstat_get:calls=").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
        calls.unwrap_or(0)
    };
    until("both replicas are read", || {
        assert_eq!(client.ask("GET k"), "$1 1");
        replicas.iter().all(|replica| served(replica) > 20)
    });
    let before = served(&leader);
    assert_eq!(client.ask("CLIENT READS strong"), "+OK");
    assert_eq!(client.ask("GET k"), "$1 1");
    assert_eq!(served(&leader), before + 1);
}

#[test]
fn a_sentinel_that_wants_a_password_gets_it() {
    let leader = Server::start(&[]);
    let sentinel = leader.sentinel_with("requirepass quiet\n");
    let text = file(1, "", &[&[&leader]]);
    let text = format!("{text}sentinels = [\"{}\"]\nsentinel_master = \"group\"\n", sentinel.addr());
    let proxy = Proxy::start(&format!("{text}sentinel_password = \"quiet\"\n"), &[]);
    assert_eq!(proxy.client().ask("SET k 1"), "+OK");
    let status = |path: &std::path::Path| {
        let output = pontoon(&["status", "--config", path.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    let seen = status(&proxy.path());
    assert!(seen.contains(&format!("names {}", leader.addr())) && !seen.contains("quiet"), "{seen}");
    let without = Proxy::start(&text, &[]);
    assert!(status(&without.path()).contains("NOAUTH"));
}
