//! Where the replicas of one shard differ: pure, over what they told of one position of their log.
//!
//! No replica is taken to be right: a difference shows what each of them has.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::protocol::verification::{KeyDigest, SlotKeys, StateDigest};
use crate::topology::{NodeName, Slot};

/// Keys of one slot that are named at most.
const KEYS_NAMED_MAX: usize = 100;

/// One thing that the replicas of a shard do not agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The slot; none: it is about the shard as a whole.
    pub slot: Option<Slot>,
    /// The key, escaped; none: it is about more than one key.
    pub key: Option<String>,
    /// What differs.
    pub what: Vec<&'static str>,
    /// What each replica has.
    pub replicas: Vec<Seen>,
}

/// What one replica has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its node.
    pub node: NodeName,
    /// What it has.
    pub has: String,
}

/// What a node told of its replica.
pub type Told<T> = (NodeName, T);

/// A field of a state, how it is called, and how it is shown.
type Field = (&'static str, fn(&StateDigest) -> String);

const FIELDS: [Field; 10] = [
    ("index", |state| state.index.to_string()),
    ("log time", |state| state.log_time.to_string()),
    ("hash seed", |state| format!("{:016x}", state.seed)),
    ("key limit", |state| state.key_bytes_max.to_string()),
    ("value limit", |state| state.value_bytes_max.to_string()),
    ("ownership", |state| format!("{:016x}", state.ownership)),
    ("count of keys", |state| state.keys.to_string()),
    ("count of expiring keys", |state| state.expiring.to_string()),
    ("accounted bytes", |state| state.bytes.to_string()),
    ("blocked clients and remembered writes", |state| format!("{:016x}", state.remembered)),
];

/// What differs outside of the slots.
pub fn differences_of_states(told: &[Told<StateDigest>]) -> Vec<Difference> {
    let difference = |(what, show): &Field| {
        let replicas = seen(told, show);
        differs(&replicas).then(|| Difference { slot: None, key: None, what: vec![*what], replicas })
    };
    FIELDS.iter().filter_map(difference).collect()
}

/// The slots that not all replicas have, or have alike; in order.
pub fn differing_slots(told: &[Told<StateDigest>]) -> Vec<Slot> {
    let mut digests: BTreeMap<Slot, Vec<u64>> = BTreeMap::new();
    for slot in told.iter().flat_map(|(_, state)| &state.slots) {
        digests.entry(slot.slot).or_default().push(slot.digest);
    }
    let alike = |found: &[u64]| found.len() == told.len() && found.iter().all(|digest| *digest == found[0]);
    digests.into_iter().filter(|(_, found)| !alike(found)).map(|(slot, _)| slot).collect()
}

/// A slot that differs, and whose keys were not looked at.
pub fn difference_of_digests(slot: Slot, told: &[Told<StateDigest>]) -> Difference {
    let replicas = seen(told, |state| match state.slots.binary_search_by_key(&slot, |found| found.slot) {
        Ok(position) => format!("{:016x}", state.slots[position].digest),
        Err(_) => "not owned".to_owned(),
    });
    Difference { slot: Some(slot), key: None, what: vec!["digest"], replicas }
}

/// What differs in a slot. `told`: all its keys; none, where a replica does not own it.
pub fn differences_of_slot(slot: Slot, told: &[Told<Option<SlotKeys>>]) -> Vec<Difference> {
    let counters = seen(told, |keys| match keys {
        Some(keys) => format!("version {}, last removal {}", keys.version, keys.last_removal_version),
        None => "not owned".to_owned(),
    });
    let mut found = Vec::new();
    if told.iter().any(|(_, keys)| keys.is_none()) {
        return vec![Difference { slot: Some(slot), key: None, what: vec!["owner"], replicas: counters }];
    }
    if differs(&counters) {
        found.push(Difference { slot: Some(slot), key: None, what: vec!["counters"], replicas: counters });
    }
    let by_name: Vec<BTreeMap<&str, &KeyDigest>> =
        told.iter().map(|(_, keys)| keys.iter().flat_map(|k| &k.keys).map(|k| (k.key.as_str(), k)).collect()).collect();
    let names: BTreeSet<&str> = by_name.iter().flat_map(|keys| keys.keys().copied()).collect();
    let of_key = |name: &str| {
        let digests: Vec<Option<&KeyDigest>> = by_name.iter().map(|keys| keys.get(name).copied()).collect();
        let what = what_differs(&digests);
        let replicas =
            || told.iter().zip(&digests).map(|((node, _), key)| Seen { node: node.clone(), has: shown(*key) });
        (!what.is_empty()).then(|| Difference {
            slot: Some(slot),
            key: Some(name.to_owned()),
            what,
            replicas: replicas().collect(),
        })
    };
    found.extend(names.into_iter().filter_map(of_key).take(KEYS_NAMED_MAX));
    if found.is_empty() {
        // The digests differ and nothing that was listed does: the order of the keys, or a key twice.
        let counts = seen(told, |keys| format!("{} keys", keys.as_ref().map_or(0, |k| k.keys.len())));
        found.push(Difference { slot: Some(slot), key: None, what: vec!["order"], replicas: counts });
    }
    found
}

fn what_differs(digests: &[Option<&KeyDigest>]) -> Vec<&'static str> {
    let present: Vec<&KeyDigest> = digests.iter().copied().flatten().collect();
    let mut what = Vec::new();
    let mut note = |name, differs| {
        if differs {
            what.push(name)
        }
    };
    let uneven = |same: &dyn Fn(&KeyDigest, &KeyDigest) -> bool| present.iter().any(|key| !same(key, present[0]));
    note("presence", present.len() < digests.len());
    note("type", uneven(&|a, b| a.kind == b.kind));
    note("value", uneven(&|a, b| a.digest == b.digest));
    note("version", uneven(&|a, b| a.version == b.version));
    note("expiry", uneven(&|a, b| a.expire_at == b.expire_at));
    what
}

