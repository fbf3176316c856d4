//! Which shard gets how many slots, and which: pure arithmetic over weights and present owners.
//!
//! [`apportion`] divides the slots of a new cluster. [`assign`] says where the slots of a living one are to be: every shard within
//! one of its exact share, and no slot moves that need not. Both decide the same for the same input on every machine.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ShardId, SlotRange};

/// A run of slots and the shard that is to own them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRange {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
    /// The shard that is to own them.
    pub shard: ShardId,
}

impl TargetRange {
    /// How many slots it has.
    pub const fn slot_count(&self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }
}

/// Where the slots of `actual` are to be: the slots of every shard are within one of its exact share of them, a shard without weight
/// or that is not named gets none, and over all such distributions the fewest slots move. Among equal ones the shares are
/// as even as can be, and few runs are made: at most one more per shard that gives and per shard that takes.
///
/// Where no shard has a weight, all stays where it is. `actual` is in order and names each slot at most once; what comes out is
/// in order, covers the same slots, and neighbours differ in their shard.
pub fn assign(actual: &[SlotRange], shards: &[(ShardId, u32)]) -> Vec<TargetRange> {
    let mut map = Map::of(actual);
    let weights: BTreeMap<ShardId, u32> = shards.iter().copied().collect();
    if weights.values().any(|weight| *weight > 0) {
        let counts = map.counts();
        let wanted = wanted_counts(&counts, &weights);
        let lacking = wanted.iter().filter_map(|(shard, wanted)| {
            let lack = wanted.saturating_sub(counts.get(shard).copied().unwrap_or(0));
            (lack > 0).then_some((*shard, lack))
        });
        let mut lacking: BTreeMap<ShardId, u32> = lacking.collect();
        map.release(&counts, &wanted, &lacking);
        map.hand_to_neighbours(&mut lacking);
        map.hand_to_others(lacking);
    }
    map.ranges()
}

/// How many slots each shard is to own.
///
/// Each stays as near to what it has as its bounds allow; if the sum is then too small or too large, every single slot more or less
/// costs the same wherever it is added or taken, so the share that is missed most decides.
fn wanted_counts(counts: &BTreeMap<ShardId, u32>, weights: &BTreeMap<ShardId, u32>) -> BTreeMap<ShardId, u32> {
    let total: u32 = counts.values().sum();
    let sum: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
    // Shares are compared as multiples of 1/sum, without rounding.
    let share = |weight: u32| u64::from(total) * u64::from(weight);
    let bounds = |weight: u32| match weight {
        0 => (0, 0),
        _ => (share(weight).saturating_sub(sum).div_ceil(sum) as u32, ((share(weight) + sum) / sum) as u32),
    };
    let mut wanted: BTreeMap<ShardId, u32> = BTreeMap::new();
    for (shard, weight) in weights {
        let (low, high) = bounds(*weight);
        wanted.insert(*shard, counts.get(shard).copied().unwrap_or(0).clamp(low, high));
    }
    // What a shard has above its exact share; negative where it lacks.
    let excess = |shard: &ShardId, count: u32| i128::from(count) * i128::from(sum) - i128::from(share(weights[shard]));
    let sum_wanted = |wanted: &BTreeMap<ShardId, u32>| wanted.values().sum::<u32>();
    let lower = sum_wanted(&wanted) > total;
    let open = |shard: &ShardId, count: u32| {
        let (low, high) = bounds(weights[shard]);
        if lower { count > low } else { count < high }
    };
    let key = |shard: ShardId, count: u32| (if lower { -excess(&shard, count) } else { excess(&shard, count) }, shard);
    let candidates = wanted.iter().filter(|(shard, count)| open(shard, **count));
    let mut queue: BTreeSet<(i128, ShardId)> = candidates.map(|(shard, count)| key(*shard, *count)).collect();
    for _ in 0..sum_wanted(&wanted).abs_diff(total) {
        let (_, shard) = queue.pop_first().expect("the exact shares lie within the bounds and add up to the total");
        let count = wanted.get_mut(&shard).expect("it came from there");
        *count = if lower { *count - 1 } else { *count + 1 };
        if open(&shard, *count) {
            queue.insert(key(shard, *count));
        }
    }
    wanted
}

/// A slot on its way from `actual` to the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// No slot of this number is given.
    Absent,
    /// It stays with, or goes to, this shard.
    Shard(ShardId),
    /// Its owner has too many; nobody has it yet.
    Free,
}

