//! `pontoon balance --redis-cluster` with real servers: twelve instances on four hosts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use redis::Connection;
use serde_json::Value;

use crate::harness::{free_ports, until};

/// Masters and their replicas: the hosts of each pair.
type Pairs<'a> = &'a [(u8, u8)];

struct Instance {
    child: Child,
    addr: String,
    host: u8,
    bus: u16,
}

/// A Redis Cluster of six masters with a replica each.
struct RedisCluster {
    _dir: tempfile::TempDir,
    /// The first masters, then their replicas.
    instances: Vec<Instance>,
    pairs: usize,
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for instance in &mut self.instances {
            let _ = instance.child.kill();
            let _ = instance.child.wait();
        }
    }
}

fn start(dir: &Path, host: u8) -> Instance {
    let ports = free_ports(2);
    let (port, bus) = (ports[0], ports[1]);
    let (port_text, bus_text) = (port.to_string(), bus.to_string());
    let (bind, nodes) = (format!("127.0.0.{host}"), format!("nodes-{port}.conf"));
    let args = [
        ["--port", &port_text],
        ["--bind", &bind],
        ["--cluster-announce-ip", &bind],
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus_text],
        ["--cluster-config-file", &nodes],
        ["--cluster-node-timeout", "15000"],
        ["--repl-diskless-sync-delay", "0"],
        ["--appendonly", "no"],
        ["--save", ""],
        ["--dir", dir.to_str().unwrap()],
    ]
    .concat();
    let child = Command::new("redis-server").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Instance { child: child.expect("redis-server is installed"), addr: format!("127.0.0.{host}:{port}"), host, bus }
}

impl RedisCluster {
    fn start(pairs: Pairs<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let masters = pairs.iter().map(|(master, _)| start(dir.path(), *master));
        let replicas = pairs.iter().map(|(_, replica)| start(dir.path(), *replica));
        let instances: Vec<Instance> = masters.chain(replicas).collect();
        let cluster = Self { _dir: dir, instances, pairs: pairs.len() };
        cluster.form();
        cluster
    }

