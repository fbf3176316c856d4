//! A value that expires (SET PX, GET): what was set is there until it is replaced or its time is over, and what has expired
//! never comes back.

use std::collections::HashMap;

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
    let mut steps = Vec::new();
    for operation in history {
        match operation.action {
            Fleeting::Set { value, from, .. } => steps.extend(steps_of_set(operation, value, from)),
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

/// It takes effect, and later its value may go by itself.
fn steps_of_set(set: &Op, value: u64, from: u64) -> Vec<Step> {
    if set.outcome == Outcome::NotApplied {
        return Vec::new();
    }
    let (start, end) = (set.start, set.effect_end());
    let set = Step { start, end, needs: Needs::Whatever, leaves: Some(value) };
    let expiry = Step { start: from, end: NEVER, needs: Needs::Exactly(value), leaves: Some(NOTHING) };
    vec![set, expiry]
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
