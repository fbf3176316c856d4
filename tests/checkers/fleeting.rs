//! A value that expires (SET PX, GET): what was set is there until it is replaced or its time is over, and what has expired
//! never comes back.

use std::collections::{BTreeSet, HashMap};

use super::history::{Level, NEVER, Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM, last_read};
use super::search::{Found, NOTHING, Needs, Step, search};

/// Values are unique, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleeting {
    Set {
        value: u64,
        /// The first moment at which it may have expired.
        from: u64,
        /// From here on it has, if it was acknowledged.
        until: u64,
    },
    Get,
}

type Op = Operation<Fleeting>;

/// Judges the history of one key that starts without a value; a strong read after all else is in it.
pub fn check(history: &[Op]) -> Verdict {
    last_read(history, |action| *action == Fleeting::Get)?;
    let mut writers: HashMap<u64, &Op> = HashMap::new();
    for operation in history {
        if let Fleeting::Set { value, .. } = operation.action {
            writers.insert(value, operation);
        }
    }
    let firm: Vec<&Op> = history
        .iter()
        .filter(|o| o.action == Fleeting::Get && o.level == Level::Strong && o.reply().is_some())
        .collect();
    let seen: BTreeSet<u64> = firm.iter().filter_map(|read| read.reply()?.value()).collect();
    let nothing: Vec<&Op> = firm.iter().copied().filter(|read| read.reply() == Some(&Reply::Nil)).collect();
    let mut steps = Vec::new();
    for operation in history {
        match operation.action {
            Fleeting::Set { value, from, .. } if operation.outcome != Outcome::NotApplied => {
                let may_show = nothing.iter().any(|read| read.end >= from && !is_replaced(history, operation, read));
                steps.extend(steps_of_set(operation, value, from, seen.contains(&value), may_show));
            }
            Fleeting::Set { .. } => {}
            Fleeting::Get => {
                let Some(value) = shown(operation)? else { continue };
                is_of_a_write(operation, value, &writers)?;
                if operation.level == Level::Strong {
                    let (start, end) = (operation.start, operation.end);
                    steps.push(Step { start, end, needs: Needs::Exactly(value), leaves: None });
                }
            }
        }
    }
    match search(&steps) {
        Found::Order => Ok(()),
        Found::NoOrder => {
            let all: Vec<&Op> = history.iter().collect();
            Err(Violation::of("no order of the operations explains all answers", &all))
        }
        Found::TooHard => Err(Violation::of("too many operations overlap for a verdict", &[] as &[&Op])),
    }
}

fn shown(read: &Op) -> Result<Option<u64>, Violation> {
    match read.reply() {
        None => Ok(None),
        Some(Reply::Nil) => Ok(Some(NOTHING)),
        Some(reply) => reply.value().map(Some).ok_or_else(|| Violation::of(WRONG_FORM, &[read])),
    }
}

/// Whether another value surely came between a write and a read.
fn is_replaced(history: &[Op], set: &Op, read: &Op) -> bool {
    let between = |o: &Op| o.action != Fleeting::Get && o.start > set.effect_end() && o.end < read.start;
    history.iter().any(|o| between(o) && o.reply().is_some())
}

/// It takes effect, and later its value may go by itself; which matters only where that may show. Of one that nobody knows
/// or saw nothing else can show.
fn steps_of_set(set: &Op, value: u64, from: u64, seen: bool, may_show: bool) -> Vec<Step> {
    let gone = |needs| may_show.then_some(Step { start: from, end: NEVER, needs, leaves: Some(NOTHING) });
    if set.outcome == Outcome::Unknown && !seen {
        return gone(Needs::Whatever).into_iter().collect();
    }
    let set = Step { start: set.start, end: set.effect_end(), needs: Needs::Whatever, leaves: Some(value) };
    [set].into_iter().chain(gone(Needs::Exactly(value))).collect()
}

fn is_of_a_write(read: &Op, value: u64, writers: &HashMap<u64, &Op>) -> Verdict {
    if value == NOTHING {
        return Ok(());
    }
    let Some(writer) = writers.get(&value) else {
        return Err(Violation::of("a value that nobody wrote", &[read]));
    };
    if writer.is_refused() {
        return Err(Violation::of("a write that surely was not applied is there", &[writer, read]));
    }
    if writer.start > read.end {
        return Err(Violation::of("a read shows what was written later", &[writer, read]));
    }
    match writer.action {
        Fleeting::Set { until, .. } if read.must_see > until => {
            Err(Violation::of("a value is there long after it expired", &[writer, read]))
        }
        _ => Ok(()),
    }
}
