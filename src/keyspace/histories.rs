//! Properties over random histories: replicas agree, a restored replica goes on as if nothing had been, SCAN misses
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{SEED, apply, read};
use super::*;
use crate::protocol::request::write_array;
use crate::topology::{Epoch, LogTime, Slot};

/// Few slots, so that keys meet in them.
const TAGS: u32 = 3;

fn small() -> Keyspace {
    let mut keyspace = Keyspace::new(SEED);
    (0..TAGS).for_each(|tag| keyspace.own(Slot::of_key(tag.to_string().as_bytes()), Epoch(4)));
    keyspace
}

/// An entry's bytes.
type Logged = Vec<u8>;

fn write(time: u64, words: &[String]) -> Logged {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    write_array(&mut request, words.iter().map(String::as_bytes));
    Entry::Write { seen: 0, time: LogTime(time), seed: 0, resp3: false, identity: None, request: &request }
        .encode(&mut out);
    out
}

fn entries() -> impl Strategy<Value = Vec<Logged>> {
    let key = || (0..TAGS, 0..12_u32).prop_map(|(tag, number)| format!("{{{tag}}}{number}"));
    // One key in ten is of a slot that is not owned, most likely.
    let any_key = move || prop_oneof![9 => key(), 1 => "[a-z]{3}"];
    let value = || prop_oneof![4 => "[0-9a-z]{0,30}", 1 => (900..3000_usize).prop_map(|n| "x".repeat(n))];
    let words = prop_oneof![
        5 => (any_key(), value()).prop_map(|(k, v)| vec!["SET".into(), k, v]),
        4 => (any_key(), value(), 1..60_u32).prop_map(|(k, v, t)| vec!["SET".into(), k, v, "PX".into(), t.to_string()]),
        2 => (any_key(), value()).prop_map(|(k, v)| vec!["APPEND".into(), k, v]),
        2 => any_key().prop_map(|k| vec!["INCR".into(), k]),
        2 => (any_key(), 0..3000_u32).prop_map(|(k, at)| vec!["SETRANGE".into(), k, at.to_string(), "y".into()]),
        2 => (any_key(), any_key()).prop_map(|(a, b)| vec!["RENAME".into(), a, b]),
        2 => (any_key(), any_key()).prop_map(|(a, b)| vec!["COPY".into(), a, b, "REPLACE".into()]),
        3 => (any_key(), any_key()).prop_map(|(a, b)| vec!["DEL".into(), a, b]),
        2 => (any_key(), -5..60_i32).prop_map(|(k, t)| vec!["PEXPIRE".into(), k, t.to_string()]),
        1 => any_key().prop_map(|k| vec!["PERSIST".into(), k]),
        1 => any_key().prop_map(|k| vec!["GET".into(), k]),
    ];
    let sweep = (0..TAGS, 1..4_u32).prop_map(|(tag, keys_max)| (Slot::of_key(tag.to_string().as_bytes()), keys_max));
    let flush = || vec!["FLUSHALL".to_owned()];
    let step = prop_oneof![
        60 => words.prop_map(Ok),
        10 => sweep.prop_map(Err),
        1 => Just(()).prop_map(move |()| Ok(flush())),
    ];
    proptest::collection::vec((0..8_u64, step), 0..200).prop_map(|steps| {
        let mut time = 1000;
        let mut logged = |(passed, step): (u64, Result<Vec<String>, (Slot, u32)>)| {
            time += passed;
            match step {
                Ok(words) => write(time, &words),
                Err((slot, keys_max)) => {
                    let mut out = Vec::new();
                    Entry::Sweep { time: LogTime(time), slot, keys_max }.encode(&mut out);
                    out
                }
            }
        };
        steps.into_iter().map(&mut logged).collect()
    })
}

fn apply_all(keyspace: &mut Keyspace, entries: &[Logged]) -> Vec<(Applied, Vec<u8>)> {
    let apply_one = |entry: &Logged| {
        let mut out = Vec::new();
        let applied = keyspace.apply(&Entry::decode(entry).unwrap(), &mut out).unwrap();
        (applied, out)
    };
    entries.iter().map(apply_one).collect()
}

fn reloaded(frozen: Frozen, piece_bytes: usize) -> Keyspace {
    let mut loader = Loader::new();
    frozen.pieces(piece_bytes).for_each(|piece| loader.push(&piece).unwrap());
    loader.finish().unwrap()
}

