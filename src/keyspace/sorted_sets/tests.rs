//! What the comparison with a real server does not show: versions, expiries of what is stored over, the same result on
//! all replicas.

use crate::keyspace::tests::{apply, read, whole};

#[test]
fn a_version_rises_only_with_a_change() {
    let mut keyspace = whole();
    let mut last = keyspace.version_of(b"z").unwrap();
    for (line, rises) in [
        ("ZADD z XX 1 a", false),
        ("ZADD z 1 a 2 b", true),
        ("ZADD z 1 a", false),
        ("ZADD z NX 5 a", false),
        ("ZADD z GT 0 a", false),
        ("ZADD z CH LT 0 a", true),
        ("ZINCRBY z 0 a", false),
        ("ZADD z INCR 1 a", true),
        ("ZADD z inf i", true),
        ("ZINCRBY z -inf i", false),
        ("ZREM z nobody", false),
        ("ZREM z i nobody", true),
        ("ZREMRANGEBYSCORE z 7 9", false),
        ("ZREMRANGEBYLEX z [x +", false),
        ("ZPOPMIN z 0", false),
        ("ZMPOP 1 z MIN", true),
        ("ZRANGESTORE z other 0 -1", true),
        ("ZRANGESTORE z other 0 -1", false),
        ("ZUNIONSTORE z 1 other", false),
        ("ZREMRANGEBYRANK z 0 -1", false),
    ] {
        apply(&mut keyspace, 1, line);
        let version = keyspace.version_of(b"z").unwrap();
        assert_eq!(version > last, rises, "{line}");
        last = version;
    }
    assert_eq!(keyspace.usage().keys, 0, "nothing is left of it");
}

#[test]
fn what_is_stored_over_loses_its_expiry_and_may_be_one_of_the_inputs() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "ZADD z 1 a 2 b");
    apply(&mut keyspace, 1, "EXPIRE z 100");
    assert_eq!(apply(&mut keyspace, 1, "ZUNIONSTORE z 2 z z WEIGHTS 2 3"), ":2\r\n");
    assert_eq!(read(&keyspace, 1, "TTL z"), ":-1\r\n");
    assert_eq!(read(&keyspace, 1, "ZSCORE z b"), "$2\r\n10\r\n");
    assert_eq!(apply(&mut keyspace, 1, "ZRANGESTORE z z 1 1"), ":1\r\n");
    apply(&mut keyspace, 1, "SET z text");
    assert_eq!(apply(&mut keyspace, 1, "ZDIFFSTORE z 1 none"), ":0\r\n");
    assert_eq!(read(&keyspace, 1, "EXISTS z"), ":0\r\n");
}

#[test]
fn a_scan_in_steps_returns_every_member_that_stays_once() {
    let mut keyspace = whole();
    (0..1000).for_each(|number| drop(apply(&mut keyspace, 1, &format!("ZADD z {number} stays:{number}"))));
    let (mut cursor, mut found, mut step) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = read(&keyspace, 1, &format!("ZSCAN z {cursor} COUNT 7"));
        let mut lines = reply.split("\r\n");
        cursor = lines.nth(2).unwrap().to_owned();
        found.extend(lines.filter(|line| line.starts_with("stays:")).map(str::to_owned));
        if cursor == "0" {
            break;
        }
        step += 1;
        apply(&mut keyspace, 1, &format!("ZADD z -1 comes:{step}"));
        apply(&mut keyspace, 1, &format!("ZREM z comes:{}", step - 1));
    }
    assert_eq!(found.len(), 1000);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 1000);
}
