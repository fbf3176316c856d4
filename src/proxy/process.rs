//! What a proxy tells about itself as a whole: the numbers of `INFO`, summed over its workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::metrics::{Figure, WorkerStats};
use crate::control::follow::Followed;
use crate::control::reload::FileTrouble;
use crate::frontend::Facts;
use crate::net::{Clock, Moment};

/// One proxy, as all of its workers see it.
#[derive(Debug)]
pub struct Process {
    /// What the workers count.
    pub workers: Vec<Arc<WorkerStats>>,
    /// Facts that do not change.
    pub constant: Facts,
    clock: Clock,
    started: Moment,
    /// What the counters were when `CONFIG RESETSTAT` last set them back.
    baseline: Mutex<Totals>,
    rate: Mutex<Rate>,
    /// What is followed where shards are groups of Redis servers.
    followed: Mutex<Option<Followed>>,
    /// What there is to say of the file where shards are nodes' own.
    file_trouble: OnceLock<FileTrouble>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    connections: u64,
    rejected: u64,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: Moment,
    requests: u64,
    per_second: u64,
}

impl Process {
    /// A proxy that starts now.
    pub fn new(workers: Vec<Arc<WorkerStats>>, constant: Facts, clock: Clock) -> Self {
        let started = clock.now();
        let (baseline, rate, followed, file_trouble) = Default::default();
        Self { workers, constant, clock, started, baseline, rate, followed, file_trouble }
    }

    /// The clock.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells what file of Redis shards is followed.
    pub fn set_followed(&self, followed: Followed) {
        *self.followed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(followed);
    }

    /// Tells where to look for what there is to say of the file.
    pub fn set_file_trouble(&self, trouble: FileTrouble) {
        // There is one file, which is followed from the start on.
        drop(self.file_trouble.set(trouble));
    }

    /// Why the file is not what the catalog accepted, if it is not.
    pub fn file_trouble(&self) -> Option<String> {
        let accepted = self.workers.iter().map(|w| w.config_version.get()).max().unwrap_or(0);
        self.file_trouble.get()?.reason(accepted)
    }

    /// Whether the file is another one than what is accepted, or followed.
    pub fn is_file_refused(&self) -> bool {
        if self.file_trouble().is_some() {
            return true;
        }
        let followed = self.followed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        followed.as_ref().is_some_and(|followed| followed.trouble.is_some())
    }

    /// The numbers now.
    pub fn facts(&self) -> Facts {
        let totals = self.totals();
        let base = *self.baseline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (resident_bytes, resident_bytes_peak) = resident_bytes();
        let (user_seconds, system_seconds) = processor_seconds();
        Facts {
            uptime: self.clock.now().since(self.started),
            clients: self.sum(|w| &w.connections),
            requests_waiting: self.sum(|w| &w.waiting),
            clients_held: self.sum(|w| &w.stalled),
            clients_blocked: self.sum(|w| &w.clients_blocked),
            connections_received: totals.connections - base.connections,
            connections_rejected: totals.rejected - base.rejected,
            commands_processed: totals.requests - base.requests,
            commands_per_second: self.rate(totals.requests),
            input_bytes: totals.bytes_in - base.bytes_in,
            output_bytes: totals.bytes_out - base.bytes_out,
            resident_bytes,
            resident_bytes_peak,
            user_seconds,
            system_seconds,
            pontoon: self.lines(),
            ..self.constant.clone()
        }
    }

    /// Counts from zero again, for `INFO`.
    pub fn reset_statistics(&self) {
        *self.baseline.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = self.totals();
    }

    /// Whether every worker knows a leader that it can reach for every shard.
    pub fn is_ready(&self) -> bool {
        self.workers.iter().all(|w| w.ready.get() == 1)
    }

    fn totals(&self) -> Totals {
        Totals {
            connections: self.sum(|w| &w.connections_taken),
            rejected: self.sum(|w| &w.connections_rejected),
            requests: self.sum(|w| &w.requests),
            bytes_in: self.sum(|w| &w.bytes_in),
            bytes_out: self.sum(|w| &w.bytes_out),
        }
    }

    fn sum(&self, figure: impl Fn(&WorkerStats) -> &Figure) -> u64 {
        self.workers.iter().map(|w| figure(w).get()).sum()
    }

    fn rate(&self, requests: u64) -> u64 {
        let mut rate = self.rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.now();
        let span = now.since(rate.at);
        if span >= Duration::from_secs(1) {
            let came = requests.saturating_sub(rate.requests);
            let per_second = (came as f64 / span.as_secs_f64()) as u64;
            *rate = Rate { at: now, requests, per_second };
        }
        rate.per_second
    }

    fn lines(&self) -> Vec<(String, String)> {
        let revision = self.workers.iter().map(|w| w.revision.get()).max().unwrap_or(0);
        let mut reads: BTreeMap<(String, String), u64> = BTreeMap::new();
        for stats in self.workers.iter().flat_map(|w| w.reads()) {
            let key = (stats.shard.to_string(), stats.node.to_string());
            *reads.entry(key).or_default() += stats.reads.get();
        }
        let followed = self.followed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut lines = match &followed {
            Some(followed) => lines_of(followed),
            None => vec![("catalog_revision".to_owned(), revision.to_string())],
        };
        lines.extend(self.file_trouble().map(|reason| ("config_refused".to_owned(), reason)));
        lines.extend([
            ("workers".to_owned(), self.workers.len().to_string()),
            ("stalled_clients".to_owned(), self.sum(|w| &w.stalled).to_string()),
        ]);
        lines.extend(reads.into_iter().map(|((shard, node), n)| (format!("reads_{shard}_{node}"), n.to_string())));
        lines
    }
}

/// What a proxy for Redis shards tells of its file.
fn lines_of(followed: &Followed) -> Vec<(String, String)> {
    let config = &followed.config;
    let mut lines = vec![
        ("shards_kind".to_owned(), "redis".to_owned()),
        (
            "shards_promise".to_owned(),
            "replication_is_asynchronous:an_acknowledged_write_can_be_lost_at_failover".to_owned(),
        ),
        ("config_version".to_owned(), config.version.to_string()),
    ];
    lines.extend(config.slots().into_iter().map(|run| {
        let name = &config.shards[run.shard].name;
        (format!("slots_{name}"), format!("{}-{}", run.first, run.last))
    }));
    let told = [("config_remapped", &followed.remapped), ("config_refused", &followed.trouble)];
    lines.extend(told.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.clone()?))));
    lines
}

/// Resident memory now and at its peak; zero where the kernel does not say.
fn resident_bytes() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
    };
    (kib("VmRSS:").unwrap_or(0) * 1024, kib("VmHWM:").unwrap_or(0) * 1024)
}

/// Seconds of processor time outside of the kernel and in it.
fn processor_seconds() -> (f64, f64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage writes one rusage into the memory that it is given; zeroes are a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}
