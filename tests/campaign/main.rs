//! The black-box campaign: real processes on hosts of their own, real faults, and checkers over all that clients saw.
//!
//! `cargo test --test campaign` runs a selection, a few runs for each class of faults. The whole:
//! `PONTOON_RUNS=200 cargo test --release --test campaign -- campaign --nocapture`; a single run again:
//! `PONTOON_SEED=17 PONTOON_RUNS=1 ...`; `PONTOON_KEEP=DIRECTORY` keeps the files of runs that broke a promise.
//! Failover figures: `cargo test --release --test campaign -- failover --ignored --nocapture`.

#![allow(clippy::disallowed_methods, reason = "black-box tests live in real time and on a real disk")]

#[path = "../checkers/mod.rs"]
mod checkers;

mod abilities;
mod audit;
mod clients;
mod cluster;
mod delay;
mod edits;
mod faults;
mod figures;
mod ground;
mod resp;
mod run;

use std::path::{Path, PathBuf};
use std::time::Duration;

use faults::Fault;
use run::{Plan, Report};

/// Seeds of the selection: each stands for a class of faults, by its first fault (see [`faults::ALL`]).
const SELECTION: std::ops::Range<u64> = 0..8;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[test]
fn campaign() {
    ground::enter();
    let seed = number("PONTOON_SEED");
    let seeds: Vec<u64> = match (number("PONTOON_RUNS"), seed) {
        (None, None) => SELECTION.collect(),
        (runs, seed) => (seed.unwrap_or(0)..).take(runs.unwrap_or(1) as usize).collect(),
    };
    let mut all: Vec<Report> = Vec::new();
    for (i, seed) in seeds.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let report = run::run(&Plan::of(*seed), dir.path());
        println!("{}/{} {report}", i + 1, seeds.len());
        if !report.broken.is_empty() {
            keep(dir.path(), *seed);
        }
        all.push(report);
    }
    let sum = |count: fn(&Report) -> usize| all.iter().map(count).sum::<usize>();
    let (operations, unknown) = (sum(Report::operations), sum(|r| r.unknown));
    println!(
        "{} runs, {} faults, {operations} operations: {} ok, {} not applied, {unknown} unknown ({:.2} %); \
         {} violations; longest gap {:.2?}",
        all.len(),
        sum(|r| r.told.len()),
        sum(|r| r.done),
        sum(|r| r.not_applied),
        100.0 * unknown as f64 / operations.max(1) as f64,
        sum(|r| r.broken.len()),
        all.iter().map(|r| r.longest_gap).max().unwrap_or_default(),
    );
    let broken: Vec<String> = all.iter().filter(|r| !r.broken.is_empty()).map(ToString::to_string).collect();
    assert!(broken.is_empty(), "promises were broken:\n{}", broken.join("\n"));
}

#[test]
#[ignore = "a measurement, for an optimized build and an idle machine"]
fn failover() {
    ground::enter();
    let trials = number("PONTOON_TRIALS").unwrap_or(20) as usize;
    println!("| the leader | median | max | trials |");
    println!("| --- | --- | --- | --- |");
    for (what, fault) in [
        ("is killed (kill -9)", Fault::KillLeader),
        ("hangs (SIGSTOP)", Fault::StopLeader { ms: 0 }),
        ("is cut off from its peers", Fault::IsolateFromPeers),
        ("is cut off from all", Fault::IsolateFromAll),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let took = figures::failover(dir.path(), fault, trials).unwrap_or_else(|broken| panic!("{what}: {broken}"));
        println!("{}", figures::line(what, took));
    }
}

/// Copies what a run left where somebody can look at it.
fn keep(dir: &Path, seed: u64) {
    if let Some(place) = std::env::var_os("PONTOON_KEEP") {
        let place = PathBuf::from(place).join(format!("seed{seed}"));
        std::fs::create_dir_all(&place).unwrap();
        let done = std::process::Command::new("cp").arg("-a").arg(dir.join(".")).arg(&place).status();
        println!("kept in {}: {done:?}", place.display());
    }
}

#[test]
fn a_long_cut_is_forgotten_soon_after_it_ends() {
    // By then TCP waits another eleven seconds until it tries again.
    const CUT: Duration = Duration::from_secs(14);
    ground::enter();
    let dir = tempfile::tempdir().unwrap();
    let took = figures::healing(dir.path(), CUT).unwrap();
    assert!(took < Duration::from_secs(5), "no writes for {took:?} after a cut of {CUT:?}");
}
