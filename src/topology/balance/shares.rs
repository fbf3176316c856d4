//! The network of one island: what each host leads, what it may lead, and how leaders get from one to another.
//!
//! Where leaders lie is a *bin*: a host, or, for what lies with candidates that may lead nothing, a second bin of that host whose
//! share is nothing. Leaders that can go nowhere count where they are and are no way for others.

use std::collections::BTreeMap;

use super::flow;
use super::{Hosts, Situation, Transfer};

/// Where leaders lie, by number.
pub(super) type Bin = usize;

/// The cost of a transfer: more than all that evenness may come to.
const TRANSFER: i64 = 1 << 40;
/// What it costs that one more lies in a bin of weight 1 for each that lies there already: of as few transfers, those that fill
/// the emptiest.
const FULLNESS: u64 = 1_000;

/// A shard whose leader could go elsewhere.
pub(super) struct Movable {
    /// Its number in the situation.
    pub shard: usize,
    /// Where its leader is.
    pub from: Bin,
    /// Where it could go, each once.
    pub to: Vec<Bin>,
}

/// One island.
pub(super) struct Network {
    /// The host of each bin, and its weight; a bin of weight 0 may lead nothing.
    pub bins: Vec<(usize, u64)>,
    /// What lies in each bin.
    pub loads: Vec<u64>,
    /// What may lie in each bin.
    caps: Vec<u64>,
    /// What can move.
    pub movable: Vec<Movable>,
    /// What cannot, and counts: its shard and its bin.
    pub fixed: Vec<(usize, Bin)>,
}

impl Network {
    pub fn new(situation: &Situation, hosts: &Hosts, shards: &[usize]) -> Self {
        let weights = weights(situation, hosts, shards);
        let mut bins: Vec<(usize, u64)> = weights.iter().map(|(host, weight)| (*host, *weight)).collect();
        let real: BTreeMap<usize, Bin> = weights.keys().copied().zip(0..).collect();
        let mut homeless: BTreeMap<usize, Bin> = BTreeMap::new();
        let (mut movable, mut fixed) = (Vec::new(), Vec::new());
        for number in shards {
            let shard = &situation.shards[*number];
            let Some(leader) = shard.leader else { continue };
            let (host, keeps) = (hosts.of_candidate[leader], situation.candidates[leader].keeps());
            let takers = shard.heirs.iter().filter(|heir| shard.held.is_none() && situation.candidates[**heir].takes());
            let mut to: Vec<Bin> = takers.map(|heir| real[&hosts.of_candidate[*heir]]).collect();
            to.sort_unstable();
            to.dedup();
            if keeps {
                to.retain(|bin| *bin != real[&host]);
            }
            match (to.is_empty(), keeps, real.get(&host)) {
                (false, true, Some(from)) => movable.push(Movable { shard: *number, from: *from, to }),
                (false, ..) => {
                    let next = bins.len();
                    let from = *homeless.entry(host).or_insert(next);
                    if from == next {
                        bins.push((host, 0));
                    }
                    movable.push(Movable { shard: *number, from, to });
                }
                (true, _, Some(bin)) => fixed.push((*number, *bin)),
                // Nothing else lies there: it is of no concern to others.
                (true, _, None) => {}
            }
        }
        let mut loads = vec![0; bins.len()];
        let lies = movable.iter().map(|shard| shard.from).chain(fixed.iter().map(|(_, bin)| *bin));
        lies.for_each(|bin| loads[bin] += 1);
        let all: Vec<Bin> = (0..bins.len()).collect();
        let mut network = Self { caps: vec![0; bins.len()], bins, loads, movable, fixed };
        network.raise(&all, network.loads.iter().sum());
        network
    }

    /// What a host may lead.
    pub fn share(&self, host: usize) -> u64 {
        self.bins.iter().zip(&self.caps).filter(|((of, _), _)| *of == host).map(|(_, cap)| cap).sum()
    }

    /// Where each movable leader is to lie, by the fewest transfers.
    pub fn assign(&mut self) -> Vec<Bin> {
        loop {
            let (assigned, stuck) = self.flow();
            let lies = assigned.iter().copied().chain(self.fixed.iter().map(|(_, bin)| *bin));
            let total = lies.filter(|bin| stuck.contains(bin)).count() as u64;
            if stuck.is_empty() || !self.raise(&stuck, total) {
                return assigned;
            }
        }
    }

