//! What reads promise, while nodes hang, die and come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult};

use crate::harness::{Cluster, free_ports, until};

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
    while !stop.load(Ordering::Relaxed) {
        let least = acknowledged.load(Ordering::SeqCst);
        match get(connection, key) {
            Ok(value) => {
                assert!(value.unwrap_or(0) >= least, "stale: {value:?}, but {least} was acknowledged before");
                answers += 1;
            }
            Err(error) => assert!(matches!(error.code(), Some("TIMEOUT" | "UNAVAILABLE")), "{error}"),
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
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        for pause_ms in [500, 1000, 3000] {
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
        stop.store(true, Ordering::Relaxed);
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
