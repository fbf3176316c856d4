//! The systems that are measured: started on ports of this machine with three shards, and told to make them four.

use std::path::PathBuf;
use std::time::Duration;

use crate::Spec;
use crate::rig::cluster::{Cluster, binary};
use crate::rig::processes::{Running, free_ports, redis_cli, redis_says, wait};

/// Looks at Pontoon's progress: each is a process that asks all nodes for all they know, which would be a load of its own.
const STATUS_LOOK: Duration = Duration::from_millis(250);
/// So long after a Redis Cluster has a new node until all others know it well enough.
const GOSSIP: Duration = Duration::from_secs(10);

pub struct System {
    pub name: &'static str,
    kind: Kind,
    /// The servers of a Redis Cluster, the one that comes later at the end; or Pontoon's proxy.
    ports: Vec<u16>,
    servers: Vec<Running>,
    dir: tempfile::TempDir,
}

enum Kind {
    Pontoon(Box<Cluster>),
    /// Slots move one by one, by `redis-cli`.
    Redis,
    /// Slots move in one go.
    Valkey,
}

impl System {
    /// Starts it with three shards; none where there is no such server.
    pub fn start(name: &'static str) -> Option<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        if name == "pontoon" {
            let replicas = std::env::var("REPLICAS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
            let cluster = Cluster::start(binary(), dir.path(), &["a", "b", "c"], replicas, ["", ""], &[]);
            let ports = vec![cluster.proxy_port];
            return Some(Self { name, kind: Kind::Pontoon(Box::new(cluster)), ports, servers: Vec::new(), dir });
        }
        let (kind, server) = match name {
            "redis" => (Kind::Redis, "redis-server".to_owned()),
            _ => (Kind::Valkey, std::env::var("VALKEY_SERVER").ok()?),
        };
        let mut system = Self { name, kind, ports: free_ports(4), servers: Vec::new(), dir };
        system.start_cluster(&server)?;
        Some(system)
    }

    fn start_cluster(&mut self, server: &str) -> Option<()> {
        for port in self.ports.clone() {
            let (port, file) = (port.to_string(), format!("nodes-{port}.conf"));
            let args = ["--port", &port, "--save", "", "--appendonly", "no", "--cluster-enabled", "yes"];
            let args = [&args[..], &["--cluster-config-file", &file]].concat();
            self.servers.push(Running::start("", &self.dir.path().join("log"), server, &args).ok()?);
        }
        for port in &self.ports {
            wait("a server", || redis_says(*port, &["ping"]).contains("PONG"));
        }
        let addresses: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let create = ["--cluster", "create", &addresses[0], &addresses[1], &addresses[2], "--cluster-yes"];
        assert!(redis_cli(&create).status.success(), "redis-cli creates a cluster");
        wait("the cluster", || redis_says(self.ports[2], &["cluster", "info"]).contains("cluster_state:ok"));
        // The fourth is there, without slots: its coming is no part of what is measured.
        wait("a node more", || redis_cli(&["--cluster", "add-node", &addresses[3], &addresses[0]]).status.success());
        std::thread::sleep(GOSSIP);
        Some(())
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
        for line in redis_says(self.ports[0], &["cluster", "nodes"]).lines() {
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
            Kind::Pontoon(cluster) => reshard_pontoon(cluster),
            Kind::Redis => {
                let address = format!("127.0.0.1:{}", self.ports[0]);
                let rebalance = ["--cluster", "rebalance", &address, "--cluster-use-empty-masters"];
                let output = redis_cli(&rebalance);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                size(self.ports[3])
            }
            Kind::Valkey => self.migrate_slots(),
        }
    }

    /// A quarter of the slots of each owner in one command.
    fn migrate_slots(&self) -> u64 {
        let id = redis_says(self.ports[3], &["cluster", "myid"]).trim().to_owned();
        let runs = self.owners();
        for (_, port, first, last) in &runs {
            let (from, to) = ((last - (last - first + 1) / 4 + 1).to_string(), last.to_string());
            let said = redis_says(*port, &["cluster", "migrateslots", "slotsrange", &from, &to, "node", &id]);
            assert!(said.contains("OK"), "{said}");
        }
        wait("the slots", || {
            let moved = |(_, port, ..): &(String, u16, usize, usize)| {
                let jobs = redis_says(*port, &["cluster", "getslotmigrations"]);
                assert!(!jobs.contains("failed"), "{jobs}");
                jobs.contains("success")
            };
            runs.iter().all(moved)
        });
        size(self.ports[3])
    }

    /// How many keys there are in all.
    pub fn key_count(&self) -> u64 {
        match self.kind {
            Kind::Pontoon(_) => size(self.ports[0]),
            Kind::Redis | Kind::Valkey => self.ports.iter().map(|port| size(*port)).sum(),
        }
    }
}

fn size(port: u16) -> u64 {
    redis_says(port, &["dbsize"]).trim().parse().unwrap_or(0)
}

fn reshard_pontoon(cluster: &Cluster) -> u64 {
    std::fs::rename(edited(cluster), cluster.file()).expect("a file");
    let mut keys = None;
    wait("the slots", || {
        std::thread::sleep(STATUS_LOOK);
        keys = moved_keys(cluster);
        keys.is_some()
    });
    keys.expect("it was waited for")
}

/// Writes the file that a cluster of three shards gets, beside the one that it has.
pub fn edited(cluster: &Cluster) -> PathBuf {
    let text = std::fs::read_to_string(cluster.file()).expect("the file");
    let nodes = text.lines().rfind(|line| line.starts_with("nodes = ")).expect("a shard");
    let text = text.replace("version = 1", "version = 2") + &format!("[[shard]]\nname = \"d\"\n{nodes}\n");
    let fresh = cluster.file().with_extension("new");
    std::fs::write(&fresh, text).expect("a file");
    fresh
}

/// The keys of the fourth shard, once all slots are where that file wants them.
pub fn moved_keys(cluster: &Cluster) -> Option<u64> {
    let status = cluster.status()?;
    let new = status["shards"].as_array()?.iter().find(|shard| shard["name"] == "d")?;
    (status["version"] == 2 && status["progress"]["slots_left"] == 0).then(|| new["keys"].as_u64())?
}
