//! What the oracle, whose server is no cluster, cannot see: slots of patterns, and times.

use super::super::super::tests::{apply, read, tick, whole};

#[test]
fn keys_that_patterns_name_have_to_be_in_the_slot_of_the_sorted_key() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "RPUSH {t}l 2 1");
    let by =
        "-ERR BY option of SORT denied in cluster mode when keys formed by the pattern may be in different slots.\r\n";
    let get = by.replace("BY option", "GET option");
    for line in ["SORT {t}l BY w_*", "SORT {t}l BY {u}w_*", "SORT {t}l BY *->{t} GET {u}*", "SORT_RO {t}l BY {t*"] {
        assert_eq!(apply(&mut keyspace, 1, line), by, "{line}");
    }
    for line in ["SORT {t}l GET # GET w_*", "SORT_RO {t}l BY nosort GET {u}*->f"] {
        assert_eq!(apply(&mut keyspace, 1, line), get, "{line}");
    }
    for line in ["SORT {t}l BY {t}w_*", "SORT {t}l BY w_ GET # ASC", "SORT_RO {t}l BY a{t}*->f GET # LIMIT 0 10"] {
        assert_eq!(apply(&mut keyspace, 1, line).lines().next(), Some("*2"), "{line}");
    }
}

#[test]
fn other_keys_and_their_fields_are_gone_by_log_time() {
    let mut keyspace = whole();
    for line in ["RPUSH {t}l a b", "SET {t}a x PX 500", "SET {t}b y", "HSET {t}h:a f 1 g 1", "HSET {t}h:b f 2"] {
        apply(&mut keyspace, 1000, line);
    }
    apply(&mut keyspace, 1000, "HPEXPIRE {t}h:a 500 FIELDS 1 f");
    let line = "SORT_RO {t}l BY nosort GET {t}* GET {t}h:*->f";
    let all = "*4\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\ny\r\n$1\r\n2\r\n";
    let rest = "*4\r\n$-1\r\n$-1\r\n$1\r\ny\r\n$1\r\n2\r\n";
    assert_eq!(read(&keyspace, 1499, line), all);
    assert_eq!(read(&keyspace, 2000, line), all, "a reader's clock expires nothing");
    tick(&mut keyspace, 1500);
    assert_eq!(read(&keyspace, 1500, line), rest);
    assert_eq!(apply(&mut keyspace, 1500, &line.replace("_RO", "")), rest);
}

#[test]
fn a_large_value_is_not_returned_without_end() {
    let mut keyspace = whole();
    apply(&mut keyspace, 1, "SETRANGE {t}x 60000000 v");
    apply(&mut keyspace, 1, "RPUSH {t}l x x x x x x x x x");
    let refused = "-ERR the result of SORT is larger than the limit of 536870912 bytes\r\n";
    assert_eq!(apply(&mut keyspace, 1, "SORT {t}l ALPHA GET {t}* STORE {t}d"), refused);
    assert_eq!(apply(&mut keyspace, 1, "SORT {t}l ALPHA GET {t}* LIMIT 0 1 STORE {t}d"), ":1\r\n");
}
