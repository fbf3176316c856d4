//! Hosts that are network namespaces, joined by a bridge, inside a network and a mount namespace of the test's own.
//!
//! None of them has a name, so the kernel removes all of it when the test is gone, however it ends, and the machine's own
//! network is never touched. What the machine does not permit is named: nothing is skipped.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the test itself stands: clients and operators. It is never cut off.
pub const TEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const PREFIX: u8 = 24;
const BRIDGE: &str = "hub";

/// An ability that the machine lacks.
pub fn missing(ability: &str, how: impl std::fmt::Display) -> ! {
    panic!(
        "this machine does not permit the campaign: {ability} is missing ({how}). It needs root with CAP_SYS_ADMIN, \
         CAP_NET_ADMIN and CAP_SYS_PTRACE, and the packages iproute2, nftables, strace and faketime"
    );
}

/// Moves the calling thread, and all that it starts from now on, into namespaces of its own.
pub fn enter() {
    // SAFETY: no pointers; a thread of its own gets namespaces of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
        missing("namespaces", io::Error::last_os_error());
    }
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE).unwrap_or_else(|e| missing("private mounts", e));
    let address = format!("{TEST}/{PREFIX}");
    ip(&["link", "set", "lo", "up"]);
    ip(&["link", "add", BRIDGE, "type", "bridge"]);
    ip(&["addr", "add", &address, "dev", BRIDGE]);
    ip(&["link", "set", BRIDGE, "up"]);
    for (program, package) in [("nft", "nftables"), ("strace", "strace")] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map(drop).unwrap_or_else(|e| missing(program, format!("package {package}: {e}")));
    }
}

/// Mounts a file system in memory; only this test sees it.
pub fn mount_memory(at: &std::path::Path, bytes: usize) {
    let options = format!("size={bytes}");
    let at = at.to_str().expect("a path of ours");
    mount(Some(&options), at, Some("tmpfs"), 0).unwrap_or_else(|e| missing("tmpfs", e));
}

/// Takes it away again.
pub fn unmount(at: &std::path::Path) {
    let path = std::ffi::CString::new(at.as_os_str().as_encoded_bytes()).expect("no zero byte");
    // SAFETY: the path lives until the call returns.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}

fn mount(options: Option<&str>, at: &str, kind: Option<&str>, flags: libc::c_ulong) -> io::Result<()> {
    let c = |text: &str| std::ffi::CString::new(text).expect("no zero byte");
    let (at, kind, options) = (c(at), kind.map(c), options.map(c));
    let pointer = |text: &Option<std::ffi::CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    // SAFETY: all pointers are null or to strings that live until the call returns.
    let done = unsafe { libc::mount(at.as_ptr(), at.as_ptr(), pointer(&kind), flags, pointer(&options).cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args), None);
}

/// Runs a command that must succeed.
fn run(command: &mut Command, input: Option<&str>) {
    let what = format!("{command:?}");
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let child = command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| missing(&what, e));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        missing(&what, String::from_utf8_lossy(&output.stderr).trim());
    }
}

/// A network namespace with one address.
pub struct Host {
    pub address: Ipv4Addr,
    namespace: File,
    /// The bridge's end of its cable.
    outside: String,
    /// What is dropped: by whom it was asked for, and the rule.
    rules: Vec<(u64, String)>,
}

impl Host {
    /// `number` is its name on the network.
    pub fn new(number: u8) -> Self {
        let address = Ipv4Addr::new(10, 77, 0, number);
        let namespace = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: no pointers; only this thread, which ends, is moved.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    missing("network namespaces", io::Error::last_os_error());
                }
                File::open("/proc/thread-self/ns/net").unwrap_or_else(|e| missing("/proc/thread-self/ns/net", e))
            });
            made.join().expect("a namespace")
        });
        // A namespace takes its time to vanish, and its cable with it.
        static CABLES: AtomicU32 = AtomicU32::new(0);
        let outside = format!("cable{}", CABLES.fetch_add(1, Ordering::Relaxed));
        let host = Self { address, namespace, outside: outside.clone(), rules: Vec::new() };
        let path = format!("/proc/{}/fd/{}", std::process::id(), host.namespace.as_raw_fd());
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &path]);
        ip(&["link", "set", &outside, "master", BRIDGE, "up"]);
        // Whoever had this address before had another hardware address.
        ip(&["neigh", "flush", "dev", BRIDGE]);
        host.ip(&["link", "set", "lo", "up"]);
        host.ip(&["addr", "add", &format!("{address}/{PREFIX}"), "dev", "eth0"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.nft("add table inet faults\nadd chain inet faults in { type filter hook input priority 0; }\n");
        host
    }

    /// A command that will run here, and end when the calling thread does.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let namespace = self.namespace.as_raw_fd();
        let enter = move || {
            // SAFETY: both calls take no pointers and may be made between fork and exec.
            let done = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::setns(namespace, libc::CLONE_NEWNET)
            };
            if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Does something in a thread that stands here.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace.as_raw_fd();
        std::thread::scope(|scope| {
            let here = scope.spawn(move || {
                // SAFETY: no pointers; only this thread, which ends, is moved.
                if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } != 0 {
                    missing("setns", io::Error::last_os_error());
                }
                act()
            });
            here.join().expect("an act inside a namespace")
        })
    }

    pub fn ip(&self, args: &[&str]) {
        run(self.command("ip").args(args), None);
    }

    /// One megabit a second for what it sends, until [`Self::widen`].
    pub fn thin(&self) {
        let shape = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "4kb", "latency", "400ms"];
        run(self.command("tc").args(shape), None);
    }

    pub fn widen(&self) {
        run(self.command("tc").args(["qdisc", "del", "dev", "eth0", "root"]), None);
    }

    fn nft(&self, script: &str) {
        run(self.command("nft").args(["-f", "-"]), Some(script));
    }

    /// Adds a rule about packets that arrive, like `ip saddr 10.77.0.1 drop`.
    pub fn add_rule(&mut self, fault: u64, rule: String) {
        self.rules.push((fault, rule));
        self.write_rules();
    }

    /// Forgets the rules of a fault.
    pub fn remove_rules(&mut self, fault: u64) {
        let before = self.rules.len();
        self.rules.retain(|(of, _)| *of != fault);
        if self.rules.len() < before {
            self.write_rules();
        }
    }

    fn write_rules(&self) {
        let mut script = "flush chain inet faults in\n".to_owned();
        self.rules.iter().for_each(|(_, rule)| script += &format!("add rule inet faults in {rule}\n"));
        self.nft(&script);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            ip(&["link", "del", &self.outside]);
        }
    }
}
