//! Exactly once: commands that would tell if they were carried out twice, while leaders die, hang and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redis::cmd;

use crate::harness::{Cluster, Stop, connect, until};

const ALL: &[usize] = &[1, 2, 3];

/// What one client did.
#[derive(Debug, Default)]
struct Done {
    counted: Vec<i64>,
    appended: String,
    pushed: Vec<u64>,
    popped: Vec<u64>,
    drawn: Vec<String>,
    moved: i64,
    deleted: i64,
}

/// Writes in every way that shows a second time; no error is allowed.
fn write_all(address: &str, client: u64, stop: &AtomicBool) -> Done {
    let (mut connection, mut done) = (connect(address), Done::default());
    let set = format!("set{client}");
    let members: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    cmd("SADD").arg(&set).arg(&members).query::<()>(&mut connection).unwrap();
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let c = &mut connection;
        done.counted.push(cmd("INCR").arg("counter").query(c).unwrap());
        let letter = char::from(b'a' + (round % 26) as u8);
        done.appended.push(letter);
        let length: usize = cmd("APPEND").arg(format!("text{client}")).arg(letter.to_string()).query(c).unwrap();
        assert_eq!(length, done.appended.len());
        let element = client * 1_000_000 + round;
        cmd("RPUSH").arg("{q}list").arg(element).query::<u64>(c).unwrap();
        done.pushed.push(element);
        if round % 2 == 1 {
            done.popped.push(cmd("LPOP").arg("{q}list").query(c).unwrap());
        }
        done.drawn.push(cmd("SPOP").arg(&set).query(c).unwrap());
        let (_, from): (i64, i64) = redis::pipe()
            .atomic()
            .cmd("INCRBY")
            .arg("{bank}a")
            .arg(7)
            .cmd("DECRBY")
            .arg("{bank}b")
            .arg(7)
            .query(c)
            .unwrap();
        assert_eq!(from % 7, 0);
        done.moved += 7;
        // Over both shards and many slots.
        let keys: Vec<String> = (0..6).map(|n| format!("split{client}:{n}")).collect();
        let mut mset = cmd("MSET");
        for key in &keys {
            mset.arg(key).arg(round);
        }
        mset.query::<()>(c).unwrap();
        let deleted: i64 = cmd("DEL").arg(&keys).query(c).unwrap();
        assert_eq!(deleted, 6, "each was there once");
        done.deleted += deleted;
        assert!(cmd("INCR").arg(&set).query::<i64>(c).is_err(), "an error is an answer like any other");
    }
    done
}

fn check(cluster: &Cluster, all: &[Done]) {
    let mut c = cluster.connect();
    cmd("CLIENT").arg("READS").arg("strong").query::<()>(&mut c).unwrap();
    let counted: BTreeSet<i64> = all.iter().flat_map(|done| done.counted.iter().copied()).collect();
    let count: usize = all.iter().map(|done| done.counted.len()).sum();
    assert!(counted.len() == count && counted.last() == Some(&(count as i64)), "counted {count} times");
    assert_eq!(cmd("GET").arg("counter").query::<usize>(&mut c).unwrap(), count);
    let mut left: BTreeMap<u64, u32> = BTreeMap::new();
    for element in cmd("LRANGE").arg("{q}list").arg(0).arg(-1).query::<Vec<u64>>(&mut c).unwrap() {
        *left.entry(element).or_default() += 1;
    }
    for element in all.iter().flat_map(|done| &done.popped) {
        *left.entry(*element).or_default() += 1;
    }
    let pushed: BTreeMap<u64, u32> = all.iter().flat_map(|done| &done.pushed).map(|element| (*element, 1)).collect();
    assert!(left == pushed, "pushed, and popped or still there: each once");
    for (client, done) in all.iter().enumerate() {
        assert_eq!(cmd("GET").arg(format!("text{client}")).query::<String>(&mut c).unwrap(), done.appended);
        let drawn: BTreeSet<&String> = done.drawn.iter().collect();
        assert_eq!(drawn.len(), done.drawn.len());
        let rest: usize = cmd("SCARD").arg(format!("set{client}")).query(&mut c).unwrap();
        assert_eq!(rest + drawn.len(), 20_000);
    }
    let moved: i64 = all.iter().map(|done| done.moved).sum();
    let bank: (i64, i64) = cmd("MGET").arg("{bank}a").arg("{bank}b").query(&mut c).unwrap();
    assert_eq!(bank, (moved, -moved));
}

#[test]
fn every_kind_of_write_takes_effect_once_and_none_fails_while_leaders_die_and_hang() {
    let mut cluster = Cluster::start(3, &[ALL, &[2, 3, 1]], &["--snapshot-entries", "300"]);
    cluster.start_proxy(&[]);
    let addresses: Vec<String> = cluster.proxies.iter().map(|proxy| proxy.address.clone()).collect();
    let stop = AtomicBool::new(false);
    let all: Vec<Done> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, stop) = (&addresses[client as usize % 2], &stop);
                scope.spawn(move || write_all(address, client, stop))
            })
            .collect();
        let stopped = Stop(&stop);
        for (round, shard) in ["a", "b", "a", "b"].into_iter().enumerate() {
            let leader = cluster.leader(shard);
            if round < 2 {
                cluster.nodes.get_mut(&leader).unwrap().kill();
                cluster.start_node(&leader);
            } else {
                cluster.nodes[&leader].signal("STOP");
                until("another leader", || match cluster.shard(shard)["leader"].as_str() {
                    Some(other) if other != leader => Ok(()),
                    other => Err(format!("{other:?}")),
                });
                cluster.nodes[&leader].signal("CONT");
            }
            cluster.await_health();
        }
        drop(stopped);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(all.iter().all(|done| done.counted.len() > 20), "hardly anything was written");
    check(&cluster, &all);
    cluster.end();
}

#[test]
fn without_a_majority_a_write_waits_and_then_says_what_is_known_of_it() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    cluster.start_proxy(&["--deadline-ms", "1500"]);
    let mut connection = connect(&cluster.proxies[1].address);
    cmd("SET").arg("k").arg("before").query::<()>(&mut connection).unwrap();
    let leader = cluster.leader("a");
    let others: Vec<String> = cluster.nodes.keys().filter(|name| **name != leader).cloned().collect();
    others.iter().for_each(|name| cluster.nodes[name].signal("STOP"));
    let began = Instant::now();
    let sent = cmd("INCR").arg("n").query::<i64>(&mut connection).unwrap_err();
    assert!(sent.to_string().contains("outcome of this write is unknown"), "{sent}");
    assert!((1..10).contains(&began.elapsed().as_secs()), "after its deadline: {:?}", began.elapsed());
    // By now the leader knows that it is alone: nothing is sent to it.
    until("a write that was surely not taken", || {
        let error = cmd("INCR").arg("never").query::<i64>(&mut connection).unwrap_err();
        if error.to_string().contains("nothing was changed") { Ok(()) } else { Err(error.to_string()) }
    });
    others.iter().for_each(|name| cluster.nodes[name].signal("CONT"));
    cluster.await_health();
    let found: Option<i64> = cmd("GET").arg("n").query(&mut connection).unwrap();
    assert!(matches!(found, None | Some(1)), "once at most: {found:?}");
    assert_eq!(cmd("GET").arg("k").query::<String>(&mut connection).unwrap(), "before");
    cluster.end();
}
