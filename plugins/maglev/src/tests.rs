use super::*;
use anubis_strategy::testing::{counts, pool, request, survives_anything};

fn owner(strategy: &mut Maglev, key: u64, generation: u32, backends: &[Backend]) -> u32 {
    let request = Request {
        generation,
        ..request(key)
    };
    backends[strategy.pick(&request, backends).expect("it never refuses")].id
}

fn owners(strategy: &mut Maglev, generation: u32, backends: &[Backend]) -> Vec<u32> {
    (0..2000)
        .map(|key| owner(strategy, key, generation, backends))
        .collect()
}

#[test]
fn keys_are_shared_by_weight() {
    let counts = counts(&mut Maglev::default(), &pool(&[5, 1, 4]), 10_000);
    for (count, expected) in counts.into_iter().zip([5_000u64, 1_000, 4_000]) {
        assert!(count.abs_diff(expected) < 250, "{count} {expected}");
    }
}

#[test]
fn instances_agree_whatever_the_order_of_the_list() {
    let backends = pool(&[1, 2, 3, 4]);
    let reversed: Vec<Backend> = backends.iter().rev().copied().collect();
    let expected = owners(&mut Maglev::default(), 1, &backends);
    assert_eq!(owners(&mut Maglev::default(), 7, &reversed), expected);
}

/// Full or already tried: the list is shorter, the pool is not.
#[test]
fn a_backend_left_out_for_a_pick_moves_only_its_own_keys_and_gets_them_back() {
    let all = pool(&[1, 2, 1, 3]);
    let mut strategy = Maglev::default();
    let before = owners(&mut strategy, 1, &all);
    for left_out in 0..4u32 {
        let fewer: Vec<Backend> = all
            .iter()
            .filter(|backend| backend.id != left_out)
            .copied()
            .collect();
        let during = owners(&mut strategy, 1, &fewer);
        for (before, during) in before.iter().zip(&during) {
            assert!(*during != left_out && (before == during || *before == left_out));
        }
        assert_eq!(owners(&mut strategy, 1, &all), before);
    }
}

/// An instance whose first pick is on a short list must come to agree with the
/// others.
#[test]
fn what_was_missing_at_first_takes_its_place_in_the_table() {
    let all = pool(&[1; 5]);
    let mut late = Maglev::default();
    owners(&mut late, 1, &all[..3]);
    assert_eq!(
        owners(&mut late, 1, &all),
        owners(&mut Maglev::default(), 1, &all)
    );
}

#[test]
fn a_new_generation_forgets_who_left_it() {
    let all = pool(&[1; 5]);
    let mut old = Maglev::default();
    owners(&mut old, 1, &all);
    assert_eq!(
        owners(&mut old, 2, &all[..4]),
        owners(&mut Maglev::default(), 2, &all[..4])
    );
    assert_eq!(old.table.members().len(), 4);
}

/// The generation may change with nothing of interest here.
#[test]
fn a_new_generation_with_the_same_list_forgets_too() {
    let all = pool(&[1; 5]);
    let mut strategy = Maglev::default();
    owner(&mut strategy, 1, 1, &all);
    owner(&mut strategy, 1, 1, &all[..4]);
    owner(&mut strategy, 1, 2, &all[..4]);
    assert_eq!(strategy.table.members().len(), 4);
}

#[test]
fn a_growing_weight_builds_few_tables() {
    let weight = |weight| Backend {
        weight,
        state: 1,
        ..Backend::default()
    };
    let mut steps: Vec<u32> = (6553..=65535)
        .map(|grown| steady_weight(&weight(grown)))
        .collect();
    assert!(steps.is_sorted());
    steps.dedup();
    assert!(steps.len() <= 8, "{steps:?}");
    assert_eq!(
        steady_weight(&Backend {
            weight: 6553,
            ..Backend::default()
        }),
        6553
    );
    assert_eq!(
        [1, 2, 3, 0].map(|w| steady_weight(&weight(w))),
        [1, 2, 3, 1]
    );
}

#[test]
fn anything_goes() {
    survives_anything(Maglev::default());
}
