//! A list that grows by unique values (RPUSH) and is read whole (LRANGE): the strongest check there is in O(n log n),
//! because the list itself tells the order of all writes.

use std::collections::HashMap;

use super::extents::{self, Extent};
use super::history::{Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM, last_read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// Answered by the length.
    Push(u64),
    /// Answered by all elements.
    Read,
}

type History = [Operation<Append>];

/// Judges the history of one list, whose values are unique; its last operation is a strong read after all else.
pub fn check(history: &History) -> Verdict {
    let last = last_read(history, |action| *action == Append::Read)?;
    let list = values(last)?;
    let writers = writers_in_order(history, last, &list)?;
    acknowledged_are_there(history, last, &list)?;
    reads_are_prefixes(history, &list, &writers)?;
    let mut extents = Vec::new();
    for operation in history {
        if let Some(extent) = extent(operation, &writers)? {
            extents.push(Extent { operation, write: operation.action != Append::Read, extent });
        }
    }
    extents::check(&extents).map_err(|found| Violation::of(found.rule, &[&brief(found.before), &brief(found.after)]))
}

fn values(read: &Operation<Append>) -> Result<Vec<u64>, Violation> {
    let reply = read.reply().ok_or_else(|| Violation::of(WRONG_FORM, &[read]))?;
    reply.values().ok_or_else(|| Violation::of(WRONG_FORM, &[read]))
}

fn length(push: &Operation<Append>) -> Result<Option<u64>, Violation> {
    let Some(reply) = push.reply() else { return Ok(None) };
    let length = reply.value().filter(|length| *length > 0);
    length.map(Some).ok_or_else(|| Violation::of(WRONG_FORM, &[push]))
}

/// Who wrote each element of the list.
fn writers_in_order<'a>(
    history: &'a History,
    last: &Operation<Append>,
    list: &[u64],
) -> Result<Vec<&'a Operation<Append>>, Violation> {
    let mut by_value = HashMap::new();
    for operation in history {
        if let Append::Push(value) = operation.action {
            by_value.insert(value, operation);
        }
    }
    let mut places = HashMap::new();
    let mut writers = Vec::with_capacity(list.len());
    for (place, value) in list.iter().enumerate() {
        let Some(writer) = by_value.get(value) else {
            return Err(Violation::of("a value that nobody wrote", &[&brief(last)]).and(value));
        };
        if let Some(first) = places.insert(value, place) {
            let places = format!("{value} is at {first} and at {place}");
            return Err(Violation::of("a write was applied twice", &[writer]).and(places));
        }
        if writer.is_refused() {
            return Err(Violation::of("a write that was surely not applied is there", &[writer]));
        }
        writers.push(*writer);
    }
    Ok(writers)
}

fn acknowledged_are_there(history: &History, last: &Operation<Append>, list: &[u64]) -> Verdict {
    let places: HashMap<u64, u64> = list.iter().copied().zip(1..).collect();
    for push in history {
        let Append::Push(value) = push.action else { continue };
        let Some(told) = length(push)? else { continue };
        match places.get(&value) {
            None => {
                let around = format!("at the end there are {} elements, read at {}", list.len(), last.start);
                return Err(Violation::of("an acknowledged write is lost", &[push]).and(around));
            }
            Some(place) if *place != told => {
                let line = format!("it is element {place} of {}", list.len());
                return Err(Violation::of("a write was told another place than it has", &[push]).and(line));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn reads_are_prefixes(history: &History, list: &[u64], writers: &[&Operation<Append>]) -> Verdict {
    // The latest start among the first elements.
    let mut latest: Vec<usize> = Vec::with_capacity(writers.len());
    for (i, writer) in writers.iter().enumerate() {
        let best = latest.last().copied().filter(|best: &usize| writers[*best].start >= writer.start);
        latest.push(best.unwrap_or(i));
    }
    for read in history.iter().filter(|o| o.action == Append::Read && o.reply().is_some()) {
        let seen = values(read)?;
        if !list.starts_with(&seen) {
            let at = seen.iter().zip(list).position(|(a, b)| a != b).unwrap_or(list.len());
            let near =
                |list: &[u64]| format!("{:?}", &list[at.saturating_sub(2).min(list.len())..(at + 3).min(list.len())]);
            let line = format!("from element {at} on it differs: read {}, at the end {}", near(&seen), near(list));
            return Err(Violation::of("a read is no beginning of what is there at the end", &[&brief(read)]).and(line));
        }
        if let Some(newest) = seen.len().checked_sub(1).map(|end| writers[latest[end]])
            && newest.start > read.end
        {
            return Err(Violation::of("a read shows what was written later", &[newest, &brief(read)]));
        }
    }
    Ok(())
}

/// A read without its elements: they are many.
fn brief(read: &Operation<Append>) -> Operation<Append> {
    if read.action != Append::Read {
        return read.clone();
    }
    let count = read.reply().and_then(Reply::list).map_or(0, <[Reply]>::len);
    read.map(read.action, Outcome::Done(Reply::text(format!("{count} elements"))))
}

fn extent(operation: &Operation<Append>, writers: &[&Operation<Append>]) -> Result<Option<u64>, Violation> {
    match operation.action {
        Append::Push(_) if operation.reply().is_some() => length(operation),
        Append::Push(_) => {
            let place = writers.iter().position(|writer| std::ptr::eq(*writer, operation));
            Ok(place.map(|place| place as u64 + 1))
        }
        Append::Read => Ok(operation.reply().and_then(|r| r.list()).map(|list| list.len() as u64)),
    }
}
