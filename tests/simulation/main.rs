//! A whole cluster under faults, in virtual time: the real engines of nodes and proxies, consensus, log, snapshots and
//! restart, on simulated disks, clocks and connections, in one thread.
//!
//! All chance comes from one seed, so a failure is reproduced by its seed:
//! `PONTOON_SEED=17 cargo test --test simulation a_cluster`. `PONTOON_SEEDS=5000` runs that many, from `PONTOON_SEED` or
//! zero on, on all cores; `PONTOON_SIMULATE_S=60` lets things go wrong for so many virtual seconds, `PONTOON_FIRST_FAILURE=1`
//! ends with the first seed that fails. Deliberately absent: sockets and threads around the engines, the catalog's own
//! group, wiped disks.

#[path = "../checkers/mod.rs"]
mod checkers;
mod clients;
mod clock;
mod edits;
mod faults;
#[cfg(feature = "failpoints")]
mod handoff;
mod history;
mod invariants;
mod member;
mod node;
mod proxy;
mod random;
mod replies;
mod setting;
mod streams;
mod voter;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pontoon::keyspace::{Read, ReadAt};
use pontoon::protocol::request::{Args, parse_array};
use pontoon::topology::Slot;

use self::checkers::history::{Outcome, Reply};
use self::clients::Clients;
use self::faults::Plan;
use self::random::Random;
use self::replies::Answer;
use self::setting::Setting;
use self::workload::{ACCOUNTS, Key, Kind, command};
use self::world::{Due, World};

/// How long things go wrong, in seconds, and how long a healed cluster may take until every key takes writes again.
const FAULTS_S: u64 = 10;
const HEALED_WITHIN_US: u64 = 10_000_000;
/// How long the replicas may take to be at one index when nobody writes any more.
const AGREE_WITHIN_US: u64 = 30_000_000;
const SEEDS: u64 = 200;
/// Seeds after which a long run says how far it is.
const PROGRESS_SEEDS: u64 = 500;

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    trace: u64,
    written: usize,
    read: usize,
    refused: usize,
    unknown: usize,
    terms_led: usize,
    snapshots: u64,
    states_sent: u64,
    states_installed: u64,
    compared: u64,
    /// Times that a slot got another owner, or came back.
    slots_moved: usize,
    faults: BTreeMap<&'static str, u64>,
}

/// Lets things go wrong for so many seconds, then heals all, and judges.
fn run(seed: u64, seconds: u64) -> Report {
    let mut random = Random::new(seed);
    let setting = Setting::of(&mut random);
    let plan = Plan::of(&mut random);
    let mut world = World::new(random, &setting);
    (0..setting.nodes).for_each(|node| world.start(node));
    (0..setting.proxies).for_each(|proxy| world.start_proxy(proxy));
    let mut clients = Clients::new(&mut world, setting.clients, setting.think_max_us);
    world.schedule(500_000, Due::NextFault);
    if let Some(every_us) = setting.transfer_every_us {
        world.schedule(every_us, Due::Transfers);
    }
    while world.now_us < seconds * 1_000_000 {
        step(&mut world, &mut clients, Some((&plan, &setting)));
    }
    judge(&mut world, &mut clients)
}

/// Heals all, lets it come to rest, and judges.
fn judge(world: &mut World, clients: &mut Clients) -> Report {
    faults::heal(world);
    let healed_us = world.now_us;
    clients.want_all(healed_us);
    while !clients.still_wanted().is_empty() {
        let wanted = clients.still_wanted();
        assert!(
            world.now_us < healed_us + HEALED_WITHIN_US,
            "no write to {wanted:?} succeeds though all is healed: {:#?}",
            standing(world)
        );
        step(world, clients, None);
    }
    clients.stopped = true;
    while !(clients.idle() && world.unsettled().is_empty() && agreed(world)) {
        assert!(
            world.now_us < healed_us + HEALED_WITHIN_US + AGREE_WITHIN_US,
            "the replicas do not come together, or a client waits for ever: {:#?}, {:#?}",
            standing(world),
            world.unsettled()
        );
        step(world, clients, None);
    }
    compare_states(world);
    let finals: Vec<Reply> = clients.keys.all.iter().map(|key| look(world, key)).collect();
    history::check(&clients.operations, &clients.keys.all, (world.now_us + 1, &finals), world.clocks_true_until_us);
    report(world, clients)
}

