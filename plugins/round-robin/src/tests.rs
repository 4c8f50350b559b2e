use super::*;
use anubis_strategy::testing::{counts, pool, request, survives_anything};
use proptest::prelude::{prop, prop_assert_eq, proptest};

fn turns(
    strategy: &mut RoundRobin,
    backends: &[Backend],
    sequences: impl Iterator<Item = u64>,
) -> Vec<usize> {
    let pick = |sequence| strategy.pick(&request(sequence), backends);
    sequences
        .map(pick)
        .collect::<Result<_, _>>()
        .expect("it never refuses")
}

#[test]
fn five_one_one_is_smooth() {
    let order = turns(&mut RoundRobin::default(), &pool(&[5, 1, 1]), 0..14);
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

/// Two workers that share the pool's count of picks keep one order.
#[test]
fn two_instances_are_exact_together() {
    let backends = pool(&[5, 1, 1]);
    let (mut one, mut other) = (RoundRobin::default(), RoundRobin::default());
    let even = turns(&mut one, &backends, (0..70).step_by(2));
    let odd = turns(&mut other, &backends, (1..70).step_by(2));
    let count = |index| {
        even.iter()
            .chain(&odd)
            .filter(|&&picked| picked == index)
            .count()
    };
    assert_eq!([count(0), count(1), count(2)], [50, 10, 10]);
}

/// Where one of four is down, the others' shares stay equal: its successor does
/// not get two.
#[test]
fn the_successor_of_a_missing_one_gets_no_double_share() {
    let mut backends = pool(&[2, 2, 2, 2]);
    backends.remove(1);
    assert_eq!(
        counts(&mut RoundRobin::default(), &backends, 300),
        [100, 100, 100]
    );
}

/// A list that lacks a backend for one pick takes nothing from the order of the
/// others.
#[test]
fn a_shorter_list_in_between_changes_nothing() {
    let (full, short) = (pool(&[3, 2, 1]), pool(&[3, 2]));
    let mut disturbed = RoundRobin::default();
    for sequence in 0..60 {
        turns(&mut disturbed, &short, sequence..sequence + 1);
        let expected = turns(&mut RoundRobin::default(), &full, sequence..sequence + 1);
        assert_eq!(
            turns(&mut disturbed, &full, sequence..sequence + 1),
            expected
        );
    }
}

#[test]
fn equal_weights_take_turns_in_order() {
    assert_eq!(
        turns(&mut RoundRobin::default(), &pool(&[9, 9, 9]), 0..7),
        [0, 1, 2, 0, 1, 2, 0]
    );
}

#[test]
fn anything_goes() {
    survives_anything(RoundRobin::default());
}

proptest! {
    #[test]
    fn shares_are_exact_over_the_sum_of_the_weights(
        weights in prop::collection::vec(1u32..=300, 1..20),
    ) {
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let expected: Vec<u64> = weights.iter().map(|&weight| u64::from(weight)).collect();
        prop_assert_eq!(counts(&mut RoundRobin::default(), &pool(&weights), total), expected);
    }
}
