//! What clients see through a proxy: one Redis.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redis::{RedisResult, Value};

use crate::harness::Cluster;

const ALL: &[usize] = &[1, 2, 3];

fn cluster() -> Cluster {
    Cluster::start(3, &[ALL, &[2, 3, 1]], &[])
}

fn ask<T: redis::FromRedisValue>(connection: &mut redis::Connection, line: &[&str]) -> RedisResult<T> {
    redis::cmd(line[0]).arg(&line[1..]).query(connection)
}

#[test]
fn every_proxy_is_the_same_database() {
    let mut cluster = cluster();
    cluster.start_proxy(&[]);
    let (mut first, mut second) = (cluster.connect_to(0), cluster.connect_to(1));
    redis::cmd("CLIENT").arg("READS").arg("strong").query::<String>(&mut second).unwrap();
    for number in 0..100 {
        ask::<String>(&mut first, &["SET", &format!("k{number}"), &number.to_string()]).unwrap();
        let found: i64 = ask(&mut second, &["GET", &format!("k{number}")]).unwrap();
        assert_eq!(found, number);
    }
    cluster.end();
}

#[test]
fn commands_of_many_keys_are_split_and_merged() {
    let cluster = cluster();
    let mut connection = cluster.connect();
    let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
    let pairs: Vec<&str> = keys.iter().flat_map(|k| [k.as_str(), k.as_str()]).collect();
    assert_eq!(ask::<String>(&mut connection, &[&["MSET"], &pairs[..]].concat()).unwrap(), "OK");
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let asked = [&["MGET"], &names[..], &["missing"], &names[..1]].concat();
    let found: Vec<Option<String>> = ask(&mut connection, &asked).unwrap();
    let mut expected: Vec<Option<String>> = keys.iter().cloned().map(Some).collect();
    expected.extend([None, Some(keys[0].clone())]);
    assert_eq!(found, expected);
    assert_eq!(ask::<i64>(&mut connection, &[&["EXISTS"], &names[..], &names[..1]].concat()).unwrap(), 51);
    assert_eq!(ask::<i64>(&mut connection, &["DBSIZE"]).unwrap(), 50);
    assert_eq!(ask::<i64>(&mut connection, &[&["DEL"], &names[..10]].concat()).unwrap(), 10);
    assert_eq!(ask::<i64>(&mut connection, &[&["UNLINK"], &names[..20]].concat()).unwrap(), 10);
    assert_eq!(ask::<i64>(&mut connection, &[&["TOUCH"], &names[..]].concat()).unwrap(), 30);
    let listed: BTreeSet<String> = ask(&mut connection, &["KEYS", "key:*"]).unwrap();
    assert_eq!(listed, keys[20..].iter().cloned().collect());
    let random: String = ask(&mut connection, &["RANDOMKEY"]).unwrap();
    assert!(listed.contains(&random));
    assert_eq!(ask::<String>(&mut connection, &["FLUSHALL"]).unwrap(), "OK");
    assert_eq!(ask::<i64>(&mut connection, &["DBSIZE"]).unwrap(), 0);
    cluster.end();
}

