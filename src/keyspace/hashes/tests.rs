//! Stories of hashes: what a Valkey answered about fields that expire, and what only a log knows about time.

use super::super::tests::{apply, read, try_read, whole};
use super::super::*;
use crate::topology::{LogTime, Slot};

/// What valkey-server 9.1.2 answered, one command after the other, at a moment that is here 1000 seconds after 1970.
const NOW_MS: u64 = 1_000_000;
const ANSWERS: &[(&str, &str)] = &[
    ("SET s 1", "+OK"),
    ("HSET h a 1 b 2 c 3", ":3"),
    ("OBJECT ENCODING h", "$8 listpack"),
    ("HEXPIRE h 100 GT FIELDS 1 a", "*1 :0"),
    ("HEXPIRE h 100 XX FIELDS 1 a", "*1 :0"),
    ("HEXPIRE h 100 FIELDS 1 nope", "*1 :-2"),
    ("OBJECT ENCODING h", "$8 listpack"),
    ("HEXPIRE h 100 FIELDS 1 a", "*1 :1"),
    ("OBJECT ENCODING h", "$9 hashtable"),
    ("HTTL h FIELDS 3 a b x", "*3 :100 :-1 :-2"),
    ("HPTTL h FIELDS 1 a", "*1 :100000"),
    ("HEXPIRETIME h FIELDS 1 a", "*1 :1100"),
    ("HPEXPIRETIME h FIELDS 1 a", "*1 :1100000"),
    ("HSET h a 5", ":0"),
    ("HTTL h FIELDS 1 a", "*1 :-1"),
    ("HEXPIRE h 100 FIELDS 1 a", "*1 :1"),
    ("HINCRBY h a 5", ":10"),
    ("HINCRBYFLOAT h a 1.5", "$4 11.5"),
    ("HTTL h FIELDS 1 a", "*1 :100"),
    ("HPERSIST h FIELDS 4 a b x a", "*4 :1 :-1 :-2 :-1"),
    ("OBJECT ENCODING h", "$9 hashtable"),
    ("HEXPIRE h 100 FIELDS 1 a b", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HEXPIRE h 100 FIELDS 0 a", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HEXPIRE h 100 FIELDS -1 a", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HEXPIRE h 100 1 a FIELDS", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HEXPIRE h 100 FIELDS x a", "-ERR value is not an integer or out of range"),
    ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
    ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
    ("HEXPIRE s -1 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
    ("HPEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command"),
    ("HEXPIRE s 1 FIELDS 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HEXPIRE h 1 foo FIELDS 1 a", "-ERR Unsupported option foo"),
    ("HEXPIRE h 1 NX LT FIELDS 1 a", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
    ("HEXPIRE h 1 GT LT FIELDS 1 a", "-ERR GT and LT options at the same time are not compatible"),
    ("HEXPIRE h 100 NX FIELDS 2 b b", "*2 :1 :0"),
    ("HEXPIRE h 90 GT FIELDS 1 b", "*1 :0"),
    ("HEXPIRE h 90 LT FIELDS 1 b", "*1 :1"),
    ("HEXPIRE h 0 FIELDS 2 a a", "*2 :2 :-2"),
    ("HPEXPIREAT h 9223372036854775807 FIELDS 1 b", "*1 :1"),
    ("HPEXPIRETIME h FIELDS 1 b", "*1 :9223372036854775807"),
    ("HEXPIREAT h 1 FIELDS 2 b c", "*2 :2 :2"),
    ("EXISTS h", ":0"),
    ("HEXPIRE h 100 FIELDS 2 a b", "*2 :-2 :-2"),
    ("HTTL h FIELDS 1 a", "*1 :-2"),
    ("HTTL h FIELDS 2 a", "-ERR syntax error"),
    ("HTTL s NOPE x a", "-ERR syntax error"),
    ("HTTL h FIELDS x a", "-ERR value is not an integer or out of range"),
    ("HPERSIST h NOPE 1 a", "-ERR syntax error"),
    ("HPERSIST s FIELDS 2 a", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HSETEX h EX 100 FIELDS 2 a 1 b 2", ":1"),
    ("HSETEX h KEEPTTL FIELDS 2 a 3 c 3", ":1"),
    ("HTTL h FIELDS 3 a b c", "*3 :100 :100 :-1"),
    ("HSETEX h FIELDS 1 a 4", ":1"),
    ("HTTL h FIELDS 1 a", "*1 :-1"),
    ("HSETEX h FNX FIELDS 2 new 1 a 1", ":0"),
    ("HSETEX h FXX FIELDS 2 new 1 a 1", ":0"),
    ("HSETEX h FXX FIELDS 2 b 1 a 1", ":1"),
    ("HSETEX h NX FIELDS 1 a 1", ":0"),
    ("HSETEX h XX FXX FIELDS 1 a 1", ":1"),
    ("HSETEX none XX FIELDS 1 a 1", ":0"),
    ("HSETEX h NX XX FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h EX 1 PX 1 FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h KEEPTTL EX 1 FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h PERSIST FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h EX FIELDS 1 a 1", "-ERR syntax error"),
    ("HSETEX h EX 1 EX 200 FIELDS 1 a 1", ":1"),
    ("HTTL h FIELDS 1 a", "*1 :200"),
    ("HSETEX h EX -1 FIELDS 1 a 1", "-ERR invalid expire time in 'hsetex' command"),
    ("HSETEX s EX x FIELDS 1 a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HSETEX h FIELDS 2 a 1", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HSETEX h EXAT 1 FIELDS 2 a 9 new 9", ":1"),
    ("HMGET h a b c new", "*4 $-1 $1 1 $1 3 $-1"),
    ("HSETEX none PXAT 0 FIELDS 1 a 1", ":1"),
    ("EXISTS none", ":0"),
    ("HGETEX h FIELDS 2 b x", "*2 $1 1 $-1"),
    ("HTTL h FIELDS 1 b", "*1 :-1"),
    ("HGETEX h EX 100 FIELDS 2 b x", "*2 $1 1 $-1"),
    ("HTTL h FIELDS 1 b", "*1 :100"),
    ("HGETEX h PERSIST FIELDS 1 b", "*1 $1 1"),
    ("HTTL h FIELDS 1 b", "*1 :-1"),
    ("HGETEX h PERSIST EX 1 FIELDS 1 b", "-ERR syntax error"),
    ("HGETEX h KEEPTTL FIELDS 1 b", "-ERR syntax error"),
    ("HGETEX none EX -1 FIELDS 1 b", "-ERR invalid expire time in 'hgetex' command"),
    ("HGETEX none EX 1 FIELDS 1 b", "*1 $-1"),
    ("HGETEX h EXAT 1 FIELDS 2 b b", "*2 $1 1 $-1"),
    ("HSET h d 4", ":1"),
    ("HGETDEL h FIELDS 3 c x c", "*3 $1 3 $-1 $-1"),
    ("HGETDEL h NOPE x c", "-ERR syntax error"),
    ("HGETDEL h FIELDS 2 c", "-ERR numfields should be greater than 0 and match the provided number of fields"),
    ("HGETDEL s FIELDS 1 c", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HGETDEL h FIELDS 1 d", "*1 $1 4"),
    ("EXISTS h", ":0"),
    ("HSET h a 1", ":1"),
    ("HEXPIRE h 50 FIELDS 1 a", "*1 :1"),
    ("COPY h copy", ":1"),
    ("RENAME copy moved", "+OK"),
    ("HTTL moved FIELDS 1 a", "*1 :50"),
    ("HSCAN h 0 NOVALUES", "*2 $1 0 *1 $1 a"),
    ("HSCAN h 0 NOVALUES COUNT", "-ERR syntax error"),
];

#[test]
fn fields_expire_as_valkey_has_it() {
    let mut keyspace = whole();
    for (command, answer) in ANSWERS {
        let reply = apply(&mut keyspace, NOW_MS, command);
        assert_eq!(reply.trim_end().replace("\r\n", " "), *answer, "{command}");
    }
}

#[test]
fn a_field_expires_by_log_time_and_a_reader_ahead_of_it_has_to_wait() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1000, "HSET h a 1 b 2 c 3");
    apply(&mut keyspace, 1000, "HPEXPIRE h 500 FIELDS 1 a");
    apply(&mut keyspace, 1000, "HPEXPIRE h 900 FIELDS 1 b");
    assert_eq!(read(&keyspace, 1499, "HGET h a"), "$1\r\n1\r\n");
    assert_eq!(try_read(&keyspace, 1500, "HLEN h").0, Read::Unsettled);
    keyspace.apply(&Entry::Tick { time: LogTime(1500) }, &mut Vec::new()).unwrap();
    assert_eq!(read(&keyspace, 1500, "HGET h a"), "$-1\r\n");
    assert_eq!(read(&keyspace, 1500, "HLEN h"), ":2\r\n");
    assert_eq!(read(&keyspace, 1500, "HKEYS h").matches('$').count(), 2);
    assert_eq!(read(&keyspace, 1899, "HSTRLEN h a"), ":0\r\n", "what is over and not swept lets readers go on");
    assert_eq!(try_read(&keyspace, 1900, "HGET h c").0, Read::Unsettled);
}

#[test]
fn no_command_sees_a_field_that_is_expired_and_not_removed() {
    let mut keyspace = whole();
    let names: Vec<String> = (0..3000).map(|number| format!("f{number}")).collect();
    let pairs: Vec<String> = names.iter().map(|name| format!("{name} 7")).collect();
    apply(&mut keyspace, 1, &format!("HSETEX h PX 99 FIELDS 3000 {}", pairs.join(" ")));
    apply(&mut keyspace, 1, "HSET h live 1");
    // More than one command removes before it begins are over now.
    let at = 200;
    assert_eq!(apply(&mut keyspace, at, "HLEN h"), ":1\r\n");
    assert_eq!(apply(&mut keyspace, at, "HGETALL h"), "*2\r\n$4\r\nlive\r\n$1\r\n1\r\n");
    assert_eq!(apply(&mut keyspace, at, "HVALS h"), "*1\r\n$1\r\n1\r\n");
    assert_eq!(apply(&mut keyspace, at, "HSCAN h 0 COUNT 9999"), "*2\r\n$1\r\n0\r\n*2\r\n$4\r\nlive\r\n$1\r\n1\r\n");
    assert_eq!(apply(&mut keyspace, at, "HRANDFIELD h"), "$4\r\nlive\r\n");
    assert_eq!(apply(&mut keyspace, at, "HRANDFIELD h 10"), "*1\r\n$4\r\nlive\r\n");
    assert_eq!(apply(&mut keyspace, at, "HRANDFIELD h -2"), "*2\r\n$4\r\nlive\r\n$4\r\nlive\r\n");
    // The last to be removed, at equal expiry, are those with the highest positions.
    let last: Vec<String> = {
        let mut names = names.clone();
        names.sort_by_key(|name| std::cmp::Reverse(super::super::value::element_position(name.as_bytes())));
        names.truncate(8);
        names
    };
    assert_eq!(apply(&mut keyspace, at, &format!("HDEL h {}", last[0])), ":0\r\n");
    assert_eq!(apply(&mut keyspace, at, &format!("HINCRBY h {} 1", last[1])), ":1\r\n", "it began at zero");
    assert_eq!(apply(&mut keyspace, at, &format!("HTTL h FIELDS 2 {} {}", last[1], last[0])), "*2\r\n:-1\r\n:-2\r\n");
    assert_eq!(apply(&mut keyspace, at, &format!("HSET h {} 1", last[2])), ":1\r\n", "it is new");
    assert_eq!(apply(&mut keyspace, at, &format!("HSETNX h {} 1", last[3])), ":1\r\n");
    assert_eq!(apply(&mut keyspace, at, &format!("HSETEX h FXX FIELDS 1 {} 1", last[4])), ":0\r\n");
    assert_eq!(apply(&mut keyspace, at, &format!("HGETDEL h FIELDS 1 {}", last[4])), "*1\r\n$-1\r\n");
    assert_eq!(apply(&mut keyspace, at, "HLEN h"), ":4\r\n");
    let live = format!("HDEL h live {}", last[1..4].join(" "));
    assert_eq!(apply(&mut keyspace, at, &live), ":4\r\n");
    assert_eq!(apply(&mut keyspace, at, "EXISTS h"), ":0\r\n", "what is left of it is over");
    assert_eq!(apply(&mut keyspace, at, "HSETNX h live 1"), ":1\r\n");
    assert_eq!(apply(&mut keyspace, at, "OBJECT ENCODING h"), "$8\r\nlistpack\r\n", "it is another hash");
}

#[test]
fn sweeps_remove_fields_in_steps_and_raise_the_version() {
    let mut keyspace = whole();
    let pairs: Vec<String> = (0..1000).map(|number| format!("f{number} 7")).collect();
    apply(&mut keyspace, 1, &format!("HSETEX h PX 99 FIELDS 1000 {}", pairs.join(" ")));
    apply(&mut keyspace, 1, "HSET h live 1");
    let (slot, full) = (Slot::of_key(b"h"), keyspace.usage().bytes);
    assert_eq!(keyspace.next_expiry(), Some(LogTime(100)));
    assert_eq!(keyspace.due_sweeps(LogTime(99), 9), []);
    let (mut sweeps, mut version) = (0, keyspace.version_of(b"h").unwrap());
    while keyspace.due_sweeps(LogTime(100), 9) == [slot] {
        keyspace.apply(&Entry::Sweep { time: LogTime(100), slot, keys_max: 300 }, &mut Vec::new()).unwrap();
        sweeps += 1;
        assert!(keyspace.version_of(b"h").unwrap() > version);
        version = keyspace.version_of(b"h").unwrap();
    }
    assert_eq!(sweeps, 4);
    assert_eq!(keyspace.next_expiry(), None);
    assert!(keyspace.usage().bytes < full / 10);
    assert_eq!(read(&keyspace, 100, "HGETALL h"), "*2\r\n$4\r\nlive\r\n$1\r\n1\r\n");
}

#[test]
fn what_changes_nothing_does_not_raise_the_version() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "HSET h a 1 b 2");
    apply(&mut keyspace, 1, "HEXPIRE h 100 FIELDS 1 b");
    let version = keyspace.version_of(b"h").unwrap();
    for command in [
        "HSETNX h a 2",
        "HDEL h x",
        "HINCRBY h a x",
        "HEXPIRE h 5 GT FIELDS 3 a b x",
        "HPERSIST h FIELDS 2 a x",
        "HGETEX h FIELDS 2 a b",
        "HGETEX h PERSIST FIELDS 1 a",
        "HGETEX h EX 1 FIELDS 1 x",
        "HSETEX h FNX FIELDS 1 a 2",
        "HSETEX h EXAT 0 FIELDS 1 x 1",
        "HGETDEL h FIELDS 1 x",
    ] {
        apply(&mut keyspace, 1, command);
        assert_eq!(keyspace.version_of(b"h"), Some(version), "{command}");
    }
    for command in ["HSET h a 1", "HGETEX h PERSIST FIELDS 1 b", "HEXPIRE h 9 FIELDS 1 b", "HPERSIST h FIELDS 1 b"] {
        let before = keyspace.version_of(b"h").unwrap();
        apply(&mut keyspace, 1, command);
        assert!(keyspace.version_of(b"h").unwrap() > before, "{command}");
    }
}

#[test]
fn a_walk_returns_every_field_that_stays_exactly_once() {
    let mut keyspace = whole();
    for number in 0..2000 {
        apply(&mut keyspace, 1, &format!("HSET h f{number} v{number}"));
    }
    let (mut cursor, mut seen, mut round) = ("0".to_owned(), std::collections::BTreeMap::new(), 0);
    loop {
        let reply = read(&keyspace, 1, &format!("HSCAN h {cursor} COUNT 50 NOVALUES"));
        let words: Vec<&str> = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
        words[1..].iter().filter(|word| word.starts_with('f')).for_each(|name| {
            *seen.entry((*name).to_owned()).or_insert(0) += 1;
        });
        cursor = words[0].to_owned();
        if cursor == "0" {
            break;
        }
        // Other fields come and go.
        apply(&mut keyspace, 1, &format!("HSET h x{round} 1"));
        apply(&mut keyspace, 1, &format!("HDEL h f{}", 1000 + round));
        round += 1;
    }
    assert!(round >= 20);
    (0..1000).for_each(|number| assert_eq!(seen.get(&format!("f{number}")), Some(&1), "f{number}"));
}

#[test]
fn random_fields_are_all_and_only_those_of_the_hash() {
    let mut keyspace = whole();
    for number in 0..100 {
        apply(&mut keyspace, 1, &format!("HSET h f{number} {number}"));
    }
    let draw = |count: &str| -> Vec<String> {
        let reply = read(&keyspace, 1, &format!("HRANDFIELD h {count}"));
        reply.split("\r\n").filter(|word| word.starts_with('f')).map(str::to_owned).collect()
    };
    for count in ["10", "33", "34", "90", "100", "1000"] {
        let mut names = draw(count);
        let wanted = count.parse::<usize>().unwrap().min(100);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), wanted, "{count}: each once");
        assert!(names.iter().all(|name| name[1..].parse::<u32>().is_ok_and(|number| number < 100)));
    }
    let mut names = draw("-5000");
    assert_eq!(names.len(), 5000);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100, "each has its chance");
    let reply = read(&keyspace, 1, "HRANDFIELD h -3 WITHVALUES");
    let words: Vec<&str> =
        reply.split("\r\n").filter(|word| !word.starts_with(['*', '$']) && !word.is_empty()).collect();
    assert_eq!(words.len(), 6);
    words.chunks(2).for_each(|pair| assert_eq!(&pair[0][1..], pair[1]));
}
