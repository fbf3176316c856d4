//! Blocked clients while leaders die and hang: every element is popped once, and nobody waits for ever.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, Value, cmd};

use crate::harness::{Cluster, Stop, connect, until};

const ALL: &[usize] = &[1, 2, 3];

/// How many clients the proxy says to be blocked. Their requests may still be on their way.
fn blocked(connection: &mut Connection) -> u64 {
    let info: String = cmd("INFO").arg("clients").query(connection).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap();
    line.trim().parse().unwrap()
}

/// Waits until so many clients are in the shard's queues.
fn await_queued(cluster: &Cluster, count: u64) {
    until("clients in the queues", || match cluster.shard("a")["clients_blocked"].as_u64() {
        Some(found) if found == count => Ok(()),
        found => Err(format!("{found:?} queued, not {count}")),
    });
}

fn await_blocked(connection: &mut Connection, count: u64) {
    until("blocked clients", || match blocked(connection) {
        found if found == count => Ok(()),
        found => Err(format!("{found} blocked, not {count}")),
    });
}

fn await_other_leader(cluster: &Cluster, old: &str) {
    until("another leader", || match cluster.shard("a")["leader"].as_str() {
        Some(other) if other != old => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Pops until it is told to stop and there is nothing more; what it got.
fn pop_all(address: &str, stop: &AtomicBool) -> Vec<u64> {
    let (mut connection, mut popped) = (connect(address), Vec::new());
    loop {
        let was_stopped = stop.load(Ordering::Relaxed);
        match cmd("BLPOP").arg("{q}1").arg("{q}2").arg(1.5).query::<Option<(String, u64)>>(&mut connection) {
            Ok(Some((_, element))) => popped.push(element),
            Ok(None) if was_stopped => return popped,
            Ok(None) => {}
            Err(error) => panic!("a blocked client got {error}"),
        }
    }
}

/// Pushes until it is told to stop: what was acknowledged, and what may have been pushed.
fn push_all(address: &str, stop: &AtomicBool) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut connection, mut pushed, mut unknown) = (connect(address), BTreeSet::new(), BTreeSet::new());
    for element in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return (pushed, unknown);
        }
        let key = format!("{{q}}{}", 1 + element % 2);
        match cmd("RPUSH").arg(key).arg(element).query::<u64>(&mut connection) {
            Ok(_) => drop(pushed.insert(element)),
            Err(error) => {
                assert_eq!(error.code(), Some("TIMEOUT"), "{error}");
                unknown.insert(element);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    unreachable!("there are more numbers than time")
}

#[test]
fn every_element_is_popped_once_while_leaders_die_and_hang() {
    let mut cluster = Cluster::start(3, &[ALL], &["--snapshot-entries", "200"]);
    let (stop_pushing, stop_popping) = (AtomicBool::new(false), AtomicBool::new(false));
    let address = cluster.proxies[0].address.clone();
    std::thread::scope(|scope| {
        let poppers: Vec<_> = (0..20).map(|_| scope.spawn(|| pop_all(&address, &stop_popping))).collect();
        let pusher = scope.spawn(|| push_all(&address, &stop_pushing));
        let (pushing, popping) = (Stop(&stop_pushing), Stop(&stop_popping));
        for _ in 0..2 {
            let leader = cluster.leader("a");
            cluster.nodes.get_mut(&leader).unwrap().kill();
            cluster.start_node(&leader);
            cluster.await_health();
            let leader = cluster.leader("a");
            cluster.nodes[&leader].signal("STOP");
            await_other_leader(&cluster, &leader);
            cluster.nodes[&leader].signal("CONT");
            cluster.await_health();
        }
        drop(pushing);
        let (pushed, unknown) = pusher.join().unwrap();
        drop(popping);
        let mut popped: Vec<u64> = poppers.into_iter().flat_map(|popper| popper.join().unwrap()).collect();
        popped.sort_unstable();
        let once: BTreeSet<u64> = popped.iter().copied().collect();
        assert_eq!(once.len(), popped.len(), "an element was popped twice");
        let lost: Vec<_> = pushed.difference(&once).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(once.iter().all(|element| pushed.contains(element) || unknown.contains(element)));
        assert!(pushed.len() > 100, "hardly anything was pushed");
    });
    cluster.end();
}

#[test]
fn blocked_clients_outlive_their_leader_in_the_order_of_arrival() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let address = cluster.proxies[0].address.clone();
    let mut control = connect(&address);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..30)
            .map(|number| {
                let address = &address;
                let waiter = scope.spawn(move || {
                    let (_, element): (String, u64) =
                        cmd("BLPOP").arg("k").arg(0).query(&mut connect(address)).unwrap();
                    element
                });
                // The order of arrival is the shard's: two connections may come over two workers.
                await_queued(&cluster, number + 1);
                waiter
            })
            .collect();
        let leader = cluster.leader("a");
        cluster.nodes.get_mut(&leader).unwrap().kill();
        let elements: Vec<u64> = (0..30).collect();
        await_other_leader(&cluster, &leader);
        cmd("RPUSH").arg("k").arg(&elements).query::<u64>(&mut control).unwrap();
        let got: Vec<u64> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        assert_eq!(got, elements);
        assert_eq!(cmd("EXISTS").arg("k").query::<u64>(&mut control).unwrap(), 0);
        cluster.start_node(&leader);
        cluster.await_health();
    });
    cluster.end();
}

#[test]
fn waits_end_in_time_and_by_other_clients() {
    let cluster = Cluster::start(3, &[ALL], &[]);
    let address = &cluster.proxies[0].address;
    let mut control = connect(address);
    let began = Instant::now();
    assert_eq!(cmd("BLPOP").arg("k").arg(0.3).query::<Value>(&mut control).unwrap(), Value::Nil);
    let took = began.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    std::thread::scope(|scope| {
        for (how, end) in [("TIMEOUT", Ok(Value::Nil)), ("ERROR", Err(Some("UNBLOCKED".to_owned())))] {
            let mut waiting = connect(address);
            let id: u64 = cmd("CLIENT").arg("ID").query(&mut waiting).unwrap();
            let waiter = scope.spawn(move || {
                let reply = cmd("BRPOPLPUSH").arg("{k}1").arg("{k}2").arg(0).query::<Value>(&mut waiting);
                reply.map_err(|error| error.code().map(str::to_owned))
            });
            await_blocked(&mut control, 1);
            let unblocked: u64 = cmd("CLIENT").arg("UNBLOCK").arg(id).arg(how).query(&mut control).unwrap();
            assert_eq!((unblocked, waiter.join().unwrap()), (1, end));
            assert_eq!(cmd("CLIENT").arg("UNBLOCK").arg(id).query::<u64>(&mut control).unwrap(), 0);
        }
    });
    // Whoever went away takes nothing with him.
    let mut gone = connect(address);
    gone.send_packed_command(&cmd("BLPOP").arg("k").arg(0).get_packed_command()).unwrap();
    await_blocked(&mut control, 1);
    drop(gone);
    await_blocked(&mut control, 0);
    until("nobody waits", || {
        cmd("DEL").arg("k").query::<u64>(&mut control).unwrap();
        cmd("RPUSH").arg("k").arg(1).query::<u64>(&mut control).unwrap();
        let length: u64 = cmd("LLEN").arg("k").query(&mut control).unwrap();
        if length == 1 { Ok(()) } else { Err("the element was popped for nobody".to_owned()) }
    });
    cluster.end();
}
