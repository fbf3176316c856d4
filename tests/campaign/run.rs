//! One run: a cluster, clients, faults, healing, a last look at everything, and the verdict. All chance comes from its
//! seed; what the machine does with it is another matter, so a seed reproduces the plan and not the outcome.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::audit;
use super::clients::{ACCOUNTS, CLIENTS, Memory, Record, Shared, bank_read, run as run_client};
use super::cluster::{Cluster, Member, PROXIES, Process, REPLICAS, Settings, until};
use super::edits::{Operator, Seen, Underway};
use super::faults::{self, Fault};
use super::resp::{Answer, Connection};
use crate::checkers::append::{self, Append};
use crate::checkers::bank::{self, Bank};
use crate::checkers::counter::{self, Counter};
use crate::checkers::history::{Operation, Outcome, Verdict};
use crate::checkers::queue::{self, Queue};
use crate::checkers::register::{self, Register};
use crate::checkers::set::{self, Set};

const CALM: Duration = Duration::from_millis(700);
/// Nodes of a run in which members change and shards come.
const NODES_MAX: usize = 5;
/// A healed cluster takes writes again within that.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// What happens in a run.
pub struct Plan {
    pub seed: u64,
    /// What else is going on.
    pub underway: Underway,
    pub faults: Vec<Fault>,
    /// Stands while the others come and go.
    pub background: Option<Fault>,
    settings: Settings,
}

impl Plan {
    /// Every fault is the first of one run in so many; the others are drawn.
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut faults = vec![faults::ALL[seed as usize % faults::ALL.len()]];
        for _ in 0..random.random_range(1..=3) {
            faults.push(faults::ALL[random.random_range(0..faults::ALL.len())]);
        }
        let backgrounds = [Fault::Loss, Fault::Delay, Fault::ThinLink, Fault::ClockRate];
        let background = random.random_bool(0.2).then(|| backgrounds[random.random_range(0..backgrounds.len())]);
        let underway = Underway::of(seed, faults::ALL.len() as u64);
        // A shard whose only wanted replica has a wrong clock waits until that is mended.
        let waits = |b: Fault| underway == Underway::Members && b == Fault::ClockRate;
        let background = background.filter(|b| !faults.contains(b) && !waits(*b));
        let any = |of: fn(Fault) -> bool| faults.iter().chain(&background).any(|fault| of(*fault));
        let settings = Settings {
            nodes: if underway == Underway::Nothing { REPLICAS } else { NODES_MAX },
            clocks: any(Fault::needs_clocks),
            memory_disks: any(Fault::needs_memory_disks),
            staleness_max: Duration::from_millis(if random.random_bool(0.7) { 1_000 } else { 5_000 }),
            lease: random.random_bool(0.3),
        };
        Self { seed, underway, faults, background, settings }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub told: Vec<String>,
    pub done: usize,
    pub not_applied: usize,
    pub unknown: usize,
    pub keys: usize,
    /// Faults that came while slots moved, and while members changed.
    pub while_moving: usize,
    pub while_changing: usize,
    /// Times that a slot got another owner.
    pub handed_over: usize,
    pub longest_gap: Duration,
    pub took: Duration,
    /// Broken promises.
    pub broken: Vec<String>,
}

impl Report {
    pub fn operations(&self) -> usize {
        self.done + self.not_applied + self.unknown
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, told, done, not_applied, unknown, keys, longest_gap, took, broken, .. } = self;
        let percent = 100.0 * *unknown as f64 / self.operations().max(1) as f64;
        write!(f, "seed {seed}: {}\n  ", told.join("; "))?;
        write!(f, "{} operations on {keys} keys: {done} ok, {not_applied} not applied, ", self.operations())?;
        write!(f, "{unknown} unknown ({percent:.2} %); longest gap {longest_gap:.2?}; {took:.1?}; ")?;
        if self.handed_over + self.while_changing > 0 {
            let (moving, changing) = (self.while_moving, self.while_changing);
            write!(f, "{} slots handed over, faults: {moving} in moves, {changing} in changes; ", self.handed_over)?;
        }
        match broken.as_slice() {
            [] => f.write_str("no violation"),
            all => all.iter().try_for_each(|what| write!(f, "\n  VIOLATION: {what}")),
        }
    }
}

