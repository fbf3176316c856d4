//! What the oracle cannot see: random choices, versions, and that large sets do not take long.

use super::super::tests::{apply, read, whole};
use super::super::{Entry, Keyspace};
use crate::protocol::request::write_array;
use crate::topology::LogTime;

fn fill(keyspace: &mut Keyspace, key: &str, members: std::ops::Range<u32>) {
    let mut line = format!("SADD {key}");
    members.for_each(|number| line.push_str(&format!(" m{number}")));
    apply(keyspace, 1, &line);
}

fn apply_with_seed(keyspace: &mut Keyspace, seed: u64, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let (mut request, mut out) = (Vec::new(), Vec::new());
    write_array(&mut request, words.into_iter());
    keyspace
        .apply(
            &Entry::Write { seen: 0, time: LogTime(1), seed, resp3: false, identity: None, request: &request },
            &mut out,
        )
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn members(reply: &str) -> Vec<String> {
    reply.split("\r\n").filter(|line| line.starts_with('m')).map(str::to_owned).collect()
}

#[test]
fn what_is_popped_follows_the_seed_alone_and_is_gone() {
    for count in [1, 7, 30, 90, 99, 100, 500] {
        let popped = |seed| {
            let mut keyspace = whole();
            fill(&mut keyspace, "s", 0..100);
            let popped = members(&apply_with_seed(&mut keyspace, seed, &format!("SPOP s {count}")));
            let mut all = popped.clone();
            all.extend(members(&read(&keyspace, 1, "SMEMBERS s")));
            all.sort();
            all.dedup();
            assert_eq!((popped.len(), all.len()), (count.min(100), 100));
            popped
        };
        assert_eq!(popped(1), popped(1));
        assert_eq!(popped(1) == popped(2), count >= 100, "{count}");
    }
}

#[test]
fn every_member_is_popped_and_drawn_as_often_as_the_others() {
    let (mut keyspace, rounds) = (whole(), 1000);
    fill(&mut keyspace, "s", 0..20);
    for line in ["SPOP t", "SPOP t 3", "SPOP t 18", "SRANDMEMBER s", "SRANDMEMBER s 3", "SRANDMEMBER s -3"] {
        let mut times = std::collections::BTreeMap::<String, i64>::new();
        for seed in 0..rounds {
            let reply = if line.starts_with("SPOP") {
                apply(&mut keyspace, 1, "COPY s t REPLACE");
                apply_with_seed(&mut keyspace, seed, line)
            } else {
                read(&keyspace, 1, line)
            };
            members(&reply).into_iter().for_each(|member| *times.entry(member).or_default() += 1);
        }
        let expected = times.values().sum::<i64>() / 20;
        let tolerance = 5 * (expected as f64).sqrt() as i64;
        assert!(times.len() == 20 && times.values().all(|&n| (n - expected).abs() <= tolerance), "{line}: {times:?}");
    }
}

#[test]
fn popping_nearly_all_or_half_of_a_large_set_is_not_quadratic() {
    let mut keyspace = whole();
    for thousand in 0..200 {
        fill(&mut keyspace, "s", thousand * 1000..(thousand + 1) * 1000);
    }
    for (count, left) in [(50_000, 150_000), (75_000, 75_000), (74_999, 1)] {
        assert_eq!(members(&apply(&mut keyspace, 1, &format!("SPOP s {count}"))).len(), count);
        assert_eq!(read(&keyspace, 1, "SCARD s"), format!(":{left}\r\n"));
    }
    assert_eq!(read(&keyspace, 1, "OBJECT ENCODING s"), "$8\r\nlistpack\r\n");
}

#[test]
fn a_command_that_changes_nothing_leaves_the_version() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "SADD {k} a b");
    apply(&mut keyspace, 1, "SADD {k}2 b");
    for (line, first, second) in [
        ("SADD {k} a", false, false),
        ("SREM {k} x", false, false),
        ("SMOVE {k} {k}2 x", false, false),
        ("SMOVE {k} {k} a", false, false),
        ("SPOP {k} 0", false, false),
        ("SMOVE {k} {k}2 b", true, false),
        ("SMOVE {k} {k}2 a", true, true),
        ("SINTERSTORE {k} {k}2", true, false),
        ("SDIFFSTORE {k} {k} {k}", true, false),
        ("SDIFFSTORE {k} {k} {k}", false, false),
        ("SADD {k} a", true, false),
        ("SPOP {k}", true, false),
    ] {
        let versions = |keyspace: &Keyspace| [keyspace.version_of(b"{k}"), keyspace.version_of(b"{k}2")];
        let before = versions(&keyspace);
        apply(&mut keyspace, 1, line);
        let after = versions(&keyspace);
        assert_eq!([after[0] > before[0], after[1] > before[1]], [first, second], "{line}");
    }
}

#[test]
fn the_reply_of_repeated_members_is_bounded() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "SADD s a");
    assert_eq!(read(&keyspace, 1, "SRANDMEMBER s -2"), "*2\r\n$1\r\na\r\n$1\r\na\r\n");
    assert!(read(&keyspace, 1, "SRANDMEMBER s -100000000000").starts_with("-ERR value is out of range"));
    assert!(read(&keyspace, 1, "SRANDMEMBER s -9223372036854775808").starts_with("-ERR value is out of range"));
}
