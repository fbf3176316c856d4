//! The systems that are measured: started on ports of this machine with three shards, and told to make them four.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Spec;

/// Two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// The same of Pontoon, where each is a process that asks all nodes for all they know: that would be a load of its own.
const STATUS_LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(300);
/// So long after a Redis Cluster has a new node until all others know it well enough.
const GOSSIP: Duration = Duration::from_secs(10);

pub struct System {
    pub name: &'static str,
    kind: Kind,
    children: Vec<Child>,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
}

enum Kind {
    Pontoon(PathBuf),
    /// Slots move one by one, by `redis-cli`.
    Redis,
    /// Slots move in one go.
    Valkey,
}

impl Drop for System {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl System {
    /// Starts it with three shards; none where there is no such server.
    pub fn start(name: &'static str) -> Option<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut system = Self { name, kind: Kind::Redis, children: Vec::new(), dir, ports: Vec::new() };
        match name {
            "pontoon" => {
                let binary = std::env::var("PONTOON").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pontoon").to_owned());
                system.kind = Kind::Pontoon(binary.into());
                system.ports = vec![18_710, 18_711, 18_712, 18_713];
                system.start_pontoon();
            }
            "redis" => {
                system.ports = vec![18_721, 18_722, 18_723, 18_724];
                system.start_cluster("redis-server")?;
            }
            _ => {
                system.kind = Kind::Valkey;
                system.ports = vec![18_731, 18_732, 18_733, 18_734];
                system.start_cluster(&std::env::var("VALKEY_SERVER").ok()?)?;
            }
        }
        Some(system)
    }

    fn spawn(&mut self, program: &str, args: &[&str]) -> Option<()> {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().ok()?);
        Some(())
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("shards.toml")
    }

