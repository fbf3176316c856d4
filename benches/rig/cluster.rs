//! A Pontoon cluster of three nodes and one proxy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::processes::{Running, free_port, free_ports, redis_says, wait};

pub struct Cluster {
    binary: String,
    dir: PathBuf,
    cores: String,
    args: Vec<String>,
    /// n1, n2 and n3.
    pub nodes: Vec<Running>,
    pub node_ports: Vec<u16>,
    pub proxy: Running,
    pub proxy_port: u16,
}

/// The program to measure.
pub fn binary() -> String {
    std::env::var("PONTOON").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pontoon").to_owned())
}

/// An older one to measure beside it, where the environment names one.
pub fn binary_before() -> Option<String> {
    std::env::var("PONTOON_BEFORE").ok()
}

impl Cluster {
    /// `shards`: name, and how many of the nodes have it, the first one after the one of the shard before. Nodes run on `cores`,
    /// the proxy on `proxy_cores`.
    pub fn start(
        binary: String,
        dir: &Path,
        shards: &[&str],
        replicas: usize,
        cores: [&str; 2],
        args: &[&str],
    ) -> Self {
        let [cores, proxy_cores] = cores;
        let (node_ports, proxy_port) = (free_ports(3), free_port());
        let mut text = "version = 1\n".to_owned();
        for (number, port) in (1..).zip(&node_ports) {
            writeln!(text, "[[node]]\nname = \"n{number}\"\naddr = \"127.0.0.1:{port}\"").expect("a String");
        }
        for (first, shard) in shards.iter().enumerate() {
            let nodes: Vec<String> = (0..replicas).map(|i| format!("n{}", (first + i) % 3 + 1)).collect();
            writeln!(text, "[[shard]]\nname = \"{shard}\"\nnodes = {nodes:?}").expect("a String");
        }
        std::fs::write(dir.join("shards.toml"), text).expect("a file");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let nodes = (1..=3).map(|number| node(&binary, dir, cores, &args, number)).collect();
        let init = || pontoon(&binary, &["init"], &dir.join("shards.toml")).status.success();
        wait("init", init);
        let listen = format!("127.0.0.1:{proxy_port}");
        let proxy_args = ["proxy", "--config", "shards.toml", "--workers", "1", "--listen", &listen];
        let proxy = Running::start(proxy_cores, &dir.join("proxy.log"), &binary, &proxy_args).expect("a proxy");
        wait("the proxy", || redis_says(proxy_port, &["ping"]).contains("PONG"));
        let (dir, cores) = (dir.to_owned(), cores.to_owned());
        Self { binary, dir, cores, args, nodes, node_ports, proxy, proxy_port }
    }

    /// Starts a node again that was stopped.
    pub fn restart(&mut self, node_index: usize) {
        self.nodes[node_index] = node(&self.binary, &self.dir, &self.cores, &self.args, node_index + 1);
    }

    pub fn file(&self) -> PathBuf {
        self.dir.join("shards.toml")
    }

    /// Where a node keeps what it has.
    pub fn data(&self, node_index: usize) -> PathBuf {
        self.dir.join(format!("n{}", node_index + 1))
    }

    /// `pontoon status --json`, if it could be had.
    pub fn status(&self) -> Option<Value> {
        serde_json::from_slice(&pontoon(&self.binary, &["status", "--json"], &self.file()).stdout).ok()
    }

    /// The slots that would move if the cluster got this file, by `pontoon plan --json`.
    pub fn moving_slots(&self, file: &Path) -> Vec<u16> {
        let output = Command::new(&self.binary).args(["plan", "--json"]).arg(file).output().expect("pontoon is built");
        let plan: Value = serde_json::from_slice(&output.stdout).expect("a plan");
        let runs =
            plan["moves"].as_array().into_iter().flatten().flat_map(|planned| planned["runs"].as_array().cloned());
        let slot = |value: &Value| value.as_u64().and_then(|slot| u16::try_from(slot).ok()).expect("a slot");
        runs.flatten().flat_map(|run| slot(&run[0])..=slot(&run[1])).collect()
    }

    /// A shard of `status`.
    pub fn shard(&self, name: &str) -> Option<Value> {
        self.status()?["shards"].as_array()?.iter().find(|shard| shard["name"] == name).cloned()
    }

    /// Which of the nodes leads a shard.
    pub fn leader(&self, shard: &str) -> usize {
        let mut leader = None;
        wait("a leader", || {
            let name = self.shard(shard).and_then(|shard| shard["leader"].as_str().map(str::to_owned));
            leader = name.and_then(|name| name.trim_start_matches('n').parse::<usize>().ok());
            leader.is_some()
        });
        leader.expect("it was waited for") - 1
    }

    /// Waits until all replicas of a shard are there and have all.
    pub fn await_health(&self, shard: &str) {
        wait("all replicas in step", || {
            let found = self.shard(shard).filter(|shard| shard["leader"].is_string());
            let replicas = found.and_then(|shard| shard["replicas"].as_array().cloned());
            replicas.is_some_and(|all| all.iter().all(|one| one["alive"] == true && one["lag"] == 0))
        });
    }
}

fn node(binary: &str, dir: &Path, cores: &str, args: &[String], number: usize) -> Running {
    let name = format!("n{number}");
    let mut all = vec!["node", "--config", "shards.toml", "--name", &name, "--data", &name];
    all.extend(args.iter().map(String::as_str));
    Running::start(cores, &dir.join(format!("{name}.log")), binary, &all).expect("a node")
}

fn pontoon(binary: &str, args: &[&str], file: &Path) -> Output {
    Command::new(binary).args(args).arg("--config").arg(file).output().expect("pontoon is built")
}
