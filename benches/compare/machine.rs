//! The machine that all runs on: which processors are whose, real-time priority, the disk's own speed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::waits::Waits;

/// What the log of a store writes at least.
const SECTOR_BYTES: usize = 512;
const SYNCS: usize = 500;

/// `taskset`'s lists.
pub struct Cores {
    /// For what is measured, where it runs on one.
    pub one: String,
    /// For what is measured, where it runs on two.
    pub two: String,
    /// For the load and whatever is behind what is measured.
    pub others: String,
    /// Whether two processors can be measured without the load on either.
    pub are_many: bool,
    /// The first and the last of `others`.
    other_numbers: (usize, usize),
}

impl Cores {
    pub fn of_this_machine() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let other_numbers = match count {
            1 => (0, 0),
            2 | 3 => (1, count - 1),
            _ => (2, count - 1),
        };
        let others = format!("{}-{}", other_numbers.0, other_numbers.1);
        let two = if count == 1 { "0" } else { "0,1" };
        Self { one: "0".to_owned(), two: two.to_owned(), others, are_many: count >= 4, other_numbers }
    }

    /// How long the others have done nothing since the machine started, on average.
    pub fn others_idle(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let (first, last) = self.other_numbers;
        let ticks: u32 = (first..=last)
            .filter_map(|number| stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{number} "))))
            // The fourth number is idle time, the fifth such while a disk was waited for.
            .flat_map(|line| line.split_whitespace().skip(3).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()))
            .sum();
        TICK * ticks / (last - first + 1) as u32
    }
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Moves the threads of a process, those to come included.
pub fn pin(pid: u32, cores: &str) -> bool {
    succeeds("taskset", &["-a", "-p", "-c", cores, &pid.to_string()])
}

/// As many sockets as this process and those that it starts may have; raised as far as the machine lets it.
pub fn allow_many_files() -> usize {
    const ENOUGH: usize = 60_000;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut bounds = line.split_whitespace().filter_map(|word| word.parse().ok());
    let (soft, hard) = (bounds.next().unwrap_or(1024), bounds.next().unwrap_or(usize::MAX));
    let wanted = hard.min(ENOUGH);
    let raised = succeeds("prlimit", &[&format!("--nofile={wanted}:"), "--pid", &std::process::id().to_string()]);
    if raised { wanted } else { soft }
}

/// Puts processes before everything else that the machine does, as long as this lives.
pub struct RealTime {
    pids: Vec<u32>,
    pub permitted: bool,
}

impl RealTime {
    pub fn of(pids: Vec<u32>) -> Self {
        let permitted = pids.iter().all(|pid| succeeds("chrt", &["-a", "-f", "-p", "1", &pid.to_string()]));
        Self { pids, permitted }
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        for pid in &self.pids {
            succeeds("chrt", &["-a", "-o", "-p", "0", &pid.to_string()]);
        }
    }
}

/// What `fdatasync` takes after 512 bytes: appended, which moves the file's end too, and over space that is there already.
pub fn sync_waits(dir: &Path) -> [Waits; 2] {
    let path = dir.join("syncs");
    let mut file = File::create(&path).expect("a file");
    let mut measure = || {
        let mut waits = Waits::default();
        for _ in 0..SYNCS {
            let began = Instant::now();
            file.write_all(&[b'x'; SECTOR_BYTES]).and_then(|()| file.sync_data()).expect("the disk works");
            waits.add(began.elapsed());
        }
        std::io::Seek::rewind(&mut file).expect("a file");
        waits
    };
    let waits = [measure(), measure()];
    std::fs::remove_file(path).expect("our file");
    waits
}

/// Waits until what other measurements left behind is written, so that nobody pays for it.
pub fn settle(at_least: Duration) {
    succeeds("sync", &[]);
    std::thread::sleep(at_least);
}
