//! A list of unique values that are pushed (RPUSH) and taken (LPOP, BLPOP): what was pushed is taken once at most, and lost
//! only to a taker of whom nobody knows what became.

use std::collections::{BTreeSet, HashMap};

use super::history::{Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM, last_read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Answered by the length.
    Push(u64),
    /// Answered by a value, or nil.
    Take,
    /// Answered by all that is there.
    Read,
}

type Op = Operation<Queue>;

/// Judges the history of one queue that starts empty; a strong read after all else is in it.
pub fn check(history: &[Op]) -> Verdict {
    let last = last_read(history, |action| *action == Queue::Read)?;
    let mut pushes: HashMap<u64, &Op> = HashMap::new();
    let mut takes: HashMap<u64, &Op> = HashMap::new();
    for operation in history {
        if let Queue::Push(value) = operation.action {
            pushes.insert(value, operation);
        }
    }
    for take in history.iter().filter(|o| o.action == Queue::Take) {
        let Some(value) = taken(take)? else { continue };
        was_pushed(&pushes, value, take)?;
        if let Some(other) = takes.insert(value, take) {
            return Err(Violation::of("a value was taken twice", &[pushes[&value], other, take]));
        }
    }
    for read in history.iter().filter(|o| o.action == Queue::Read) {
        for value in shown(read)? {
            was_pushed(&pushes, value, read)?;
            if let Some(take) = takes.get(&value).filter(|take| take.end < read.must_see) {
                return Err(Violation::of("a value that was taken is there", &[take, read]));
            }
        }
    }
    nothing_is_lost(history, &pushes, &takes, last)
}

/// The value that was taken.
fn taken(take: &Op) -> Result<Option<u64>, Violation> {
    match take.reply() {
        None | Some(Reply::Nil) => Ok(None),
        Some(reply) => reply.value().map(Some).ok_or_else(|| Violation::of(WRONG_FORM, &[take])),
    }
}

fn shown(read: &Op) -> Result<Vec<u64>, Violation> {
    let Some(reply) = read.reply() else { return Ok(Vec::new()) };
    let values = reply.values().ok_or_else(|| Violation::of(WRONG_FORM, &[read]))?;
    let distinct: BTreeSet<u64> = values.iter().copied().collect();
    if distinct.len() < values.len() {
        return Err(Violation::of("a write was applied twice", &[read]));
    }
    Ok(values)
}

fn was_pushed(pushes: &HashMap<u64, &Op>, value: u64, by: &Op) -> Verdict {
    match pushes.get(&value) {
        None => Err(Violation::of("a value that nobody wrote", &[by])),
        Some(push) if push.is_refused() => {
            Err(Violation::of("a write that surely was not applied is there", &[push, by]))
        }
        Some(push) if push.start > by.end => Err(Violation::of("an answer shows what was written later", &[push, by])),
        Some(_) => Ok(()),
    }
}

fn nothing_is_lost(history: &[Op], pushes: &HashMap<u64, &Op>, takes: &HashMap<u64, &Op>, last: &Op) -> Verdict {
    let left: BTreeSet<u64> = shown(last)?.into_iter().collect();
    let mut missing: Vec<&Op> = pushes
        .iter()
        .filter(|(value, push)| push.reply().is_some() && !left.contains(value) && !takes.contains_key(value))
        .map(|(_, push)| *push)
        .collect();
    missing.sort_by_key(|push| push.start);
    let unknown = history.iter().filter(|o| o.action == Queue::Take && o.outcome == Outcome::Unknown).count();
    if missing.len() > unknown {
        let line = format!("{} values are gone, and {unknown} takers may have one each", missing.len());
        return Err(Violation::of("an acknowledged write is lost", &missing).and(line));
    }
    Ok(())
}
