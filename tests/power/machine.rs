//! The virtual machine: QEMU with a disk whose writes are logged, and a console. Its power is cut by killing QEMU.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::resp::{Answer, Connection};

/// How long a cluster may take from power to its first answer: the machine may be emulated, on a loaded host.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a disk may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The file system does not flush the disk's cache.
    NoBarriers,
    /// fdatasync of the nodes does nothing, from the thirtieth on.
    NoSync,
}

/// What a machine, or a cluster on this host, needs to know.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Kernel and initramfs.
    pub ground: PathBuf,
    /// Of the nodes; the same in the machine and outside, because the catalog has them.
    pub ports: [u16; 3],
    pub segment_bytes: u64,
    pub lie: Option<Lie>,
}

/// Free ports of this machine, below those that outgoing connections get.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 64) as u16 * 100;
    let mut free = std::iter::repeat_with(|| 15_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 5_000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    std::array::from_fn(|_| free.next().expect("the ports go round"))
}

/// Waits until a cluster answers; `state` says why it never will.
pub fn await_answers(address: &str, mut state: impl FnMut() -> Result<(), String>) -> Result<Connection, String> {
    let began = Instant::now();
    let mut last = String::from("no connection");
    while began.elapsed() < PATIENCE {
        state()?;
        if let Ok(mut connection) = Connection::open(address, PATIENCE) {
            // Both shards, and only when a leader has everything: strong.
            let question: [&[&str]; 3] = [&["CLIENT", "READS", "strong"], &["GET", "{client0}"], &["DBSIZE"]];
            let answers: Vec<_> = question.iter().map(|words| connection.ask(words)).collect();
            if answers.iter().all(|answer| matches!(answer, Ok(Answer::Reply(_)))) {
                return Ok(connection);
            }
            last = format!("{answers:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("no answers after {PATIENCE:?}; last: {last}"))
}

/// A running machine.
pub struct Machine {
    child: Child,
    console: PathBuf,
    /// Where the proxy is reached.
    pub address: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    /// Switches a machine on. `log` gets all writes; `is_new`: the disk is empty, and a cluster is to be founded.
    pub fn boot(setting: &Setting, disk: &Path, log: &Path, is_new: bool) -> Self {
        let console = disk.with_extension("console");
        File::create(log).unwrap();
        let [proxy] = free_ports();
        let ports = setting.ports.map(|port| port.to_string()).join(",");
        let mut wishes =
            format!("console=ttyS0 loglevel=4 power.ports={ports} power.segment={}", setting.segment_bytes);
        wishes += if is_new { " power.found" } else { "" };
        wishes += match setting.lie {
            None => "",
            // The first life is honest, so that there is something to lose.
            Some(_) if is_new => "",
            Some(Lie::NoBarriers) => " power.mount=barrier=0",
            Some(Lie::NoSync) => " power.preload=/lib/lie.so",
        };
        let acceleration = std::env::var("PONTOON_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        let machine = format!("pc,accel={acceleration}");
        let node = |kind: &str, name: &str, rest: String| format!("driver={kind},node-name={name},{rest}");
        let image = node("file", "image", format!("filename={}", disk.display()));
        let writes = node("file", "writes", format!("filename={}", log.display()));
        let logged = node("blklogwrites", "disk", "file=image,log=writes,log-sector-size=512".to_owned());
        let child = Command::new("qemu-system-x86_64")
            .args(["-M", &machine, "-m", "1024", "-smp", "2", "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-cpu", "max,-arch-capabilities"])
            .arg("-kernel")
            .arg(setting.ground.join("vmlinuz"))
            .arg("-initrd")
            .arg(setting.ground.join("initramfs"))
            .args(["-append", &wishes])
            .args(["-blockdev", &image, "-blockdev", &writes, "-blockdev", &logged])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-netdev", &format!("user,id=net,hostfwd=tcp:127.0.0.1:{proxy}-10.0.2.15:6379")])
            // Without a ROM to boot from: that is another package.
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .stdin(Stdio::piped())
            .stdout(File::create(&console).unwrap())
            .stderr(File::create(disk.with_extension("qemu")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}"));
        Self { child, console, address: format!("127.0.0.1:{proxy}") }
    }

    /// What the console showed.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Waits until the cluster answers, or says why it does not.
    pub fn await_answers(&mut self) -> Result<Connection, String> {
        let address = self.address.clone();
        await_answers(&address, || {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                let errors = std::fs::read_to_string(self.console.with_extension("qemu")).unwrap_or_default();
                panic!("qemu ended by itself, {status}: {errors}");
            }
            let console = self.console();
            if console.contains("POWER ended") { Err(console) } else { Ok(()) }
        })
    }

    /// `pontoon verify`, inside.
    pub fn verify(&mut self) -> Result<(), String> {
        let input = self.child.stdin.as_mut().expect("the console has an input");
        input.write_all(b"verify\n").map_err(|error| error.to_string())?;
        let began = Instant::now();
        loop {
            let console = self.console();
            match console.split_once("POWER verified ") {
                Some((_, code)) if code.starts_with('0') => return Ok(()),
                Some((_, code)) if code.contains('\n') => return Err(console),
                _ if began.elapsed() > PATIENCE => return Err(format!("verify does not end\n{console}")),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Cuts the power.
    pub fn cut(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
