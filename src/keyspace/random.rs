//! Random choices from one seed, so that replicas that apply the same entry choose alike.
//!
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): its sequence is part of what a
//! log entry means and may never change.

use std::collections::BTreeSet;

/// Where more than one in so many is chosen, all are looked at.
const DENSE_FACTOR: usize = 8;

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub const fn below(&mut self, end: usize) -> usize {
        // The bias of a 64-bit product is far below anything that can be observed.
        ((self.next() as u128 * end as u128) >> 64) as usize
    }

    /// `count` different numbers below `end`, in ascending order, each choice as likely as any other.
    pub fn choose(&mut self, count: usize, end: usize) -> Vec<usize> {
        debug_assert!(count <= end, "no more numbers than there are");
        if count > end / DENSE_FACTOR {
            // Knuth's selection sampling: each number in turn, with the odds of what is still wanted.
            let mut chosen = Vec::with_capacity(count);
            for number in 0..end {
                if self.below(end - number) < count - chosen.len() {
                    chosen.push(number);
                }
            }
            return chosen;
        }
        // Floyd's: no draw is in vain.
        let mut chosen = BTreeSet::new();
        for last in end - count..end {
            let number = self.below(last + 1);
            chosen.insert(if chosen.contains(&number) { last } else { number });
        }
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_stays_as_it_is() {
        let mut random = Random::new(1234567);
        let numbers: Vec<u64> = std::iter::repeat_with(|| random.next()).take(2).collect();
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn numbers_stay_below_the_end_and_reach_all_below_it() {
        let mut random = Random::new(1);
        let mut seen = [false; 7];
        (0..200).for_each(|_| seen[random.below(7)] = true);
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn choices_are_different_numbers_in_order_and_all_as_likely() {
        let mut random = Random::new(5);
        for (count, end) in [(0, 5), (1, 100), (2, 100), (3, 5), (5, 5)] {
            let (rounds, mut times) = (20_000, vec![0; end]);
            for _ in 0..rounds {
                let chosen = random.choose(count, end);
                assert_eq!(chosen.len(), count);
                assert!(chosen.is_sorted_by(|a, b| a < b));
                chosen.into_iter().for_each(|number| times[number] += 1);
            }
            let expected = (rounds * count / end) as i32;
            // Five standard deviations.
            let tolerance = 5 * (f64::from(expected).sqrt() as i32 + 1);
            assert!(
                times.iter().all(|&times: &i32| (times - expected).abs() <= tolerance),
                "{count} of {end}: {times:?}"
            );
        }
    }
}