/// Carries out a plan in a directory of its own.
pub fn run(plan: &Plan, dir: &Path) -> Report {
    let began = Instant::now();
    let mut report = Report { seed: plan.seed, ..Report::default() };
    report.told.extend(plan.settings.lease.then(|| "read lease".to_owned()));
    match Cluster::start(dir, plan.settings) {
        Ok(mut cluster) => {
            if let Err(broken) = story(plan, &mut cluster, &mut report) {
                report.broken.push(broken);
            }
        }
        Err(broken) => report.broken.push(broken),
    }
    report.took = began.elapsed();
    report
}

/// Tells the clients to stop, also when a panic ends the scope that waits for them.
struct StopAtEnd<'a>(&'a Shared);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn story(plan: &Plan, cluster: &mut Cluster, report: &mut Report) -> Result<(), String> {
    let shared =
        Shared::new((0..PROXIES).map(|proxy| cluster.proxy_address(proxy)).collect(), plan.settings.staleness_max);
    let ended = std::thread::scope(|scope| {
        let _stop = StopAtEnd(&shared);
        for number in 0..CLIENTS {
            let shared = &shared;
            scope.spawn(move || run_client(shared, plan.seed, number));
        }
        let ended = trouble(plan, cluster, report);
        std::thread::sleep(CALM);
        ended
    });
    let audit = audit::read(&cluster.logs(), !plan.settings.clocks);
    report.handed_over = audit.handed_over;
    report.broken.extend(audit.broken);
    let mut memory = shared.memory.into_inner().unwrap();
    count(&memory, report);
    report.broken.append(&mut memory.complaints);
    // What clients saw is judged even if the cluster did not come back as it should.
    let looked = look(&cluster.proxy_address(0), &mut memory, shared.began);
    judge(&memory, report);
    ended?;
    looked?;
    cluster.await_health()?;
    cluster.verify()
}

/// The faults, one after the other; at the end all is healed.
fn trouble(plan: &Plan, cluster: &mut Cluster, report: &mut Report) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(plan.seed ^ 0xfa17);
    let mut operator = Operator::new(cluster, plan.underway, plan.faults.iter().any(|fault| fault.loses_files()));
    std::thread::sleep(CALM);
    let mut behind = None;
    if let Some(fault) = plan.background {
        let standing = faults::begin(cluster, fault, 0, &mut random)?;
        report.told.push(format!("behind all: {}", standing.told));
        behind = Some(standing);
    }
    for (number, fault) in (1..).zip(&plan.faults) {
        let mut told = operator.stir(cluster, fault.loses_files(), &mut random)?;
        let seen = if plan.underway == Underway::Nothing { Seen::default() } else { Seen::of(&cluster.status()?) };
        report.while_moving += usize::from(seen.slots > 0);
        report.while_changing += usize::from(seen.members > 0);
        let standing = faults::begin(cluster, *fault, number, &mut random)?;
        let duration = fault.duration(&mut random);
        std::thread::sleep(duration / 2);
        told += &operator.meddle(cluster, &mut random);
        report.told.push(told + &standing.told);
        std::thread::sleep(duration / 2);
        faults::end(cluster, standing)?;
        // The next one comes when some is healed, or all; but who was rebuilt must be whole before another one is.
        if fault.loses_files() || operator.has_wiped() || random.random_bool(0.5) {
            cluster.await_whole()?;
        } else {
            std::thread::sleep(CALM);
        }
    }
    behind.map_or(Ok(()), |standing| faults::end(cluster, standing))?;
    let gone = |member: &mut Member| member.process.as_mut().is_none_or(Process::is_gone).then(|| member.name.clone());
    if let Some(name) = cluster.nodes.iter_mut().chain(&mut cluster.proxies).find_map(gone) {
        return Err(format!("{name} ended by itself; its log, newest first:\n{}", cluster.last_words(&name)));
    }
    operator.undo_eviction(cluster);
    takes_writes(cluster)?;
    operator.settle(cluster)
}

/// Every shard takes writes again soon after all is healed.
fn takes_writes(cluster: &Cluster) -> Result<(), String> {
    let began = Instant::now();
    for key in 0..8 {
        let mut connection = connect(&cluster.proxy_address(key % PROXIES))?;
        until("a write after healing", || {
            let answer = connection.ask(&["SET", &format!("healed{key}"), "1"]).map_err(|e| e.to_string())?;
            if matches!(answer, Answer::Reply(_)) { Ok(()) } else { Err(format!("{answer:?}")) }
        })?;
    }
    let took = began.elapsed();
    if took > HEALED_WITHIN { Err(format!("healed, and no writes for {took:?}")) } else { Ok(()) }
}

