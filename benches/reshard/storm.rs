//! The same edit in bad weather: all writes go to slots that move, among them a value of 64 MiB and a set of a million members
//! that change all the time, and every five seconds a random node dies (`kill -9`) and comes back. Nothing may be lost, no
//! client may see an error, and it must end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pontoon::topology::Slot;
use redis::{Connection, cmd};

use crate::load::{Aim, KEYS, fill, key, run, wrong_keys};
use crate::rig::cluster::{Cluster, binary};
use crate::systems::{edited, moved_keys};
use crate::{BEFORE, CAPACITY_TIME, Spec, under_load};

const VALUE_BYTES: usize = 64 << 20;
const MEMBERS: u64 = 1_000_000;
const KILL_EVERY: Duration = Duration::from_secs(5);
/// How long a node that was killed is away.
const AWAY: Duration = Duration::from_millis(500);
/// It must have ended by then.
const END: Duration = Duration::from_secs(300);

/// The large things, as they must be.
struct Large {
    value_key: String,
    value: Vec<u8>,
    set_key: String,
    rounds: u64,
    longest: Duration,
}

/// Runs it with this part of what the cluster can do.
pub fn weather(part: f64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut cluster = Cluster::start(binary(), dir.path(), &["a", "b", "c"], 3, ["", ""], &[]);
    let proxy = cluster.proxy_port;
    run(async { fill(&Spec::One(proxy).route()).await });
    let file = edited(&cluster);
    let moving: HashSet<u16> = cluster.moving_slots(&file).into_iter().collect();
    let moves = |key: &str| moving.contains(&Slot::of_key(key.as_bytes()).number());
    let numbers: Arc<[usize]> = (0..KEYS).filter(|number| moves(&key(*number))).collect();
    let named = |name: &str| (0..).map(|i| format!("{name}:{i}")).find(|key| moves(key)).expect("some slot moves");
    let mut large = Large::fill(proxy, named("value"), named("set"));
    println!("{} slots with {} keys are to move", moving.len(), numbers.len());

    let mut versions = vec![0; KEYS];
    let aim = Aim { rate: None, numbers, reads: false };
    let full = under_load(Spec::One(proxy), aim.clone(), &mut versions, |_| std::thread::sleep(CAPACITY_TIME));
    let rate = full.samples.len() as f64 / CAPACITY_TIME.as_secs_f64() * part;
    println!("{:.0} writes/s at most; now {rate:.0}", rate / part);
    let aim = Aim { rate: Some(rate), ..aim };
    let stop = AtomicBool::new(false);
    let (mut kills, mut took, mut moved) = (0, Duration::ZERO, 0);
    let outcome = std::thread::scope(|scope| {
        let client = scope.spawn(|| large.write(proxy, &stop));
        let outcome = under_load(Spec::One(proxy), aim, &mut versions, |_| {
            std::thread::sleep(BEFORE);
            let began = Instant::now();
            std::fs::rename(&file, cluster.file()).expect("a file");
            (kills, moved) = kill_until_it_ends(&mut cluster);
            took = began.elapsed();
        });
        stop.store(true, Ordering::Relaxed);
        client.join().expect("the client of large things ends");
        outcome
    });
    let longest = outcome.samples.iter().map(|sample| sample.took).max().unwrap_or_default();
    println!(
        "{moved} keys, {} MiB and {MEMBERS} members moved in {took:.1?} with {kills} kills; {} writes, longest {longest:.1?}; \
         {} of large things, longest {:.1?}; errors: {:?}",
        VALUE_BYTES >> 20,
        outcome.samples.len(),
        large.rounds,
        large.longest,
        outcome.errors,
    );
    assert!(outcome.errors.is_empty(), "clients saw errors");
    let wrong = run(async { wrong_keys(&Spec::One(proxy).route(), &versions).await });
    assert_eq!(wrong, 0, "keys that are not what was written last");
    large.check(proxy);
    println!("all keys, the value and the set are as they must be");
}

/// Returns how many nodes died, and how many keys the new shard has.
fn kill_until_it_ends(cluster: &mut Cluster) -> (usize, u64) {
    let (began, mut kills) = (Instant::now(), 0);
    let mut next = began + KILL_EVERY / 2;
    loop {
        if let Some(keys) = moved_keys(cluster) {
            return (kills, keys);
        }
        assert!(began.elapsed() < END, "it does not end: {:?}", cluster.status());
        if Instant::now() < next {
            // The next look at what nobody tells.
            std::thread::sleep(Duration::from_millis(250));
            continue;
        }
        let node = rand::random_range(0..cluster.nodes.len());
        cluster.nodes[node].kill();
        std::thread::sleep(AWAY);
        cluster.restart(node);
        kills += 1;
        next += KILL_EVERY;
    }
}

fn connect(port: u16) -> Connection {
    let url = format!("redis://127.0.0.1:{port}/");
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("the proxy listens")
}

impl Large {
    fn fill(port: u16, value_key: String, set_key: String) -> Self {
        let mut connection = connect(port);
        let value: Vec<u8> = (0..VALUE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        cmd("SET").arg(&value_key).arg(&value).exec(&mut connection).expect("the value is set");
        for chunk in (0..MEMBERS).collect::<Vec<_>>().chunks(5_000) {
            cmd("SADD").arg(&set_key).arg(chunk).exec(&mut connection).expect("members are added");
        }
        Self { value_key, value, set_key, rounds: 0, longest: Duration::ZERO }
    }

    /// Overwrites parts of the value, and adds members, removing every other one.
    fn write(&mut self, port: u16, stop: &AtomicBool) {
        let mut connection = connect(port);
        while !stop.load(Ordering::Relaxed) {
            self.rounds += 1;
            let part = format!("<{:08}>", self.rounds);
            let room = (self.value.len() - part.len()) as u64;
            let at = (self.rounds.wrapping_mul(0x9e37_79b9_7f4a_7c15) % room) as usize;
            let mut timed = |command: &redis::Cmd, expected: usize| {
                let began = Instant::now();
                let got: usize = command.query(&mut connection).expect("a write is answered");
                self.longest = self.longest.max(began.elapsed());
                assert_eq!(got, expected, "a write was lost or done twice");
            };
            timed(cmd("SETRANGE").arg(&self.value_key).arg(at).arg(&part), VALUE_BYTES);
            self.value[at..at + part.len()].copy_from_slice(part.as_bytes());
            let member = format!("new:{}", self.rounds);
            timed(cmd("SADD").arg(&self.set_key).arg(&member), 1);
            if self.rounds.is_multiple_of(2) {
                timed(cmd("SREM").arg(&self.set_key).arg(&member), 1);
            }
        }
    }

    fn check(&self, port: u16) {
        let mut connection = connect(port);
        cmd("CLIENT").arg("READS").arg("strong").exec(&mut connection).expect("a level of reads");
        let found: Vec<u8> = cmd("GET").arg(&self.value_key).query(&mut connection).expect("the value");
        assert!(found == self.value, "the value is another one");
        let new = (1..=self.rounds).filter(|round| !round.is_multiple_of(2)).map(|round| format!("new:{round}"));
        let members: Vec<String> = (0..MEMBERS).map(|member| member.to_string()).chain(new).collect();
        let count: usize = cmd("SCARD").arg(&self.set_key).query(&mut connection).expect("a count");
        assert_eq!(count, members.len(), "members");
        for chunk in members.chunks(50_000) {
            let there: Vec<u8> =
                cmd("SMISMEMBER").arg(&self.set_key).arg(chunk).query(&mut connection).expect("members");
            assert!(there.iter().all(|there| *there == 1), "a member is gone");
        }
    }
}
