//! What goes wrong: the fault matrix, aimed at whoever leads at that moment.
//!
//! A fault begins, stands for a while, and is undone; what is undone includes that processes which the fault ended come
//! back. At most one node's files are damaged at a time, so a majority always holds everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use serde_json::Value;

use super::cluster::{Cluster, PROXIES, Process, set_clock, until};
use super::delay::Delay;

/// A shard of fewer slots is not worth a fault.
const BUSY_SLOTS_MIN: u64 = 1500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    StopLeader {
        ms: u64,
    },
    StopFollower,
    /// The leader is cut off from its peers, not from proxies.
    IsolateFromPeers,
    IsolateFromAll,
    /// The leader's packets reach nobody.
    Mute,
    /// Nobody's packets reach the leader.
    Deaf,
    /// The leader and a follower do not see each other; the third sees both.
    Bridge,
    Loss,
    Delay,
    ThinLink,
    ClockJump,
    ClockRate,
    /// The leader's log cannot be written.
    DiskFullLeader,
    DiskFullTwo,
    /// No room for snapshots and new segments.
    DiskFullFiles,
    SyncFails,
    SlowSync {
        ms: u64,
    },
    DamagedLog,
    DamagedSnapshot,
    KillProxy,
    StopProxy,
}

/// One of each kind, in an order that puts unlike things next to each other.
pub const ALL: &[Fault] = &[
    Fault::KillLeader,
    Fault::IsolateFromPeers,
    Fault::StopLeader { ms: 1000 },
    Fault::SyncFails,
    Fault::Mute,
    Fault::ClockJump,
    Fault::DamagedLog,
    Fault::KillProxy,
    Fault::Loss,
    Fault::KillAll,
    Fault::Bridge,
    Fault::SlowSync { ms: 100 },
    Fault::StopLeader { ms: 5000 },
    Fault::DiskFullLeader,
    Fault::Delay,
    Fault::KillFollower,
    Fault::Deaf,
    Fault::ClockRate,
    Fault::StopProxy,
    Fault::IsolateFromAll,
    Fault::ThinLink,
    Fault::DiskFullTwo,
    Fault::StopLeader { ms: 300 },
    Fault::SlowSync { ms: 500 },
    Fault::DamagedSnapshot,
    Fault::StopFollower,
    Fault::DiskFullFiles,
];

impl Fault {
    pub fn needs_clocks(self) -> bool {
        matches!(self, Self::ClockJump | Self::ClockRate)
    }

    pub fn needs_memory_disks(self) -> bool {
        self == Self::DiskFullFiles
    }

    pub fn loses_files(self) -> bool {
        matches!(self, Self::DamagedLog | Self::DamagedSnapshot)
    }

    /// How long it stands.
    pub fn duration(self, random: &mut StdRng) -> Duration {
        let ms = match self {
            Self::StopLeader { ms } => ms,
            Self::KillAll | Self::DamagedLog | Self::DamagedSnapshot => 100,
            Self::KillLeader | Self::KillFollower | Self::KillProxy => random.random_range(100..2_000),
            _ => random.random_range(800..3_000),
        };
        Duration::from_millis(ms)
    }
}

/// What must be done to end a fault.
enum Undo {
    StartNodes(Vec<usize>),
    /// Of those that ended by themselves; the strace that made them.
    StartEnded(Vec<usize>, Vec<Process>),
    Continue(usize),
    Rules,
    Delay {
        _way: Delay,
    },
    FullLink(usize),
    Clocks(Option<Drift>),
    Ballast(Vec<usize>),
    StartProxy(usize),
    ContinueProxy(usize),
}

/// A fault that stands.
pub struct Standing {
    pub told: String,
    number: u64,
    undo: Undo,
}

