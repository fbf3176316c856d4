//! Replicated stores, three nodes each on one processor and one disk, every write synced by a majority; clients (and Pontoon's
//! proxy) run on the others.

use std::path::Path;
use std::time::Duration;

use crate::Plan;
use crate::load::{Load, Outcome, Pace, Span, drive, first_success};
use crate::machine::{Cores, settle, sync_waits};
use crate::programs::NOT_ASKED_FOR;
use crate::results::{Results, Sample, Wanted};
use crate::speech::{Keys, Op, Work};
use crate::stores::{BEFORE, ETCD_34, ETCD_35, NAMES, NATS, PONTOON, Store};

pub const VALUE_BYTES: usize = 100;
const KEYS: u64 = 10_000;
const WRITERS: [usize; 3] = [1, 64, 256];
const READERS: usize = 64;
const BY_PROXY: &str = "Pontoon, through a proxy";
const BY_FOLLOWER: &str = "Pontoon, a follower";
const APPEND: &str = "fdatasync of 512 bytes appended, p50";
const OVERWRITE: &str = "fdatasync of 512 bytes over old ones, p50";
const DISK: &str = "the disk";
const FAILOVER: &str = "kill -9 of the leader to the next acknowledged write";
/// So often a new write is tried while nobody leads.
const RETRY: Duration = Duration::from_millis(2);
const FAILOVER_PATIENCE: Duration = Duration::from_secs(30);

fn writes(clients: usize) -> String {
    format!("durable SET, {clients} clients")
}

fn reads() -> String {
    format!("strong GET, {READERS} clients")
}

/// The same system may be reached in several ways.
struct Way<'a> {
    name: &'static str,
    store: &'a Store,
    port: u16,
}

impl Way<'_> {
    fn measure(&self, op: Op, clients: usize, span: Span) -> Result<Outcome, String> {
        let work = Work { op, value_bytes: VALUE_BYTES, keys: Keys::Any(KEYS) };
        let tongue = self.store.tongue();
        let speaker = |client| tongue.speaker(work, client);
        let pace = Pace::Closed { depth: 1 };
        drive(&Load { ports: &[self.port], clients, pace, span, speaker: &speaker }, &|| self.store.cpu())
    }
}

/// Writes keys one after the other through one connection.
pub fn fill(store: &Store, port: u16, keys: u64) -> Result<(), String> {
    let work = Work { op: Op::Set, value_bytes: VALUE_BYTES, keys: Keys::Each };
    let tongue = store.tongue();
    let speaker = |client| tongue.speaker(work, client);
    let (pace, span) = (Pace::Closed { depth: 100 }, Span::Requests(keys));
    let outcome = drive(&Load { ports: &[port], clients: 1, pace, span, speaker: &speaker }, &|| Duration::ZERO)?;
    outcome.first_error.map_or(Ok(()), Err)
}

/// All of the part that compares.
pub fn run(plan: &Plan, cores: &Cores, dir: &Path, results: &mut Results) -> Result<(), String> {
    let mut stores = Vec::new();
    let names = NAMES.iter().filter(|name| !plan.is_alone || [PONTOON, BEFORE].contains(*name));
    for name in names.copied() {
        let own = dir.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
        let started = Store::start(name, &own, cores, &[]).and_then(|store| {
            fill(&store, store.port(store.leader()?), KEYS)?;
            Ok(store)
        });
        match started {
            Ok(store) => stores.push(store),
            Err(why) if why == NOT_ASKED_FOR => {}
            Err(why) => results.note(format!("{name} is left out: {why}")),
        }
    }
    results
        .note(format!("CPU is that of the three nodes; the processor time of the proxy of `{BY_PROXY}` is not in it."));
    if plan.has("writes") {
        for clients in WRITERS.into_iter().filter(|clients| plan.writers.is_none_or(|only| *clients == only)) {
            rounds(&stores, Op::Set, clients, dir, plan, results)?;
        }
    }
    if plan.has("reads") {
        rounds(&stores, Op::Get, READERS, dir, plan, results)?;
        results.note(format!("{NATS}'s GET is a direct get, which is not linearizable; all others are."));
    }
    if plan.has("failover") {
        for store in &mut stores {
            if let Err(why) = failovers(store, plan, results) {
                results.note(format!("{FAILOVER}, {}: ended early: {why}", store.name));
            }
        }
    }
    floors(plan, results);
    Ok(())
}

