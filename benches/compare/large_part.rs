//! A Pontoon with a million keys: how long a node takes to serve again, and what writes wait for while snapshots are written.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Plan;
use crate::load::{Load, Pace, Span, drive};
use crate::machine::{Cores, settle};
use crate::results::{Results, Sample, Wanted};
use crate::rig::processes::wait;
use crate::speech::{Keys, Op, Work, blank_key};
use crate::store_part::{VALUE_BYTES, fill};
use crate::stores::{PONTOON, Store};

const RESTART: &str = "restart of a node with all keys to serving";
const BESIDE: &str = "longest write while a snapshot is written";
const ELSE: &str = "longest write meanwhile, without a snapshot";
/// Freezing comes before a snapshot's file, and what the file system does after one was removed comes after it.
const MARGIN: Duration = Duration::from_millis(100);
const WRITERS: usize = 64;
/// What no write may wait because of a snapshot.
const LATE: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(5);

pub fn run(plan: &Plan, cores: &Cores, dir: &Path, results: &mut Results) -> Result<(), String> {
    let own = dir.join("large");
    std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    // A snapshot several times in a run, each of all keys.
    let entries = (plan.large_keys / 4).to_string();
    let mut store = Store::start(PONTOON, &own, cores, &["--snapshot-entries", &entries])?;
    let leader = store.leader()?;
    fill(&store, store.port(leader), plan.large_keys)?;
    store.await_health()?;
    if plan.has("snapshot") {
        snapshots(&store, plan, results)?;
    }
    if plan.has("restart") {
        for _ in 0..plan.rounds.min(5) {
            settle(plan.pause);
            let node = (store.leader()? + 1) % 3;
            store.shoot(node);
            settle(plan.pause);
            let began = Instant::now();
            store.restart(node);
            wait("a strong read of the node", || serves(store.port(node)));
            results.add_amount(RESTART, PONTOON, "s", began.elapsed().as_secs_f64());
            store.await_health()?;
        }
    }
    floors(plan, results);
    Ok(())
}

/// Whether a node answers a strong read with what it should.
fn serves(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("CLIENT READS strong\r\nGET {}\r\n", blank_key(VALUE_BYTES)).as_bytes())?;
        let mut answer = [0; 9];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+OK\r\n$100")
    };
    ask().unwrap_or(false)
}

/// A snapshot's file before it has its name, or what is left of the one before.
fn is_writing(data: &[PathBuf]) -> bool {
    let folders = data.iter().flat_map(|node| std::fs::read_dir(node).into_iter().flatten().flatten());
    let mut files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.any(|file| [".tmp", ".old"].iter().any(|kind| file.file_name().to_string_lossy().ends_with(kind)))
}

/// When snapshots were written, by looking until told to stop.
fn watch(data: &[PathBuf], stop: &AtomicBool) -> Vec<[Instant; 2]> {
    let mut spans: Vec<[Instant; 2]> = Vec::new();
    let mut was = false;
    while !stop.load(Ordering::Relaxed) {
        let (is, now) = (is_writing(data), Instant::now());
        match spans.last_mut().filter(|_| was) {
            Some(span) => span[1] = now,
            None if is => spans.push([now, now]),
            None => {}
        }
        was = is;
        std::thread::sleep(LOOK);
    }
    spans
}

fn snapshots(store: &Store, plan: &Plan, results: &mut Results) -> Result<(), String> {
    let data: Vec<PathBuf> = (0..3).filter_map(|node| store.data(node)).collect();
    let work = Work { op: Op::Set, value_bytes: VALUE_BYTES, keys: Keys::Any(plan.large_keys) };
    let (tongue, port, stop) = (store.tongue(), store.port(store.leader()?), AtomicBool::new(false));
    let speaker = |client| tongue.speaker(work, client);
    let span = Span::Time { warm: Duration::from_secs(1), measured: plan.snapshot_time };
    let pace = Pace::Open { per_second: plan.snapshot_load };
    let load = Load { ports: &[port], clients: WRITERS, pace, span, speaker: &speaker };
    let (outcome, spans) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&data, &stop));
        let outcome = drive(&load, &|| store.cpu());
        stop.store(true, Ordering::Relaxed);
        (outcome, watcher.join().expect("it only looks"))
    });
    let outcome = outcome?;
    if spans.is_empty() {
        results.note("no snapshot was written: the load was too short".to_owned());
        return Ok(());
    }
    // From when it was due to when it was answered, a write touched a snapshot or not.
    let touches = |(answered, waited): &(Instant, Duration)| {
        spans.iter().any(|[from, to]| *answered + MARGIN >= *from && *answered - *waited <= *to + MARGIN)
    };
    let longest = |touched: bool| {
        let waits = outcome.slow.iter().filter(|slow| touches(slow) == touched).map(|(_, wait)| *wait);
        waits.max().unwrap_or_default().as_secs_f64() * 1e3
    };
    let (beside, otherwise) = (longest(true), longest(false));
    let seconds: f64 = spans.iter().map(|[from, to]| (*to - *from).as_secs_f64()).sum();
    // The disk is somebody else's too: what is slow without a snapshot as often is not slow because of one.
    let slow = |touched: bool, seconds: f64| {
        let count = outcome.slow.iter().filter(|slow| slow.1 > LATE && touches(slow) == touched).count();
        count as f64 / (plan.snapshot_load * seconds) * 100.0
    };
    let touched_seconds = seconds + 2.0 * MARGIN.as_secs_f64() * spans.len() as f64;
    let (late, late_else) =
        (slow(true, touched_seconds), slow(false, plan.snapshot_time.as_secs_f64() - touched_seconds));
    results.note(format!(
        "Writes above {} ms: {late:.3}% of those that a snapshot touched, {late_else:.3}% of the others.",
        LATE.as_millis()
    ));
    results.note(format!(
        "Snapshots of {} keys: {} of the three nodes in {:.0} s of {:.0} writes/s, {seconds:.1} s long in all.",
        plan.large_keys,
        spans.len(),
        plan.snapshot_time.as_secs_f64(),
        plan.snapshot_load,
    ));
    results.add_amount(BESIDE, PONTOON, "ms", beside);
    results.add_amount(ELSE, PONTOON, "ms", otherwise);
    results.add("durable SET at a fixed rate beside snapshots", PONTOON, Ok(outcome));
    Ok(())
}

fn floors(plan: &Plan, results: &mut Results) {
    let amount = |sample: &Sample| sample.amount;
    if plan.has("restart") {
        let most = results.most(RESTART, PONTOON, amount);
        results.floor(RESTART, Wanted::AtMost(3.0), most, " s");
    }
    if plan.has("snapshot") {
        let most = results.most(BESIDE, PONTOON, amount);
        results.floor(BESIDE, Wanted::AtMost(20.0), most, " ms");
    }
}