fn step(world: &mut World, clients: &mut Clients, wrong: Option<(&Plan, &Setting)>) {
    match (world.next(), wrong) {
        (Due::AtNode { node, life, happening }, _) => world.deliver(node, life, happening),
        (Due::AtProxy { proxy, life, happening }, _) => world.proxy_takes(proxy, life, happening),
        (Due::Parcel { stream, end, parcel }, _) => {
            if let Some((client, stream, parcel)) = world.carry(stream, end, parcel) {
                clients.hear(world, client, stream, parcel);
            }
        }
        (Due::Thaw { stream, end }, _) => {
            for (client, stream, parcel) in world.thaw(stream, end) {
                clients.hear(world, client, stream, parcel);
            }
        }
        (Due::Client { client }, _) => clients.act(world, client),
        (Due::Patience { operation }, _) => clients.look_after(world, operation),
        (Due::NextFault, Some((plan, _))) => faults::strike(world, clients, plan),
        (Due::Transfers, Some((_, setting))) => {
            faults::transfer(world);
            world.schedule(setting.transfer_every_us.unwrap_or(u64::MAX / 2), Due::Transfers);
        }
        (Due::NextFault | Due::Transfers, None) => {}
        (Due::Undo(fault), _) => faults::undo(world, fault),
    }
}

/// Whether all replicas are up and have applied all there is.
fn agreed(world: &World) -> bool {
    world.shards().into_iter().all(|shard| {
        let mut ends = world.homes(shard).into_iter().map(|node| {
            let replica = world.members[node].running.as_ref()?.engine.replica(shard)?;
            (replica.applied() == replica.group.last_index()).then(|| replica.applied())
        });
        let first = ends.next().flatten();
        first.is_some() && ends.all(|end| end == first)
    })
}

/// All replicas of a shard hold the same, to the last byte.
fn compare_states(world: &World) {
    for shard in world.shards() {
        let states = world.homes(shard).into_iter().map(|node| {
            let running = world.members[node].running.as_ref().expect("all are up");
            (node, invariants::whole(&running.engine.replica(shard).expect("its home").machine))
        });
        let states: Vec<_> = states.collect();
        for (node, state) in &states {
            let (first, expected) = &states[0];
            assert!(state == expected, "shard {shard}: the states of nodes {first} and {node} differ in the end");
        }
    }
}

/// Where each replica stands, for whoever reads of a failure.
fn standing(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, member) in world.members.iter().enumerate() {
        let Some(running) = &member.running else {
            lines.push(format!("node {node} is down"));
            continue;
        };
        for replica in running.engine.replicas() {
            let group = &replica.group;
            let (applied, committed, last) = (replica.applied(), group.committed(), group.last_index());
            let (term, leader, matched, waiting) = (group.term(), group.leader(), group.matched(), replica.waiting());
            lines.push(format!(
                "node {node}, shard {}, replica {} applied {applied} of {committed} of {last}, term {term}, follows \
                 {leader:?}, matched {matched:?}, waiting {waiting:?}",
                replica.shard, replica.id
            ));
        }
    }
    lines
}

/// What the replicas hold under a key; they are the same.
fn look(world: &World, key: &Key) -> Reply {
    let name = key.name.as_str();
    let list = |name: &str| ask(world, &["LRANGE", name, "0", "-1"]);
    match key.kind {
        Kind::Register | Kind::Counter | Kind::Split | Kind::Fleeting => ask(world, &["GET", name]),
        Kind::List | Kind::Queue => list(name),
        Kind::Set => ask(world, &["SMEMBERS", name]),
        Kind::Bank => {
            let balances = (0..ACCOUNTS).map(|number| ask(world, &["GET", &format!("{name}:{number}")]));
            Reply::List(vec![Reply::List(balances.collect()), list(&format!("{name}:log"))])
        }
    }
}