fn state(keyspace: &Keyspace) -> impl PartialEq + std::fmt::Debug + use<> {
    (keyspace.digest(), keyspace.usage(), keyspace.log_time(), keyspace.next_expiry())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replicas_agree_even_if_one_was_restored_midway(entries in entries(), at in 0..200_usize, piece_bytes in 0..5000_usize) {
        let mut one = small();
        let replies = apply_all(&mut one, &entries);
        let (before, after) = entries.split_at(at.min(entries.len()));
        let mut other = small();
        apply_all(&mut other, before);
        let frozen = other.freeze();
        let midway = state(&other);
        // The one that was frozen goes on, and its frozen copy stays as it was.
        prop_assert_eq!(&apply_all(&mut other, after)[..], &replies[before.len()..]);
        prop_assert_eq!(state(&one), state(&other));
        let mut restored = reloaded(frozen, piece_bytes);
        prop_assert_eq!(state(&restored), midway);
        prop_assert_eq!(&apply_all(&mut restored, after)[..], &replies[before.len()..]);
        prop_assert_eq!(state(&restored), state(&one));
    }

    #[test]
    fn damaged_snapshots_are_errors_and_never_panics(entries in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut keyspace = small();
        apply_all(&mut keyspace, &entries);
        let mut stream = keyspace.freeze().pieces(2000).collect::<Vec<_>>().concat();
        let at = at.index(stream.len());
        let changed = stream[at] != byte;
        stream[at] = byte;
        let mut loader = Loader::new();
        let loaded = loader.push(&stream).and_then(|()| loader.finish());
        prop_assert_eq!(loaded.is_err(), changed);
    }

    #[test]
    fn a_scan_returns_each_key_that_stays_exactly_once(stays in proptest::collection::btree_set(0..400_u32, 0..80), churn in proptest::collection::vec((0..400_u32, any::<bool>()), 0..300), count in 1..20_u32) {
        let mut keyspace = small();
        let key = |number: u32| format!("{{{}}}{number}", number % TAGS);
        stays.iter().for_each(|&number| drop(apply(&mut keyspace, 1, &format!("SET {} v", key(number)))));
        let mut seen = BTreeMap::<String, u32>::new();
        let mut churn = churn.into_iter().filter(|(number, _)| !stays.contains(number)).cycle();
        let steps_max = 1000;
        let mut cursor = 0;
        let owned: Vec<u64> = keyspace.owned().iter().map(|slot| u64::from(slot.number()) << 48).collect();
        // As the proxy does: on from the slot where this shard's run ends to the next slot that it owns.
        let next_owned = |cursor: u64| owned.iter().copied().find(|&first| first >= cursor);
        for step in 0.. {
            prop_assert!(step < steps_max, "the walk ends");
            if keyspace.owns(Slot::new((cursor >> 48) as u16).unwrap()).is_none() {
                let Some(next) = next_owned(cursor) else { break };
                cursor = next;
            }
            let reply = read(&keyspace, 1, &format!("SCAN {cursor} COUNT {count}"));
            let mut lines = reply.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with(['*', '$']));
            cursor = lines.next().unwrap().parse().unwrap();
            lines.for_each(|key| *seen.entry(key.to_owned()).or_default() += 1);
            if cursor == 0 {
                break;
            }
            for (number, insert) in churn.by_ref().take(7) {
                let line = if insert { format!("SET {} v", key(number)) } else { format!("DEL {}", key(number)) };
                apply(&mut keyspace, 1, &line);
            }
        }
        let missed: BTreeSet<u32> = stays.iter().copied().filter(|&number| seen.get(&key(number)) != Some(&1)).collect();
        prop_assert!(missed.is_empty(), "not exactly once: {missed:?}");
    }
}

#[test]
fn a_large_slot_is_frozen_while_it_shrinks() {
    const KEYS: u32 = 20_000;
    let mut keyspace = small();
    (0..KEYS).for_each(|number| drop(apply(&mut keyspace, 1, &format!("SET {{1}}{number} v"))));
    let frozen = keyspace.freeze();
    (0..KEYS).step_by(3).for_each(|number| drop(apply(&mut keyspace, 1, &format!("DEL {{1}}{number}"))));
    assert_eq!(reloaded(frozen, 64 * 1024).usage().keys, u64::from(KEYS));
    assert_eq!(keyspace.usage().keys, u64::from(KEYS - KEYS.div_ceil(3)));
}