/// A run of slots: first, and one past the last.
type Run = (usize, usize);

struct Map(Vec<Holder>);

impl Map {
    fn of(actual: &[SlotRange]) -> Self {
        let length = actual.iter().map(|range| usize::from(range.last) + 1).max().unwrap_or(0);
        let mut holders = vec![Holder::Absent; length];
        for range in actual {
            holders[usize::from(range.first)..=usize::from(range.last)].fill(Holder::Shard(range.owner));
        }
        Self(holders)
    }

    fn counts(&self) -> BTreeMap<ShardId, u32> {
        let mut counts = BTreeMap::new();
        for holder in &self.0 {
            if let Holder::Shard(shard) = holder {
                *counts.entry(*shard).or_default() += 1;
            }
        }
        counts
    }

    /// The longest runs of one holder, in order.
    fn runs(&self) -> Vec<(Holder, Run)> {
        let mut runs: Vec<(Holder, Run)> = Vec::new();
        for (slot, holder) in self.0.iter().enumerate() {
            match runs.last_mut() {
                Some((last, run)) if last == holder => run.1 = slot + 1,
                _ => runs.push((*holder, (slot, slot + 1))),
            }
        }
        runs
    }

    fn free_runs(&self) -> impl Iterator<Item = Run> + use<> {
        self.runs().into_iter().filter(|(holder, _)| *holder == Holder::Free).map(|(_, run)| run)
    }

    fn before(&self, run: Run) -> Option<ShardId> {
        run.0.checked_sub(1).and_then(|slot| self.shard(slot))
    }

    fn shard(&self, slot: usize) -> Option<ShardId> {
        match self.0.get(slot) {
            Some(Holder::Shard(shard)) => Some(*shard),
            _ => None,
        }
    }

    fn set(&mut self, run: Run, holder: Holder) {
        self.0[run.0..run.1].fill(holder);
    }

    /// Frees what each shard has too many: its shortest runs whole, then one cut at the end of a run, on the side of a shard
    /// that lacks slots if there is one.
    fn release(
        &mut self,
        counts: &BTreeMap<ShardId, u32>,
        wanted: &BTreeMap<ShardId, u32>,
        lacking: &BTreeMap<ShardId, u32>,
    ) {
        let too_many = |shard: &ShardId, count: u32| count - count.min(wanted.get(shard).copied().unwrap_or(0));
        let mut left: BTreeMap<ShardId, usize> =
            counts.iter().map(|(shard, count)| (*shard, too_many(shard, *count) as usize)).collect();
        let mut runs = self.runs();
        runs.sort_by_key(|(_, run)| (run.1 - run.0, run.0));
        for (holder, run) in runs {
            let Holder::Shard(shard) = holder else { continue };
            let left = left.get_mut(&shard).expect("every shard is counted");
            let take = (run.1 - run.0).min(*left);
            let lacks = |neighbour: Option<ShardId>| neighbour.is_some_and(|shard| lacking.contains_key(&shard));
            let from_front = lacks(self.before(run)) && !lacks(self.shard(run.1));
            let freed = if from_front { (run.0, run.0 + take) } else { (run.1 - take, run.1) };
            self.set(freed, Holder::Free);
            *left -= take;
        }
    }

    /// Gives free runs to those that lack slots and have the slot before or behind.
    fn hand_to_neighbours(&mut self, lacking: &mut BTreeMap<ShardId, u32>) {
        for mut run in self.free_runs() {
            if let Some(shard) = self.before(run) {
                let take = taken(lacking, shard, run);
                self.set((run.0, run.0 + take), Holder::Shard(shard));
                run.0 += take;
            }
            if let Some(shard) = self.shard(run.1) {
                let take = taken(lacking, shard, run);
                self.set((run.1 - take, run.1), Holder::Shard(shard));
            }
        }
    }

    /// Gives the free runs that are left: to who lacks most first, the longest run that fits, else a part of the shortest
    /// that does not.
    fn hand_to_others(&mut self, lacking: BTreeMap<ShardId, u32>) {
        let mut free: BTreeSet<(usize, usize)> = self.free_runs().map(|run| (run.1 - run.0, run.0)).collect();
        let mut order: Vec<(ShardId, usize)> =
            lacking.into_iter().map(|(shard, lack)| (shard, lack as usize)).collect();
        order.sort_by_key(|(shard, lack)| (std::cmp::Reverse(*lack), *shard));
        for (shard, mut lack) in order {
            while lack > 0 {
                let fits = free.range(..=(lack, usize::MAX)).next_back().copied();
                let (length, first) =
                    fits.or_else(|| free.first().copied()).expect("what is lacking is what was freed");
                free.remove(&(length, first));
                let take = length.min(lack);
                self.set((first, first + take), Holder::Shard(shard));
                lack -= take;
                if take < length {
                    free.insert((length - take, first + take));
                }
            }
        }
    }

