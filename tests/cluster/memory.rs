//! A node that may use only so much memory.

use redis::{Connection, RedisResult};

use crate::harness::{Cluster, until};

fn tag_of(cluster: &Cluster, shard: &str) -> String {
    let is_there = |tag: &String| {
        let output = cluster.run(&["where", &format!("{{{tag}}}"), "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        found["shard"] == shard
    };
    (0..).map(|number| format!("t{number}")).find(is_there).unwrap()
}

fn set(connection: &mut Connection, key: &str) -> RedisResult<String> {
    redis::cmd("SET").arg(key).arg(vec![b'v'; 1000]).query(connection)
}

#[test]
fn a_full_node_refuses_what_adds_and_goes_on_with_all_else() {
    let cluster = Cluster::start(4, &[&[1, 2, 3], &[4]], &["--max-memory", "200kb"]);
    let mut connection = cluster.connect();
    let (full, roomy) = (tag_of(&cluster, "a"), tag_of(&cluster, "b"));
    let key = |number: usize| format!("{{{full}}}{number}");
    let mut taken = 0;
    let error = loop {
        match set(&mut connection, &key(taken)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 300, "there is no limit");
    };
    assert_eq!(error.code(), Some("OOM"), "{error}");
    assert!(error.to_string().contains("command not allowed when used memory > 'maxmemory'."), "{error}");
    assert!(taken > 100, "{taken} were taken");

    // Whatever adds nothing goes on.
    let length: usize = redis::cmd("STRLEN").arg(key(0)).query(&mut connection).unwrap();
    let expiring: i64 = redis::cmd("EXPIRE").arg(key(0)).arg(1000).query(&mut connection).unwrap();
    assert_eq!((length, expiring), (1000, 1));
    assert!(redis::cmd("APPEND").arg(key(0)).arg("x").query::<i64>(&mut connection).is_err());
    assert!(set(&mut connection, &format!("{{{roomy}}}")).is_ok(), "the other shard is on a node with room");

    let shard = cluster.shard("a");
    assert_eq!(shard["types"]["string"]["keys"], taken, "{shard}");
    assert_eq!(shard["types"]["string"]["bytes"], shard["bytes"], "{shard}");

    // It is seen: the leader's node, and those that follow it.
    until("three full nodes", || {
        let status = cluster.status();
        let is_full = |node: &&serde_json::Value| {
            node["memory_limit_bytes"] == 200 << 10 && node["memory_bytes"].as_u64() > Some(200 << 10)
        };
        match status["nodes"].as_array().unwrap().iter().filter(is_full).count() {
            3 => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    let client = redis::Client::open(format!("redis://{}/", cluster.nodes[&cluster.leader("a")].address)).unwrap();
    let mut direct = client.get_connection().unwrap();
    let info: String = redis::cmd("INFO").arg("memory").query(&mut direct).unwrap();
    assert!(info.contains("maxmemory:204800\r\n"), "{info}");
    let limit: (String, String) = redis::cmd("CONFIG").arg("GET").arg("maxmemory").query(&mut direct).unwrap();
    assert_eq!(limit.1, "204800");

    // Deletes make room.
    for number in 0..10 {
        redis::cmd("DEL").arg(key(number)).query::<i64>(&mut connection).unwrap();
    }
    assert!(set(&mut connection, &key(0)).is_ok());

    // As redis-server does, a node takes another limit until it ends.
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("100kb").query::<String>(&mut direct).unwrap();
    assert!(set(&mut connection, &key(1)).is_err());
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").query::<String>(&mut direct).unwrap();
    for number in 0..300 {
        set(&mut connection, &key(number)).unwrap();
    }
    cluster.end();
}
