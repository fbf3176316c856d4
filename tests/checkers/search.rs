//! Whether operations on one value can be put in an order that respects real time and explains every answer.
//!
//! The search of Wing and Gong with Lowe's memory of states already seen. Two things keep it short. What only observes
//! and fits is taken at once: that is never wrong. And of operations that may come next and whose effects nobody can
//! tell apart, the one that ends first comes first: in any order that explains all, it could change places with the
//! other. Giving up is a verdict of its own, and never a pass.

use std::collections::HashSet;

use super::history::NEVER;

/// The value where there is none.
pub const NOTHING: u64 = 0;
/// A value that no answer shows: one is as good as another.
const UNSEEN: u64 = u64::MAX;
/// States after which the search gives up: some seconds.
const STATES_MAX: usize = 400_000;

/// What an operation finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    Whatever,
    Exactly(u64),
    Something,
    Nothing,
}

/// One operation, as the search sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub start: u64,
    /// [`NEVER`]: it may take effect at any time after its start, or never.
    pub end: u64,
    pub needs: Needs,
    /// What it leaves; none: it only observes.
    pub leaves: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Order,
    NoOrder,
    TooHard,
}

type State = (Vec<u64>, u64);

/// Looks for an order; the value is [`NOTHING`] at first.
pub fn search(steps: &[Step]) -> Found {
    let steps = Steps::of(steps);
    let mut seen: HashSet<State> = HashSet::new();
    let mut waiting: Vec<State> = vec![(vec![0; steps.all.len().div_ceil(64)], NOTHING)];
    while let Some((mut done, value)) = waiting.pop() {
        let candidates = steps.observe(&mut done, value);
        if steps.is_complete(&done) {
            return Found::Order;
        }
        if seen.len() >= STATES_MAX {
            return Found::TooHard;
        }
        if !seen.insert((done.clone(), value)) {
            continue;
        }
        // The last on the stack goes first: of those who must be done, who ends first.
        for i in steps.distinct_writes(candidates, value).into_iter().rev() {
            let mut done = done.clone();
            done[i / 64] |= 1 << (i % 64);
            waiting.push((done, steps.all[i].leaves.unwrap_or(value)));
        }
    }
    Found::NoOrder
}

struct Steps {
    /// By start.
    all: Vec<Step>,
}

impl Steps {
    fn of(steps: &[Step]) -> Self {
        let shown: HashSet<u64> =
            steps.iter().filter_map(|s| if let Needs::Exactly(value) = s.needs { Some(value) } else { None }).collect();
        let mut all = steps.to_vec();
        // What only observes and was not answered says nothing.
        all.retain(|step| step.end != NEVER || step.leaves.is_some());
        for step in &mut all {
            step.leaves = step.leaves.map(|v| if v == NOTHING || shown.contains(&v) { v } else { UNSEEN });
        }
        all.sort_by_key(|s| (s.start, s.end));
        Self { all }
    }

    /// Takes all that may come next, only observes and fits. Returns what else may come next.
    fn observe(&self, done: &mut [u64], value: u64) -> Vec<usize> {
        loop {
            let candidates = self.candidates(done);
            let observes = |i: &usize| self.all[*i].leaves.is_none() && fits(self.all[*i].needs, value);
            let fitting: Vec<usize> = candidates.iter().copied().filter(observes).collect();
            if fitting.is_empty() {
                return candidates;
            }
            fitting.into_iter().for_each(|i| done[i / 64] |= 1 << (i % 64));
        }
    }

    /// Those that no other pending operation precedes in real time.
    fn candidates(&self, done: &[u64]) -> Vec<usize> {
        let first = done.iter().position(|word| *word != u64::MAX).map_or(0, |word| word * 64);
        let mut first_end = NEVER;
        let mut found = Vec::new();
        for (i, step) in self.all.iter().enumerate().skip(first) {
            if step.start > first_end {
                break;
            }
            if !is_done(done, i) {
                first_end = first_end.min(step.end);
                found.push(i);
            }
        }
        found.retain(|i| self.all[*i].start <= first_end);
        found
    }

    /// What may change the value next, those first that end first; one of each effect.
    fn distinct_writes(&self, mut candidates: Vec<usize>, value: u64) -> Vec<usize> {
        candidates.retain(|i| {
            let step = &self.all[*i];
            // What need not happen need not leave things as they are.
            let changes = step.leaves.is_some() && (step.end != NEVER || step.leaves != Some(value));
            changes && fits(step.needs, value)
        });
        candidates.sort_by_key(|i| self.all[*i].end);
        let mut effects = HashSet::new();
        candidates.retain(|i| effects.insert((self.all[*i].needs, self.all[*i].leaves)));
        candidates
    }

    fn is_complete(&self, done: &[u64]) -> bool {
        self.all.iter().enumerate().all(|(i, step)| step.end == NEVER || is_done(done, i))
    }
}

fn fits(needs: Needs, value: u64) -> bool {
    match needs {
        Needs::Whatever => true,
        Needs::Exactly(needed) => needed == value,
        Needs::Something => value != NOTHING,
        Needs::Nothing => value == NOTHING,
    }
}

fn is_done(done: &[u64], i: usize) -> bool {
    done[i / 64] & 1 << (i % 64) != 0
}
