//! A set of unique members: SADD, SREM by who added, SMEMBERS.
//!
//! Each member appears once and disappears once at most, so its history has a closed form. Where nothing is removed,
//! any two reads, of whatever level, are subsets of one another: all replicas apply the same writes in the same order.

use std::collections::{BTreeSet, HashMap};

use super::history::{Level, NEVER, Operation, Outcome, Reply, Verdict, Violation, WRONG_FORM, last_read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Answered by one: values are unique.
    Add(u64),
    /// By the session that added it, and after that; answered by one where it was there.
    Remove(u64),
    /// Answered by all members.
    Read,
}

type Op = Operation<Set>;

struct Read<'a> {
    /// Its place in the history.
    index: usize,
    operation: &'a Op,
    members: BTreeSet<u64>,
}

#[derive(Default)]
struct Member<'a> {
    add: Option<(usize, &'a Op)>,
    remove: Option<(usize, &'a Op)>,
}

/// Judges the history of one set that starts empty; a strong read after all else is in it.
pub fn check(history: &[Op]) -> Verdict {
    last_read(history, |action| *action == Set::Read)?;
    let mut reads = Vec::new();
    let mut members: HashMap<u64, Member<'_>> = HashMap::new();
    for (index, operation) in history.iter().enumerate() {
        match operation.action {
            Set::Add(value) => members.entry(value).or_default().add = Some((index, operation)),
            Set::Remove(value) => members.entry(value).or_default().remove = Some((index, operation)),
            Set::Read if operation.reply().is_some() => {
                reads.push(Read { index, operation, members: shown(operation)? });
            }
            Set::Read => {}
        }
    }
    for read in &reads {
        if let Some(alien) = read.members.iter().find(|value| members.get(value).is_none_or(|m| m.add.is_none())) {
            return Err(Violation::of("a value that nobody wrote", &[&brief(read.operation)]).and(alien));
        }
    }
    let mut values: Vec<_> = members.keys().copied().collect();
    values.sort_unstable();
    for value in values {
        check_member(value, &members[&value], &reads)?;
    }
    let removes = history.iter().any(|o| matches!(o.action, Set::Remove(_)));
    if removes { Ok(()) } else { check_chain(&mut reads) }
}

fn shown(read: &Op) -> Result<BTreeSet<u64>, Violation> {
    let values = read.reply().and_then(Reply::values).ok_or_else(|| Violation::of(WRONG_FORM, &[read]))?;
    Ok(values.into_iter().collect())
}

/// A read without its members: they are many.
fn brief(read: &Op) -> Op {
    if read.action != Set::Read {
        return read.clone();
    }
    let count = read.reply().and_then(Reply::list).map_or(0, <[Reply]>::len);
    read.map(read.action, Outcome::Done(Reply::text(format!("{count} members"))))
}

/// When a member appeared and disappeared, as far as one knows.
struct Span<'a> {
    /// It appeared at this time or before; [`NEVER`]: perhaps never.
    appears_until: u64,
    /// It disappeared at this time or later.
    gone_from: u64,
    gone_until: u64,
    /// Who says that it appeared.
    witness: Option<&'a Op>,
}

const LOST: &str = "an acknowledged or seen member is missing";

fn check_member(value: u64, member: &Member<'_>, reads: &[Read<'_>]) -> Verdict {
    let Some((_, add)) = member.add else { return Ok(()) };
    let remove = member.remove.map(|(_, remove)| remove);
    let seen: Vec<&Read<'_>> = reads.iter().filter(|r| r.members.contains(&value)).collect();
    if let Some(read) = seen.first().filter(|_| add.is_refused()) {
        let shown = [add, &brief(read.operation)];
        return Err(Violation::of("a write that was surely not applied is there", &shown));
    }
    if let Some(read) = seen.iter().find(|r| r.operation.end < add.start) {
        return Err(Violation::of("a read shows what was written later", &[add, &brief(read.operation)]));
    }
    if add.reply().is_some_and(|reply| *reply != Reply::Number(1)) {
        return Err(Violation::of("a unique member was there already: added twice", &[add]));
    }
    let span = span(add, remove, &seen)?;
    for read in &seen {
        if read.operation.must_see > span.gone_until {
            let shown: Vec<&Op> = [add].into_iter().chain(remove).collect();
            return Err(Violation::of("a removed member is there", &shown).and(brief(read.operation)));
        }
    }
    for read in reads.iter().filter(|r| !r.members.contains(&value)) {
        let not_yet = span.appears_until == NEVER || read.operation.must_see <= span.appears_until;
        let no_more = span.gone_from != NEVER && span.gone_from <= read.operation.end;
        if !not_yet && !no_more {
            let shown: Vec<&Op> = [add].into_iter().chain(remove).collect();
            let story = Violation::of(LOST, &shown).and(brief(read.operation));
            return Err(span.witness.iter().fold(story, |story, witness| story.and(brief(witness))));
        }
    }
    check_sessions(value, member, reads)
}

