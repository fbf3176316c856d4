//! The clients' memories, taken apart by key and given to the checkers.

use std::fmt::Debug;

use pontoon::node::replica::MAX_STALENESS;

use super::checkers::fleeting::{self, Fleeting};
use super::checkers::history::{self as judged, Level, NEVER, Outcome, Reply, Verdict};
use super::checkers::queue::Queue;
use super::checkers::register::Register;
use super::checkers::{append, bank, counter, queue, register, set};
use super::clients::Operation;
use super::workload::{ACCOUNTS, Action, Key, Kind};

/// How much longer than a node's five seconds they may be where its clock is the slowest, and the ways to it.
const STALENESS_SLACK_US: u64 = 600_000;

/// Judges all keys. `finals`: what each holds at that moment, in the end, as the reply to its strong read. `true_until_us`: since when
/// the machines' clocks say different times.
pub fn check(operations: &[Operation], keys: &[Key], (end, finals): (u64, &[Reply]), true_until_us: u64) {
    let mut by_key: Vec<Vec<&Operation>> = keys.iter().map(|_| Vec::new()).collect();
    for operation in operations {
        operation.keys.iter().for_each(|key| by_key[*key].push(operation));
    }
    for ((number, key), of_key) in keys.iter().enumerate().zip(by_key) {
        let view = View { number, of_key, end, found: &finals[number] };
        let verdict = match key.kind {
            Kind::Register | Kind::Split => register::check(&view.history(as_register, Register::Get)),
            Kind::Counter => counter::check(&view.history(as_counter, counter::Counter::Read)),
            Kind::List => append::check(&view.history(as_append, append::Append::Read)),
            Kind::Set => set::check(&view.history(as_set, set::Set::Read)),
            Kind::Bank => bank::check(&view.history(as_bank, bank::Bank::Read), ACCOUNTS),
            Kind::Queue => queue::check(&view.history(as_queue, Queue::Read)),
            Kind::Fleeting => {
                let take = |operation: &Operation, _| as_fleeting(operation, true_until_us);
                fleeting::check(&view.history(take, Fleeting::Get))
            }
        };
        accept(key, verdict);
    }
}

fn accept(key: &Key, verdict: Verdict) {
    if let Err(violation) = verdict {
        panic!("key {}: {violation}", key.name);
    }
}

/// The operations of one key.
struct View<'a> {
    number: usize,
    of_key: Vec<&'a Operation>,
    end: u64,
    found: &'a Reply,
}

impl View<'_> {
    fn history<A: Clone + Debug>(
        &self,
        take: impl Fn(&Operation, usize) -> (A, Outcome),
        read: A,
    ) -> Vec<judged::Operation<A>> {
        let mut history = Vec::with_capacity(self.of_key.len() + 1);
        for operation in &self.of_key {
            let place = operation.keys.iter().position(|key| *key == self.number).expect("one of its keys");
            let (action, outcome) = take(operation, place);
            let of =
                judged::Operation::strong(operation.session, operation.start_us, operation.end_us, action, outcome);
            let staleness_max = MAX_STALENESS.as_micros() as u64 + STALENESS_SLACK_US;
            history.push(if operation.level == Level::Strong {
                of
            } else {
                of.at_level(operation.level, staleness_max)
            });
        }
        let last = Outcome::Done(self.found.clone());
        history.push(judged::Operation::strong(0, self.end, self.end + 1, read, last));
        history
    }
}

fn known(operation: &Operation) -> Outcome {
    operation.outcome.clone().unwrap_or(Outcome::Unknown)
}

fn as_register(operation: &Operation, place: usize) -> (Register, Outcome) {
    let outcome = known(operation);
    match &operation.action {
        Action::Register(action) => (*action, outcome),
        Action::SetAll(value) => (Register::Set(*value), outcome),
        Action::DeleteAll => {
            let all = operation.keys.len() as i64;
            let of_one = match outcome {
                Outcome::Done(Reply::Number(0)) => Outcome::Done(Reply::Number(0)),
                Outcome::Done(Reply::Number(count)) if count == all => Outcome::Done(Reply::Number(1)),
                // It was done, and nobody knows which of the keys were there.
                Outcome::Done(_) => Outcome::Unknown,
                other => other,
            };
            (Register::Delete, of_one)
        }
        Action::GetAll => match outcome {
            Outcome::Done(Reply::List(list)) => (Register::Get, Outcome::Done(list[place].clone())),
            other => (Register::Get, other),
        },
        other => unreachable!("{other:?} on a register"),
    }
}

fn as_counter(operation: &Operation, _: usize) -> (counter::Counter, Outcome) {
    let Action::Counter(action) = operation.action else { unreachable!("on a counter") };
    (action, known(operation))
}

fn as_append(operation: &Operation, _: usize) -> (append::Append, Outcome) {
    let Action::Append(action) = operation.action else { unreachable!("on a list") };
    (action, known(operation))
}

fn as_set(operation: &Operation, _: usize) -> (set::Set, Outcome) {
    let Action::Set(action) = operation.action else { unreachable!("on a set") };
    (action, known(operation))
}

fn as_bank(operation: &Operation, _: usize) -> (bank::Bank, Outcome) {
    let Action::Bank(action) = operation.action else { unreachable!("on a bank") };
    (action, known(operation))
}

fn as_queue(operation: &Operation, _: usize) -> (Queue, Outcome) {
    match operation.action {
        Action::Queue(action) => (action, known(operation)),
        Action::WaitAndTake { .. } => (Queue::Take, known(operation)),
        ref other => unreachable!("{other:?} on a queue"),
    }
}

/// Where all clocks say the same, so does the log: it tells when a value expires.
fn as_fleeting(operation: &Operation, true_until_us: u64) -> (Fleeting, Outcome) {
    let Action::Fleeting { action, ttl_ms } = operation.action else { unreachable!("on a key that expires") };
    let Fleeting::Set { value, .. } = action else { return (action, known(operation)) };
    let first = operation.start_us + (ttl_ms - 1) * 1000;
    let from = if first < true_until_us { first } else { operation.start_us };
    let last = operation.end_us.saturating_add((ttl_ms + 1) * 1000);
    let until =
        if true_until_us == NEVER && matches!(operation.outcome, Some(Outcome::Done(_))) { last } else { NEVER };
    (Fleeting::Set { value, from, until }, known(operation))
}
