//! What reads promise, while nodes hang, die and come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult};

use crate::harness::{Cluster, Stop, free_ports, until};

const ALL: &[usize] = &[1, 2, 3];
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

fn level(connection: &mut Connection, level: &str) {
    redis::cmd("CLIENT").arg("READS").arg(level).query::<String>(connection).unwrap();
}

fn get(connection: &mut Connection, key: &str) -> RedisResult<Option<u64>> {
    redis::cmd("GET").arg(key).query(connection)
}

fn set(connection: &mut Connection, key: &str, value: u64) -> RedisResult<String> {
    redis::cmd("SET").arg(key).arg(value).query(connection)
}

/// What a process says at `/metrics`, and of that the number behind `line`.
fn metric(address: &str, line: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let found = text.lines().find_map(|l| l.strip_prefix(line))?;
    found.trim().parse().ok()
}

/// Sets `key` to 1, 2, ... until told to stop; says what was acknowledged. Returns the last.
fn count_up(connection: &mut Connection, key: &str, acknowledged: &AtomicU64, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        match set(connection, key, number) {
            Ok(_) => acknowledged.store(number, Ordering::SeqCst),
            Err(error) => assert!(matches!(error.code(), Some("TIMEOUT" | "UNAVAILABLE")), "{error}"),
        }
    }
    number
}

/// Reads `key` at level `strong` until told to stop: each answer has what was acknowledged before its question. Returns how many.
fn read_strongly(connection: &mut Connection, key: &str, acknowledged: &AtomicU64, stop: &AtomicBool) -> u64 {
    level(connection, "strong");
    let mut answers = 0;
    // So many at once that followers get their share.
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for _ in 0..50 {
        pipeline.cmd("GET").arg(key);
    }
    while !stop.load(Ordering::Relaxed) {
        let mut least = acknowledged.load(Ordering::SeqCst);
        let replies: Vec<RedisResult<Option<u64>>> = pipeline.query(connection).unwrap();
        for reply in replies {
            match reply {
                Ok(value) => {
                    assert!(value.unwrap_or(0) >= least, "stale: {value:?}, but {least} was seen before");
                    (least, answers) = (value.unwrap_or(0), answers + 1);
                }
                Err(error) => assert!(matches!(error.code(), Some("TIMEOUT" | "UNAVAILABLE")), "{error}"),
            }
        }
    }
    answers
}

/// Stops the leader again and again under writes through one proxy and strong reads through another. Returns how many strong
/// reads were answered.
fn strong_reads_under_pauses(cluster: &mut Cluster, proxy_args: &[&str]) -> u64 {
    cluster.start_proxy(proxy_args);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let cluster = &*cluster;
    std::thread::scope(|scope| {
        let (stop, acknowledged) = (&stop, &acknowledged);
        let writer = scope.spawn(move || count_up(&mut cluster.connect(), "k", acknowledged, stop));
        let read = move || read_strongly(&mut cluster.connect_to(1), "k", acknowledged, stop);
        let readers: Vec<_> = (0..6).map(|_| scope.spawn(read)).collect();
        let stopped = Stop(stop);
        for pause_ms in [500, 1000, 5000] {
            let leader = cluster.leader("a");
            let before = acknowledged.load(Ordering::SeqCst);
            cluster.nodes[&leader].signal("STOP");
            let began = Instant::now();
            // Short ones end before anybody else leads, long ones after that.
            std::thread::sleep(Duration::from_millis(pause_ms));
            cluster.nodes[&leader].signal("CONT");
            until("writes go on", || {
                let now = acknowledged.load(Ordering::SeqCst);
                if now > before + 20 { Ok(()) } else { Err(format!("{now} after {:?}", began.elapsed())) }
            });
            cluster.await_health();
        }
        drop(stopped);
        assert!(writer.join().unwrap() > 100);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    })
}

#[test]
fn a_paused_leader_answers_no_strong_read_with_what_was_true_before_b1() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let admin = format!("127.0.0.1:{}", free_ports(1)[0]);
    let answers = strong_reads_under_pauses(&mut cluster, &["--admin-listen", &admin]);
    assert!(answers > 300, "{answers}");
    // Followers had their share.
    for node in NAMES {
        let line = format!("pontoon_proxy_replica_reads_total{{shard=\"a\",node=\"{node}\"}}");
        assert!(metric(&admin, &line) > Some(0), "{node} answered none: {:?}", metric(&admin, &line));
    }
    cluster.end();
}