/// The latest possible appearance is the kindest, and so is the earliest disappearance.
fn span<'a>(add: &'a Op, remove: Option<&'a Op>, seen: &[&Read<'a>]) -> Result<Span<'a>, Violation> {
    let appears_until = if add.is_refused() { NEVER } else { add.effect_end() };
    let mut span = Span { appears_until, gone_from: NEVER, gone_until: NEVER, witness: None };
    if let Some(first) = seen.iter().min_by_key(|r| r.operation.end)
        && first.operation.end < span.appears_until
    {
        (span.appears_until, span.witness) = (first.operation.end, Some(first.operation));
    }
    let Some(remove) = remove.filter(|r| !r.is_refused()) else { return Ok(span) };
    match remove.reply() {
        Some(Reply::Number(1)) => {
            if add.is_refused() {
                return Err(Violation::of("a write that was surely not applied is there", &[add, remove]));
            }
            span.appears_until = span.appears_until.min(remove.end);
            span.gone_until = remove.end;
        }
        // It was not there then; if it was added at all, that was later, and nobody removed it.
        Some(Reply::Number(0)) if add.reply().is_some() => return Err(Violation::of(LOST, &[add, remove])),
        Some(Reply::Number(0)) => {
            if let Some(first) = seen.iter().find(|r| r.operation.end < remove.start) {
                return Err(Violation::of(LOST, &[add, remove]).and(brief(first.operation)));
            }
            return Ok(span);
        }
        Some(_) => return Err(Violation::of(WRONG_FORM, &[remove])),
        None => {}
    }
    let last_seen = seen.iter().map(|r| r.operation.must_see).max().unwrap_or(0);
    let appeared = if span.appears_until == NEVER { add.start } else { span.appears_until };
    span.gone_from = remove.start.max(last_seen).max(appeared);
    Ok(span)
}

/// What a session saw it sees again, unless it was removed.
fn check_sessions(value: u64, member: &Member<'_>, reads: &[Read<'_>]) -> Verdict {
    let Some((added_at, add)) = member.add else { return Ok(()) };
    let removed = member.remove.filter(|(_, remove)| !remove.is_refused());
    let mut knows: HashMap<u64, &Op> = HashMap::new();
    let mut knows_gone: HashMap<u64, &Op> = HashMap::new();
    for Read { index, operation, members } in reads.iter().filter(|r| r.operation.level != Level::Any) {
        let session = operation.session;
        let is_own = |at: usize, what: &Op| what.session == session && at < *index && what.reply().is_some();
        let own_add = Some(add).filter(|_| is_own(added_at, add));
        let own_remove = removed.filter(|(at, remove)| is_own(*at, remove)).map(|(_, remove)| remove);
        if members.contains(&value) {
            if let Some(gone) = own_remove.or(knows_gone.get(&session).copied()) {
                return Err(Violation::of("a removed member is there", &[add, &brief(gone), &brief(operation)]));
            }
            knows.insert(session, operation);
        } else if let Some(known) = own_add.or(knows.get(&session).copied()) {
            if removed.is_none_or(|(_, remove)| remove.start > operation.end) {
                let shown = [&brief(known), &brief(operation)];
                return Err(Violation::of("a session goes back in time", &shown).and(value));
            }
            knows_gone.insert(session, operation);
        }
    }
    Ok(())
}

fn check_chain(reads: &mut [Read<'_>]) -> Verdict {
    reads.sort_by_key(|r| r.members.len());
    for pair in reads.windows(2) {
        if let Some(value) = pair[0].members.iter().find(|value| !pair[1].members.contains(value)) {
            let shown = [&brief(pair[0].operation), &brief(pair[1].operation)];
            let line = format!("the first, which is not larger, has {value}, and the second has not");
            return Err(Violation::of("two reads disagree on the order of writes", &shown).and(line));
        }
    }
    Ok(())
}
