//! Nodes die, hang and come back; what was acknowledged stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Cluster, Process, Stop, until};

const ALL: &[usize] = &[1, 2, 3];

pub fn check_all(cluster: &Cluster, written: &BTreeMap<String, Vec<u32>>) {
    let mut connection = cluster.connect();
    // A session that wrote nothing may see a follower that is a heartbeat behind.
    redis::cmd("CLIENT").arg("READS").arg("strong").query::<String>(&mut connection).unwrap();
    for (prefix, numbers) in written {
        for chunk in numbers.chunks(500) {
            let keys: Vec<String> = chunk.iter().map(|number| format!("{prefix}:{number}")).collect();
            let found: Vec<Option<u32>> = redis::cmd("MGET").arg(&keys).query(&mut connection).unwrap();
            let lost: Vec<_> = chunk.iter().zip(&found).filter(|(n, f)| Some(**n) != **f).collect();
            assert!(lost.is_empty(), "{prefix}: acknowledged and lost: {lost:?}");
        }
    }
}

/// Lets four writers write while `faults` happen, and each of them some before and some after: however quickly the faults
/// are over, they meet writes under way.
pub fn under_load(cluster: &mut Cluster, faults: impl FnOnce(&mut Cluster)) -> BTreeMap<String, Vec<u32>> {
    let stop = AtomicBool::new(false);
    let counts: [AtomicUsize; 4] = Default::default();
    let mut written = BTreeMap::new();
    let address = cluster.proxies[0].address.clone();
    std::thread::scope(|scope| {
        let writers: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(writer, count)| {
                let (stop, address) = (&stop, address.clone());
                scope.spawn(move || {
                    let prefix = format!("w{writer}-{}", std::process::id());
                    let result = write_with(&address, &prefix, stop, count);
                    (prefix, result)
                })
            })
            .collect();
        let stopped = Stop(&stop);
        await_writes(&counts);
        faults(cluster);
        await_writes(&counts);
        drop(stopped);
        for writer in writers {
            let (prefix, (acknowledged, unknown)) = writer.join().unwrap();
            assert_eq!(unknown, 0, "{prefix}: writes of unknown outcome, though each fault was over in time");
            written.insert(prefix, acknowledged);
        }
    });
    written
}

/// Waits until ten more writes of each writer were acknowledged.
fn await_writes(counts: &[AtomicUsize]) {
    let now = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let before = now();
    until("each writer goes on", || {
        let counts = now();
        let all = counts.iter().zip(&before).all(|(now, before)| now - before >= 10);
        if all { Ok(()) } else { Err(format!("{before:?}, then {counts:?}")) }
    });
}

/// Writes `prefix:0`, `prefix:1`, ... until told to stop, and counts the acknowledged ones. Returns them, and how many ended
/// as unknown.
fn write_with(address: &str, prefix: &str, stop: &AtomicBool, count: &AtomicUsize) -> (Vec<u32>, u32) {
    let client = redis::Client::open(format!("redis://{address}/")).unwrap();
    let mut connection = client.get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut acknowledged, mut unknown) = (Vec::new(), 0);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{prefix}:{number}");
        match redis::cmd("SET").arg(key).arg(number).query::<String>(&mut connection) {
            Ok(_) => {
                acknowledged.push(number);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert_eq!(error.code(), Some("TIMEOUT"), "{error}");
                unknown += 1;
            }
        }
    }
    (acknowledged, unknown)
}

/// Waits until somebody else leads the shard.
fn await_other_leader(cluster: &Cluster, shard: &str, old: &str) {
    until("another leader", || {
        let found = cluster.shard(shard);
        if found["leader"].is_string() && found["leader"] != old { Ok(()) } else { Err(found.to_string()) }
    });
}

#[test]
fn acknowledged_writes_survive_the_death_of_a_leader_and_of_a_follower() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &[]);
    let written = under_load(&mut cluster, |cluster| {
        let leader = cluster.leader("a");
        cluster.nodes.get_mut(&leader).unwrap().kill();
        await_other_leader(cluster, "a", &leader);
        cluster.start_node(&leader);
        cluster.await_health();
        let leader = cluster.leader("b");
        let follower = ["n1", "n2", "n3"].into_iter().find(|n| **n != *leader).unwrap();
        cluster.nodes.get_mut(follower).unwrap().kill();
        cluster.start_node(follower);
        cluster.await_health();
    });
    check_all(&cluster, &written);
    // Each replica in turn holds all of it.
    for gone in ["n1", "n2", "n3"] {
        cluster.nodes.get_mut(gone).unwrap().kill();
        check_all(&cluster, &written);
        cluster.start_node(gone);
        cluster.await_health();
    }
    cluster.end();
}

#[test]
fn everything_is_there_after_all_nodes_were_killed_at_once() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &["--snapshot-entries", "100"]);
    let written = under_load(&mut cluster, |cluster| {
        // Several snapshots of each shard, a hundred entries apart.
        until("enough keys", || {
            let keys = ["a", "b"].map(|shard| cluster.shard(shard)["keys"].as_u64().unwrap());
            if keys.iter().all(|count| *count > 400) { Ok(()) } else { Err(format!("{keys:?}")) }
        });
        for name in ["n1", "n2", "n3"] {
            cluster.nodes.get_mut(name).unwrap().kill();
        }
        for name in ["n1", "n2", "n3"] {
            cluster.start_node(name);
        }
        cluster.await_health();
    });
    check_all(&cluster, &written);
    cluster.end();
}