    /// Lets as much flow as the shares ask for. Returns where each movable leader lies then, and the bins that still have more than
    /// their shares, with all that they could give to.
    fn flow(&self) -> (Vec<Bin>, Vec<Bin>) {
        let (source, sink, count) = (0, 1, self.bins.len());
        let (bin_at, shard_at) = (|bin: Bin| 2 + bin, |shard: usize| 2 + count + shard);
        let mut network = flow::Network::new(2 + count + self.movable.len());
        let mut surplus = 0;
        for bin in 0..count {
            let (load, cap) = (self.loads[bin], self.caps[bin]);
            surplus += load.saturating_sub(cap);
            network.add(source, bin_at(bin), load.saturating_sub(cap), 0);
            let fullness = |lies: u64| (lies * FULLNESS / self.bins[bin].1.max(1)) as i64;
            for lies in load..cap {
                network.add(bin_at(bin), sink, 1, fullness(lies));
            }
        }
        let mut ways = Vec::new();
        for (number, shard) in self.movable.iter().enumerate() {
            network.add(bin_at(shard.from), shard_at(number), 1, 0);
            let out = shard.to.iter().map(|bin| (*bin, network.add(shard_at(number), bin_at(*bin), 1, TRANSFER)));
            ways.push(out.collect::<Vec<_>>());
        }
        let sent = network.fill(source, sink);
        let went = |ways: &[(Bin, flow::Way)]| ways.iter().find(|(_, way)| network.flow(*way) > 0).map(|(bin, _)| *bin);
        let assigned = self.movable.iter().zip(&ways).map(|(shard, ways)| went(ways).unwrap_or(shard.from)).collect();
        let reached = if sent < surplus { network.reached(source) } else { vec![false; 2 + count] };
        (assigned, (0..count).filter(|bin| reached[bin_at(*bin)]).collect())
    }

    /// Divides so many leaders over these bins by weight. Returns whether that let any of them have more.
    fn raise(&mut self, bins: &[Bin], total: u64) -> bool {
        let weight: u64 = bins.iter().map(|bin| self.bins[*bin].1).sum();
        let mut is_more = false;
        for bin in bins.iter().filter(|_| weight > 0) {
            let share = (u128::from(total) * u128::from(self.bins[*bin].1)).div_ceil(u128::from(weight)) as u64;
            is_more |= share > self.caps[*bin];
            self.caps[*bin] = self.caps[*bin].max(share);
        }
        is_more
    }

    /// The transfers to this assignment. First those that a host with room takes, from the host that has most too much.
    pub fn in_order(&self, wanted: &[Bin], situation: &Situation, hosts: &Hosts) -> Vec<Transfer> {
        let moved = self.movable.iter().zip(wanted).filter(|(shard, to)| shard.from != **to);
        let mut left: Vec<(&Movable, Bin)> = moved.map(|(shard, to)| (shard, *to)).collect();
        let mut loads: Vec<i64> = self.loads.iter().map(|load| *load as i64).collect();
        let mut held: Vec<u64> = vec![0; situation.candidates.len()];
        let led = situation.shards.iter().filter_map(|shard| shard.leader);
        led.for_each(|leader| held[leader] += 1);
        let over = |loads: &[i64], bin: Bin| loads[bin] - self.caps[bin] as i64;
        let mut transfers = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let key = |(shard, to): &(&Movable, Bin)| {
                (over(&loads, *to) >= 0, -over(&loads, shard.from), over(&loads, *to), shard.shard)
            };
            let at = (0..left.len()).min_by_key(|at| key(&left[*at])).expect("it is not empty");
            let (movable, bin) = left.swap_remove(at);
            let shard = &situation.shards[movable.shard];
            let from = shard.leader.expect("it moves");
            let there =
                shard.heirs.iter().copied().filter(|heir| {
                    situation.candidates[*heir].takes() && hosts.of_candidate[*heir] == self.bins[bin].0
                });
            let to = there.min_by_key(|heir| (held[*heir], *heir)).expect("the bin is one of an heir");
            loads[movable.from] -= 1;
            loads[bin] += 1;
            (held[from], held[to]) = (held[from] - 1, held[to] + 1);
            transfers.push(Transfer { shard: movable.shard, from, to });
        }
        transfers
    }
}

/// The weight of each host that counts: where somebody leads and may, or could take over something.
fn weights(situation: &Situation, hosts: &Hosts, shards: &[usize]) -> BTreeMap<usize, u64> {
    let mut weights: BTreeMap<usize, u64> = BTreeMap::new();
    for number in shards {
        let shard = &situation.shards[*number];
        let keeps = shard.leader.filter(|leader| situation.candidates[*leader].keeps());
        let takers = shard.heirs.iter().copied();
        let takers = takers.filter(|heir| situation.candidates[*heir].takes() && shard.leader.is_some());
        for able in keeps.into_iter().chain(takers) {
            let weight = weights.entry(hosts.of_candidate[able]).or_default();
            *weight = (*weight).max(u64::from(situation.candidates[able].weight));
        }
    }
    weights
}
