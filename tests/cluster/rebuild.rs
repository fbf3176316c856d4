//! A node loses its disk and comes back with an empty directory: it becomes a voter again with all data, and nobody who
//! lost his log ever votes.

use std::fs;

use serde_json::Value;

use crate::failover::{check_all, under_load};
use crate::harness::{Cluster, Process, until};

const ALL: &[usize] = &[1, 2, 3];

/// kill -9, and all that the node had is gone.
pub fn wipe(cluster: &mut Cluster, node: &str) {
    cluster.nodes.get_mut(node).unwrap().kill();
    fs::remove_dir_all(cluster.data(node)).unwrap();
}

fn replica<'a>(shard: &'a Value, node: &str) -> &'a Value {
    shard["replicas"].as_array().unwrap().iter().find(|r| r["node"] == node).unwrap()
}

/// Waits until the node's replicas of these shards and of the catalog vote and have everything.
pub fn await_rebuilt(cluster: &Cluster, node: &str, shards: &[&str]) {
    until("the node is rebuilt", || {
        let status = cluster.status();
        let groups = status["shards"].as_array().unwrap().iter().chain([&status["catalog"]]);
        let here = groups.filter(|g| g["name"] == "catalog" || shards.iter().any(|name| g["name"] == *name));
        let votes = |r: &Value| r["role"] == "follower" || r["role"] == "leader";
        let done = here.map(|g| replica(g, node)).all(|r| votes(r) && r["lag"] == 0);
        if done && status["changes"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(status.to_string()) }
    });
}

fn identity(cluster: &Cluster, node: &str) -> String {
    fs::read_to_string(cluster.data(node).join("identity")).unwrap()
}

#[test]
fn nodes_that_lose_their_disks_one_after_the_other_get_all_data_back_while_writes_go_on() {
    let mut cluster = Cluster::start(3, &[ALL, &[2, 3, 1]], &["--snapshot-entries", "200"]);
    let written = under_load(&mut cluster, |cluster| {
        // A leader of data and of the catalog among them, as each node has its turn.
        for node in ["n1", "n2", "n3"] {
            wipe(cluster, node);
            cluster.start_node(node);
            await_rebuilt(cluster, node, &["a", "b"]);
        }
    });
    check_all(&cluster, &written);
    // A disk that is lost again while it is being filled, whatever had come to it by then.
    for _ in 0..3 {
        wipe(&mut cluster, "n2");
        cluster.start_node("n2");
    }
    await_rebuilt(&cluster, "n2", &["a", "b"]);
    // A rebuilt node is a node like any other: it restarts, and the others may go.
    for node in ["n1", "n3"] {
        let before = identity(&cluster, node);
        cluster.nodes.get_mut(node).unwrap().kill();
        cluster.start_node(node);
        cluster.await_health();
        assert_eq!(identity(&cluster, node), before);
    }
    for gone in ["n1", "n2", "n3"] {
        cluster.nodes.get_mut(gone).unwrap().kill();
        check_all(&cluster, &written);
        cluster.start_node(gone);
        cluster.await_health();
    }
    cluster.end();
}

#[test]
fn leaders_that_die_at_any_step_of_a_rebuild_do_not_stop_it() {
    let mut cluster = Cluster::start(3, &[ALL, &[2, 3, 1]], &["--snapshot-entries", "50"]);
    let mut connection = cluster.connect();
    for round in 0..6_u64 {
        for number in 0..100 {
            let outcome = redis::cmd("SET").arg(number).arg(round).query::<String>(&mut connection);
            assert!(outcome.is_ok() || outcome.as_ref().is_err_and(|e| e.code() == Some("TIMEOUT")), "{outcome:?}");
        }
        wipe(&mut cluster, "n3");
        cluster.start_node("n3");
        // Somewhere between its being let in and its vote.
        std::thread::sleep(std::time::Duration::from_millis(round * 70));
        for node in ["n1", "n2"] {
            cluster.nodes.get_mut(node).unwrap().kill();
            cluster.start_node(node);
        }
        await_rebuilt(&cluster, "n3", &["a", "b"]);
    }
    cluster.await_health();
    redis::cmd("CLIENT").arg("READS").arg("strong").query::<String>(&mut connection).unwrap();
    let found: Vec<Option<u64>> = redis::cmd("MGET").arg((0..100).collect::<Vec<_>>()).query(&mut connection).unwrap();
    assert!(found.iter().all(|value| *value == Some(5)), "{found:?}");
    cluster.end();
}

