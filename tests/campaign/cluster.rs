//! Three nodes or five, two shards on the first three of them, two proxies: each a process on a host of its own.
//!
//! Processes are ended by their own handles only. Nothing sleeps for luck: [`until`] waits for a condition.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ground::{self, Host, missing};

/// How long a healed cluster may take for what it promises to do by itself.
/// Over a thin link the states of some shards take most of it.
pub const PATIENCE: Duration = Duration::from_secs(150);
/// Nodes that have a replica of each shard at first.
pub const REPLICAS: usize = 3;
pub const PROXIES: usize = 2;
const SHARDS: [&str; 2] = ["a", "b"];
/// The level at which nodes log: who served which slots is judged in the end.
const LOG_LEVEL: &str = "warn,pontoon=info,pontoon::audit=debug";
/// A log's first segment, a second one, and some snapshots.
const MEMORY_DISK_BYTES: usize = 160 << 20;
const FAKETIME: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// What runs: `PONTOON_PROGRAM`, or what was built with the test.
fn program() -> String {
    std::env::var("PONTOON_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pontoon").to_owned())
}

/// Waits until `look` finds something.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    until_within(PATIENCE, what, look)
}

/// The same, for what takes longer.
pub fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if began.elapsed() > patience => return Err(format!("{what}: not after {patience:?}: {seen}")),
            Err(_) => std::thread::sleep(Duration::from_millis(30)),
        }
    }
}

/// A process that ends with this handle.
pub struct Process(Child);

impl Process {
    /// Starts a command; returns when it says that it listens, or what it complained about.
    fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let open = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let before = std::fs::metadata(log).map_or(0, |m| m.len());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(open.unwrap());
        let mut process = Self(command.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            if line.contains(" listens on ") {
                // Whatever else it says must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(process);
            }
        }
        let status = process.0.wait().unwrap();
        let text = std::fs::read(log).unwrap_or_default();
        Err(format!("{status}: {}", String::from_utf8_lossy(&text[before as usize..])))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: no pointers; the child is not yet waited for, so its id is its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, signal) };
    }

    pub fn is_gone(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host, and the process on it, if it runs.
pub struct Member {
    pub name: String,
    pub host: Host,
    pub process: Option<Process>,
}

pub struct Cluster {
    pub dir: PathBuf,
    pub nodes: Vec<Member>,
    pub proxies: Vec<Member>,
    settings: Settings,
}

/// How the nodes run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub nodes: usize,
    /// They look at wall clocks that can be set.
    pub clocks: bool,
    /// Their disks are small and in memory.
    pub memory_disks: bool,
    /// How far behind reads of level `any` may be.
    pub staleness_max: Duration,
    /// Strong reads by a lease.
    pub lease: bool,
}

impl Cluster {
    /// Ready to serve. The calling thread has entered its ground, and outlives the cluster.
    pub fn start(dir: &Path, settings: Settings) -> Result<Self, String> {
        let member = |name: String, number: usize| Member { name, host: Host::new(number as u8), process: None };
        let nodes: Vec<_> = (1..=settings.nodes).map(|n| member(format!("n{n}"), n)).collect();
        let proxies = (1..=PROXIES).map(|n| member(format!("p{n}"), 100 + n)).collect();
        let mut cluster = Self { dir: dir.to_owned(), nodes, proxies, settings };
        let mut text = cluster.head_of_file(1);
        for (shard, nodes) in cluster.first_shards() {
            let names: Vec<String> = nodes.iter().map(|node| format!("{:?}", cluster.nodes[*node].name)).collect();
            text += &format!("[[shard]]\nname = \"{shard}\"\nnodes = [{}]\n", names.join(", "));
        }
        std::fs::write(cluster.file(), text).unwrap();
        for node in 0..settings.nodes {
            std::fs::create_dir_all(cluster.data(node)).unwrap();
            if settings.memory_disks {
                ground::mount_memory(&cluster.data(node), MEMORY_DISK_BYTES);
            }
            set_clock(&cluster.clock(node), 0.0);
            cluster.start_node(node)?;
        }
        let output = cluster.run(&["init"]);
        if !output.status.success() {
            return Err(format!("init: {}", String::from_utf8_lossy(&output.stderr)));
        }
        (0..PROXIES).try_for_each(|proxy| cluster.start_proxy(proxy))?;
        cluster.await_health()?;
        Ok(cluster)
    }