    fn ranges(&self) -> Vec<TargetRange> {
        let runs = self.runs().into_iter();
        let range = |(holder, run): (Holder, Run)| match holder {
            Holder::Shard(shard) => Some(TargetRange { first: run.0 as u16, last: (run.1 - 1) as u16, shard }),
            Holder::Absent | Holder::Free => None,
        };
        runs.filter_map(range).collect()
    }
}

/// How many slots of the run the shard takes, of those that it lacks.
fn taken(lacking: &mut BTreeMap<ShardId, u32>, shard: ShardId, run: Run) -> usize {
    let Some(lack) = lacking.get_mut(&shard) else { return 0 };
    let take = (run.1 - run.0).min(*lack as usize);
    *lack -= take as u32;
    if *lack == 0 {
        lacking.remove(&shard);
    }
    take
}

/// Divides `total` over `weights`: largest remainders, the earlier first among equals.
///
/// Each part is within one of its exact share, a weight of zero gets nothing, and the parts add up to `total` unless
/// all weights are zero, when nothing is given out.
pub fn apportion(total: u32, weights: &[u32]) -> Vec<u32> {
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let product = |weight: u32| u64::from(total) * u64::from(weight);
    let mut parts: Vec<u32> = weights.iter().map(|w| (product(*w) / sum) as u32).collect();
    let left = total - parts.iter().sum::<u32>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(product(weights[i]) % sum));
    for &i in by_remainder.iter().take(left as usize) {
        parts[i] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topology::{Epoch, SLOT_COUNT};

    /// Each slot a range of its own, of epochs that differ: neither may count.
    fn ranges(owners: &[u64]) -> Vec<SlotRange> {
        let range = |(slot, owner): (usize, &u64)| {
            let slot = slot as u16;
            SlotRange { first: slot, last: slot, owner: ShardId(*owner), epoch: Epoch(1 + u64::from(slot % 3)) }
        };
        owners.iter().enumerate().map(range).collect()
    }

    fn owners(targets: &[TargetRange]) -> Vec<u64> {
        let mut owners = Vec::new();
        for (i, range) in targets.iter().enumerate() {
            assert_eq!(usize::from(range.first), owners.len(), "in order and without gaps");
            assert!(i == 0 || targets[i - 1].shard != range.shard, "neighbours differ");
            owners.resize(usize::from(range.last) + 1, range.shard.0);
        }
        owners
    }

    fn weighed(weights: &[u32]) -> Vec<(ShardId, u32)> {
        weights.iter().enumerate().map(|(i, weight)| (ShardId(1 + i as u64), *weight)).collect()
    }

    fn moved(from: &[u64], to: &[u64]) -> usize {
        from.iter().zip(to).filter(|(a, b)| a != b).count()
    }

    fn within_one(owners: &[u64], weights: &[u32]) -> bool {
        let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let count = |shard: u64| owners.iter().filter(|owner| **owner == shard).count() as i64;
        let fits = |(i, weight): (usize, &u32)| {
            let count = count(1 + i as u64);
            let off = (count * sum - owners.len() as i64 * i64::from(*weight)).abs();
            off <= sum && (*weight > 0 || count == 0)
        };
        weights.iter().enumerate().all(fits) && owners.iter().all(|owner| (1..=weights.len() as u64).contains(owner))
    }

    /// The fewest moves of all ways to give each slot an owner.
    fn fewest_moves(actual: &[u64], weights: &[u32]) -> usize {
        let shards = weights.len();
        let ways = shards.pow(actual.len() as u32);
        let way = |mut number: usize| {
            let owner = |_| {
                let owner = 1 + (number % shards) as u64;
                number /= shards;
                owner
            };
            (0..actual.len()).map(owner).collect::<Vec<u64>>()
        };
        let fitting = (0..ways).map(way).filter(|owners| within_one(owners, weights));
        fitting.map(|owners| moved(actual, &owners)).min().expect("there is always one")
    }

    #[test]
    fn a_shard_more_takes_its_share_and_going_back_restores_it() {
        let third = |first, last, owner| SlotRange { first, last, owner: ShardId(owner), epoch: Epoch(1) };
        let three = [third(0, 5461, 1), third(5462, 10922, 2), third(10923, 16383, 3)];
        let four = assign(&three, &weighed(&[1, 1, 1, 1]));
        let before = owners(&assign(&three, &weighed(&[1, 1, 1])));
        let after = owners(&four);
        assert!(within_one(&after, &[1, 1, 1, 1]) && four.len() <= 6, "{four:?}");
        assert_eq!(moved(&before, &after), 4095, "a share of 4096 may be missed by one");
        let back = assign(&ranges(&after), &weighed(&[1, 1, 1]));
        assert!(back.len() <= 4 && moved(&after, &owners(&back)) == 4095, "{back:?}");
    }

    #[test]
    fn without_any_weight_all_stays() {
        let actual = ranges(&[1, 1, 2]);
        assert_eq!(owners(&assign(&actual, &[])), [1, 1, 2]);
        assert_eq!(owners(&assign(&actual, &weighed(&[0, 0]))), [1, 1, 2]);
        assert_eq!(assign(&[], &weighed(&[1])), []);
    }

    #[test]
    fn many_shards_of_many_runs_are_balanced() {
        let scattered: Vec<u64> = (0..SLOT_COUNT as u64).map(|slot| 1 + slot.wrapping_mul(7919) % 1000).collect();
        let mut weights = vec![1; 999];
        weights.extend([0, 5, 3]);
        let target = owners(&assign(&ranges(&scattered), &weighed(&weights)));
        assert!(within_one(&target, &weights) && target.len() == SLOT_COUNT);
    }

    #[test]
    fn slots_follow_weights() {
        assert_eq!(apportion(16384, &[1, 1]), [8192, 8192]);
        assert_eq!(apportion(16384, &[1, 1, 1]), [5462, 5461, 5461]);
        assert_eq!(apportion(16384, &[0, 3, 1]), [0, 12288, 4096]);
        assert_eq!(apportion(2, &[1, 1, 1]), [1, 1, 0]);
        assert_eq!(apportion(5, &[0, 0]), [0, 0]);
        assert_eq!(apportion(5, &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn the_fewest_slots_move(
            actual in prop::collection::vec(1_u64..=5, 1..=6),
            weights in prop::collection::vec(0_u32..=4, 1..=4),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let target = owners(&assign(&ranges(&actual), &weighed(&weights)));
            prop_assert!(within_one(&target, &weights), "{:?}", target);
            prop_assert_eq!(moved(&actual, &target), fewest_moves(&actual, &weights), "{:?}", target);
        }

        #[test]
        fn targets_are_balanced_stable_and_in_few_runs(
            runs in prop::collection::vec((1_u64..=8, 1_usize..400), 1..60),
            weights in prop::collection::vec(prop_oneof![Just(0_u32), 1_u32..=20, Just(1)], 1..=10),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let actual: Vec<u64> = runs.iter().flat_map(|(owner, length)| std::iter::repeat_n(*owner, *length)).collect();
            let mut shards = weighed(&weights);
            let targets = assign(&ranges(&actual), &shards);
            let target = owners(&targets);
            prop_assert!(within_one(&target, &weights));
            shards.reverse();
            prop_assert_eq!(&assign(&ranges(&actual), &shards), &targets, "whatever the order");
            prop_assert_eq!(&assign(&ranges(&target), &shards), &targets, "nothing moves twice");
            // 8 shards may give, 10 may take.
            prop_assert!(targets.len() <= runs.len() + 18, "{} runs of {}", targets.len(), runs.len());
        }

        #[test]
        fn each_part_is_within_one_of_its_share(total in 0_u32..20_000, weights in prop::collection::vec(0_u32..=1_000_000, 1..200)) {
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            let parts = apportion(total, &weights);
            prop_assert_eq!(parts.len(), weights.len());
            if sum == 0 {
                return Ok(());
            }
            prop_assert_eq!(parts.iter().map(|p| u64::from(*p)).sum::<u64>(), u64::from(total));
            for (part, weight) in parts.iter().zip(&weights) {
                let share = f64::from(total) * f64::from(*weight) / sum as f64;
                prop_assert!((f64::from(*part) - share).abs() < 1.0, "{} for a share of {}", part, share);
                prop_assert!(*weight > 0 || *part == 0);
            }
        }
    }
}
