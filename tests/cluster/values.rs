//! Every type through crashes, snapshots and slots of several shards: afterwards all replicas are identical.

use std::collections::BTreeMap;

use redis::{Connection, Value};

use super::harness::{Cluster, until, verify};

const ALL: &[usize] = &[1, 2, 3];
/// Values small enough to be packed, values that are not, and collections past every limit of the small encodings.
const SIZES: [usize; 3] = [3, 200, 700];

fn ask(connection: &mut Connection, words: &[&str]) -> Value {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Writes keys of every type, and changes them so that their histories show.
fn fill(connection: &mut Connection, prefix: &str) {
    for size in SIZES {
        let mut pipe = redis::pipe();
        let mut tell = |words: &[&str]| {
            pipe.cmd(words[0]).arg(&words[1..]).ignore();
        };
        let key = |kind: &str| format!("{prefix}:{kind}:{size}");
        for number in 0..size {
            let (name, value) = (format!("item{number}"), "v".repeat(number % 300));
            let score = format!("{}.5", number % 17);
            tell(&["RPUSH", &key("list"), &value, &name]);
            tell(&["SADD", &key("set"), &name, &number.to_string()]);
            tell(&["SADD", &key("integers"), &number.to_string()]);
            tell(&["HSET", &key("hash"), &name, &value]);
            tell(&["ZADD", &key("sorted"), &score, &name]);
        }
        tell(&["LTRIM", &key("list"), "1", "-2"]);
        tell(&["LSET", &key("list"), "1", "changed"]);
        tell(&["SPOP", &key("set"), "2"]);
        tell(&["HINCRBY", &key("hash"), "count", "7"]);
        tell(&["HPEXPIRE", &key("hash"), "100000000", "FIELDS", "2", "item0", "item1"]);
        tell(&["HPEXPIRE", &key("hash"), "1", "FIELDS", "1", "item2"]);
        tell(&["ZREMRANGEBYRANK", &key("sorted"), "0", "0"]);
        tell(&["ZINCRBY", &key("sorted"), "-3", "item1"]);
        tell(&["EXPIRE", &key("sorted"), "100000"]);
        tell(&["COPY", &key("hash"), &format!("{{{}}}:copy", key("hash"))]);
        tell(&["SET", &key("string"), &"s".repeat(size)]);
        pipe.query::<()>(connection).unwrap();
    }
}

/// What the keys of `prefix` hold, each collection whole.
fn contents(connection: &mut Connection, prefix: &str) -> BTreeMap<String, Value> {
    let mut contents = BTreeMap::new();
    for size in SIZES {
        for (kind, command, more) in [
            ("list", "LRANGE", &["0", "-1"][..]),
            ("set", "SMEMBERS", &[]),
            ("integers", "SMEMBERS", &[]),
            ("hash", "HGETALL", &[]),
            ("sorted", "ZRANGE", &["0", "-1", "WITHSCORES"]),
            ("string", "GET", &[]),
        ] {
            let key = format!("{prefix}:{kind}:{size}");
            let mut words = vec![command, &key];
            words.extend(more);
            let value = ask(connection, &words);
            contents.insert(key, value);
        }
    }
    contents
}

#[test]
fn every_type_survives_kills_restarts_and_snapshots_alike_on_all_replicas() {
    let mut cluster = Cluster::start(3, &[ALL, ALL], &["--snapshot-entries", "500"]);
    let mut connection = cluster.connect();
    fill(&mut connection, "first");
    // One replica of each shard misses more than the others' logs keep.
    cluster.nodes.get_mut("n3").unwrap().kill();
    fill(&mut connection, "second");
    let filler = vec![b'x'; 1 << 20];
    for number in 0..160 {
        redis::cmd("SET").arg(format!("big:{}", number % 4)).arg(&filler).query::<()>(&mut connection).unwrap();
    }
    let before = (contents(&mut connection, "first"), contents(&mut connection, "second"));
    cluster.start_node("n3");
    cluster.await_health();
    until("the states sent", || {
        let log = cluster.log("n3");
        if log.contains("state received") { Ok(()) } else { Err(log) }
    });
    verify(&cluster.dir.path().join("operators.toml"));
    for name in ["n1", "n2", "n3"] {
        cluster.nodes.get_mut(name).unwrap().kill();
    }
    for name in ["n1", "n2", "n3"] {
        cluster.start_node(name);
    }
    cluster.await_health();
    let mut connection = cluster.connect();
    assert!(before == (contents(&mut connection, "first"), contents(&mut connection, "second")));
    cluster.end();
}
