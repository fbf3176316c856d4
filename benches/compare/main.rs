//! Pontoon beside what people use now, on one machine and in one run: its proxy beside other proxies over the same three
//! redis-servers, its cluster beside other replicated stores on the same disk. Builds, starts, measures and stops everything, and prints
//! tables with ratios, then each floor that Pontoon has set itself, with what was measured.
//!
//! ```text
//! cargo bench --bench compare [-- WORD...]
//!   parts       proxy: rates mget latency cores idle     store: writes reads failover     large: restart snapshot
//!   how much    smoke (seconds each) | quick (a few minutes) | nothing said (an hour) | whole (all loads crossed: hours)
//! ROUNDS=5 SECONDS=2 TRIALS=20    rounds, seconds measured of each load in each round, leaders killed
//! SNAPSHOT_LOAD=5000              writes a second beside snapshots
//! PONTOON_BEFORE=path             an older Pontoon, measured in the same rounds
//! ALONE=1 WRITERS=64              no other stores; durable writes of so many clients alone (1, 64 or 256)
//! PONTOON NUTCRACKER HAPROXY ETCD REDIS_SERVER PREDIXY    programs to take instead of the installed ones
//! ```
//!
//! Rounds alternate between systems and ratios are of the same round, so that what else the machine does hits all. The proxy, or the
//! three nodes of a store, have processor 0 to themselves; load, servers behind and Pontoon's own proxy share the others. Processor
//! time is what `/proc` says of the measured processes alone. Close everything else; compare within one run only.

#![allow(clippy::disallowed_methods, reason = "a measurement lives in real time and on a real disk")]

mod etcd;
mod large_part;
mod load;
mod machine;
mod nats;
mod poll;
mod programs;
mod proxies;
mod proxy_part;
mod results;
#[path = "../rig/mod.rs"]
mod rig;
mod speech;
mod store_part;
mod stores;
mod waits;

use std::path::Path;
use std::time::{Duration, Instant};

use load::Span;
use machine::Cores;
use results::Results;

const PARTS: [(&str, &[&str]); 3] = [
    ("proxy", &["rates", "mget", "latency", "cores", "idle"]),
    ("store", &["writes", "reads", "failover"]),
    ("large", &["restart", "snapshot"]),
];
const SIZES: [&str; 3] = ["smoke", "quick", "whole"];

/// What is measured, and how much of it.
struct Plan {
    words: Vec<String>,
    rounds: usize,
    warm: Duration,
    measured: Duration,
    /// Between two measurements, where something must come to rest.
    pause: Duration,
    is_brief: bool,
    is_whole: bool,
    /// Leaders killed.
    trials: usize,
    /// What a proxy may have that has one behind for each in front.
    connections_max: usize,
    idle_connections: usize,
    large_keys: u64,
    snapshot_time: Duration,
    /// Writes a second beside snapshots.
    snapshot_load: f64,
    /// Whether the other stores are left out.
    is_alone: bool,
    /// Clients that write; all loads where none are named.
    writers: Option<usize>,
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

impl Plan {
    fn of(words: Vec<String>) -> Result<Self, String> {
        let known: Vec<&str> =
            PARTS.iter().flat_map(|(part, of)| of.iter().chain([part])).chain(&SIZES).copied().collect();
        if let Some(word) = words.iter().find(|word| !known.contains(&word.as_str())) {
            return Err(format!("`{word}` is none of {}", known.join(", ")));
        }
        let is = |size: &str| words.iter().any(|word| word == size);
        let (is_smoke, is_whole) = (is("smoke"), is("whole"));
        let is_brief = is_smoke || is("quick");
        let pick = |smoke: f64, quick: f64, full: f64| match (is_smoke, is_brief) {
            (true, _) => smoke,
            (_, true) => quick,
            _ => full,
        };
        let seconds = from_environment("SECONDS").unwrap_or(pick(0.3, 1.0, 2.0));
        let connections_max = machine::allow_many_files() / 2 - 100;
        let rounds = from_environment("ROUNDS").unwrap_or(pick(1.0, 3.0, 5.0) as usize);
        Ok(Self {
            rounds,
            warm: Duration::from_secs_f64(pick(0.1, 0.2, 0.3)),
            measured: Duration::from_secs_f64(seconds),
            pause: Duration::from_secs_f64(pick(0.1, 0.5, 1.0)),
            is_brief,
            is_whole,
            trials: from_environment("TRIALS").unwrap_or(pick(1.0, 5.0, 20.0) as usize),
            connections_max,
            idle_connections: (connections_max - 100).min(pick(500.0, 10_000.0, 10_000.0) as usize),
            large_keys: pick(20_000.0, 1e6, 1e6) as u64,
            snapshot_time: Duration::from_secs_f64(pick(3.0, 45.0, 60.0)),
            snapshot_load: from_environment("SNAPSHOT_LOAD").unwrap_or(pick(4_000.0, 5_000.0, 5_000.0)),
            is_alone: from_environment::<u8>("ALONE").is_some_and(|said| said > 0),
            writers: from_environment("WRITERS"),
            words,
        })
    }

    fn span(&self) -> Span {
        Span::Time { warm: self.warm, measured: self.measured }
    }

    /// Whether some of it was asked for: by its name, by its part's, or by naming none.
    fn has(&self, piece: &str) -> bool {
        let said = |word: &str| self.words.iter().any(|said| said == word);
        let no_part_is_named = !self.words.iter().any(|word| !SIZES.contains(&word.as_str()));
        let part = PARTS.iter().find(|(_, pieces)| pieces.contains(&piece)).map_or(piece, |(part, _)| *part);
        no_part_is_named || said(piece) || said(part)
    }

    fn has_any(&self, part: &str) -> bool {
        PARTS.iter().filter(|(name, _)| *name == part).any(|(_, pieces)| pieces.iter().any(|piece| self.has(piece)))
    }
}

type Part = fn(&Plan, &Cores, &Path, &mut Results) -> Result<(), String>;

fn main() {
    let words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let plan = Plan::of(words).unwrap_or_else(|why| {
        eprintln!("{why}");
        std::process::exit(2);
    });
    let cores = Cores::of_this_machine();
    machine::pin(std::process::id(), &cores.others);
    std::fs::create_dir_all(programs::store_dir()).expect("a folder below target");
    let dir = tempfile::tempdir_in(programs::store_dir()).expect("a folder below target");
    let (began, mut told) = (Instant::now(), Vec::new());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("Measured on processor {}, load on {}; load average before: {}", cores.one, cores.others, load.trim());
    let parts: [(&str, &str, Part, &[&str]); 3] = [
        ("proxy", "Proxies over three redis-servers", proxy_part::run, &proxy_part::BASES),
        ("store", "Replicated stores, three nodes, every write synced", store_part::run, &store_part::BASES),
        ("large", "A Pontoon with many keys", large_part::run, &[]),
    ];
    for (part, title, run, bases) in parts {
        if !plan.has_any(part) {
            continue;
        }
        println!("{title}: {} rounds of {:?}", plan.rounds, plan.measured);
        let mut results = Results::default();
        if let Err(why) = run(&plan, &cores, dir.path(), &mut results) {
            results.note(format!("This part ended early: {why}"));
        }
        told.push((title, results, bases));
    }
    for (title, results, bases) in told {
        results.print(title, bases);
    }
    println!("\n{} rounds, {:.0} s in all.", plan.rounds, began.elapsed().as_secs_f64());
}