#[test]
fn a_paused_leader_with_a_lease_answers_no_strong_read_with_what_was_true_before_b2() {
    let mut cluster = Cluster::start(3, &[ALL], &["--read-lease"]);
    let admin = format!("127.0.0.1:{}", free_ports(1)[0]);
    let answers = strong_reads_under_pauses(&mut cluster, &["--admin-listen", &admin]);
    assert!(answers > 300, "{answers}");
    // Where the leader has a lease, nobody else is asked.
    let leader = cluster.leader("a");
    let mut connection = cluster.connect_to(1);
    level(&mut connection, "strong");
    let line = format!("pontoon_proxy_replica_reads_total{{shard=\"a\",node=\"{leader}\"}}");
    let before = metric(&admin, &line).unwrap();
    (0..200).for_each(|_| assert!(get(&mut connection, "k").unwrap().is_some()));
    assert_eq!(metric(&admin, &line).unwrap() - before, 200);
    cluster.end();
}

#[test]
fn a_replica_that_is_cut_off_answers_any_for_max_staleness_and_then_says_why_not() {
    let mut cluster = Cluster::start(3, &[ALL], &["--max-staleness-ms", "1000"]);
    cluster.start_proxy(&["--deadline-ms", "3000", "--reads", "any"]);
    let mut connection = cluster.connect_to(1);
    set(&mut connection, "k", 1).unwrap();
    let leader = cluster.leader("a");
    let alone = NAMES.into_iter().find(|n| *n != leader).unwrap();
    until("every replica to have it", || match get(&mut connection, "k") {
        Ok(Some(1)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let stopped: Vec<_> = NAMES.into_iter().filter(|n| *n != alone).collect();
    let began = Instant::now();
    stopped.iter().for_each(|name| cluster.nodes[*name].signal("STOP"));
    // It goes on for a while, and ends: what is answered later than that would be too old.
    let error = loop {
        let asked = Instant::now();
        match get(&mut connection, "k") {
            Ok(value) => {
                assert_eq!(value, Some(1));
                let late = asked.duration_since(began);
                assert!(late < Duration::from_millis(1500), "still answered after {late:?}");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some("UNAVAILABLE"), "{error}");
    assert!(error.to_string().contains("--max-staleness-ms"), "{error}");
    assert_eq!(cluster.shard("a")["leader"], serde_json::Value::Null);
    stopped.iter().for_each(|name| cluster.nodes[*name].signal("CONT"));
    until("reads again", || get(&mut connection, "k").map_err(|e| e.to_string()));
    cluster.end();
}

#[test]
fn orphans_are_read_until_the_majority_is_back_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3, &[ALL], &["--orphan-reads", "--max-staleness-ms", "500"]);
    cluster.start_proxy(&["--deadline-ms", "4000"]);
    let mut connection = cluster.connect_to(1);
    for number in 0..50 {
        set(&mut connection, &format!("k{number}"), number).unwrap();
    }
    cluster.await_health();
    let leader = cluster.leader("a");
    let gone: Vec<_> = NAMES.into_iter().filter(|n| *n != "n2").collect();
    gone.iter().for_each(|name| cluster.nodes.get_mut(*name).unwrap().kill());
    let write = set(&mut connection, "k0", 1000);
    let code = write.as_ref().err().and_then(|e| e.code().map(str::to_owned));
    let may_be_done = code.as_deref() == Some("TIMEOUT");
    assert!(may_be_done || code.as_deref() == Some("UNAVAILABLE"), "with {leader} gone: {write:?}");
    let mut reader = cluster.connect_to(1);
    let strong = {
        level(&mut reader, "strong");
        get(&mut reader, "k1").unwrap_err()
    };
    assert!(strong.to_string().contains("no reachable leader"), "{strong}");
    level(&mut reader, "any");
    for number in 1..50 {
        assert_eq!(get(&mut reader, &format!("k{number}")).unwrap(), Some(number));
    }
    let shard = cluster.shard("a");
    let replicas = shard["replicas"].as_array().unwrap();
    let orphan = replicas.iter().find(|r| r["node"] == "n2").unwrap();
    assert!(orphan["orphan"] == true && shard["leader"].is_null(), "{shard}");
    let table = String::from_utf8(cluster.run(&["status"]).stdout).unwrap();
    assert!(table.contains("n2 orphan ("), "{table}");
    gone.iter().for_each(|name| cluster.start_node(name));
    cluster.await_health();
    assert_eq!(set(&mut connection, "k1", 1001).unwrap(), "OK");
    let first = get(&mut connection, "k0").unwrap();
    assert!(first == Some(0) || (may_be_done && first == Some(1000)), "{first:?}");
    for number in 2..50 {
        assert_eq!(get(&mut connection, &format!("k{number}")).unwrap(), Some(number));
    }
    until("no orphan", || {
        let shard = cluster.shard("a");
        let orphans = shard["replicas"].as_array().unwrap().iter().filter(|r| r["orphan"] == true).count();
        if orphans == 0 { Ok(()) } else { Err(shard.to_string()) }
    });
    cluster.end();
}

/// One client that writes growing numbers to keys of its own and reads them, many requests at a time: it sees its own
/// answered writes and never goes back. Returns how many rounds were without errors.
fn writes_and_reads_its_own(connection: &mut Connection, keys: &[String], stop: &AtomicBool) -> u64 {
    let (mut seen, mut rounds) = (vec![0; keys.len()], 0);
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for key in keys {
            pipeline.cmd("GET").arg(key);
            pipeline.cmd("SET").arg(key).arg(number);
            pipeline.cmd("GET").arg(key);
        }
        pipeline.cmd("MGET").arg(keys);
        let replies: Vec<redis::RedisResult<redis::Value>> = pipeline.query(connection).unwrap();
        let value = |reply: &redis::Value| redis::from_redis_value_ref::<Option<u64>>(reply).unwrap().unwrap_or(0);
        for (at, key) in keys.iter().enumerate() {
            let [before, write, after] = &replies[at * 3..at * 3 + 3] else { panic!("three replies for {key}") };
            if let Ok(before) = before {
                assert!(value(before) >= seen[at], "{key} went back from {} to {before:?}", seen[at]);
                seen[at] = value(before);
            }
            if write.is_ok() {
                seen[at] = number;
            }
            if let Ok(after) = after {
                assert!(value(after) >= seen[at], "{key} shows {after:?} after {}", seen[at]);
                seen[at] = value(after);
            }
        }
        if let Some(Ok(all)) = replies.last() {
            let all: Vec<Option<u64>> = redis::from_redis_value_ref(all).unwrap();
            for ((key, value), seen) in keys.iter().zip(all).zip(&mut seen) {
                assert!(value.unwrap_or(0) >= *seen, "{key}: MGET shows {value:?} after {seen}");
                *seen = value.unwrap_or(0);
            }
        }
        rounds += u64::from(replies.iter().all(Result::is_ok));
    }
    rounds
}

/// One client that reads what another writes: what it sees never goes back.
fn never_goes_back(connection: &mut Connection, keys: &[String], stop: &AtomicBool) -> u64 {
    let (mut seen, mut rounds) = (vec![0; keys.len()], 0);
    while !stop.load(Ordering::Relaxed) {
        for (key, seen) in keys.iter().zip(&mut seen) {
            if let Ok(value) = get(connection, key) {
                assert!(value.unwrap_or(0) >= *seen, "{key} went back from {seen} to {value:?}");
                *seen = value.unwrap_or(0);
                rounds += 1;
            }
        }
    }
    rounds
}

#[test]
fn sessions_see_their_own_writes_and_never_go_back_whoever_dies_and_comes_back() {
    let mut cluster = Cluster::start(3, &[ALL, ALL, ALL], &["--snapshot-entries", "50"]);
    cluster.start_proxy(&[]);
    let keys: Vec<Vec<String>> = (0..3).map(|c| (0..6).map(|k| format!("c{c}:{k}")).collect()).collect();
    let stop = AtomicBool::new(false);
    let addresses: Vec<_> = (0..3).map(|client| (cluster.connect_to(client % 2), cluster.connect_to(1))).collect();
    std::thread::scope(|scope| {
        let (stop, keys) = (&stop, &keys);
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for ((mut one, mut other), keys) in addresses.into_iter().zip(keys) {
            writers.push(scope.spawn(move || writes_and_reads_its_own(&mut one, keys, stop)));
            readers.push(scope.spawn(move || never_goes_back(&mut other, keys, stop)));
        }
        let stopped = Stop(stop);
        for shard in ["a", "b"] {
            let leader = cluster.leader(shard);
            cluster.nodes.get_mut(&leader).unwrap().kill();
            until("another leader", || {
                let found = cluster.shard(shard);
                if found["leader"].is_string() && found["leader"] != leader { Ok(()) } else { Err(found.to_string()) }
            });
            // It comes back with a state that is as old as its last snapshot.
            cluster.start_node(&leader);
            cluster.await_health();
        }
        let leader = cluster.leader("c");
        let follower = NAMES.into_iter().find(|n| *n != leader).unwrap();
        cluster.nodes.get_mut(follower).unwrap().kill();
        cluster.start_node(follower);
        cluster.nodes[&leader].signal("STOP");
        std::thread::sleep(Duration::from_millis(1500));
        cluster.nodes[&leader].signal("CONT");
        cluster.await_health();
        drop(stopped);
        for (writer, reader) in writers.into_iter().zip(readers) {
            let (rounds, reads) = (writer.join().unwrap(), reader.join().unwrap());
            assert!(rounds > 20 && reads > 100, "{rounds} rounds, {reads} reads");
        }
    });
    cluster.end();
}