fn connect(address: &str) -> Result<Connection, String> {
    until("a connection", || {
        let mut connection = Connection::open(address, Duration::from_secs(20)).map_err(|e| e.to_string())?;
        connection.ask(&["CLIENT", "READS", "strong"]).map_err(|e| e.to_string())?;
        Ok(connection)
    })
}

/// Reads every key once more.
fn look(address: &str, memory: &mut Memory, began: Instant) -> Result<(), String> {
    let mut connection = connect(address)?;
    let words = |texts: &[&str]| vec![texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()];
    let connection = &mut connection;
    look_at(&mut memory.appends, Append::Read, connection, began, |k| {
        words(&["LRANGE", &format!("list{k}"), "0", "-1"])
    })?;
    look_at(&mut memory.registers, Register::Get, connection, began, |k| words(&["GET", &format!("register{k}")]))?;
    look_at(&mut memory.counters, Counter::Read, connection, began, |k| words(&["GET", &format!("counter{k}")]))?;
    look_at(&mut memory.sets, Set::Read, connection, began, |k| words(&["SMEMBERS", &format!("set{k}")]))?;
    look_at(&mut memory.queues, Queue::Read, connection, began, |k| {
        words(&["LRANGE", &format!("queue{k}"), "0", "-1"])
    })?;
    look_at(&mut memory.banks, Bank::Read, connection, began, bank_read)
}

fn look_at<A: Copy>(
    record: &mut Record<A>,
    read: A,
    connection: &mut Connection,
    began: Instant,
    commands: impl Fn(u64) -> Vec<Vec<String>>,
) -> Result<(), String> {
    let mut keys: Vec<u64> = record.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let now_us = || began.elapsed().as_micros() as u64;
        let start = now_us();
        let mut answer = Answer::Error("nothing asked".to_owned());
        for command in commands(key) {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            answer = connection.ask(&words).map_err(|e| format!("a last read: {e}"))?;
        }
        let Answer::Reply(reply) = answer else { return Err(format!("a last read: {answer:?}")) };
        record.push((key, Operation::strong(0, start, now_us(), read, Outcome::Done(reply))));
    }
    Ok(())
}

fn judge(memory: &Memory, report: &mut Report) {
    judge_kind("list", &memory.appends, append::check, report);
    judge_kind("register", &memory.registers, register::check, report);
    judge_kind("counter", &memory.counters, counter::check, report);
    judge_kind("set", &memory.sets, set::check, report);
    judge_kind("queue", &memory.queues, queue::check, report);
    judge_kind("bank", &memory.banks, |history| bank::check(history, ACCOUNTS), report);
}

fn judge_kind<A: Copy>(
    kind: &str,
    record: &Record<A>,
    check: impl Fn(&[Operation<A>]) -> Verdict,
    report: &mut Report,
) {
    let mut by_key: std::collections::BTreeMap<u64, Vec<Operation<A>>> = std::collections::BTreeMap::new();
    for (key, operation) in record {
        by_key.entry(*key).or_default().push(operation.map(operation.action, operation.outcome.clone()));
    }
    report.keys += by_key.len();
    for (key, history) in by_key {
        if let Err(violation) = check(&history) {
            report.broken.push(format!("{kind}{key}: {violation}"));
        }
    }
}

fn count(memory: &Memory, report: &mut Report) {
    let mut acknowledged = Vec::new();
    count_kind(&memory.appends, |a| a != Append::Read, report, &mut acknowledged);
    count_kind(&memory.registers, |a| a != Register::Get, report, &mut acknowledged);
    count_kind(&memory.counters, |a| a != Counter::Read, report, &mut acknowledged);
    count_kind(&memory.sets, |a| a != Set::Read, report, &mut acknowledged);
    count_kind(&memory.queues, |a| a != Queue::Read, report, &mut acknowledged);
    count_kind(&memory.banks, |a| a != Bank::Read, report, &mut acknowledged);
    acknowledged.sort_unstable();
    let gap = acknowledged.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    report.longest_gap = Duration::from_micros(gap);
}

fn count_kind<A: Copy>(
    record: &Record<A>,
    is_write: impl Fn(A) -> bool,
    report: &mut Report,
    acknowledged: &mut Vec<u64>,
) {
    for (_, operation) in record {
        match operation.outcome {
            Outcome::Done(_) => report.done += 1,
            Outcome::NotApplied => report.not_applied += 1,
            Outcome::Unknown => report.unknown += 1,
        }
        if is_write(operation.action) && operation.reply().is_some() {
            acknowledged.push(operation.end);
        }
    }
}