/// Lets a fault begin. An error is a broken promise.
pub fn begin(cluster: &mut Cluster, fault: Fault, number: u64, random: &mut StdRng) -> Result<Standing, String> {
    let (shard, leader, follower) = parties(cluster, random)?;
    let all = 0..cluster.nodes.len();
    let proxy = random.random_range(0..PROXIES);
    let name = |node: usize| format!("n{}", node + 1);
    let mut told = format!("{fault:?} (leader of {shard}: {})", name(leader));
    let undo = match fault {
        Fault::KillLeader => kill(cluster, &[leader]),
        Fault::KillFollower => kill(cluster, &[follower]),
        Fault::KillAll => kill(cluster, &all.collect::<Vec<_>>()),
        Fault::StopLeader { .. } => stop(cluster, leader),
        Fault::StopFollower => stop(cluster, follower),
        Fault::IsolateFromPeers | Fault::IsolateFromAll | Fault::Mute | Fault::Deaf | Fault::Bridge => {
            cut(cluster, fault, number, leader, follower);
            Undo::Rules
        }
        Fault::Loss => {
            lose(cluster, number, 20);
            Undo::Rules
        }
        Fault::Delay => {
            let hosts: Vec<_> = cluster.nodes.iter().chain(&cluster.proxies).map(|m| &m.host).collect();
            Undo::Delay { _way: Delay::between(&hosts, Duration::from_millis(50)) }
        }
        Fault::ThinLink => {
            cluster.nodes[leader].host.thin();
            Undo::FullLink(leader)
        }
        Fault::ClockJump => {
            let jump_s = [3600.0, -3600.0, 40.0, -40.0][random.random_range(0..4)];
            set_clock(&cluster.clock(leader), jump_s);
            told += &format!(" {jump_s:+} s");
            Undo::Clocks(None)
        }
        Fault::ClockRate => Undo::Clocks(Some(Drift::start(cluster, leader))),
        Fault::DiskFullLeader => fail(cluster, &[leader], "pwrite64:error=ENOSPC"),
        Fault::DiskFullTwo => fail(cluster, &[leader, follower], "pwrite64:error=ENOSPC"),
        Fault::SyncFails => fail(cluster, &[leader], "fdatasync:error=EIO"),
        Fault::SlowSync { ms } => {
            let traced = cluster.inject(leader, &format!("fdatasync:delay_enter={}", ms * 1000));
            Undo::StartEnded(Vec::new(), traced.into_iter().collect())
        }
        Fault::DiskFullFiles => {
            fill(&cluster.data(leader));
            Undo::Ballast(vec![leader])
        }
        Fault::DamagedLog | Fault::DamagedSnapshot => damage(cluster, fault, follower, random)?,
        Fault::KillProxy => {
            cluster.proxies[proxy].process = None;
            Undo::StartProxy(proxy)
        }
        Fault::StopProxy => {
            signal(cluster.proxies[proxy].process.as_ref(), libc::SIGSTOP);
            Undo::ContinueProxy(proxy)
        }
    };
    Ok(Standing { told, number, undo })
}

/// A shard, the node of its leader, and one of a follower (of the shard, if it has any): rather one whose slots move.
fn parties(cluster: &Cluster, random: &mut StdRng) -> Result<(String, usize, usize), String> {
    until("a leader", || {
        let status = cluster.status()?;
        let shards = status["shards"].as_array().ok_or("no shards")?;
        let moves = status["progress"]["moves"].as_array().map_or(&[][..], Vec::as_slice);
        let moves = |name: &Value| moves.iter().any(|m| m["from"] == *name || m["to"] == *name);
        // One that hardly anybody writes to would not notice a disk that fails.
        let is_busy = |shard: &&Value| shard["slots"].as_u64() > Some(BUSY_SLOTS_MIN) && shard["leader"].is_string();
        let busy: Vec<&Value> = shards.iter().filter(is_busy).collect();
        let moving: Vec<&Value> = busy.iter().filter(|shard| moves(&shard["name"])).copied().collect();
        let from = if moving.is_empty() { busy } else { moving };
        let shard = from.choose(random).ok_or_else(|| status.to_string())?;
        let leader = cluster.place(&shard["leader"]).ok_or("a leader that is no node")?;
        let replicas = shard["replicas"].as_array().ok_or("no replicas")?;
        let followers = replicas.iter().filter(|replica| replica["role"] == "follower" && replica["leaving"] == false);
        let followers: Vec<usize> = followers.filter_map(|replica| cluster.place(&replica["node"])).collect();
        let others: Vec<usize> = (0..cluster.nodes.len()).filter(|node| *node != leader).collect();
        let follower = *followers.choose(random).or_else(|| others.choose(random)).ok_or("one node alone")?;
        Ok((shard["name"].as_str().unwrap_or_default().to_owned(), leader, follower))
    })
}

