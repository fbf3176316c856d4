//! Clients of every kind that know what they must find afterwards. No error is allowed, whatever moves meanwhile: each client unwraps
//! every answer, and what it wrote is compared at the end, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, cmd, pipe};

use crate::harness::{Cluster, Stop, connect, until};

/// Keys that the scanning client must always find.
const STABLE_KEYS: u32 = 1_500;
/// Keys of each kind that a client works on: enough to be in many slots.
const KEYS: u64 = 120;
const QUEUES: usize = 3;

/// What a client found out about itself, to be compared with what is there.
type Check<'a> = Box<dyn FnOnce(&mut Connection) + Send + 'a>;
type Client<'a> = Box<dyn FnOnce() -> Check<'a> + Send + 'a>;

/// Lets clients of all kinds work on all proxies while `faults` happen; then compares all they did with what is there.
pub fn under_load(cluster: &mut Cluster, faults: impl FnOnce(&mut Cluster)) {
    let addresses: Vec<String> = cluster.proxies.iter().map(|proxy| proxy.address.clone()).collect();
    let mut connection = cluster.connect();
    fill(&mut connection, "stable", STABLE_KEYS, 0);
    let stop = AtomicBool::new(false);
    let watched: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    let checks: Vec<Check<'_>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            clients(&addresses, &stop, &watched).into_iter().map(|client| scope.spawn(client)).collect();
        let stopped = Stop(&stop);
        faults(cluster);
        drop(stopped);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut connection = cluster.connect();
    cmd("CLIENT").arg("READS").arg("strong").query::<()>(&mut connection).unwrap();
    checks.into_iter().for_each(|check| check(&mut connection));
    whole_keyspace(&mut connection);
}

fn goes_on(stop: &AtomicBool) -> bool {
    !stop.load(Ordering::Relaxed)
}

fn clients<'a>(addresses: &'a [String], stop: &'a AtomicBool, watched: &'a [AtomicU64]) -> Vec<Client<'a>> {
    let address = |client: usize| addresses[client % addresses.len()].as_str();
    let mut clients: Vec<Client<'_>> = Vec::new();
    for client in 0..2 {
        clients.push(Box::new(move || counting(address(client), client, stop)));
        clients.push(Box::new(move || every_type(address(client), client, stop)));
        clients.push(Box::new(move || watching(address(client), stop, watched)));
    }
    for queue in 0..QUEUES {
        clients.push(Box::new(move || pushing(address(queue), queue, stop)));
        clients.push(Box::new(move || blocked(address(queue + 1), queue)));
    }
    clients.push(Box::new(move || scanning(address(0), stop)));
    clients.push(Box::new(move || expiring(address(1), stop)));
    clients
}

/// Sets `prefix:0` to `first`, `prefix:1` to the number after it, and so on.
pub fn fill(c: &mut Connection, prefix: &str, count: u32, first: u32) {
    let mut all = pipe();
    for n in 0..count {
        all.cmd("SET").arg(format!("{prefix}:{n}")).arg(first + n).ignore();
    }
    all.query::<()>(c).unwrap();
}

/// Whether they are all there.
pub fn is_filled(c: &mut Connection, prefix: &str, count: u32, first: u32) -> bool {
    let keys: Vec<String> = (0..count).map(|n| format!("{prefix}:{n}")).collect();
    let found: Vec<Option<u32>> = cmd("MGET").arg(keys).query(c).unwrap();
    (first..first + count).map(Some).eq(found)
}