fn rounds(
    stores: &[Store],
    op: Op,
    clients: usize,
    dir: &Path,
    plan: &Plan,
    results: &mut Results,
) -> Result<(), String> {
    let name = if op == Op::Set { writes(clients) } else { reads() };
    for _ in 0..plan.rounds {
        for store in stores {
            // Found anew each time: leaders move.
            let leader = store.leader()?;
            let mut ways = vec![Way { name: store.name, store, port: store.port(leader) }];
            if op == Op::Get && store.name == PONTOON {
                ways.push(Way { name: BY_FOLLOWER, store, port: store.port((leader + 1) % 3) });
            }
            ways.extend(store.proxy_port().map(|port| Way { name: BY_PROXY, store, port }));
            for way in ways {
                settle(plan.pause);
                if op == Op::Set && clients == 1 && way.name == PONTOON {
                    let [append, overwrite] = sync_waits(dir).map(|waits| waits.at(0.5).as_secs_f64() * 1e3);
                    results.add_amount(APPEND, DISK, "ms", append);
                    results.add_amount(OVERWRITE, DISK, "ms", overwrite);
                }
                results.add(&name, way.name, way.measure(op, clients, plan.span()));
            }
        }
    }
    Ok(())
}

fn failovers(store: &mut Store, plan: &Plan, results: &mut Results) -> Result<(), String> {
    let work = Work { op: Op::Set, value_bytes: VALUE_BYTES, keys: Keys::Any(KEYS) };
    let tongue = store.tongue();
    for _ in 0..plan.trials {
        store.await_health()?;
        settle(plan.pause);
        let leader = store.leader()?;
        let ports = store.ports_without(leader);
        let speaker = |client| tongue.speaker(work, client);
        let gap = first_success(&ports, &speaker, RETRY, FAILOVER_PATIENCE, || store.shoot(leader));
        store.restart(leader);
        results.add_amount(FAILOVER, store.name, "ms", gap?.as_secs_f64() * 1e3);
    }
    store.await_health()
}

fn floors(plan: &Plan, results: &mut Results) {
    let rate = |sample: &Sample| sample.per_second;
    let amount = |sample: &Sample| sample.amount;
    if plan.has("writes") {
        for (clients, redisraft) in [(64, 27.0), (256, 40.0)] {
            let name = writes(clients);
            let of = |way: &str| results.ratio([&name, way], [&name, ETCD_34], rate);
            let (direct, proxied) = (of(PONTOON), of(BY_PROXY));
            let thousands = results.median(&name, PONTOON, |sample| sample.per_second / 1e3);
            results.floor(&name, Wanted::AtLeast(8.0), direct, "x etcd 3.4");
            results.floor(&name, Wanted::AtLeast(redisraft), thousands, " k/s (RedisRaft elsewhere)");
            results.floor(&format!("{name}, through a proxy"), Wanted::AtLeast(6.0), proxied, "x etcd 3.4");
        }
        let cpu = results.median(&writes(64), PONTOON, |sample| sample.cpu_us / 10.0);
        results.floor("CPU of three nodes for 100,000 durable writes at 64 clients", Wanted::AtMost(3.0), cpu, " s");
        let syncs = |what: &str| {
            results.ratio([&writes(1), PONTOON], [what, DISK], |sample| {
                if sample.amount > 0.0 { sample.amount } else { sample.p50.as_secs_f64() * 1e3 }
            })
        };
        let (append, overwrite) = (syncs(APPEND), syncs(OVERWRITE));
        results.floor("durable SET of one client, p50", Wanted::AtMost(2.5), append, "x fdatasync (append)");
        results.floor("the same", Wanted::AtMost(2.5), overwrite, "x fdatasync (overwrite)");
    }
    if plan.has("reads") {
        for way in [PONTOON, BY_FOLLOWER] {
            let measured = results.ratio([&reads(), way], [&reads(), ETCD_34], rate);
            let thousands = results.median(&reads(), way, |sample| sample.per_second / 1e3);
            results.floor(&format!("{}, {way}", reads()), Wanted::AtLeast(10.0), measured, "x etcd 3.4");
            results.floor(
                &format!("{}, {way}", reads()),
                Wanted::AtLeast(89.0),
                thousands,
                " k/s (RedisRaft elsewhere)",
            );
        }
    }
    if plan.has("failover") {
        let (median, most) = (results.median(FAILOVER, PONTOON, amount), results.most(FAILOVER, PONTOON, amount));
        results.floor(FAILOVER, Wanted::AtMost(150.0), median, " ms, median");
        results.floor(FAILOVER, Wanted::AtMost(500.0), most, " ms, longest");
    }
}

/// The systems that ratios divide by, the first that was measured.
pub const BASES: [&str; 3] = [ETCD_34, ETCD_35, PONTOON];