    /// The shards of the first file, with their nodes.
    pub fn first_shards(&self) -> Vec<(String, Vec<usize>)> {
        SHARDS.iter().map(|shard| ((*shard).to_owned(), (0..REPLICAS).collect())).collect()
    }

    /// The file that all processes watch.
    pub fn file(&self) -> PathBuf {
        self.dir.join("shards.toml")
    }

    /// What stands before the shards in it.
    pub fn head_of_file(&self, version: u64) -> String {
        let node = |Member { name, host, .. }: &Member| {
            format!("[[node]]\nname = \"{name}\"\naddr = \"{}:7000\"\n", host.address)
        };
        format!("version = {version}\n{}", self.nodes.iter().map(node).collect::<String>())
    }

    /// What the nodes log.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| self.dir.join(format!("{}.log", node.name))).collect()
    }

    /// The node of this name.
    pub fn place(&self, name: &Value) -> Option<usize> {
        self.nodes.iter().position(|node| name == node.name.as_str())
    }

    pub fn data(&self, node: usize) -> PathBuf {
        self.dir.join(&self.nodes[node].name)
    }

    /// What a process wrote into its log last, newest first.
    pub fn last_words(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// Where a node's wall clock is set.
    pub fn clock(&self, node: usize) -> PathBuf {
        self.dir.join(format!("{}.clock", self.nodes[node].name))
    }

    pub fn start_node(&mut self, node: usize) -> Result<(), String> {
        let process = self.try_start_node(node)?;
        self.nodes[node].process = Some(process);
        Ok(())
    }

    /// A node that does not start says why.
    pub fn try_start_node(&self, node: usize) -> Result<Process, String> {
        let Member { name, host, .. } = &self.nodes[node];
        let mut command = host.command(&program());
        command.arg("node").arg("--config").arg(self.file()).args(["--log-level", LOG_LEVEL]);
        command.args(["--name", name, "--snapshot-entries", "400", "--data"]).arg(self.data(node));
        command.args(["--max-staleness-ms", &self.settings.staleness_max.as_millis().to_string()]);
        if self.settings.lease {
            command.arg("--read-lease");
        }
        if self.settings.clocks {
            see_clock(&mut command, &self.clock(node));
        }
        Process::start(command, &self.dir.join(format!("{name}.log")))
    }

    pub fn start_proxy(&mut self, proxy: usize) -> Result<(), String> {
        let Member { name, host, .. } = &self.proxies[proxy];
        let mut command = host.command(&program());
        command.arg("proxy").arg("--config").arg(self.file());
        command.args(["--name", name, "--workers", "1", "--listen"]).arg(self.proxy_address(proxy));
        let process = Process::start(command, &self.dir.join(format!("{name}.log")))?;
        self.proxies[proxy].process = Some(process);
        Ok(())
    }

    pub fn proxy_address(&self, proxy: usize) -> String {
        format!("{}:6379", self.proxies[proxy].host.address)
    }

    /// kill -9.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    pub fn signal_node(&self, node: usize, signal: libc::c_int) {
        self.nodes[node].process.iter().for_each(|process| process.signal(signal));
    }

    /// Attaches strace to a running process, so that its system calls fail or take long.
    pub fn inject(&mut self, node: usize, injection: &str) -> Option<Process> {
        let id = self.nodes[node].process.as_ref()?.id();
        let mut command = Command::new("strace");
        let calls = injection.split(':').next().unwrap_or_default();
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={injection}"), "-p", &id.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: the closure only makes a system call without pointers.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT);
                Ok(())
            });
        }
        let mut strace = Process(command.spawn().unwrap_or_else(|e| missing("strace", e)));
        let began = Instant::now();
        let node = self.nodes[node].process.as_mut()?;
        while !is_traced(id) && !node.is_gone() {
            if strace.is_gone() || began.elapsed() > Duration::from_secs(10) {
                missing("strace of a running process", "CAP_SYS_PTRACE");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(strace)
    }

    /// Runs an operator's command.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(program()).args(args).arg("--config").arg(self.file()).output().unwrap()
    }

    /// `pontoon status --json`.
    pub fn status(&self) -> Result<Value, String> {
        let output = self.run(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The node that leads a shard.
    pub fn leader(&self, shard: &str) -> Result<usize, String> {
        until("a leader", || {
            let status = self.status()?;
            let shards = status["shards"].as_array().ok_or("no shards")?;
            let found = shards.iter().find(|s| s["name"] == shard);
            found.and_then(|shard| self.place(&shard["leader"])).ok_or_else(|| status.to_string())
        })
    }

    /// Waits until every replica is alive and votes, and no change of members is under way.
    pub fn await_whole(&self) -> Result<(), String> {
        self.await_replicas("all replicas alive", |_| true)
    }

    /// The same, and all have applied everything: for when nobody writes. Otherwise what is told of them is of different
    /// moments, over a thin link of very different ones.
    pub fn await_health(&self) -> Result<(), String> {
        self.await_replicas("all replicas in step", |replica| replica["lag"] == 0)
    }

    fn await_replicas(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<(), String> {
        until(what, || {
            let status = self.status()?;
            let shards = status["shards"].as_array().ok_or("no shards")?;
            let votes = |replica: &Value| replica["role"] == "leader" || replica["role"] == "follower";
            let is_fit = |replica: &Value| replica["alive"] == true && votes(replica) && fits(replica);
            let fit = shards.iter().chain([&status["catalog"]]).all(|shard| {
                let replicas = shard["replicas"].as_array();
                shard["leader"].is_string() && replicas.is_some_and(|all| all.iter().all(is_fit))
            });
            let changing = status["changes"].as_array().is_some_and(|changes| !changes.is_empty());
            if fit && !changing { Ok(()) } else { Err(status.to_string()) }
        })
    }

    /// All replicas hold the same.
    pub fn verify(&self) -> Result<(), String> {
        let output = self.run(&["verify"]);
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(format!("verify: {}", String::from_utf8_lossy(&text))) }
    }

    /// Nothing is dropped any more because of this fault.
    pub fn remove_rules(&mut self, fault: u64) {
        self.nodes.iter_mut().chain(&mut self.proxies).for_each(|m| m.host.remove_rules(fault));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().chain(&mut self.proxies).for_each(|m| m.process = None);
        if self.settings.memory_disks {
            for node in 0..self.nodes.len() {
                ground::unmount(&self.data(node));
            }
        }
    }
}

/// Gives a command a wall clock, and no other, that [`set_clock`] sets.
pub fn see_clock(command: &mut Command, file: &Path) {
    let library = FAKETIME.iter().find(|path| Path::new(path).exists());
    let library = library.unwrap_or_else(|| missing("libfaketime", "package faketime"));
    command.env("LD_PRELOAD", library).env("FAKETIME_NO_CACHE", "1").env("FAKETIME_TIMESTAMP_FILE", file);
    // The name depends on the version.
    command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Sets a clock: so many seconds from the right time.
pub fn set_clock(file: &Path, offset_s: f64) {
    // Nobody may read half of it.
    let next = file.with_extension("next");
    std::fs::write(&next, format!("{offset_s:+.3}")).unwrap();
    std::fs::rename(&next, file).unwrap();
}

fn is_traced(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"));
    let traced = |path: PathBuf| {
        let text = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    };
    threads.is_ok_and(|all| all.flatten().all(|entry| traced(entry.path())))
}
