//! A number that only grows by one (INCR), and is read (GET).

use std::collections::BTreeMap;

use super::extents::{self, Extent};
use super::history::{Operation, Outcome, Verdict, Violation, WRONG_FORM, last_read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Answered by the sum.
    Increment,
    Read,
}

/// Judges the history of one counter that starts without a value; a strong read after all else is in it.
pub fn check(history: &[Operation<Counter>]) -> Verdict {
    let last = last_read(history, |action| *action == Counter::Read)?;
    let total = shown(last)?;
    let mut extents = Vec::new();
    let mut replies: BTreeMap<u64, &Operation<Counter>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for operation in history {
        let write = operation.action == Counter::Increment;
        if operation.outcome == Outcome::Unknown && write {
            unknown.push(operation);
        }
        if operation.reply().is_none() {
            continue;
        }
        let extent = shown(operation)?;
        if write && extent == 0 {
            return Err(Violation::of(WRONG_FORM, &[operation]));
        }
        if let Some(other) = write.then(|| replies.insert(extent, operation)).flatten() {
            return Err(Violation::of("two increments were answered by the same number", &[other, operation]));
        }
        if extent > total {
            return Err(Violation::of("an answer shows more than there is at the end", &[operation, last]));
        }
        extents.push(Extent { operation, write, extent });
    }
    extents::check(&extents).map_err(|found| Violation::of(found.rule, &[found.before, found.after]))?;
    gaps_are_of_unknown(&extents, &replies, unknown, total, last)
}

fn shown(operation: &Operation<Counter>) -> Result<u64, Violation> {
    use super::history::Reply;
    match operation.reply() {
        Some(Reply::Nil) => Ok(0),
        reply => reply.and_then(Reply::value).ok_or_else(|| Violation::of(WRONG_FORM, &[operation])),
    }
}

/// Each number that no reply shows was an unknown increment, one that began before the number was passed.
fn gaps_are_of_unknown(
    extents: &[Extent<'_, Counter>],
    replies: &BTreeMap<u64, &Operation<Counter>>,
    mut unknown: Vec<&Operation<Counter>>,
    total: u64,
    last: &Operation<Counter>,
) -> Verdict {
    let missing = total - replies.len() as u64;
    if missing > unknown.len() as u64 {
        let line = format!("{} acknowledged, {} unknown, {total} at the end", replies.len(), unknown.len());
        return Err(Violation::of("the sum is more than what was added: applied twice", &[last]).and(line));
    }
    // The first moment from which each number is known to have been passed.
    let mut passed_at: BTreeMap<u64, &Operation<Counter>> = BTreeMap::new();
    for extent in extents {
        let first = passed_at.entry(extent.extent).or_insert(extent.operation);
        if extent.operation.end < first.end {
            *first = extent.operation;
        }
    }
    unknown.sort_by_key(|o| o.start);
    let mut earliest: Option<&Operation<Counter>> = None;
    let mut numbers: Vec<_> = (1..=total).filter(|number| !replies.contains_key(number)).collect();
    let mut later = passed_at.into_iter().rev().peekable();
    // From the last number down: the last may have been any of those that began in time, and so on.
    let mut began: Vec<&Operation<Counter>> = unknown;
    while let Some(number) = numbers.pop() {
        while let Some((_, operation)) = later.next_if(|(extent, _)| *extent >= number) {
            if earliest.is_none_or(|e| operation.end < e.end) {
                earliest = Some(operation);
            }
        }
        while let Some(candidate) = began.pop() {
            if earliest.is_none_or(|e| candidate.start <= e.end) {
                break;
            }
            if began.len() <= numbers.len() {
                let shown: Vec<_> = earliest.into_iter().chain([candidate]).collect();
                let line = format!("{number} was added, and nobody had begun to add it");
                return Err(Violation::of("an answer shows what was added later", &shown).and(line));
            }
        }
    }
    Ok(())
}