    fn form(&self) {
        let ask = |at: usize, words: &[&str]| {
            let answer: Result<String, _> = cluster_command(&mut self.connect(at), words);
            answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
        };
        let share = 16384 / self.pairs;
        for at in 0..self.pairs {
            let last = if at + 1 == self.pairs { 16383 } else { (at + 1) * share - 1 };
            ask(at, &["ADDSLOTSRANGE", &(at * share).to_string(), &last.to_string()]);
            ask(at, &["SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for instance in &self.instances[1..] {
            let (host, port) = instance.addr.rsplit_once(':').unwrap();
            ask(0, &["MEET", host, port, &instance.bus.to_string()]);
        }
        let ids: Vec<String> = (0..self.instances.len()).map(|at| ask(at, &["MYID"])).collect();
        for (replica, master) in (self.pairs..self.instances.len()).zip(&ids) {
            until("the replica knows its master", || {
                let answer: Result<String, _> = cluster_command(&mut self.connect(replica), &["REPLICATE", master]);
                answer.map(drop).map_err(|error| error.to_string())
            });
        }
        until("a cluster that is well", || {
            for at in 0..self.instances.len() {
                let (info, nodes) = (ask(at, &["INFO"]), ask(at, &["NODES"]));
                let replicas = nodes.lines().filter(|line| line.contains("slave")).count();
                if !info.contains("cluster_state:ok") || replicas != self.pairs || nodes.contains("handshake") {
                    return Err(format!("{info}\n{nodes}"));
                }
            }
            for at in self.pairs..self.instances.len() {
                let info: String = redis::cmd("INFO").arg("replication").query(&mut self.connect(at)).unwrap();
                if !info.contains("master_link_status:up") || info.contains("master_sync_in_progress:1") {
                    return Err(info);
                }
            }
            Ok(())
        });
    }

    fn connect(&self, at: usize) -> Connection {
        let client = redis::Client::open(format!("redis://{}/", self.instances[at].addr)).unwrap();
        until("a connection", || client.get_connection().map_err(|error| error.to_string()))
    }

    fn balance(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontoon"));
        command.args(["balance", "--redis-cluster", &self.instances[self.pairs].addr]).args(args).output().unwrap()
    }

    fn balance_json(&self, args: &[&str]) -> Value {
        let output = self.balance(&[&["--json"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// How many masters each host has, as the last instance knows.
    fn masters(&self) -> BTreeMap<u8, usize> {
        let nodes: String = cluster_command(&mut self.connect(self.instances.len() - 1), &["NODES"]).unwrap();
        let mut masters: BTreeMap<u8, usize> = self.instances.iter().map(|instance| (instance.host, 0)).collect();
        for line in nodes.lines().filter(|line| line.contains("master")) {
            let host = line.split_whitespace().nth(1).unwrap().strip_prefix("127.0.0.").unwrap();
            *masters.get_mut(&host.split(':').next().unwrap().parse().unwrap()).unwrap() += 1;
        }
        masters
    }

    fn signal(&self, at: usize, name: &str) {
        let id = self.instances[at].child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

fn cluster_command(connection: &mut Connection, words: &[&str]) -> redis::RedisResult<String> {
    redis::cmd("CLUSTER").arg(words).query(connection)
}

/// What is told of the islands: for each the hosts with their masters before and after.
fn islands(told: &Value) -> Vec<String> {
    let host =
        |host: &Value| format!("{} {}->{}", host["host"].as_str().unwrap(), host["leaders"], host["leaders_after"]);
    let island = |island: &Value| island["hosts"].as_array().unwrap().iter().map(host).collect::<Vec<_>>().join(", ");
    told["islands"].as_array().unwrap().iter().map(island).collect()
}

#[test]
fn masters_go_through_a_third_host_where_that_is_the_only_way() {
    // Host 1 can give to host 2 alone, which has its share, and gives to host 3 in turn.
    let cluster = RedisCluster::start(&[(1, 2), (1, 2), (1, 2), (2, 3), (2, 3), (3, 4)]);
    assert_eq!(cluster.masters(), BTreeMap::from([(1, 3), (2, 2), (3, 1), (4, 0)]));
    redis::cmd("SET").arg("{a}").arg("1").query::<()>(&mut cluster.connect(key_owner("{a}"))).unwrap();
    let plan = cluster.balance_json(&["--dry-run"]);
    assert_eq!(islands(&plan), ["127.0.0.1 3->2, 127.0.0.2 2->2, 127.0.0.3 1->2, 127.0.0.4 0->0"]);
    assert_eq!(plan["transfers"].as_array().unwrap().len(), 2, "{plan}");
    assert_eq!(cluster.masters()[&1], 3, "nothing was done");
    let done = cluster.balance_json(&[]);
    let transfers = done["transfers"].as_array().unwrap();
    assert!(transfers.len() == 2 && transfers.iter().all(|transfer| transfer["outcome"] == "done"), "{done}");
    assert_eq!(cluster.masters(), BTreeMap::from([(1, 2), (2, 2), (3, 2), (4, 0)]));
    assert_eq!(cluster.balance_json(&[])["transfers"], Value::Array(Vec::new()), "what is even stays");
    let text = String::from_utf8(cluster.balance(&["--dry-run"]).stdout).unwrap();
    assert!(text.contains("island 1: 4 hosts, 6 shards") && text.contains("no transfer would spread"), "{text}");
    // The key is where its slot is, at whoever is master there now.
    let (master, replica) = (key_owner("{a}"), key_owner("{a}") + cluster.pairs);
    let found = [master, replica].map(|at| redis::cmd("GET").arg("{a}").query::<String>(&mut cluster.connect(at)));
    assert!(found.iter().flatten().any(|value| value == "1"), "{found:?}");
}

/// Which of six masters has the slot of a key, as Redis counts slots.
fn key_owner(key: &str) -> usize {
    let tag = key.trim_matches(['{', '}']);
    let mut crc = 0_u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        (0..8).for_each(|_| crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 });
    }
    (usize::from(crc % 16384) / (16384 / 6)).min(5)
}

#[test]
fn each_of_two_islands_is_balanced_and_a_failover_that_does_not_come_about_stops_it() {
    let cluster = RedisCluster::start(&[(1, 2), (1, 2), (1, 2), (3, 4), (3, 4), (3, 4)]);
    let plan = cluster.balance_json(&["--dry-run"]);
    assert_eq!(islands(&plan), ["127.0.0.1 3->2, 127.0.0.2 0->1", "127.0.0.3 3->2, 127.0.0.4 0->1"]);
    // Of six masters four hang: nobody can be elected.
    let hang = [2, 3, 4, 5];
    hang.iter().for_each(|at| cluster.signal(*at, "STOP"));
    let stopped = cluster.balance(&["--timeout-ms", "2000"]);
    let errors = String::from_utf8_lossy(&stopped.stderr).into_owned();
    hang.iter().for_each(|at| cluster.signal(*at, "CONT"));
    assert_eq!(stopped.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("stopped: the failover of 127.0.0.1:") && errors.contains("is not the master after 2000 ms"),
        "{errors}"
    );
    // What was begun may still come about, or not; then the rest is done.
    until("masters that are spread", || {
        let output = cluster.balance(&["--json"]);
        let masters = cluster.masters();
        let is_done = output.status.success() && masters == BTreeMap::from([(1, 2), (2, 1), (3, 2), (4, 1)]);
        if is_done { Ok(()) } else { Err(format!("{masters:?} {}", String::from_utf8_lossy(&output.stderr))) }
    });
}

#[test]
fn what_is_no_redis_cluster_is_an_error_that_says_so() {
    let port = free_ports(1)[0];
    let addr = format!("127.0.0.1:{port}");
    let run = |addr: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_pontoon")).args(["balance", "--redis-cluster", addr]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = run(&addr);
    assert!(code == Some(1) && errors.contains("connection refused"), "{errors}");
    let dir = tempfile::tempdir().unwrap();
    let args = ["--port", &port.to_string(), "--save", "", "--dir", dir.path().to_str().unwrap()];
    let mut plain = Command::new("redis-server").args(args).stdout(Stdio::null()).spawn().unwrap();
    let errors = until("an answer", || {
        let (_, errors) = run(&addr);
        if errors.contains("refused") { Err(errors) } else { Ok(errors) }
    });
    plain.kill().unwrap();
    plain.wait().unwrap();
    assert!(errors.contains("ERR This instance has cluster support disabled"), "{errors}");
}