/// Pipelines of increments, whose answers must count without a gap.
fn counting<'a>(address: &str, client: usize, stop: &AtomicBool) -> Check<'a> {
    let (mut c, mut counts) = (connect(address), vec![0_i64; 4 * KEYS as usize]);
    let key = move |n: usize| format!("count{client}:{n}");
    for round in 0_usize.. {
        if !goes_on(stop) {
            assert!(round > 5, "hardly any pipeline was answered");
            break;
        }
        let chosen: Vec<usize> = (0..20).map(|i| (round * 31 + i * i * 7) % counts.len()).collect();
        let mut all = pipe();
        for n in &chosen {
            all.cmd("INCR").arg(key(*n));
        }
        let answers: Vec<i64> = all.query(&mut c).unwrap();
        for (n, answer) in chosen.iter().zip(answers) {
            counts[*n] += 1;
            assert_eq!(answer, counts[*n], "{} in round {round}", key(*n));
        }
    }
    Box::new(move |c| {
        for (n, count) in counts.iter().enumerate() {
            let found: Option<i64> = cmd("GET").arg(key(n)).query(c).unwrap();
            assert_eq!(found.unwrap_or(0), *count, "{}", key(n));
        }
    })
}

/// What the keys of one number must hold.
#[derive(Clone, Debug, Default)]
struct Model {
    hash: BTreeMap<String, i64>,
    set: BTreeSet<u64>,
    sorted: BTreeMap<String, u64>,
    list: Vec<u64>,
    bits: BTreeSet<u64>,
    text: String,
    lasting: Option<u64>,
}

fn every_type<'a>(address: &str, client: usize, stop: &AtomicBool) -> Check<'a> {
    let (mut c, mut models) = (connect(address), vec![Model::default(); KEYS as usize]);
    let key = move |kind: &str, n: u64| format!("{kind}{client}:{n}");
    for round in 1_u64.. {
        if !goes_on(stop) {
            break;
        }
        let n = round * 17 % KEYS;
        let (c, model) = (&mut c, &mut models[n as usize]);
        let field = format!("f{}", round % 5);
        let value = model.hash.entry(field.clone()).or_default();
        *value += round as i64;
        let answer: i64 = cmd("HINCRBY").arg(key("h", n)).arg(&field).arg(round).query(c).unwrap();
        assert_eq!(answer, *value);
        assert_eq!(cmd("SADD").arg(key("s", n)).arg(round).query::<i64>(c).unwrap(), 1);
        model.set.insert(round);
        if model.set.len() > 6 {
            let first = model.set.pop_first().unwrap();
            assert_eq!(cmd("SREM").arg(key("s", n)).arg(first).query::<i64>(c).unwrap(), 1);
        }
        let member = format!("m{}", round % 7);
        cmd("ZADD").arg(key("z", n)).arg(round).arg(&member).query::<()>(c).unwrap();
        model.sorted.insert(member, round);
        model.list.push(round);
        assert_eq!(cmd("RPUSH").arg(key("l", n)).arg(round).query::<usize>(c).unwrap(), model.list.len());
        if model.list.len() > 8 {
            assert_eq!(cmd("LPOP").arg(key("l", n)).query::<u64>(c).unwrap(), model.list.remove(0));
        }
        let bit = round % 64;
        let was: i64 = cmd("SETBIT").arg(key("b", n)).arg(bit).arg(1).query(c).unwrap();
        assert_eq!(was == 0, model.bits.insert(bit));
        model.text.push(char::from(b'a' + (round % 26) as u8));
        let length: usize = cmd("APPEND").arg(key("t", n)).arg(&model.text[model.text.len() - 1..]).query(c).unwrap();
        assert_eq!(length, model.text.len());
        let key = key("e", n);
        cmd("SET").arg(&key).arg(round).arg("PX").arg(3_600_000).query::<()>(c).unwrap();
        model.lasting = Some(round);
        assert_eq!(cmd("GET").arg(&key).query::<u64>(c).unwrap(), round, "a session reads its own writes");
    }
    Box::new(move |c| {
        for (n, model) in (0..).zip(&models) {
            compare(c, &|kind| key(kind, n), model);
        }
    })
}

