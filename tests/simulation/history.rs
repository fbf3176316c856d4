//! What the clients' memories say about the promises (DESIGN.md, section 2), when all is over.
//!
//! Counters and lists grow only, so an answer's *extent* (the number, the length) says which writes it has seen; the
//! rules about order are rules about extents. Registers need the search of [`super::linearizability`].

use std::collections::{BTreeMap, BTreeSet};

use pontoon::node::replica::MAX_STALENESS;
use pontoon::protocol::frame::ReadLevel;

use super::clients::{KeyKind, Operation, Outcome};
use super::linearizability::{self, Action, NEVER, Verdict, judge};

/// Judges all keys. `finals`: what each key holds in the end.
pub fn check(operations: &[Operation], keys: &[(String, KeyKind)], finals: &[Option<Vec<u8>>]) {
    for (key, (name, kind)) in keys.iter().enumerate() {
        let of_key: Vec<(u64, &Operation)> =
            (1..).zip(operations).filter(|(_, operation)| operation.key == key).collect();
        let found = finals[key].as_deref();
        match kind {
            KeyKind::Register => check_register(name, &of_key, found),
            KeyKind::Counter => {
                check_counter(name, &of_key, found);
                check_extents(name, &extents(&of_key, number));
            }
            KeyKind::List => {
                check_list(name, &of_key, found.unwrap_or_default());
                check_extents(name, &list_extents(&of_key));
            }
        }
    }
}

fn check_register(name: &str, operations: &[(u64, &Operation)], found: Option<&[u8]>) {
    let by_id: BTreeMap<u64, &Operation> = operations.iter().copied().collect();
    let mut history = Vec::new();
    let mut last = 0;
    for &(id, operation) in operations {
        let (start, end) = (operation.start_us, operation.end_us);
        last = last.max(start).max(if end == u64::MAX { 0 } else { end });
        match (&operation.outcome, operation.write) {
            (Outcome::Done(_), true) => {
                history.push(linearizability::Operation { start, end, action: Action::Write(id) });
            }
            (Outcome::Unknown | Outcome::Waiting, true) => {
                history.push(linearizability::Operation { start, end: NEVER, action: Action::Write(id) });
            }
            (Outcome::Done(value), false) => {
                let value = value.as_deref().map_or(0, number);
                read_is_of_a_write(name, id, operation, value, &by_id);
                if operation.level == ReadLevel::Strong {
                    history.push(linearizability::Operation { start, end, action: Action::Read(value) });
                }
            }
            _ => {}
        }
    }
    let value = found.map_or(0, number);
    history.push(linearizability::Operation { start: last + 1, end: last + 2, action: Action::Read(value) });
    match judge(&history) {
        Verdict::Linearizable => {}
        verdict => {
            history.sort_by_key(|o| o.start);
            let lines: Vec<String> = history.iter().map(|o| format!("{o:?}")).collect();
            panic!("key {name}: {verdict:?}\n{}", lines.join("\n"));
        }
    }
}

fn read_is_of_a_write(name: &str, id: u64, read: &Operation, value: u64, by_id: &BTreeMap<u64, &Operation>) {
    if value == 0 {
        assert_eq!(read.follows, None, "key {name}: read {id} misses the write that it follows");
        return;
    }
    let write = by_id.get(&value).filter(|w| w.write && w.start_us <= read.end_us);
    let write = write.unwrap_or_else(|| panic!("key {name}: read {id} saw {value}, which nobody wrote"));
    let refused = write.outcome == Outcome::NotApplied;
    assert!(!refused, "key {name}: read {id} saw {value}, which was promised not to be applied: {write:?}");
    if let Some(follows) = read.follows {
        assert!(value >= follows || by_id[&value].client != read.client, "key {name}: read {id} misses {follows}");
    }
}

fn check_counter(name: &str, operations: &[(u64, &Operation)], found: Option<&[u8]>) {
    let writes = || operations.iter().filter(|(_, o)| o.write);
    let replies: Vec<u64> = writes()
        .filter_map(|(_, o)| if let Outcome::Done(value) = &o.outcome { value.as_deref().map(number) } else { None })
        .collect();
    let distinct: BTreeSet<u64> = replies.iter().copied().collect();
    assert_eq!(distinct.len(), replies.len(), "key {name}: INCR gave the same number twice");
    let unknown = writes().filter(|(_, o)| matches!(o.outcome, Outcome::Unknown | Outcome::Waiting)).count() as u64;
    let (total, acknowledged) = (found.map_or(0, number), replies.len() as u64);
    let allowed = acknowledged..=acknowledged + unknown;
    assert!(allowed.contains(&total), "key {name}: {total} in the end, and {allowed:?} is allowed");
    assert!(replies.iter().all(|reply| (1..=total).contains(reply)), "key {name}: a reply beyond {total}");
}

