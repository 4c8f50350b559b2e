use super::*;
use anubis_strategy::testing::{counts, pool, request, survives_anything};
use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

#[test]
fn the_same_request_is_the_same_pick() {
    let backends = pool(&[1; 100]);
    for number in 0..100 {
        let picks = [(); 2].map(|()| Draw.pick(&request(number), &backends));
        assert_eq!(picks[0], picks[1]);
    }
}

#[test]
fn anything_goes() {
    survives_anything(Draw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn shares_go_by_weight(weights in prop::collection::vec(1u32..=65535, 1..10)) {
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let counts = counts(&mut Draw, &pool(&weights), 10_000);
        for (count, weight) in counts.into_iter().zip(weights) {
            let expected = 10_000 * u64::from(weight) / total;
            prop_assert!(count.abs_diff(expected) < 250, "{} {}", count, expected);
        }
    }
}