#[test]
fn a_replica_that_is_far_behind_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let follower = ["n1", "n2", "n3"].into_iter().find(|n| **n != *cluster.leader("a")).unwrap();
    cluster.nodes.get_mut(follower).unwrap().kill();
    let mut connection = cluster.connect();
    let value = vec![b'v'; 1 << 20];
    for number in 0..80 {
        let key = format!("big:{number}");
        redis::cmd("SET").arg(key).arg(&value).query::<String>(&mut connection).unwrap();
    }
    cluster.start_node(follower);
    cluster.await_health();
    assert!(cluster.log(follower).contains("state received"), "{}", cluster.log(follower));
    // With one more gone, the majority needs the one that caught up.
    let other = ["n1", "n2", "n3"].into_iter().find(|n| *n != follower && **n != *cluster.leader("a")).unwrap();
    cluster.nodes.get_mut(other).unwrap().kill();
    redis::cmd("SET").arg("after").arg("1").query::<String>(&mut connection).unwrap();
    let lengths: Vec<usize> =
        (0..80).map(|n| redis::cmd("STRLEN").arg(format!("big:{n}")).query(&mut connection).unwrap()).collect();
    assert!(lengths.iter().all(|l| *l == 1 << 20));
    cluster.end();
}

#[test]
fn a_hanging_leader_costs_a_pause_and_no_error_to_readers() {
    let cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    redis::cmd("SET").arg("k").arg("1").query::<String>(&mut connection).unwrap();
    let leader = cluster.leader("a");
    cluster.nodes[&leader].signal("STOP");
    let began = Instant::now();
    let value: String = redis::cmd("GET").arg("k").query(&mut connection).unwrap();
    assert_eq!(value, "1");
    // The first write may have been on its way to the leader that hangs.
    let first = redis::cmd("SET").arg("k").arg("2").query::<String>(&mut cluster.connect());
    assert!(first.is_ok() || first.unwrap_err().code() == Some("TIMEOUT"));
    redis::cmd("SET").arg("k").arg("3").query::<String>(&mut cluster.connect()).unwrap();
    let paused = began.elapsed();
    cluster.nodes[&leader].signal("CONT");
    assert!(paused < Duration::from_secs(12), "{paused:?}");
    cluster.await_health();
    redis::cmd("CLIENT").arg("READS").arg("strong").query::<String>(&mut connection).unwrap();
    let value: String = redis::cmd("GET").arg("k").query(&mut connection).unwrap();
    assert_eq!(value, "3");
    cluster.end();
}

#[test]
fn the_death_of_a_leader_pauses_its_shard_only() {
    let mut cluster = Cluster::start(4, &[&[1, 2, 3], &[4]], &[]);
    let mut connection = cluster.connect();
    let key_of = |shard: &str| {
        (0..).map(|n| format!("key{n}")).find(|key| {
            let output = cluster.run(&["where", key, "--json"]);
            let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            found["shard"] == shard
        })
    };
    let (in_a, in_b) = (key_of("a").unwrap(), key_of("b").unwrap());
    let leader = cluster.leader("a");
    cluster.nodes.get_mut(&leader).unwrap().kill();
    let began = Instant::now();
    for _ in 0..100 {
        redis::cmd("SET").arg(&in_b).arg("1").query::<String>(&mut connection).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    redis::cmd("SET").arg(&in_a).arg("1").query::<String>(&mut connection).unwrap();
    cluster.end();
}

#[test]
fn a_damaged_log_is_refused_with_its_place() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    for number in 0..200 {
        redis::cmd("SET").arg(number).arg(vec![b'x'; 1000]).query::<String>(&mut connection).unwrap();
    }
    cluster.await_health();
    cluster.nodes.get_mut("n2").unwrap().kill();
    let segment = std::fs::read_dir(cluster.data("n2").join("log")).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = 60_000;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).unwrap();
    let error = cluster.try_start_node("n2").err().expect("a node with a damaged log must not start");
    assert!(error.contains(segment.to_str().unwrap()), "{error}");
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).unwrap();
    cluster.start_node("n2");
    cluster.await_health();
    cluster.end();
}

#[test]
fn a_torn_last_record_is_cut_off_and_fetched_again() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    for number in 0..200 {
        redis::cmd("SET").arg(number).arg(vec![b'x'; 1000]).query::<String>(&mut connection).unwrap();
    }
    cluster.await_health();
    let leader = cluster.leader("a");
    let follower = ["n1", "n2", "n3"].into_iter().find(|n| **n != *leader).unwrap();
    // All go, so that nobody remembers what the torn one acknowledged: a real torn record is one that nobody did.
    cluster.nodes.values_mut().for_each(Process::kill);
    let segment = std::fs::read_dir(cluster.data(follower).join("log")).unwrap();
    let segment = segment.map(|e| e.unwrap().path()).max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[end - 200..=end].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    ["n1", "n2", "n3"].into_iter().for_each(|name| cluster.start_node(name));
    cluster.await_health();
    assert!(cluster.log(follower).contains("cut off"), "{}", cluster.log(follower));
    // The majority needs it now, and it has everything.
    let other = ["n1", "n2", "n3"].into_iter().find(|n| *n != follower && **n != *cluster.leader("a")).unwrap();
    cluster.nodes.get_mut(other).unwrap().kill();
    let found: Vec<Option<Vec<u8>>> =
        redis::cmd("MGET").arg((0..200).collect::<Vec<u32>>()).query(&mut connection).unwrap();
    assert!(found.iter().all(|value| value.as_ref().is_some_and(|v| v.len() == 1000)));
    cluster.end();
}
