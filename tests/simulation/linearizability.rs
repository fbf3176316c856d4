//! Whether a history of one register can be put in an order that respects real time and explains every read.
//!
//! The search of Wing and Gong with Lowe's memory of states already seen. A write of unknown outcome may take effect at
//! any time after its start, or never. Values are unique, so an unknown write that nobody read is left out: it can
//! always come last. Giving up is a verdict of its own, and never a pass.

use std::collections::{BTreeSet, HashSet};

/// The end of an operation that may take effect at any time after its start, or never.
pub const NEVER: u64 = u64::MAX;
/// States after which the search gives up.
const STATES_MAX: usize = 400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Write(u64),
    /// What was read; zero: nothing was there.
    Read(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub start: u64,
    pub end: u64,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Violated,
    TooHard,
}

type State = (Vec<u64>, u64);

/// Judges the history of a register that starts without a value.
pub fn judge(history: &[Operation]) -> Verdict {
    let read: BTreeSet<u64> =
        history.iter().filter_map(|o| if let Action::Read(v) = o.action { Some(v) } else { None }).collect();
    let counts = |o: &&Operation| match o.action {
        Action::Write(value) => o.end != NEVER || read.contains(&value),
        Action::Read(_) => o.end != NEVER,
    };
    let mut operations: Vec<Operation> = history.iter().filter(counts).copied().collect();
    operations.sort_by_key(|o| (o.start, o.end));
    search(&operations)
}

fn search(operations: &[Operation]) -> Verdict {
    let words = operations.len().div_ceil(64);
    let mut seen: HashSet<State> = HashSet::new();
    let mut waiting: Vec<State> = vec![(vec![0; words], 0)];
    while let Some((mut done, value)) = waiting.pop() {
        let candidates = settle_reads(operations, &mut done, value);
        if operations.iter().enumerate().all(|(i, o)| o.end == NEVER || is_done(&done, i)) {
            return Verdict::Linearizable;
        }
        if seen.len() >= STATES_MAX {
            return Verdict::TooHard;
        }
        if !seen.insert((done.clone(), value)) {
            continue;
        }
        // The latest-ending first onto the stack, so that the search goes on with the earliest-ending.
        let mut writes: Vec<_> =
            candidates.into_iter().filter(|i| matches!(operations[*i].action, Action::Write(_))).collect();
        writes.sort_by_key(|i| std::cmp::Reverse(operations[*i].end));
        for i in writes {
            let Action::Write(next) = operations[i].action else { continue };
            let mut done = done.clone();
            done[i / 64] |= 1 << (i % 64);
            waiting.push((done, next));
        }
    }
    Verdict::Violated
}

/// Takes every read that may come next and sees the present value: that is never wrong. Returns what else may come next.
fn settle_reads(operations: &[Operation], done: &mut [u64], value: u64) -> Vec<usize> {
    loop {
        let candidates = candidates(operations, done);
        let fitting: Vec<usize> =
            candidates.iter().copied().filter(|i| operations[*i].action == Action::Read(value)).collect();
        if fitting.is_empty() {
            return candidates;
        }
        fitting.into_iter().for_each(|i| done[i / 64] |= 1 << (i % 64));
    }
}

/// Those that no other pending operation precedes in real time.
fn candidates(operations: &[Operation], done: &[u64]) -> Vec<usize> {
    let mut first_end = NEVER;
    let mut found = Vec::new();
    for (i, operation) in operations.iter().enumerate() {
        if operation.start > first_end {
            break;
        }
        if !is_done(done, i) {
            first_end = first_end.min(operation.end);
            found.push(i);
        }
    }
    found.retain(|i| operations[*i].start <= first_end);
    found
}

fn is_done(done: &[u64], i: usize) -> bool {
    done[i / 64] & 1 << (i % 64) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(start: u64, end: u64, value: u64) -> Operation {
        Operation { start, end, action: Action::Write(value) }
    }

    fn read(start: u64, end: u64, value: u64) -> Operation {
        Operation { start, end, action: Action::Read(value) }
    }

    #[test]
    fn histories_that_have_an_order_pass() {
        for history in [
            vec![],
            vec![read(0, 1, 0), write(2, 3, 1), read(4, 5, 1)],
            vec![write(0, 10, 1), read(1, 2, 0), read(3, 4, 1), read(5, 6, 1)],
            vec![write(0, 10, 1), write(0, 10, 2), read(1, 2, 2), read(3, 4, 1)],
            vec![write(0, NEVER, 1), read(5, 6, 0), read(7, 8, 1)],
            vec![write(0, NEVER, 1), write(2, 3, 2), read(5, 6, 2), read(9, 10, 1)],
            vec![write(0, NEVER, 1), write(2, 3, 2), read(5, 6, 2)],
        ] {
            assert_eq!(judge(&history), Verdict::Linearizable, "{history:?}");
        }
    }

    #[test]
    fn histories_known_to_be_bad_are_caught() {
        for (what, history) in [
            ("a stale read", vec![write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)]),
            ("a lost write", vec![write(0, 1, 1), read(2, 3, 0)]),
            ("a value from nowhere", vec![write(0, 1, 1), read(2, 3, 7)]),
            ("a read before its write", vec![read(0, 1, 1), write(2, 3, 1)]),
            (
                "reads that disagree on the order",
                vec![write(0, 10, 1), write(0, 10, 2), read(11, 12, 1), read(13, 14, 2)],
            ),
            ("back in time", vec![write(0, 10, 1), read(1, 2, 1), read(3, 4, 0)]),
            (
                "an unknown write that comes and goes",
                vec![write(0, NEVER, 1), write(0, 1, 2), read(2, 3, 1), read(4, 5, 2)],
            ),
        ] {
            assert_eq!(judge(&history), Verdict::Violated, "{what}");
        }
    }

    #[test]
    fn a_long_good_history_is_judged_and_one_stale_read_in_it_is_found() {
        let mut history = Vec::new();
        for i in 0..300_u64 {
            history.push(write(10 * i, 10 * i + 25, i + 1));
            history.push(read(10 * i + 26, 10 * i + 27, i + 1));
        }
        history.retain(|o| !matches!(o.action, Action::Read(v) if v % 3 != 0));
        assert_ne!(judge(&history), Verdict::TooHard);
        history.push(read(4000, 4001, 3));
        assert_eq!(judge(&history), Verdict::Violated);
    }
}
