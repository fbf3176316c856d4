//! A value and a set that are as large as they get, written all the time while their slots move, with nodes that die.
//!
//! `PONTOON_LARGE=1`: 64 MiB, a million members, and every five seconds a node is killed. Otherwise it is all smaller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, cmd};

use super::{Shape, balanced, put, settle};
use crate::harness::{Cluster, Stop, connect};

const KILL_EVERY: Duration = Duration::from_secs(5);

struct Size {
    value_bytes: usize,
    members: u64,
    kills: bool,
}

impl Size {
    fn wanted() -> Self {
        if std::env::var_os("PONTOON_LARGE").is_some() {
            return Self { value_bytes: 64 << 20, members: 1_000_000, kills: true };
        }
        Self { value_bytes: 8 << 20, members: 50_000, kills: false }
    }
}

/// What a client has written, and for how long it waited at most.
struct Written {
    value: Vec<u8>,
    round: u64,
    longest: Duration,
}

pub fn story(cluster: &mut Cluster, mut shape: Shape) {
    let size = Size::wanted();
    let mut c = cluster.connect();
    let value: Vec<u8> = (0..size.value_bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    cmd("SET").arg("large").arg(&value).query::<()>(&mut c).unwrap();
    for chunk in (0..size.members).collect::<Vec<_>>().chunks(5_000) {
        cmd("SADD").arg("members").arg(chunk).query::<()>(&mut c).unwrap();
    }
    let (address, stop) = (cluster.proxies[0].address.clone(), AtomicBool::new(false));
    let written = std::thread::scope(|scope| {
        let client = scope.spawn(|| write(&address, value, &stop));
        let stopped = Stop(&stop);
        for shards in [&[("b", 1)][..], &[("a", 1), ("b", 1)], &[("c", 1)]] {
            let began = Instant::now();
            put(&cluster.config(), &shape.next(shards));
            if size.kills {
                kill_while_it_moves(cluster, shape.version);
            }
            balanced(&settle(cluster, shape.version), shards);
            eprintln!("version {} took {:?}", shape.version, began.elapsed());
        }
        drop(stopped);
        client.join().unwrap()
    });
    eprintln!("{} rounds of writes, the longest wait {:?}", written.round, written.longest);
    assert!(written.round > 20, "hardly anything was written");
    check(&mut cluster.connect(), &size, &written);
}

/// Every few seconds a node dies and comes back, until all slots are where they are to be.
fn kill_while_it_moves(cluster: &mut Cluster, version: u64) {
    for turn in 0..40_usize {
        std::thread::sleep(KILL_EVERY);
        let status = cluster.status();
        if status["version"] == version && status["progress"]["slots_left"] == 0 {
            return;
        }
        let name = format!("n{}", (turn * 7 + version as usize) % 3 + 1);
        cluster.nodes.get_mut(&*name).unwrap().kill();
        std::thread::sleep(Duration::from_millis(300));
        cluster.start_node(&name);
    }
}

/// Overwrites parts of the value, and adds and removes members, none of which may be lost or done twice.
fn write(address: &str, value: Vec<u8>, stop: &AtomicBool) -> Written {
    let mut c = connect(address);
    let mut written = Written { value, round: 0, longest: Duration::ZERO };
    while !stop.load(Ordering::Relaxed) {
        written.round += 1;
        let round = written.round;
        let part = format!("<{round:08}>");
        let at = (round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (written.value.len() - part.len()) as u64) as usize;
        let member = format!("new:{round}");
        let began = Instant::now();
        let length: usize = cmd("SETRANGE").arg("large").arg(at).arg(&part).query(&mut c).unwrap();
        written.longest = written.longest.max(began.elapsed());
        assert_eq!(length, written.value.len());
        written.value[at..at + part.len()].copy_from_slice(part.as_bytes());
        let began = Instant::now();
        assert_eq!(cmd("SADD").arg("members").arg(&member).query::<u64>(&mut c).unwrap(), 1);
        written.longest = written.longest.max(began.elapsed());
        if round.is_multiple_of(2) {
            assert_eq!(cmd("SREM").arg("members").arg(&member).query::<u64>(&mut c).unwrap(), 1);
        }
    }
    written
}

fn check(c: &mut Connection, size: &Size, written: &Written) {
    cmd("CLIENT").arg("READS").arg("strong").query::<()>(c).unwrap();
    let found: Vec<u8> = cmd("GET").arg("large").query(c).unwrap();
    let differs = found.iter().zip(&written.value).position(|(found, written)| found != written);
    assert!(found.len() == written.value.len() && differs.is_none(), "the value is another one from {differs:?} on");
    let new: Vec<String> = (1..=written.round).filter(|n| !n.is_multiple_of(2)).map(|n| format!("new:{n}")).collect();
    let count: u64 = cmd("SCARD").arg("members").query(c).unwrap();
    assert_eq!(count, size.members + new.len() as u64);
    let old: Vec<String> = (0..size.members).map(|n| n.to_string()).collect();
    for chunk in old.chunks(50_000).chain(new.chunks(50_000)) {
        let there: Vec<u8> = cmd("SMISMEMBER").arg("members").arg(chunk).query(c).unwrap();
        assert!(there.iter().all(|there| *there == 1));
    }
}
