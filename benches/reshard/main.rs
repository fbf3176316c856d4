//! A fourth shard for a million keys of 100 bytes, under reads and writes at a third of what the cluster can do: Pontoon beside
//! `redis-cli --cluster rebalance` between redis-servers and, if there is a valkey-server, its atomic slot migration.
//!
//! ```text
//! cargo build --release && cargo bench --bench reshard [-- pontoon|redis|valkey ...]
//! VALKEY_SERVER=/path/to/valkey-server  PONTOON=target/release/pontoon  REPLICAS=3  RATE=0.33
//! ```
//!
//! `-- storm` is another story, of Pontoon alone: see [`storm`].
//!
//! Needs redis-server and redis-cli (Debian's). Peers keep nothing on disk and have one replica of each key; Pontoon has three,
//! each of which syncs. Everything runs on this machine, clients included, so compare within one run only.

#![allow(clippy::disallowed_methods, reason = "a measurement lives in real time and on a real disk")]

mod load;
mod report;
#[path = "../rig/mod.rs"]
mod rig;
mod storm;
mod systems;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use load::{Aim, KEYS, Outcome, Route, drive, fill, run, wrong_keys};
use report::Report;
use systems::System;

const CAPACITY_TIME: Duration = Duration::from_secs(5);
const BEFORE: Duration = Duration::from_secs(8);
const AFTER: Duration = Duration::from_secs(4);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let part: f64 = std::env::var("RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(1.0 / 3.0);
    if chosen.iter().any(|chosen| chosen == "storm") {
        return storm::weather(part);
    }
    let mut reports = Vec::new();
    for name in ["pontoon", "redis", "valkey"] {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            match System::start(name) {
                Some(system) => reports.push(measure(&system, part)),
                None => println!("{name}: there is no such server here"),
            }
        }
    }
    report::print(&reports);
    assert!(
        reports.iter().filter(|report| report.name == "pontoon").all(Report::is_right),
        "keys or requests went wrong"
    );
}

/// Runs clients on a thread of their own while `meanwhile` happens.
fn under_load(spec: Spec, aim: Aim, versions: &mut Vec<u32>, meanwhile: impl FnOnce(Instant)) -> Outcome {
    let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let (told, mut known) = (Arc::clone(&stop), std::mem::take(versions));
    let clients = std::thread::spawn(move || {
        let outcome = run(async { drive(&spec.route(), &aim, began, &told, &mut known).await });
        (outcome, known)
    });
    meanwhile(began);
    stop.store(true, Ordering::Relaxed);
    let (outcome, known) = clients.join().expect("clients end");
    *versions = known;
    outcome
}

fn measure(system: &System, part: f64) -> Report {
    let name = system.name;
    println!("{name}: {KEYS} keys are written");
    run(async { fill(&system.slots().route()).await });
    let mut versions = vec![0_u32; KEYS];
    let full = under_load(system.slots(), Aim::at_all(None), &mut versions, |_| std::thread::sleep(CAPACITY_TIME));
    let capacity = full.samples.len() as f64 / CAPACITY_TIME.as_secs_f64();
    println!("{name}: {capacity:.0} requests/s at most; now {:.0}", capacity * part);
    let (mut from, mut to, mut moved) = (Duration::ZERO, Duration::ZERO, 0);
    let outcome = under_load(system.slots(), Aim::at_all(Some(capacity * part)), &mut versions, |began| {
        std::thread::sleep(BEFORE);
        from = began.elapsed();
        moved = system.reshard();
        to = began.elapsed();
        std::thread::sleep(AFTER);
    });
    println!("{name}: {moved} keys moved in {:.2} s", (to - from).as_secs_f64());
    let wrong = run(async { wrong_keys(&system.slots().route(), &versions).await });
    Report::of(name, capacity, &outcome, from..to, moved, wrong, system.key_count())
}

/// What clients need to know to find keys.
pub enum Spec {
    /// One address.
    One(u16),
    /// The port of each slot.
    Cluster(Vec<u16>),
}

impl Spec {
    fn route(&self) -> Route {
        match self {
            Self::One(port) => Route::One(*port),
            Self::Cluster(ports) => Route::Cluster(std::rc::Rc::new(std::cell::RefCell::new(ports.clone()))),
        }
    }
}