fn check_list(name: &str, operations: &[(u64, &Operation)], found: &[u8]) {
    let text = std::str::from_utf8(found).expect("text");
    let mut ends = BTreeMap::new();
    let mut at = 0;
    for token in text.split_inclusive(',') {
        at += token.len() as u64;
        let id = number(token.trim_end_matches(',').as_bytes());
        assert!(ends.insert(id, at).is_none(), "key {name}: {id} was applied twice");
    }
    let by_id: BTreeMap<u64, &Operation> = operations.iter().copied().collect();
    for id in ends.keys() {
        let write = by_id.get(id).filter(|o| o.write).unwrap_or_else(|| panic!("key {name}: nobody wrote {id}"));
        let refused = write.outcome == Outcome::NotApplied;
        assert!(!refused, "key {name}: {id} was promised not to be applied, and is there: {write:?}");
    }
    for &(id, operation) in operations {
        let Outcome::Done(value) = &operation.outcome else { continue };
        let value = value.as_deref().unwrap_or_default();
        if operation.write {
            let place = ends.get(&id);
            assert!(place.is_some(), "key {name}: the acknowledged {id} is lost: {operation:?}");
            assert_eq!(place, Some(&number(value)), "key {name}: {id} was given another place than it was told");
        } else {
            assert!(
                found.starts_with(value),
                "key {name}: read {id} saw what is no beginning of the end: {operation:?}"
            );
            if let Some(follows) = operation.follows {
                let seen = ends.get(&follows).is_some_and(|end| *end <= value.len() as u64);
                assert!(seen, "key {name}: read {id} misses {follows}, which it follows: {operation:?}");
            }
        }
    }
}

/// An answered operation on something that only grows, and how much of it the answer shows.
struct Extent<'a> {
    id: u64,
    operation: &'a Operation,
    extent: u64,
}

fn extents<'a>(operations: &[(u64, &'a Operation)], extent: impl Fn(&[u8]) -> u64) -> Vec<Extent<'a>> {
    let answered = operations.iter().filter_map(|&(id, operation)| match &operation.outcome {
        Outcome::Done(value) => Some(Extent { id, operation, extent: value.as_deref().map_or(0, &extent) }),
        _ => None,
    });
    answered.collect()
}

fn list_extents<'a>(operations: &[(u64, &'a Operation)]) -> Vec<Extent<'a>> {
    let mut found = extents(operations, |value| value.len() as u64);
    for extent in found.iter_mut().filter(|e| e.operation.write) {
        let Outcome::Done(Some(length)) = &extent.operation.outcome else { continue };
        extent.extent = number(length);
    }
    found
}

fn check_extents(name: &str, answered: &[Extent<'_>]) {
    for Extent { id, operation, extent } in answered {
        let before = |limit_us: u64| answered.iter().filter(move |e| e.operation.end_us < limit_us);
        let is_firm = |e: &&Extent<'_>| e.operation.write || e.operation.level == ReadLevel::Strong;
        let newest = |seen: &mut dyn Iterator<Item = &Extent<'_>>| seen.map(|e| e.extent).max().unwrap_or(0);
        let (start, client) = (operation.start_us, operation.client);
        let (least, promise) = match operation.level {
            _ if operation.write => (newest(&mut before(start).filter(is_firm)) + 1, "writes follow each other"),
            ReadLevel::Strong => (newest(&mut before(start).filter(is_firm)), "strong reads miss nothing"),
            ReadLevel::Session => {
                let own = newest(&mut before(start).filter(|e| e.operation.client == client));
                // Nor does a node that comes back show anybody what it was before.
                let at_start = newest(&mut before(operation.node_started_us).filter(is_firm));
                (own.max(at_start), "a session never goes back")
            }
            ReadLevel::Any => {
                let long_ago = start.saturating_sub(MAX_STALENESS.as_micros() as u64);
                (newest(&mut before(long_ago).filter(is_firm)), "any is at most five seconds behind")
            }
        };
        assert!(*extent >= least, "key {name}: {promise}, but {id} saw {extent} and not {least}: {operation:?}");
    }
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).expect("a number")
}