/// Ends a fault; what it ended starts again.
pub fn end(cluster: &mut Cluster, standing: Standing) -> Result<(), String> {
    match standing.undo {
        Undo::StartNodes(nodes) => nodes.into_iter().try_for_each(|node| cluster.start_node(node)),
        Undo::StartEnded(must_end, traced) => {
            for node in &must_end {
                until("the end of a node whose disk fails", || {
                    let gone = cluster.nodes[*node].process.as_mut().is_none_or(Process::is_gone);
                    if gone { Ok(()) } else { Err(format!("n{} goes on", node + 1)) }
                })?;
            }
            for mut strace in traced {
                strace.signal(libc::SIGINT);
                until("strace's end", || if strace.is_gone() { Ok(()) } else { Err("it goes on".to_owned()) })?;
            }
            must_end.into_iter().try_for_each(|node| cluster.start_node(node))
        }
        Undo::Continue(node) => {
            signal(cluster.nodes[node].process.as_ref(), libc::SIGCONT);
            Ok(())
        }
        Undo::Rules => {
            cluster.remove_rules(standing.number);
            Ok(())
        }
        Undo::Delay { _way } => Ok(()),
        Undo::FullLink(node) => {
            cluster.nodes[node].host.widen();
            Ok(())
        }
        Undo::Clocks(drift) => {
            drop(drift);
            (0..cluster.nodes.len()).for_each(|node| set_clock(&cluster.clock(node), 0.0));
            Ok(())
        }
        Undo::Ballast(nodes) => nodes.into_iter().try_for_each(|node| {
            std::fs::remove_file(cluster.data(node).join(BALLAST)).unwrap();
            // Whether it went on without room or stopped is its own matter; it must come back.
            if cluster.nodes[node].process.as_mut().is_some_and(Process::is_gone) {
                cluster.start_node(node)
            } else {
                Ok(())
            }
        }),
        Undo::StartProxy(proxy) => cluster.start_proxy(proxy),
        Undo::ContinueProxy(proxy) => {
            signal(cluster.proxies[proxy].process.as_ref(), libc::SIGCONT);
            Ok(())
        }
    }
}

fn signal(process: Option<&Process>, signal: libc::c_int) {
    if let Some(process) = process {
        process.signal(signal);
    }
}

fn kill(cluster: &mut Cluster, nodes: &[usize]) -> Undo {
    // All get the signal before the first is waited for.
    nodes.iter().for_each(|node| signal(cluster.nodes[*node].process.as_ref(), libc::SIGKILL));
    nodes.iter().for_each(|node| cluster.kill_node(*node));
    Undo::StartNodes(nodes.to_vec())
}

fn stop(cluster: &mut Cluster, node: usize) -> Undo {
    signal(cluster.nodes[node].process.as_ref(), libc::SIGSTOP);
    Undo::Continue(node)
}

/// A system call of these nodes fails from now on, and they must end because of it.
fn fail(cluster: &mut Cluster, nodes: &[usize], injection: &str) -> Undo {
    let traced = nodes.iter().filter_map(|node| cluster.inject(*node, injection)).collect();
    Undo::StartEnded(nodes.to_vec(), traced)
}

pub fn cut(cluster: &mut Cluster, fault: Fault, number: u64, leader: usize, follower: usize) {
    let addresses: Vec<_> = cluster.nodes.iter().map(|n| n.host.address).collect();
    let proxies: Vec<_> = cluster.proxies.iter().map(|p| p.host.address).collect();
    let count = cluster.nodes.len();
    let peers = || (0..count).filter(|node| *node != leader);
    let (to_leader, from_leader): (Vec<usize>, Vec<usize>) = match fault {
        Fault::Mute => (vec![], peers().collect()),
        Fault::Deaf => (peers().collect(), vec![]),
        Fault::Bridge => (vec![follower], vec![follower]),
        _ => (peers().collect(), peers().collect()),
    };
    let drop_from = |address: std::net::Ipv4Addr| format!("ip saddr {address} drop");
    for from in to_leader {
        cluster.nodes[leader].host.add_rule(number, drop_from(addresses[from]));
    }
    for to in from_leader {
        cluster.nodes[to].host.add_rule(number, drop_from(addresses[leader]));
    }
    for (proxy, address) in proxies.into_iter().enumerate() {
        if matches!(fault, Fault::IsolateFromAll | Fault::Deaf) {
            cluster.nodes[leader].host.add_rule(number, drop_from(address));
        }
        if matches!(fault, Fault::IsolateFromAll | Fault::Mute) {
            cluster.proxies[proxy].host.add_rule(number, drop_from(addresses[leader]));
        }
    }
}