#[test]
fn a_node_without_a_log_does_not_help_anybody_to_a_majority() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    for number in 0..200 {
        redis::cmd("SET").arg(number).arg(number).query::<String>(&mut connection).unwrap();
    }
    cluster.await_health();
    let leader = cluster.leader("a");
    let others: Vec<_> = ["n1", "n2", "n3"].into_iter().filter(|name| **name != *leader).collect();
    let (down, wiped) = (others[0], others[1]);
    cluster.nodes.get_mut(down).unwrap().kill();
    wipe(&mut cluster, wiped);
    cluster.start_node(wiped);
    // It asks for its place, and nobody can give it: two of three are needed for that, and one is there.
    until("the leader steps down", || {
        let shard = cluster.shard("a");
        if shard["leader"].is_null() { Ok(()) } else { Err(shard.to_string()) }
    });
    let client = redis::Client::open(format!("redis://{}/", cluster.proxies[0].address)).unwrap();
    let mut hopeful = client.get_connection().unwrap();
    let outcome = redis::cmd("SET").arg("k").arg("v").query::<String>(&mut hopeful);
    assert!(outcome.is_err(), "a write without a majority: {outcome:?}");
    let status = cluster.status();
    assert!(replica(&status["shards"][0], wiped)["role"].is_null(), "it takes part: {status}");
    assert!(status["shards"][0]["leader"].is_null() && status["catalog"]["leader"].is_null(), "{status}");
    cluster.start_node(down);
    await_rebuilt(&cluster, wiped, &["a"]);
    let found: Vec<Option<u32>> =
        redis::cmd("MGET").arg((0..200).collect::<Vec<u32>>()).query(&mut connection).unwrap();
    assert!(found.iter().zip(0..).all(|(found, number)| *found == Some(number)), "{found:?}");
    cluster.end();
}

#[test]
fn a_disk_that_was_replaced_never_returns_and_a_living_node_is_not_replaced() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    redis::cmd("SET").arg("k").arg("v").query::<String>(&mut connection).unwrap();
    // An empty directory under the name of a node that lives, elsewhere.
    let (config, elsewhere) = (cluster.config(), cluster.dir.path().join("elsewhere"));
    let args = ["node", "--config", config.to_str().unwrap(), "--name", "n2", "--data", elsewhere.to_str().unwrap()];
    let log = cluster.dir.path().join("elsewhere.log");
    let second = Process::start(&[&args[..], &["--listen", "127.0.0.1:0"]].concat(), &log).unwrap();
    until("it is refused", || {
        let text = fs::read_to_string(&log).unwrap();
        if text.contains("node `n2` lives") { Ok(()) } else { Err(text) }
    });
    drop(second);
    cluster.await_health();
    // The disk of n2 is taken out, and put back in after another took its place.
    cluster.nodes.get_mut("n2").unwrap().kill();
    let kept = cluster.dir.path().join("kept");
    fs::rename(cluster.data("n2"), &kept).unwrap();
    cluster.start_node("n2");
    await_rebuilt(&cluster, "n2", &["a"]);
    cluster.nodes.get_mut("n2").unwrap().kill();
    fs::rename(cluster.data("n2"), elsewhere.with_extension("new")).unwrap();
    fs::rename(&kept, cluster.data("n2")).unwrap();
    for again in [false, true] {
        // The first time it has to hear of it.
        let started = cluster.try_start_node("n2");
        let error = match started {
            Ok(mut process) => {
                assert!(!again, "it knows by now that it was replaced");
                assert_eq!(process.wait(), Some(1));
                cluster.log("n2")
            }
            Err(error) => error,
        };
        assert!(error.contains("it may never act again: empty it"), "{error}");
    }
    fs::remove_dir_all(cluster.data("n2")).unwrap();
    fs::rename(elsewhere.with_extension("new"), cluster.data("n2")).unwrap();
    cluster.start_node("n2");
    cluster.await_health();
    cluster.end();
}

#[test]
fn a_shard_whose_only_disk_is_gone_is_reported_lost_and_not_formed_again() {
    let mut cluster = Cluster::start(3, &[ALL, &[3]], &[]);
    wipe(&mut cluster, "n3");
    cluster.start_node("n3");
    await_rebuilt(&cluster, "n3", &["a"]);
    assert!(cluster.log("n3").contains("the shard is lost"), "{}", cluster.log("n3"));
    for restarted in [false, true] {
        let shard = cluster.shard("b");
        assert_eq!((&shard["lost"], &shard["leader"]), (&true.into(), &Value::Null), "{shard}");
        assert_eq!(cluster.shard("a")["lost"], false);
        let table = String::from_utf8(cluster.run(&["status"]).stdout).unwrap();
        assert!(table.contains("shard b is lost"), "{table}");
        if !restarted {
            cluster.nodes.get_mut("n3").unwrap().kill();
            cluster.start_node("n3");
            await_rebuilt(&cluster, "n3", &["a"]);
        }
    }
    // What is lost cannot be compared.
    cluster.abandon();
}
