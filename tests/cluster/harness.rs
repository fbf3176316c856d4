//! A cluster of real processes in a temporary directory, for tests: start, kill, stop, edit, ask.
//!
//! Nothing here sleeps for luck: [`until`] waits for a condition and fails with what was seen last.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a cluster may take for what it promises to do by itself.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > PATIENCE => panic!("{what}: not after {PATIENCE:?}; last: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Tells threads to stop when it goes, also by a panic: the scope that they are in waits for them.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A running process whose first line of output said where it listens.
pub struct Process {
    child: Child,
    /// `host:port`.
    pub address: String,
}

impl Process {
    /// Starts `pontoon` with these arguments; waits for its line, or returns its complaint.
    pub fn start(args: &[&str], log: &Path) -> Result<Self, String> {
        Self::start_under(&[], args, log)
    }

    /// The same, by another program whose command line begins in this way.
    pub fn start_under(under: &[&str], args: &[&str], log: &Path) -> Result<Self, String> {
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let line = [under, &[env!("CARGO_BIN_EXE_pontoon")], args].concat();
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .unwrap_or_else(|error| panic!("{} is needed: {error}", line[0]));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [.., "listens", "on", address] | ["redis", address] = words.as_slice() {
                let address = (*address).to_owned();
                // Whatever else it says must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
        }
        let status = child.wait().unwrap();
        Err(format!("{status}: {}", std::fs::read_to_string(log).unwrap_or_default()))
    }

    /// The operating system's number for it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<()> {
        self.child.try_wait().unwrap().map(drop)
    }

    /// Waits for its end; returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free ports of this machine, below those that outgoing connections get.
pub fn free_ports(count: usize) -> Vec<u16> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 64) as u16 * 150;
    std::iter::repeat_with(|| 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .take(count)
        .collect()
}

/// A cluster.
pub struct Cluster {
    /// Everything lies here.
    pub dir: tempfile::TempDir,
    /// The running nodes.
    pub nodes: BTreeMap<String, Process>,
    /// The running proxies.
    pub proxies: Vec<Process>,
    node_args: Vec<String>,
    verified: bool,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let fine = self.verified || std::thread::panicking();
        assert!(fine, "a story about a cluster ends with `cluster.end()`");
    }
}

impl Cluster {
    /// `nodes` nodes, and for each shard the numbers of its nodes; one proxy. Ready to serve.
    pub fn start(nodes: usize, shards: &[&[usize]], node_args: &[&str]) -> Self {
        Self::start_with(nodes, &config_text(1, &free_ports(nodes), shards), node_args)
    }

    /// The same, of the nodes and shards of this file.
    pub fn start_with(nodes: usize, text: &str, node_args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shards.toml"), text).unwrap();
        std::fs::write(dir.path().join("operators.toml"), text).unwrap();
        let node_args = node_args.iter().map(|a| (*a).to_owned()).collect();
        let mut cluster = Self { dir, nodes: BTreeMap::new(), proxies: Vec::new(), node_args, verified: false };
        (1..=nodes).for_each(|number| cluster.start_node(&format!("n{number}")));
        let output = cluster.run(&["init"]);
        assert!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
        cluster.start_proxy(&[]);
        cluster
    }

