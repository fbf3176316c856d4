//! Which shard gets how many slots: pure arithmetic over weights.

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