fn shown(key: Option<&KeyDigest>) -> String {
    let Some(key) = key else { return "absent".to_owned() };
    let expiry = if key.expire_at == 0 { String::new() } else { format!(", expires at {}", key.expire_at) };
    format!("{} {:016x}, version {}{expiry}", key.kind, key.digest, key.version)
}

fn seen<T>(told: &[Told<T>], show: impl Fn(&T) -> String) -> Vec<Seen> {
    told.iter().map(|(node, state)| Seen { node: node.clone(), has: show(state) }).collect()
}

fn differs(replicas: &[Seen]) -> bool {
    replicas.iter().any(|replica| replica.has != replicas[0].has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Entry, Keyspace};
    use crate::protocol::request::write_array;
    use crate::topology::{Epoch, LogIndex, LogTime};

    const TAG: &[u8] = b"{t}";

    fn apply(keyspace: &mut Keyspace, line: &str) {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        write_array(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
        let entry =
            Entry::Write { seen: 0, time: LogTime(1000), seed: 0, resp3: false, identity: None, request: &request };
        keyspace.apply(&entry, &mut reply).unwrap();
        assert!(!reply.starts_with(b"-"), "{line}: {}", reply.escape_ascii());
    }

    /// Three replicas that heard `lines`, the last of them `planted` as well.
    fn replicas(lines: &[&str], planted: &[&str]) -> Vec<Told<Keyspace>> {
        let mut replicas: Vec<Told<Keyspace>> =
            ["n1", "n2", "n3"].into_iter().map(|name| (NodeName::new(name), Keyspace::new(7))).collect();
        for (_, keyspace) in &mut replicas {
            Slot::all().for_each(|slot| keyspace.own(slot, Epoch(1)));
            lines.iter().for_each(|line| apply(keyspace, line));
        }
        planted.iter().for_each(|line| apply(&mut replicas[2].1, line));
        replicas
    }

    fn states(replicas: &[Told<Keyspace>]) -> Vec<Told<StateDigest>> {
        replicas.iter().map(|(node, keyspace)| (node.clone(), keyspace.freeze().digest(LogIndex(9)))).collect()
    }

    fn slot_keys(replicas: &[Told<Keyspace>], slot: Slot) -> Vec<Told<Option<SlotKeys>>> {
        replicas.iter().map(|(node, k)| (node.clone(), k.freeze().slot_keys(slot, 0, 1000))).collect()
    }

    #[test]
    fn equal_replicas_have_no_differences() {
        let told = states(&replicas(&["SET {t}a 1", "SET b 2 EX 5", "DEL {t}a"], &[]));
        assert_eq!((differences_of_states(&told), differing_slots(&told)), (vec![], vec![]));
    }

    #[test]
    fn a_planted_difference_is_named_by_slot_and_key_with_what_each_replica_has() {
        let lines = ["SET {t}a\x00 1", "SET {t}b 1", "SET elsewhere 1"];
        let slot = Slot::of_key(TAG);
        for (planted, what) in [
            ("SETRANGE {t}a\x00 0 2", vec!["value", "version"]),
            ("EXPIRE {t}a\x00 10", vec!["version", "expiry"]),
            ("DEL {t}a\x00", vec!["presence"]),
        ] {
            let replicas = replicas(&lines, &[planted]);
            let told = states(&replicas);
            assert_eq!(differing_slots(&told), [slot], "{planted}");
            assert!(differs(&difference_of_digests(slot, &told).replicas));
            let found = differences_of_slot(slot, &slot_keys(&replicas, slot));
            assert_eq!(found[0].what, ["counters"], "every write moves the slot's version");
            assert_eq!((found[1].slot, found[1].key.as_deref()), (Some(slot), Some("{t}a\\x00")), "{planted}");
            assert_eq!(found[1].what, what, "{planted}");
            assert_eq!(found[1].replicas[0].has, found[1].replicas[1].has);
            assert_ne!(found[1].replicas[0].has, found[1].replicas[2].has);
            assert_eq!(found.len(), 2, "{found:?}");
        }
    }

    #[test]
    fn a_key_that_one_replica_alone_has_is_absent_on_the_others() {
        let replicas = replicas(&["SET {t}b 1"], &["SET {t}new 1"]);
        let slot = Slot::of_key(TAG);
        let found = differences_of_slot(slot, &slot_keys(&replicas, slot));
        let has: Vec<&str> = found[1].replicas.iter().map(|seen| seen.has.as_str()).collect();
        assert_eq!((found[1].key.as_deref(), &has[..2]), (Some("{t}new"), &["absent", "absent"][..]));
        let sums = differences_of_states(&states(&replicas));
        let what: Vec<&str> = sums.iter().flat_map(|difference| difference.what.clone()).collect();
        assert_eq!(what, ["count of keys", "accounted bytes"]);
    }

    #[test]
    fn states_of_other_positions_clocks_and_owners_differ() {
        let mut replicas = replicas(&[], &[]);
        let slot = Slot::of_key(TAG);
        let mut fewer = Keyspace::new(7);
        Slot::all().filter(|s| *s != slot).for_each(|slot| fewer.own(slot, Epoch(1)));
        replicas[0].1 = fewer;
        replicas[1].1.apply(&Entry::Tick { time: LogTime(5) }, &mut Vec::new()).unwrap();
        let mut told = states(&replicas);
        told[2].1.index = LogIndex(8);
        let sums = differences_of_states(&told);
        let what: Vec<&str> = sums.iter().flat_map(|difference| difference.what.clone()).collect();
        assert_eq!(what, ["index", "log time", "ownership"]);
        assert_eq!(differing_slots(&told), [slot]);
        let found = differences_of_slot(slot, &slot_keys(&replicas, slot));
        assert_eq!(
            (found.len(), &found[0].what[..], found[0].replicas[0].has.as_str()),
            (1, &["owner"][..], "not owned")
        );
    }
}
