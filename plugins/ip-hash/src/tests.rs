use super::*;
use anubis_strategy::testing::{counts, pool, request, survives_anything};

fn owner(strategy: &mut IpHash, key: u64, backends: &[Backend]) -> u32 {
    let request = Request {
        key: request(key).key,
        ..request(key * 7 + 1)
    };
    backends[strategy.pick(&request, backends).expect("it never refuses")].id
}

#[test]
fn a_client_keeps_its_backend_whatever_the_load_and_the_order() {
    let (mut one, mut other) = (IpHash::default(), IpHash::default());
    let mut backends = pool(&[1; 5]);
    for key in 0..300 {
        let before = owner(&mut one, key, &backends);
        backends[before as usize].in_flight += 1000;
        assert_eq!(owner(&mut one, key, &backends), before);
        let reversed: Vec<Backend> = backends.iter().rev().copied().collect();
        assert_eq!(owner(&mut other, key, &reversed), before);
    }
}

#[test]
fn only_the_clients_of_who_leaves_move() {
    let (all, mut strategy) = (pool(&[1, 3, 2, 1]), IpHash::default());
    let without: Vec<Backend> = all
        .iter()
        .filter(|backend| backend.id != 1)
        .copied()
        .collect();
    for key in 0..1000 {
        let before = owner(&mut strategy, key, &all);
        assert!(before == 1 || owner(&mut strategy, key, &without) == before);
    }
}

#[test]
fn clients_are_shared_by_weight() {
    let counts = counts(&mut IpHash::default(), &pool(&[5, 1, 4]), 10_000);
    for (count, expected) in counts.into_iter().zip([5_000u64, 1_000, 4_000]) {
        assert!(count.abs_diff(expected) < 250, "{count} {expected}");
    }
}

#[test]
fn anything_goes() {
    survives_anything(IpHash::default());
}