fn ask(world: &World, words: &[&str]) -> Reply {
    let shard = world.catalog.owner(Slot::of_key(words[1].as_bytes())).id;
    let running = world.members[world.homes(shard)[0]].running.as_ref().expect("all are up");
    let machine = &running.engine.replica(shard).expect("its home").machine;
    let (body, mut spans, mut out) = (command(words), Vec::new(), Vec::new());
    parse_array(&body, &mut spans).expect("a request");
    let clock = world.members[0].clock.wall(world.now_us);
    let read = machine.read(None, Args::new(&body, &spans), ReadAt { clock, resp3: false }, &mut out);
    if matches!(read, Some(Read::Unsettled)) {
        // Its time is over, and the log has not said so yet.
        return Reply::Nil;
    }
    match replies::parse(&out) {
        Some((Answer::Value(reply), _)) => reply,
        other => panic!("{words:?} is answered by {other:?}"),
    }
}

fn report(world: &World, clients: &Clients) -> Report {
    let count = |write: bool, of: &dyn Fn(&Outcome) -> bool| {
        let fits = |o: &&clients::Operation| o.action.is_write() == write && o.outcome.as_ref().is_some_and(of);
        clients.operations.iter().filter(fits).count()
    };
    let is_done = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
    Report {
        trace: world.trace,
        written: count(true, &is_done),
        read: count(false, &is_done),
        refused: count(true, &|o| *o == Outcome::NotApplied),
        unknown: count(true, &|o| *o == Outcome::Unknown),
        terms_led: world.invariants.terms_led(),
        snapshots: world.invariants.snapshots,
        states_sent: world.invariants.states_sent,
        states_installed: world.invariants.states_installed,
        compared: world.invariants.compared,
        slots_moved: world.invariants.ownerships - edits::used_slots().len(),
        faults: world.faults.clone(),
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.read += other.read;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.terms_led += other.terms_led;
        self.snapshots += other.snapshots;
        self.states_sent += other.states_sent;
        self.states_installed += other.states_installed;
        self.compared += other.compared;
        self.slots_moved += other.slots_moved;
        other.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
    }
}

fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

/// Runs many seeds on all cores. Returns what they came to, and the seeds that failed.
fn run_all(first: u64, count: u64, seconds: u64) -> (Report, Vec<u64>) {
    let next = AtomicU64::new(first);
    let one_is_enough = env::var_os("PONTOON_FIRST_FAILURE").is_some();
    let total = Mutex::new((Report::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let result = catch_unwind(|| run(seed, seconds));
            let mut total = total.lock().expect("nobody panics with it");
            if (seed - first + 1).is_multiple_of(PROGRESS_SEEDS) {
                println!("{} of {count} seeds, {} failed", seed - first + 1, total.1.len());
            }
            match result {
                Ok(report) if count < 10 => println!("seed {seed}: {report:?}"),
                Ok(report) => total.0.add(report),
                Err(_) => {
                    eprintln!(
                        "seed {seed} failed: PONTOON_SEED={seed} PONTOON_SIMULATE_S={seconds} cargo test --test simulation a_cluster"
                    );
                    total.1.push(seed);
                    if one_is_enough {
                        next.store(first + count, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().expect("nobody panics with it")
}

#[test]
fn a_cluster_keeps_its_promises_under_faults() {
    let first = number_from("PONTOON_SEED");
    let count = number_from("PONTOON_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let seconds = number_from("PONTOON_SIMULATE_S").unwrap_or(FAULTS_S);
    let first = first.unwrap_or(0);
    let (total, failed) = run_all(first, count, seconds);
    println!("{count} seeds from {first}, {seconds} s each: {total:#?}");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
    if count >= SEEDS {
        // A simulation in which little happens proves little.
        assert!(total.written as u64 > 300 * count && total.unknown > 0 && total.refused > 0, "{total:?}");
        assert!(total.terms_led as u64 > 5 * count && total.states_installed > 0, "{total:?}");
        assert!(total.slots_moved as u64 > 5 * count, "{total:?}");
    }
}

#[test]
fn a_seed_decides_all_that_happens() {
    for seed in [3, 4] {
        assert_eq!(run(seed, 5), run(seed, 5), "seed {seed}");
    }
}
