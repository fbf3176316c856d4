//! A value that is set, exchanged, set only if absent, deleted and read: SET, GETSET, SET NX, DEL, GET.
//!
//! Writes and strong reads go through [`super::search`]. Reads of other levels are judged by what surely came before
//! what: a value is too old when another write surely replaced it and the read had to know.

use std::collections::HashMap;

use super::history::{Level, NEVER, Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM, last_read};
use super::search::{Found, NOTHING, Needs, Step, search};

/// Values are unique, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Set(u64),
    /// Answered by the old value.
    Exchange(u64),
    /// Answered by nil where there was a value.
    SetIfAbsent(u64),
    /// Answered by one where there was a value.
    Delete,
    Get,
}

impl Register {
    fn value(self) -> Option<u64> {
        match self {
            Self::Set(value) | Self::Exchange(value) | Self::SetIfAbsent(value) => Some(value),
            Self::Delete | Self::Get => None,
        }
    }
}

type History = [Operation<Register>];

/// Judges the history of one register that starts without a value; a strong read after all else is in it.
pub fn check(history: &History) -> Verdict {
    last_read(history, |action| *action == Register::Get)?;
    let writers: HashMap<u64, &Operation<Register>> =
        history.iter().filter_map(|o| Some((o.action.value()?, o))).collect();
    for operation in history {
        shown_is_of_a_write(operation, &writers)?;
    }
    weak_reads_are_recent(history, &writers)?;
    match find(history) {
        Found::Order => Ok(()),
        Found::NoOrder => Err(explain(history)),
        Found::TooHard => {
            let rule = "too many operations overlap for a verdict";
            Err(Violation { rule, story: vec![format!("{} operations", history.len())] })
        }
    }
}

fn find(history: &History) -> Found {
    let firm = history.iter().filter(|o| o.action != Register::Get || o.level == Level::Strong);
    let steps: Vec<Step> = firm.filter_map(step).collect();
    search(&steps)
}

/// The value that an answer shows; none: it shows none.
fn shown(operation: &Operation<Register>) -> Result<Option<u64>, Violation> {
    let Some(reply) = operation.reply() else { return Ok(None) };
    match operation.action {
        Register::Exchange(_) | Register::Get if *reply == Reply::Nil => Ok(Some(NOTHING)),
        Register::Exchange(_) | Register::Get => {
            let value = reply.value().filter(|value| *value != NOTHING);
            value.map(Some).ok_or_else(|| Violation::of(WRONG_FORM, &[operation]))
        }
        Register::Delete if !matches!(reply, Reply::Number(0 | 1)) => Err(Violation::of(WRONG_FORM, &[operation])),
        Register::Set(_) if *reply != Reply::text("OK") => Err(Violation::of(WRONG_FORM, &[operation])),
        Register::SetIfAbsent(_) if ![Reply::text("OK"), Reply::Nil].contains(reply) => {
            Err(Violation::of(WRONG_FORM, &[operation]))
        }
        _ => Ok(None),
    }
}

fn wrote(operation: &Operation<Register>) -> bool {
    let nothing = operation.action == Register::Delete && operation.reply() == Some(&Reply::Number(0))
        || matches!(operation.action, Register::SetIfAbsent(_)) && operation.reply() == Some(&Reply::Nil);
    operation.action != Register::Get && !operation.is_refused() && !nothing
}

fn shown_is_of_a_write(operation: &Operation<Register>, writers: &HashMap<u64, &Operation<Register>>) -> Verdict {
    let Some(value) = shown(operation)?.filter(|value| *value != NOTHING) else { return Ok(()) };
    let Some(writer) = writers.get(&value) else {
        return Err(Violation::of("a value that nobody wrote", &[operation]));
    };
    if !wrote(writer) {
        return Err(Violation::of("a write that was surely not applied is there", &[writer, operation]));
    }
    if writer.start > operation.end {
        return Err(Violation::of("a read shows what was written later", &[writer, operation]));
    }
    Ok(())
}