/// Among nodes, and between nodes and proxies; the way from clients to proxies is sound.
fn lose(cluster: &mut Cluster, number: u64, percent: u32) {
    let addresses: Vec<_> = cluster.nodes.iter().map(|n| n.host.address).collect();
    for member in cluster.nodes.iter_mut().chain(&mut cluster.proxies) {
        let own = member.host.address;
        for from in addresses.iter().filter(|from| **from != own) {
            member.host.add_rule(number, format!("ip saddr {from} numgen random mod 100 < {percent} drop"));
        }
    }
}

/// Clocks that go at rates of their own.
struct Drift {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drift {
    /// The leader's is ten times too fast, one too slow, one twice as fast.
    fn start(cluster: &Cluster, leader: usize) -> Self {
        const RATES: [f64; 3] = [10.0, 0.5, 2.0];
        let count = cluster.nodes.len();
        let clocks: Vec<_> =
            (0..count).map(|i| (cluster.clock((leader + i) % count), RATES[i % RATES.len()])).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let began = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let passed_s = began.elapsed().as_secs_f64();
                    clocks.iter().for_each(|(clock, rate)| set_clock(clock, passed_s * (rate - 1.0)));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Drift {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

const BALLAST: &str = "ballast";
/// A shorter file has nothing worth a flip.
const DAMAGED_BYTES_MIN: usize = 1024;

/// Fills a disk to the last byte.
fn fill(dir: &Path) {
    use std::io::Write as _;
    let mut ballast = std::fs::File::create(dir.join(BALLAST)).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if ballast.write_all(&vec![b'.'; size]).is_err() {
            size /= 2;
        }
    }
}

/// Flips a byte in the middle of what a stopped follower has on its disk. It must refuse to start, and name the file;
/// then its directory is emptied, as an operator does it, or it gets back what it had.
fn damage(cluster: &mut Cluster, fault: Fault, node: usize, random: &mut StdRng) -> Result<Undo, String> {
    let (folder, is_log) = if fault == Fault::DamagedLog { ("log", true) } else { ("snapshots", false) };
    let dir = cluster.data(node).join(folder);
    cluster.kill_node(node);
    let files = std::fs::read_dir(&dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut files: Vec<PathBuf> = files.unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|end| end == "log" || end == "snapshot"));
    files.sort();
    // The largest says most. A segment is longer than what is written of it.
    let Some(file) = files.into_iter().max_by_key(|path| std::fs::metadata(path).map_or(0, |m| m.len())) else {
        return Ok(Undo::StartNodes(vec![node]));
    };
    let sound = std::fs::read(&file).unwrap();
    let used = sound.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used < DAMAGED_BYTES_MIN {
        return Ok(Undo::StartNodes(vec![node]));
    }
    let mut damaged = sound.clone();
    // Within the last record a flip looks like a torn write; so stay away from the end.
    let at = if is_log { random.random_range(used / 8..used * 5 / 8) } else { random.random_range(0..used) };
    damaged[at] ^= 1 << random.random_range(0..8);
    std::fs::write(&file, &damaged).unwrap();
    let started = cluster.try_start_node(node);
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    match started {
        Ok(_) => return Err(format!("n{} started with byte {at} of {name} (of {used}) flipped", node + 1)),
        Err(error) if !error.contains(&name) => return Err(format!("{name} is damaged, and not named: {error}")),
        Err(_) => {}
    }
    if random.random_bool(0.7) {
        empty(&cluster.data(node));
    } else {
        std::fs::write(&file, &sound).unwrap();
    }
    Ok(Undo::StartNodes(vec![node]))
}

/// The directory itself stays: it may be a mount point.
pub fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
    }
}
