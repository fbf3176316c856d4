//! Leaders weighed by what is written to them.
//!
//! To divide weights evenly is hard where numbers were easy, so this takes steps: always the one that evens out most, out of those that
//! take something from a host that has too much: one transfer, or two where a host passes on another leader than it gets, or
//! they swap. It ends where no host has more than [`OVER_PERCENT`] beyond its share, or no step is worth its transfers. What was
//! reached once is left alone by the next plan as long as the weights stay near: that is what the margin is for.
//!
//! A leader that nobody writes to weighs a little all the same, so idle ones are spread by number.

use super::shares::{Movable, Network};
use super::{Situation, shares};

/// How much more than its share a host may have.
const OVER_PERCENT: i128 = 15;
/// The weight of a leader of average writes.
const AVERAGE: u64 = 1_000;
/// The weight of one that nobody writes to.
const IDLE: u64 = 100;
/// Fewer writes per second and shard than that say nothing.
const WRITES_MIN: u64 = 10;
/// What a transfer must even out at least, in parts of what a leader of average weight evens out between an empty host and one
/// that has just it.
const WORTH_PARTS: i128 = 20;
/// Steps for each leader after which a plan is good enough.
const STEPS_PER_LEADER_MAX: usize = 8;

/// Whether so much is written that weights mean something.
pub(super) fn is_written(situation: &Situation, shards: &[usize]) -> bool {
    let led = || shards.iter().map(|shard| &situation.shards[*shard]).filter(|shard| shard.leader.is_some());
    led().map(|shard| shard.writes).sum::<u64>() >= WRITES_MIN * (led().count() as u64).max(1)
}

/// Where each movable leader is to lie.
pub(super) fn assign(network: &Network, situation: &Situation) -> Vec<shares::Bin> {
    let mut state = State::of(network, situation);
    // Each step evens out more, so none comes twice; a leader may go on to a better place, and has then still moved once.
    for _ in 0..network.movable.len() * STEPS_PER_LEADER_MAX {
        let Some(step) = state.best_step() else { break };
        for (number, to) in step {
            state.take(number, to);
        }
    }
    state.lies
}

struct State<'a> {
    movable: &'a [Movable],
    weights: Vec<i128>,
    /// Where each leader lies by now.
    lies: Vec<shares::Bin>,
    loads: Vec<i128>,
    /// The weights of the bins; zero: it is to have nothing.
    parts: Vec<i128>,
    total: i128,
    /// Which leaders lie in each bin.
    inside: Vec<Vec<usize>>,
}

/// Changes of hands that belong together: the leader, and where it goes.
type Step = Vec<(usize, shares::Bin)>;

impl<'a> State<'a> {
    fn of(network: &'a Network, situation: &Situation) -> Self {
        let writes = |shard: usize| situation.shards[shard].writes;
        let all = || network.movable.iter().map(|m| (m.shard, m.from)).chain(network.fixed.iter().copied());
        let (count, sum) = (all().count().max(1) as u64, all().map(|(shard, _)| writes(shard)).sum::<u64>().max(1));
        let weight = |shard: usize| {
            let average = u128::from(writes(shard)) * u128::from(AVERAGE) * u128::from(count) / u128::from(sum);
            i128::from(IDLE).max(average as i128)
        };
        let mut loads = vec![0; network.bins.len()];
        all().for_each(|(shard, bin)| loads[bin] += weight(shard));
        let mut inside = vec![Vec::new(); network.bins.len()];
        network.movable.iter().enumerate().for_each(|(number, movable)| inside[movable.from].push(number));
        Self {
            movable: &network.movable,
            weights: network.movable.iter().map(|movable| weight(movable.shard)).collect(),
            lies: network.movable.iter().map(|movable| movable.from).collect(),
            total: loads.iter().sum(),
            loads,
            parts: network.bins.iter().map(|(_, weight)| i128::from(*weight)).collect(),
            inside,
        }
    }

    fn take(&mut self, number: usize, to: shares::Bin) {
        let from = std::mem::replace(&mut self.lies[number], to);
        self.loads[from] -= self.weights[number];
        self.loads[to] += self.weights[number];
        self.inside[from].retain(|other| *other != number);
        self.inside[to].push(number);
    }

    /// Whether a bin has more than its share and the margin.
    fn is_over(&self, bin: shares::Bin) -> bool {
        let whole: i128 = self.parts.iter().sum();
        self.loads[bin] > 0 && self.loads[bin] * whole * 100 > self.total * self.parts[bin] * (100 + OVER_PERCENT)
    }

    /// Where a leader could go from where it lies now.
    fn ways(&self, number: usize) -> impl Iterator<Item = shares::Bin> {
        let movable = &self.movable[number];
        let back = (self.parts[movable.from] > 0).then_some(movable.from);
        movable.to.iter().copied().chain(back).filter(move |bin| *bin != self.lies[number])
    }

    /// What these changes of loads even out: the loss of the sum of load squared by weight of the host.
    fn gain(&self, changes: &[(shares::Bin, i128)]) -> i128 {
        let mut gain = 0;
        for (at, (bin, _)) in changes.iter().enumerate() {
            if changes[..at].iter().any(|(before, _)| before == bin) {
                continue;
            }
            let change: i128 = changes.iter().filter(|(other, _)| other == bin).map(|(_, change)| change).sum();
            let (load, part) = (self.loads[*bin], self.parts[*bin]);
            // What may have nothing is worth leaving whatever comes of it.
            let scale = if part > 0 { SCALE / part } else { SCALE * 1_000 };
            gain += (load * load - (load + change) * (load + change)) * scale;
        }
        gain
    }

    fn best_step(&self) -> Option<Step> {
        let over: Vec<shares::Bin> = (0..self.loads.len()).filter(|bin| self.is_over(*bin)).collect();
        let single = over.iter().flat_map(|bin| &self.inside[*bin]).flat_map(|number| {
            self.ways(*number).map(|to| {
                let weight = self.weights[*number];
                (self.gain(&[(self.lies[*number], -weight), (to, weight)]), vec![(*number, to)])
            })
        });
        let worth = i128::from(AVERAGE * AVERAGE) * SCALE * 2 / WORTH_PARTS;
        let heaviest = self.parts.iter().copied().max().unwrap_or(1).max(1);
        let best = |steps: &mut dyn Iterator<Item = (i128, Step)>| {
            let worthy = steps.filter(|(gain, step)| *gain * heaviest > worth * step.len() as i128);
            worthy.max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1))).map(|(_, step)| step)
        };
        best(&mut { single }).or_else(|| {
            let mut pairs = over.iter().flat_map(|bin| &self.inside[*bin]).flat_map(|number| self.pairs(*number));
            best(&mut pairs)
        })
    }

    /// The leader goes, and where it comes to another one makes room.
    fn pairs(&self, number: usize) -> impl Iterator<Item = (i128, Step)> {
        let (from, weight) = (self.lies[number], self.weights[number]);
        self.ways(number).flat_map(move |through| {
            self.inside[through].iter().flat_map(move |second| {
                self.ways(*second).map(move |to| {
                    let other = self.weights[*second];
                    let gain = self.gain(&[(from, -weight), (through, weight - other), (to, other)]);
                    (gain, vec![(number, through), (*second, to)])
                })
            })
        })
    }
}

/// So that weights of hosts can divide without fractions.
const SCALE: i128 = 1_000_000;