fn step(operation: &Operation<Register>) -> Option<Step> {
    let (start, end) = (operation.start, operation.effect_end());
    let reply = operation.reply();
    let (needs, leaves) = match (operation.action, &operation.outcome) {
        (_, Outcome::NotApplied) => return None,
        (Register::Get, Outcome::Unknown) => return None,
        (Register::Get, _) => (Needs::Exactly(reply?.value().unwrap_or(NOTHING)), None),
        (Register::Set(value), _) | (Register::Exchange(value), Outcome::Unknown) => (Needs::Whatever, Some(value)),
        (Register::Exchange(value), _) => (Needs::Exactly(reply?.value().unwrap_or(NOTHING)), Some(value)),
        (Register::SetIfAbsent(_), Outcome::Done(Reply::Nil)) => (Needs::Something, None),
        (Register::SetIfAbsent(value), _) => (Needs::Nothing, Some(value)),
        (Register::Delete, Outcome::Done(Reply::Number(0))) => (Needs::Nothing, None),
        (Register::Delete, _) => (Needs::Something, Some(NOTHING)),
    };
    Some(Step { start, end, needs, leaves })
}

const SESSION: &str = "a session goes back in time";
const STALE: &str = "a read is further behind than its level permits";

/// For reads that need not be linearizable.
fn weak_reads_are_recent(history: &History, writers: &HashMap<u64, &Operation<Register>>) -> Verdict {
    let sure: Vec<&Operation<Register>> = history.iter().filter(|o| wrote(o) && o.reply().is_some()).collect();
    let deletes = history.iter().any(|o| o.action == Register::Delete && wrote(o));
    for (i, read) in history.iter().enumerate() {
        if read.action != Register::Get || read.level == Level::Strong || read.reply().is_none() {
            continue;
        }
        let value = shown(read)?.unwrap_or(NOTHING);
        let writer = writers.get(&value).copied();
        if writer.is_none() && deletes {
            // Nobody knows which deletion it shows.
            continue;
        }
        let shown_until = writer.map_or(Some(0), |w| w.reply().map(|_| w.end));
        let is_replaced = |by: &Operation<Register>| {
            let initial = writer.is_none();
            initial || shown_until.is_some_and(|end| by.start > end)
        };
        let narrate = |rule, by: &Operation<Register>| {
            let shown: Vec<_> = writer.into_iter().chain([by, read]).collect();
            Err(Violation::of(rule, &shown))
        };
        if let Some(by) = sure.iter().find(|by| by.end < read.must_see && is_replaced(by)) {
            return narrate(STALE, by);
        }
        if read.level == Level::Any {
            continue;
        }
        for earlier in history[..i].iter().filter(|o| o.session == read.session && o.reply().is_some()) {
            let known = match shown(earlier)? {
                _ if wrote(earlier) => Some(earlier),
                Some(value) => writers.get(&value).copied(),
                None => None,
            };
            if let Some(by) = known.filter(|by| is_replaced(by) && !writer.is_some_and(|w| std::ptr::eq(w, *by))) {
                return narrate(SESSION, by).map_err(|v| v.and(earlier));
            }
        }
    }
    Ok(())
}

const NO_ORDER: &str = "no order of these operations explains the answers";

/// The least of the history that has no order: up to the first moment at which it has none, without the reads that
/// change nothing about it.
fn explain(history: &History) -> Violation {
    let mut ends: Vec<u64> = history.iter().map(|o| o.end).filter(|end| *end != NEVER).collect();
    ends.sort_unstable();
    let first = ends.partition_point(|end| find(&until(history, *end)) != Found::NoOrder);
    let mut least = ends.get(first).map_or_else(|| history.to_vec(), |end| until(history, *end));
    least.retain(|o| !o.is_refused() && (o.action != Register::Get || o.level == Level::Strong));
    for i in (0..least.len()).rev() {
        let mut without = least.clone();
        let removed = without.remove(i);
        if can_be_left_out(&removed, &without) && find(&without) == Found::NoOrder {
            least = without;
        }
    }
    Violation::of(NO_ORDER, &least.iter().collect::<Vec<_>>())
}

/// What was known at a moment.
fn until(history: &History, moment: u64) -> Vec<Operation<Register>> {
    let begun = history.iter().filter(|o| o.start <= moment);
    let known = begun.map(|o| if o.end <= moment { o.clone() } else { o.map(o.action, Outcome::Unknown) });
    known.collect()
}

/// An operation whose effect no answer of the others could have come from.
fn can_be_left_out(operation: &Operation<Register>, others: &History) -> bool {
    let asks_presence = |o: &Operation<Register>| match o.action {
        Register::SetIfAbsent(_) | Register::Delete => true,
        Register::Exchange(_) | Register::Get => o.reply() == Some(&Reply::Nil),
        Register::Set(_) => false,
    };
    match operation.action.value() {
        _ if !wrote(operation) => true,
        None => false,
        Some(value) => !others.iter().any(|o| asks_presence(o) || o.reply().and_then(Reply::value) == Some(value)),
    }
}
