//! Processes that a measurement starts, and what `/proc` says about them.
//!
//! Invariants: whatever was started is stopped by its own id when its owner goes, and by the kernel when the measurement itself is
//! killed; ports are free when they are given out, and below those that outgoing connections get.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(300);

/// A process of ours.
pub struct Running {
    child: Child,
    /// Where its output is.
    pub log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// Starts a program on some processors (`taskset`'s list; all if it is empty); its output goes to `log`.
    pub fn start(cores: &str, log: &Path, program: &str, args: &[&str]) -> std::io::Result<Self> {
        let program = find(program).ok_or(std::io::ErrorKind::NotFound)?;
        let out = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("setpriv");
        // Each of these becomes the next, under one process id.
        command.args(["--pdeathsig", "KILL"]);
        if !cores.is_empty() {
            command.args(["taskset", "-c", cores]);
        }
        command.arg(program).args(args).current_dir(log.parent().unwrap_or(Path::new(".")));
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, without a wait for its end.
    pub fn shoot(&mut self) {
        let _ = self.child.kill();
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The processor time of all its threads.
    pub fn cpu(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // The second field is a name in parentheses that may hold anything; user and system time are 14th and 15th.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        TICK * fields.filter_map(|ticks| ticks.parse::<u32>().ok()).sum::<u32>()
    }

    /// Its resident memory.
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// The end of its output, for who must say why it did not do what it should.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").chars().take(300).collect()
    }
}

/// A program by its path, or by its name in the usual places.
pub fn find(program: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&places).chain(["/usr/sbin".into()]);
    // Joining a whole path gives that path.
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A port of this machine on which nobody listens; 10,000 above it, where a Redis Cluster gossips, is below those too that
/// outgoing connections get.
pub fn free_port() -> u16 {
    const FIRST: u16 = 16_000;
    const COUNT: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 97) as u16 * 60;
    let candidates = std::iter::repeat_with(|| FIRST + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    candidates.take(usize::from(COUNT)).find(is_free).expect("a free port")
}

pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Waits for something that comes about unless something is wrong.
pub fn wait(what: &str, done: impl FnMut() -> bool) {
    assert!(came_about(PATIENCE, done), "{what}: not within {PATIENCE:?}");
}

/// Waits for something that need not come about.
pub fn came_about(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

pub fn redis_cli(args: &[&str]) -> Output {
    Command::new("redis-cli").args(args).output().expect("redis-cli is needed")
}

/// What `redis-cli` prints.
pub fn redis_says(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    String::from_utf8_lossy(&redis_cli(&[&["-p", &port][..], args].concat()).stdout).into_owned()
}