    /// The path of the file that everybody watches.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("shards.toml")
    }

    /// A process's log.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// A node's data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node, again or for the first time.
    pub fn start_node(&mut self, name: &str) {
        let process = self.try_start_node(name).unwrap_or_else(|error| panic!("node {name}: {error}"));
        self.nodes.insert(name.to_owned(), process);
    }

    /// The same; a node that does not start says why.
    pub fn try_start_node(&self, name: &str) -> Result<Process, String> {
        self.try_start_node_under(&[], name)
    }

    /// The same, by another program whose command line begins in this way.
    pub fn try_start_node_under(&self, under: &[&str], name: &str) -> Result<Process, String> {
        let (config, data) = (self.config(), self.data(name));
        let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
        let mut args = vec!["node", "--config", config, "--name", name, "--data", data];
        args.extend(self.node_args.iter().map(String::as_str));
        Process::start_under(under, &args, &self.dir.path().join(format!("{name}.log")))
    }

    /// Starts a proxy on a free port.
    pub fn start_proxy(&mut self, args: &[&str]) {
        self.start_proxy_with(&self.config(), args);
    }

    /// The same, with a copy of the file that is its own.
    pub fn start_proxy_with(&mut self, config: &Path, args: &[&str]) {
        let mut all = vec!["proxy", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0", "--workers", "1"];
        all.extend(args);
        let log = self.dir.path().join(format!("proxy{}.log", self.proxies.len()));
        self.proxies.push(Process::start(&all, &log).unwrap_or_else(|error| panic!("proxy: {error}")));
    }

    /// Runs an operator's command, with the operator's own copy of the first file.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontoon"));
        command.args(args).arg("--config").arg(self.dir.path().join("operators.toml")).output().unwrap()
    }

    /// `pontoon status --json`.
    pub fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The shard of this name in `status`.
    pub fn shard(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["shards"].as_array().unwrap().iter().find(|s| s["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no shard {name} in {status}"))
    }

    /// The node that leads a shard.
    pub fn leader(&self, shard: &str) -> String {
        until("a leader", || {
            let found = self.shard(shard);
            found["leader"].as_str().map(str::to_owned).ok_or_else(|| found.to_string())
        })
    }

    /// Waits until every replica is alive and has applied everything.
    pub fn await_health(&self) {
        until("all replicas in step", || {
            let status = self.status();
            let behind = status["shards"].as_array().unwrap().iter().any(|shard| {
                shard["leader"].is_null()
                    || shard["replicas"].as_array().unwrap().iter().any(|r| r["alive"] != true || r["lag"] != 0)
            });
            if behind { Err(status.to_string()) } else { Ok(()) }
        });
    }

    /// How every story ends: the nodes that are down come back, and all replicas of every shard hold the same.
    pub fn end(mut self) {
        let gone = |process: &mut Process| process.child.try_wait().unwrap().is_some();
        let down: Vec<String> =
            self.nodes.iter_mut().filter_map(|(name, process)| gone(process).then(|| name.clone())).collect();
        down.iter().for_each(|name| self.start_node(name));
        verify(&self.dir.path().join("operators.toml"));
        self.verified = true;
    }

    /// The end of a story in which a shard is lost, so that its replicas cannot be compared.
    pub fn abandon(mut self) {
        self.verified = true;
    }

    /// A connection to a proxy. A request may wait as long as a failover may take.
    pub fn connect_to(&self, proxy: usize) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.proxies[proxy].address)).unwrap();
        let connection = until("a connection", || client.get_connection().map_err(|e| e.to_string()));
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection
    }

    /// A connection to the first proxy.
    pub fn connect(&self) -> redis::Connection {
        self.connect_to(0)
    }
}

/// A connection to a proxy whose answers may take long.
pub fn connect(address: &str) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{address}/")).unwrap();
    let connection = until("a connection", || client.get_connection().map_err(|e| e.to_string()));
    connection.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    connection
}

/// `pontoon verify` finds all replicas identical. The command waits for those that lag.
pub fn verify(config: &Path) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_pontoon")).arg("verify").arg("--config").arg(config).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
}

/// A `shards.toml` of shards `a`, `b`, ... over nodes `n1`, `n2`, ...
pub fn config_text(version: u64, ports: &[u16], shards: &[&[usize]]) -> String {
    let mut text = format!("version = {version}\n");
    for (number, port) in (1..).zip(ports) {
        writeln!(text, "[[node]]\nname = \"n{number}\"\naddr = \"127.0.0.1:{port}\"").unwrap();
    }
    for (letter, nodes) in ('a'..).zip(shards) {
        let nodes: Vec<_> = nodes.iter().map(|n| format!("\"n{n}\"")).collect();
        writeln!(text, "[[shard]]\nname = \"{letter}\"\nnodes = [{}]", nodes.join(", ")).unwrap();
    }
    text
}
