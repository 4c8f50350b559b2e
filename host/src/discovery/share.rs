//! What each address of a service gets of its target's weight. Pure.

/// The weights of one address of each target, from the targets' weights (RFC
/// 2782; 0 is the least there is) and how many addresses they have: a target with
/// two addresses gets no more than one with a single address. Between 1 and
/// 65535; as they were where all have as many addresses.
pub fn shares(targets: &[(u16, usize)]) -> Vec<u16> {
    let counts = targets
        .iter()
        .map(|&(_, addresses)| addresses.max(1) as u64);
    let common = counts.fold(1, least_common_multiple);
    let evenly = targets
        .iter()
        .all(|&(_, addresses)| addresses == targets[0].1);
    let share = |&(weight, addresses): &(u16, usize)| {
        let parts = match evenly {
            true => 1.0,
            false => common as f64 / addresses.max(1) as f64,
        };
        f64::from(weight.max(1)) * parts
    };
    let exact: Vec<f64> = targets.iter().map(share).collect();
    let most = exact.iter().copied().fold(1.0, f64::max);
    let scale = (f64::from(u16::MAX) / most).min(1.0);
    let round = |share: f64| (share * scale).round().clamp(1.0, f64::from(u16::MAX)) as u16;
    exact.into_iter().map(round).collect()
}

/// Bounded, where it would grow beyond what a weight can tell apart.
fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x * b).min(1 << 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_stay_where_there_is_nothing_to_divide() {
        assert_eq!(shares(&[(10, 1), (65_535, 1), (0, 1)]), [10, 65_535, 1]);
        assert_eq!(shares(&[(3, 2), (5, 2)]), [3, 5]);
        assert_eq!(shares(&[]), [0; 0]);
    }

    #[test]
    fn a_target_does_not_get_more_for_its_addresses() {
        assert_eq!(shares(&[(10, 2), (10, 1)]), [10, 20]);
        assert_eq!(shares(&[(1, 2), (1, 3)]), [3, 2]);
        assert_eq!(shares(&[(65_535, 1), (65_535, 2)]), [65_535, 32_768]);
    }

    proptest! {
        #[test]
        fn a_share_is_a_weight_and_more_weight_is_never_less(
            targets in proptest::collection::vec((any::<u16>(), 1_usize..300), 1..40),
        ) {
            let shares = shares(&targets);
            prop_assert_eq!(shares.len(), targets.len());
            prop_assert!(shares.iter().all(|&share| share > 0));
            for (one, share) in targets.iter().zip(&shares) {
                for (other, least) in targets.iter().zip(&shares) {
                    if one.1 == other.1 && one.0 > other.0 {
                        prop_assert!(share >= least);
                    }
                }
            }
        }
    }
}