#[test]
fn commands_that_cannot_be_split_need_one_shard() {
    let cluster = cluster();
    let mut connection = cluster.connect();
    assert_eq!(ask::<i64>(&mut connection, &["MSETNX", "{t}a", "1", "{t}b", "2"]).unwrap(), 1);
    assert_eq!(ask::<String>(&mut connection, &["RENAME", "{t}a", "{t}c"]).unwrap(), "OK");
    let shard_of = |key: &str| {
        let output = cluster.run(&["where", key, "--json"]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["shard"].to_string()
    };
    let home = shard_of("k0");
    let away = (1..).map(|n| format!("k{n}")).find(|k| shard_of(k) != home).unwrap();
    let near = (1..).map(|n| format!("k{n}")).find(|k| shard_of(k) == home).unwrap();
    let error = ask::<i64>(&mut connection, &["MSETNX", "k0", "1", &away, "2"]).unwrap_err();
    assert_eq!(error.code(), Some("CROSSSLOT"), "{error}");
    assert_eq!(ask::<i64>(&mut connection, &["MSETNX", "k0", "1", &near, "2"]).unwrap(), 1);
    cluster.end();
}

#[test]
fn a_scan_goes_over_all_shards_and_finds_every_key_once() {
    let cluster = cluster();
    let mut connection = cluster.connect();
    let mut expected = BTreeSet::new();
    for number in 0..1000 {
        let key = format!("scan:{number}");
        ask::<String>(&mut connection, &["SET", &key, "x"]).unwrap();
        expected.insert(key);
    }
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let (next, keys): (String, Vec<String>) =
            ask(&mut connection, &["SCAN", &cursor, "MATCH", "scan:*", "COUNT", "50"]).unwrap();
        found.extend(keys);
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 1000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    cluster.end();
}

#[test]
fn a_deep_pipeline_over_all_shards_is_answered_in_order() {
    let cluster = cluster();
    let mut socket = TcpStream::connect(&cluster.proxies[0].address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for number in 0..20_000 {
        let (key, value) = (format!("p{}", number % 997), number.to_string());
        write!(sent, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).unwrap();
        write!(sent, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).unwrap();
        write!(expected, "+OK\r\n${}\r\n{value}\r\n", value.len()).unwrap();
    }
    let mut writer = socket.try_clone().unwrap();
    let feeding = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut found = vec![0; expected.len()];
    socket.read_exact(&mut found).unwrap();
    feeding.join().unwrap();
    assert!(found == expected, "an answer is wrong or out of its place");
    cluster.end();
}

#[test]
fn reads_and_writes_of_one_key_take_effect_in_the_order_in_which_they_were_piped() {
    let cluster = cluster();
    for level in ["session", "strong", "any"] {
        let mut socket = TcpStream::connect(&cluster.proxies[0].address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut sent = format!("CLIENT READS {level}\r\n");
        for _ in 0..1000 {
            sent.push_str(&format!("INCR {level}\r\nGET {level}\r\nSTRLEN {level}\r\n"));
        }
        let mut writer = socket.try_clone().unwrap();
        let feeding = std::thread::spawn(move || writer.write_all(sent.as_bytes()).unwrap());
        let mut lines = BufReader::new(&mut socket).lines().map(Result::unwrap);
        let mut line = || lines.next().unwrap();
        assert_eq!(line(), "+OK");
        for number in 1..=1000 {
            assert_eq!(line(), format!(":{number}"), "{level}");
            let header = line();
            let body = if header == "$-1" { None } else { Some(line()) };
            assert_eq!(header, body.as_ref().map_or("$-1".to_owned(), |body| format!("${}", body.len())));
            let read: usize = body.map_or(0, |body| body.parse().unwrap());
            let length: usize = line().strip_prefix(':').unwrap().parse().unwrap();
            let digits = number.to_string().len();
            // A read at `any` that comes when its write was answered already may be behind it; none is ever ahead of its place.
            let is_allowed = match level {
                "any" => read <= number && length <= digits,
                _ => (read, length) == (number, digits),
            };
            assert!(is_allowed, "{level}: {read}, of {length} digits, right after the write of {number}");
        }
        feeding.join().unwrap();
    }
    cluster.end();
}

#[test]
fn big_values_and_binary_keys_go_through() {
    let mut cluster = cluster();
    // Three copies of 64 MiB are written and synced: on a busy machine that takes longer than requests usually may.
    cluster.start_proxy(&["--deadline-ms", "30000"]);
    let mut connection = cluster.connect_to(1);
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let value: Vec<u8> = (0..64 << 20).map(|i: u32| (i >> 3) as u8).collect();
    let key = b"\0\r\n\xff{}".as_slice();
    redis::cmd("SET").arg(key).arg(&value).query::<String>(&mut connection).unwrap();
    let found: Vec<u8> = redis::cmd("GET").arg(key).query(&mut connection).unwrap();
    assert!(found == value);
    assert_eq!(redis::cmd("STRLEN").arg(key).query::<i64>(&mut connection).unwrap(), 64 << 20);
    cluster.end();
}

#[test]
fn malformed_input_gets_redis_errors_and_a_closed_connection() {
    let cluster = cluster();
    for (sent, answer) in [
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*99999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        ("SET \"a b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut socket = TcpStream::connect(&cluster.proxies[0].address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.write_all(sent.as_bytes()).unwrap();
        let mut found = String::new();
        socket.read_to_string(&mut found).unwrap();
        assert_eq!(found, answer, "{sent:?}");
    }
    cluster.end();
}

#[test]
fn keys_expire_on_every_replica_and_reads_are_spread() {
    let cluster = cluster();
    let mut connection = cluster.connect();
    for number in 0..200 {
        ask::<String>(&mut connection, &["SET", &format!("gone:{number}"), "x", "PX", "50"]).unwrap();
        ask::<String>(&mut connection, &["SET", &format!("stays:{number}"), "x", "EX", "1000"]).unwrap();
    }
    ask::<String>(&mut connection, &["CLIENT", "READS", "any"]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    for _ in 0..10 {
        for number in 0..200 {
            let gone: Option<String> = ask(&mut connection, &["GET", &format!("gone:{number}")]).unwrap();
            assert_eq!(gone, None);
        }
    }
    // Nobody asks for them, and they go all the same.
    crate::harness::until("expired keys removed", || match ask::<i64>(&mut connection, &["DBSIZE"]).unwrap() {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    cluster.end();
}

#[test]
fn resp3_and_the_connection_commands() {
    let cluster = cluster();
    let mut connection = cluster.connect();
    assert_eq!(ask::<String>(&mut connection, &["PING"]).unwrap(), "PONG");
    assert!(matches!(ask::<Value>(&mut connection, &["HELLO", "3"]).unwrap(), Value::Map(_)));
    let error = ask::<Value>(&mut connection, &["NOSUCHCOMMAND", "x"]).unwrap_err();
    assert!(error.to_string().contains("unknown command"), "{error}");
    assert!(ask::<String>(&mut connection, &["INFO"]).unwrap().contains("redis_version:7."));
    assert!(ask::<i64>(&mut connection, &["COMMAND", "COUNT"]).unwrap() > 50);
    let keys: Vec<String> = ask(&mut connection, &["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"]).unwrap();
    assert_eq!(keys, ["a", "b"]);
    cluster.end();
}
