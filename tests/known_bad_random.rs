//! The checkers against the plainest judge there is: small random histories, and every order of their operations tried.
//!
//! Only strong operations: for them a promise is kept exactly when some order explains all answers.

#[path = "checkers/mod.rs"]
mod checkers;

use std::collections::BTreeSet;
use std::fmt::Debug;

use checkers::append::{self, Append};
use checkers::bank::{self, Bank};
use checkers::counter::{self, Counter};
use checkers::history::{Operation, Outcome, Reply, Verdict};
use checkers::register::{self, Register};
use checkers::set::{self, Set};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CASES: u64 = 10_000;
const LAST: u64 = 1_000;

/// What a server would do.
trait Model: Copy + Debug {
    type State: Clone + Default;
    fn apply(self, state: &mut Self::State) -> Reply;
}

impl Model for Append {
    type State = Vec<u64>;
    fn apply(self, state: &mut Self::State) -> Reply {
        match self {
            Self::Push(value) => {
                state.push(value);
                Reply::Number(state.len() as i64)
            }
            Self::Read => texts(state.iter()),
        }
    }
}

impl Model for Counter {
    type State = i64;
    fn apply(self, state: &mut Self::State) -> Reply {
        match self {
            Self::Increment => {
                *state += 1;
                Reply::Number(*state)
            }
            Self::Read if *state == 0 => Reply::Nil,
            Self::Read => Reply::text(state),
        }
    }
}

impl Model for Set {
    type State = BTreeSet<u64>;
    fn apply(self, state: &mut Self::State) -> Reply {
        match self {
            Self::Add(value) => Reply::Number(state.insert(value).into()),
            Self::Remove(value) => Reply::Number(state.remove(&value).into()),
            Self::Read => texts(state.iter()),
        }
    }
}

impl Model for Register {
    type State = Option<u64>;
    fn apply(self, state: &mut Self::State) -> Reply {
        let shown = |state: &Option<u64>| state.map_or(Reply::Nil, Reply::text);
        match self {
            Self::Set(value) => {
                *state = Some(value);
                Reply::text("OK")
            }
            Self::Exchange(value) => shown(&state.replace(value)),
            Self::SetIfAbsent(_) if state.is_some() => Reply::Nil,
            Self::SetIfAbsent(value) => {
                *state = Some(value);
                Reply::text("OK")
            }
            Self::Delete => Reply::Number(state.take().is_some().into()),
            Self::Get => shown(state),
        }
    }
}

impl Model for Bank {
    type State = ([i64; 2], Vec<u64>);
    fn apply(self, (balances, log): &mut Self::State) -> Reply {
        match self {
            Self::Transfer { from, guard: Some(guard), .. } if balances[from] != guard => Reply::Nil,
            Self::Transfer { id, from, to, amount, .. } => {
                balances[from] -= amount;
                balances[to] += amount;
                log.push(id);
                Reply::List([balances[from], balances[to], log.len() as i64].map(Reply::Number).to_vec())
            }
            Self::Read => Reply::List(vec![texts(balances.iter()), texts(log.iter())]),
        }
    }
}

fn texts<T: ToString>(values: impl Iterator<Item = T>) -> Reply {
    Reply::List(values.map(|v| Reply::text(v.to_string())).collect())
}

/// Whether some order that respects real time explains every answer.
fn has_order<A: Model>(history: &[Operation<A>], done: u32, state: &A::State) -> bool {
    let must = |i: &usize| matches!(history[*i].outcome, Outcome::Done(_)) && done & 1 << i == 0;
    if !(0..history.len()).any(|i| must(&i)) {
        return true;
    }
    let first_end = (0..history.len()).filter(must).map(|i| history[i].end).min().unwrap_or(u64::MAX);
    (0..history.len()).any(|i| {
        let operation = &history[i];
        if done & 1 << i != 0 || operation.is_refused() || operation.start > first_end {
            return false;
        }
        let mut after = state.clone();
        let reply = operation.action.apply(&mut after);
        let fits = operation.reply().is_none_or(|told| *told == reply);
        fits && has_order(history, done | 1 << i, &after)
    })
}

