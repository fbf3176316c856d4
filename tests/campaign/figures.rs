//! How long a shard stands still when its leader dies, hangs, or is cut off: measured by a client of a proxy.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, REPLICAS, Settings, until};
use super::faults::{self, Fault};
use super::resp::{Answer, Connection};

const SHARD: &str = "a";
const SETTINGS: Settings = Settings {
    nodes: REPLICAS,
    clocks: false,
    memory_disks: false,
    staleness_max: Duration::from_secs(5),
    lease: false,
};

/// From the fault to the next acknowledged write, a number of times; an error is a broken promise.
pub fn failover(dir: &Path, fault: Fault, trials: usize) -> Result<Vec<Duration>, String> {
    let mut cluster = Cluster::start(dir, SETTINGS)?;
    let key = key_of(&cluster)?;
    (0..trials as u64).map(|trial| once(&mut cluster, fault, trial, &key)).collect()
}

fn once(cluster: &mut Cluster, fault: Fault, trial: u64, key: &str) -> Result<Duration, String> {
    cluster.await_health()?;
    let mut connection =
        Connection::open(&cluster.proxy_address(0), Duration::from_secs(30)).map_err(|e| e.to_string())?;
    write(&mut connection, key)?;
    let leader = cluster.leader(SHARD)?;
    // Who may follow is not told.
    let follower = (leader + 1) % REPLICAS;
    // A cut takes some milliseconds to be made: they count.
    let began = Instant::now();
    match fault {
        Fault::KillLeader => cluster.kill_node(leader),
        Fault::StopLeader { .. } => cluster.signal_node(leader, libc::SIGSTOP),
        _ => faults::cut(cluster, fault, trial, leader, follower),
    }
    until("a write after the fault", || write(&mut connection, key))?;
    let took = began.elapsed();
    match fault {
        Fault::KillLeader => cluster.start_node(leader)?,
        Fault::StopLeader { .. } => cluster.signal_node(leader, libc::SIGCONT),
        _ => cluster.remove_rules(trial),
    }
    Ok(took)
}

fn write(connection: &mut Connection, key: &str) -> Result<(), String> {
    match connection.ask(&["INCR", key]).map_err(|e| e.to_string())? {
        Answer::Reply(_) => Ok(()),
        Answer::Error(error) => Err(error),
    }
}

fn key_of(cluster: &Cluster) -> Result<String, String> {
    let is_there = |key: &String| {
        let output = cluster.run(&["where", key, "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        found["shard"] == SHARD
    };
    (0..100).map(|n| format!("key{n}")).find(is_there).ok_or_else(|| "no key of the shard".to_owned())
}

/// One line of the table.
pub fn line(what: &str, mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    format!("| {what} | {} ms | {} ms | {} |", median.as_millis(), longest.as_millis(), took.len())
}

/// How long a shard takes after all nodes were cut off from each other for some time.
pub fn healing(dir: &Path, cut_for: Duration) -> Result<Duration, String> {
    let mut cluster = Cluster::start(dir, SETTINGS)?;
    let key = key_of(&cluster)?;
    for node in 0..REPLICAS {
        faults::cut(&mut cluster, Fault::IsolateFromPeers, 1, node, 0);
    }
    std::thread::sleep(cut_for);
    cluster.remove_rules(1);
    let began = Instant::now();
    let mut connection =
        Connection::open(&cluster.proxy_address(0), Duration::from_secs(60)).map_err(|e| e.to_string())?;
    until("a write after healing", || write(&mut connection, &key))?;
    let took = began.elapsed();
    cluster.await_health()?;
    cluster.verify()?;
    Ok(took)
}