fn compare(c: &mut Connection, key: &dyn Fn(&str) -> String, model: &Model) {
    let hash: BTreeMap<String, i64> = cmd("HGETALL").arg(key("h")).query(c).unwrap();
    assert_eq!(hash, model.hash, "{}", key("h"));
    let set: BTreeSet<u64> = cmd("SMEMBERS").arg(key("s")).query(c).unwrap();
    assert_eq!(set, model.set, "{}", key("s"));
    let sorted: BTreeMap<String, u64> = cmd("ZRANGE").arg(key("z")).arg(0).arg(-1).arg("WITHSCORES").query(c).unwrap();
    assert_eq!(sorted, model.sorted, "{}", key("z"));
    let list: Vec<u64> = cmd("LRANGE").arg(key("l")).arg(0).arg(-1).query(c).unwrap();
    assert_eq!(list, model.list, "{}", key("l"));
    let bits: u64 = cmd("BITCOUNT").arg(key("b")).query(c).unwrap();
    assert_eq!(bits, model.bits.len() as u64, "{}", key("b"));
    let text: Option<String> = cmd("GET").arg(key("t")).query(c).unwrap();
    assert_eq!(text.unwrap_or_default(), model.text, "{}", key("t"));
    let lasting: Option<u64> = cmd("GET").arg(key("e")).query(c).unwrap();
    assert_eq!(lasting, model.lasting, "{}", key("e"));
    if lasting.is_some() {
        let left: i64 = cmd("PTTL").arg(key("e")).query(c).unwrap();
        assert!((3_000_000..=3_600_000).contains(&left), "{} lives for {left} ms", key("e"));
    }
}

/// Optimistic increments of keys that others increment, too: the sums tell of any that was lost or done twice.
fn watching<'a>(address: &str, stop: &AtomicBool, sums: &'a [AtomicU64]) -> Check<'a> {
    let mut c = connect(address);
    let key = |n: usize| format!("watched:{n}");
    for round in 0_usize.. {
        if !goes_on(stop) {
            break;
        }
        let n = round % sums.len();
        cmd("WATCH").arg(key(n)).query::<()>(&mut c).unwrap();
        let found: Option<u64> = cmd("GET").arg(key(n)).query(&mut c).unwrap();
        let done: Option<(String, u64)> = pipe()
            .atomic()
            .cmd("SET")
            .arg(key(n))
            .arg(found.unwrap_or(0) + 1)
            .cmd("INCR")
            .arg(format!("{{{}}}also", key(n)))
            .query(&mut c)
            .unwrap();
        if done.is_some() {
            sums[n].fetch_add(1, Ordering::Relaxed);
        }
    }
    Box::new(move |c| {
        for (n, sum) in sums.iter().enumerate() {
            for key in [key(n), format!("{{{}}}also", key(n))] {
                let found: Option<u64> = cmd("GET").arg(&key).query(c).unwrap();
                assert_eq!(found.unwrap_or(0), sum.load(Ordering::Relaxed), "{key}");
            }
        }
    })
}

/// The end of a queue.
const LAST: u64 = u64::MAX;

fn pushing<'a>(address: &str, queue: usize, stop: &AtomicBool) -> Check<'a> {
    let mut c = connect(address);
    for number in 0_u64.. {
        let last = !goes_on(stop);
        let element = if last { LAST } else { number };
        cmd("RPUSH").arg(format!("queue:{queue}")).arg(element).query::<()>(&mut c).unwrap();
        if last {
            let count = number;
            return Box::new(move |_| assert!(count > 2, "hardly anything was pushed"));
        }
        // Now and then long enough for the other one to wait over a move.
        std::thread::sleep(Duration::from_millis(if number % 16 == 15 { 1_500 } else { 5 }));
    }
    unreachable!("the loop ends by its return");
}