    fn start_pontoon(&mut self) {
        let Kind::Pontoon(binary) = &self.kind else { return };
        let binary = binary.to_str().expect("a path of this machine").to_owned();
        let replicas: usize = std::env::var("REPLICAS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
        let mut text = "version = 1\n".to_owned();
        for (number, port) in (1..=3).zip(&self.ports[1..]) {
            writeln!(text, "[[node]]\nname = \"n{number}\"\naddr = \"127.0.0.1:{port}\"").expect("a String");
        }
        for (first, shard) in ["a", "b", "c"].iter().enumerate() {
            let nodes: Vec<String> = (0..replicas).map(|i| format!("n{}", (first + i) % 3 + 1)).collect();
            writeln!(text, "[[shard]]\nname = \"{shard}\"\nnodes = {nodes:?}").expect("a String");
        }
        std::fs::write(self.file(), text).expect("a file");
        for name in ["n1", "n2", "n3"] {
            self.spawn(&binary, &["node", "--config", "shards.toml", "--name", name, "--data", name]).expect("a node");
        }
        let path = self.file();
        wait("init", || pontoon(&binary, &["init"], &path).status.success());
        let listen = format!("127.0.0.1:{}", self.ports[0]);
        let proxy = ["proxy", "--config", "shards.toml", "--workers", "1", "--listen", &listen];
        self.spawn(&binary, &proxy).expect("a proxy");
        wait("the proxy", || self.cli(self.ports[0], &["ping"]).contains("PONG"));
    }

    fn start_cluster(&mut self, server: &str) -> Option<()> {
        for port in self.ports.clone() {
            let (port, file) = (port.to_string(), format!("nodes-{port}.conf"));
            let args = ["--port", &port, "--save", "", "--appendonly", "no", "--cluster-enabled", "yes"];
            self.spawn(server, &[&args[..], &["--cluster-config-file", &file]].concat())?;
        }
        for port in &self.ports {
            wait("a server", || self.cli(*port, &["ping"]).contains("PONG"));
        }
        let addresses: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let create = ["--cluster", "create", &addresses[0], &addresses[1], &addresses[2], "--cluster-yes"];
        assert!(cli(&create).status.success(), "redis-cli creates a cluster");
        wait("the cluster", || self.cli(self.ports[2], &["cluster", "info"]).contains("cluster_state:ok"));
        // The fourth is there, without slots: its coming is no part of what is measured.
        wait("a node more", || cli(&["--cluster", "add-node", &addresses[3], &addresses[0]]).status.success());
        std::thread::sleep(GOSSIP);
        Some(())
    }

    fn cli(&self, port: u16, args: &[&str]) -> String {
        let port = port.to_string();
        let output = cli(&[&["-p", &port][..], args].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What clients need to know.
    pub fn slots(&self) -> Spec {
        if let Kind::Pontoon(_) = self.kind {
            return Spec::One(self.ports[0]);
        }
        let mut ports = vec![self.ports[0]; 16384];
        for (_, port, first, last) in self.owners() {
            ports[first..=last].fill(port);
        }
        Spec::Cluster(ports)
    }

    /// Id, port, first and last slot of each run of a Redis Cluster.
    fn owners(&self) -> Vec<(String, u16, usize, usize)> {
        let mut runs = Vec::new();
        for line in self.cli(self.ports[0], &["cluster", "nodes"]).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let address = words[1].split('@').next().unwrap_or_default();
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
            for run in words.iter().skip(8).filter(|word| !word.starts_with('[')) {
                let (first, last) = run.split_once('-').unwrap_or((run, run));
                runs.push((words[0].to_owned(), port, first.parse().expect("a slot"), last.parse().expect("a slot")));
            }
        }
        runs
    }

    /// Makes the three shards four; returns how many keys have moved when all has.
    pub fn reshard(&self) -> u64 {
        match &self.kind {
            Kind::Pontoon(binary) => self.reshard_pontoon(binary),
            Kind::Redis => {
                let address = format!("127.0.0.1:{}", self.ports[0]);
                let rebalance = ["--cluster", "rebalance", &address, "--cluster-use-empty-masters"];
                let output = cli(&rebalance);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                self.size(self.ports[3])
            }
            Kind::Valkey => self.migrate_slots(),
        }
    }

    fn reshard_pontoon(&self, binary: &Path) -> u64 {
        let text = std::fs::read_to_string(self.file()).expect("the file");
        let nodes = text.lines().rfind(|line| line.starts_with("nodes = ")).expect("a shard");
        let text = text.replace("version = 1", "version = 2") + &format!("[[shard]]\nname = \"d\"\n{nodes}\n");
        let fresh = self.file().with_extension("new");
        std::fs::write(&fresh, text).expect("a file");
        std::fs::rename(fresh, self.file()).expect("a file");
        let mut keys = 0;
        wait("the slots", || {
            std::thread::sleep(STATUS_LOOK);
            let output = pontoon(binary.to_str().expect("a path"), &["status", "--json"], &self.file());
            let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
            let new = status["shards"].as_array().and_then(|shards| shards.iter().find(|shard| shard["name"] == "d"));
            keys = new.and_then(|shard| shard["keys"].as_u64()).unwrap_or(0);
            status["version"] == 2 && status["progress"]["slots_left"] == 0
        });
        keys
    }

    /// A quarter of the slots of each owner in one command.
    fn migrate_slots(&self) -> u64 {
        let id = self.cli(self.ports[3], &["cluster", "myid"]).trim().to_owned();
        let runs = self.owners();
        for (_, port, first, last) in &runs {
            let (from, to) = ((last - (last - first + 1) / 4 + 1).to_string(), last.to_string());
            let said = self.cli(*port, &["cluster", "migrateslots", "slotsrange", &from, &to, "node", &id]);
            assert!(said.contains("OK"), "{said}");
        }
        wait("the slots", || {
            let moved = |(_, port, ..): &(String, u16, usize, usize)| {
                let jobs = self.cli(*port, &["cluster", "getslotmigrations"]);
                assert!(!jobs.contains("failed"), "{jobs}");
                jobs.contains("success")
            };
            runs.iter().all(moved)
        });
        self.size(self.ports[3])
    }

    fn size(&self, port: u16) -> u64 {
        self.cli(port, &["dbsize"]).trim().parse().unwrap_or(0)
    }

    /// How many keys there are in all.
    pub fn key_count(&self) -> u64 {
        match self.kind {
            Kind::Pontoon(_) => self.size(self.ports[0]),
            Kind::Redis | Kind::Valkey => self.ports.iter().map(|port| self.size(*port)).sum(),
        }
    }
}

fn cli(args: &[&str]) -> Output {
    Command::new("redis-cli").args(args).output().expect("redis-cli is needed")
}

fn pontoon(binary: &str, args: &[&str], file: &Path) -> Output {
    Command::new(binary).args(args).arg("--config").arg(file).output().expect("pontoon is built")
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}
