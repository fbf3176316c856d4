//! `pontoon verify` against real clusters.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::harness::{Cluster, Process, Stop, until};

const ALL: &[usize] = &[1, 2, 3];

fn report(cluster: &Cluster, more: &[&str]) -> (Option<i32>, Value) {
    let output = cluster.run(&[&["verify", "--json"], more].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}")))
}

#[test]
fn replicas_are_compared_while_writes_go_on_and_let_go_of_afterwards() {
    let cluster = Cluster::start(3, &[ALL, &[2, 3, 1]], &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, stop) = (cluster.connect(), &stop);
        scope.spawn(move || {
            let mut writer = writer;
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let key = format!("k{}", number % 500);
                redis::cmd("SET").arg(key).arg(number).arg("PX").arg(300).query::<String>(&mut writer).unwrap();
            }
        });
        let _stopped = Stop(stop);
        // As many as are written in 300 ms, which are few where much else goes on.
        until("some keys", || match cluster.shard("a")["keys"].as_u64() {
            Some(keys) if keys > 5 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        for _ in 0..5 {
            let (code, report) = report(&cluster, &[]);
            assert_eq!((code, &report["verdict"]), (Some(0), &"identical".into()), "{report}");
            for shard in report["shards"].as_array().unwrap() {
                assert_eq!(shard["slots"], 8192);
                assert_eq!(shard["replicas"].as_array().unwrap().len(), 3);
            }
        }
    });
    cluster.end();
}

#[test]
fn a_replica_that_cannot_be_asked_is_named_and_the_others_are_compared() {
    let mut cluster = Cluster::start(3, &[ALL], &[]);
    let mut connection = cluster.connect();
    redis::cmd("SET").arg("k").arg("v").query::<String>(&mut connection).unwrap();
    let leader = cluster.leader("a");
    let follower = ["n1", "n2", "n3"].into_iter().find(|name| **name != *leader).unwrap();
    cluster.nodes.get_mut(follower).unwrap().kill();
    let (code, found) = report(&cluster, &[]);
    assert_eq!((code, &found["verdict"]), (Some(2), &"incomplete".into()), "{found}");
    let replicas = found["shards"][0]["replicas"].as_array().unwrap();
    for replica in replicas {
        let problem = if replica["node"] == follower { "connection refused".into() } else { Value::Null };
        assert_eq!(replica["problem"], problem, "{found}");
    }
    // Without a majority there is no position to compare at.
    cluster.nodes.get_mut(&leader).unwrap().kill();
    let (code, found) = report(&cluster, &["--timeout-ms", "1000"]);
    assert_eq!((code, &found["shards"][0]["index"]), (Some(2), &Value::Null), "{found}");
    cluster.nodes.values_mut().for_each(Process::kill);
    let output = cluster.run(&["verify"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no node answered"), "{output:?}");
    cluster.end();
}