/// Takes from the queue as long as there is something to come, and sees each element once and in order.
fn blocked<'a>(address: &str, queue: usize) -> Check<'a> {
    let mut c = connect(address);
    for expected in 0_u64.. {
        let found: (String, u64) = until("an element", || {
            let found: Option<(String, u64)> =
                cmd("BLPOP").arg(format!("queue:{queue}")).arg(5).query(&mut c).map_err(|error| error.to_string())?;
            found.ok_or_else(|| "none within 5 s".to_owned())
        });
        if found.1 == LAST {
            break;
        }
        assert_eq!(found.1, expected, "queue:{queue}");
    }
    Box::new(move |c| {
        let left: u64 = cmd("LLEN").arg(format!("queue:{queue}")).query(c).unwrap();
        assert_eq!(left, 0, "queue:{queue}");
    })
}

/// Whole walks over all keys: those that were there all the time must be found by each.
fn scanning<'a>(address: &str, stop: &AtomicBool) -> Check<'a> {
    let mut c = connect(address);
    // Others have written them: from here on this client has seen them, and `session` may not go back behind that.
    cmd("CLIENT").arg("READS").arg("strong").exec(&mut c).unwrap();
    walk(&mut c, "stable:*");
    cmd("CLIENT").arg("READS").arg("session").exec(&mut c).unwrap();
    let mut walks = 0;
    while goes_on(stop) {
        let missing = missing(&walk(&mut c, "stable:*"));
        assert!(missing.is_empty(), "walk {walks} missed {} keys, such as stable:{}", missing.len(), missing[0]);
        walks += 1;
    }
    Box::new(move |c| {
        assert!(walks > 0, "no walk came to its end");
        assert!(is_filled(c, "stable", STABLE_KEYS, 0), "keys that nobody touched have changed");
    })
}

fn walk(c: &mut Connection, pattern: &str) -> Vec<String> {
    let (mut cursor, mut found) = (0_u64, Vec::new());
    loop {
        let (next, keys): (u64, Vec<String>) =
            cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(200).query(c).unwrap();
        found.extend(keys);
        cursor = next;
        if cursor == 0 {
            return found;
        }
    }
}

fn missing(found: &[String]) -> Vec<u32> {
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    (0..STABLE_KEYS).filter(|n| !found.contains(format!("stable:{n}").as_str())).collect()
}

/// Keys that live for a moment: they are there before, and not after.
fn expiring<'a>(address: &str, stop: &AtomicBool) -> Check<'a> {
    let mut c = connect(address);
    let mut waiting: Vec<(String, Instant)> = Vec::new();
    for number in 0_u64.. {
        if !goes_on(stop) {
            break;
        }
        let key = format!("soon:{number}");
        cmd("SET").arg(&key).arg(number).arg("PX").arg(700).query::<()>(&mut c).unwrap();
        waiting.push((key, Instant::now()));
        // A shard's clock may lag by a failover, so there is time enough between the two.
        let over = waiting.iter().position(|(_, set)| set.elapsed() < Duration::from_secs(8)).unwrap_or(waiting.len());
        for (key, _) in waiting.drain(..over) {
            let found: Option<u64> = cmd("GET").arg(&key).query(&mut c).unwrap();
            assert_eq!(found, None, "{key} has come back or never went");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Box::new(move |c| {
        let rest: Vec<String> = waiting.into_iter().map(|(key, _)| key).collect();
        until("the last ones to expire", || {
            let found: u64 = if rest.is_empty() { 0 } else { cmd("EXISTS").arg(&rest).query(c).unwrap() };
            if found == 0 { Ok(()) } else { Err(format!("{found} are there still")) }
        });
    })
}

/// Nothing changes any more: all ways to count the keys agree.
fn whole_keyspace(c: &mut Connection) {
    let walked: Vec<String> = walk(c, "*");
    let distinct: BTreeSet<&String> = walked.iter().collect();
    let counted: usize = cmd("DBSIZE").query(c).unwrap();
    let listed: Vec<String> = cmd("KEYS").arg("*").query(c).unwrap();
    assert_eq!((distinct.len(), listed.len()), (counted, counted), "SCAN, KEYS and DBSIZE");
    assert_eq!(walked.len(), counted, "a walk over keys at rest finds each once");
}