/// Operations at random times, answered as a server would that does each at a random moment of it; then, often, one
/// answer is replaced by that of another operation, or an outcome by another.
fn random_history<A: Model>(
    random: &mut StdRng,
    mut action: impl FnMut(&mut StdRng, u64) -> A,
    read: A,
) -> Vec<Operation<A>> {
    let count = random.random_range(2..6);
    let mut all: Vec<(u64, Operation<A>)> = Vec::new();
    for session in 0..count {
        let start = random.random_range(0..30);
        let end = start + random.random_range(0..20);
        let moment = random.random_range(start..=end);
        all.push((moment, Operation::strong(session, start, end, action(random, session + 1), Outcome::Unknown)));
    }
    all.push((LAST, Operation::strong(99, LAST, LAST + 1, read, Outcome::Unknown)));
    all.sort_by_key(|(moment, _)| *moment);
    let mut state = A::State::default();
    for (_, operation) in &mut all {
        operation.outcome = match random.random_range(0..8) {
            0 if operation.session != 99 => Outcome::NotApplied,
            1 if operation.session != 99 && random.random_bool(0.5) => Outcome::Unknown,
            fate => {
                let reply = operation.action.apply(&mut state);
                if fate == 1 && operation.session != 99 { Outcome::Unknown } else { Outcome::Done(reply) }
            }
        };
    }
    let mut history: Vec<_> = all.into_iter().map(|(_, operation)| operation).collect();
    let last = history.len() - 1;
    if random.random_bool(0.6) {
        let (at, other) = (random.random_range(0..=last), random.random_range(0..=last));
        if at == last || random.random_bool(0.7) {
            let like = |o: &Operation<A>| std::mem::discriminant(o.reply().unwrap_or(&Reply::Nil));
            if history[other].reply().is_some()
                && history[at].reply().is_some()
                && like(&history[at]) == like(&history[other])
            {
                history[at].outcome = history[other].outcome.clone();
            }
        } else {
            history[at].outcome = if random.random_bool(0.5) { Outcome::NotApplied } else { Outcome::Unknown };
        }
    }
    history.sort_by_key(|o| o.start);
    history
}

fn agree<A: Model>(
    action: impl Fn(&mut StdRng, u64) -> A,
    read: A,
    is_fit: impl Fn(&[Operation<A>]) -> bool,
    check: impl Fn(&[Operation<A>]) -> Verdict,
) {
    let (mut judged, mut bad) = (0, 0);
    for seed in 0..CASES {
        let mut random = StdRng::seed_from_u64(seed);
        let history = random_history(&mut random, &action, read);
        if !is_fit(&history) {
            continue;
        }
        let good = has_order(&history, 0, &A::State::default());
        judged += 1;
        bad += u64::from(!good);
        let verdict = check(&history);
        let lines: Vec<String> = history.iter().map(ToString::to_string).collect();
        assert_eq!(verdict.is_ok(), good, "case {seed}: {verdict:?}\n{}", lines.join("\n"));
    }
    // Otherwise nothing was compared.
    assert!(bad > judged / 40 && bad < judged && judged > CASES / 10, "{bad} of {judged} are bad");
}

#[test]
fn append() {
    let action = |random: &mut StdRng, id| if random.random_bool(0.6) { Append::Push(id) } else { Append::Read };
    agree(action, Append::Read, |_| true, append::check);
}

#[test]
fn counter() {
    let action = |random: &mut StdRng, _| if random.random_bool(0.6) { Counter::Increment } else { Counter::Read };
    agree(action, Counter::Read, |_| true, counter::check);
}

#[test]
fn register() {
    let action = |random: &mut StdRng, id| match random.random_range(0..7) {
        0 | 1 => Register::Set(id),
        2 => Register::Exchange(id),
        3 => Register::SetIfAbsent(id),
        4 => Register::Delete,
        _ => Register::Get,
    };
    agree(action, Register::Get, |_| true, register::check);
}

#[test]
fn set_that_grows() {
    let action = |random: &mut StdRng, id| if random.random_bool(0.5) { Set::Add(id) } else { Set::Read };
    agree(action, Set::Read, |_| true, set::check);
}

#[test]
fn bank() {
    let action = |random: &mut StdRng, id| match random.random_range(0..4) {
        0 => Bank::Read,
        n => Bank::Transfer { id, from: 0, to: 1, amount: 5, guard: (n == 1).then_some(-5) },
    };
    agree(action, Bank::Read, |_| true, |history| bank::check(history, 2));
}

#[test]
fn set_with_removals() {
    let action = |random: &mut StdRng, session| match session {
        1 => Set::Add(1),
        2 => Set::Remove(1),
        _ => [Set::Read, Set::Add(session)][random.random_range(0..8) / 7],
    };
    // Who removes has added before.
    let is_fit = |history: &[Operation<Set>]| {
        let of = |action| history.iter().find(|o| o.action == action);
        of(Set::Remove(1)).is_none_or(|remove| of(Set::Add(1)).is_some_and(|add| add.end < remove.start))
    };
    agree(action, Set::Read, is_fit, set::check);
}
