use super::*;
use anubis_strategy::testing::{Simulation, counts, pool, request, survives_anything};
use proptest::prelude::{prop, prop_assert, proptest};

fn configured(text: &str) -> ConsistentHash {
    let mut strategy = ConsistentHash::default();
    strategy.configure(text).expect("these are options");
    strategy
}

fn owner(strategy: &mut ConsistentHash, key: u64, backends: &[Backend]) -> u32 {
    backends[strategy
        .pick(&request(key), backends)
        .expect("it never refuses")]
    .id
}

#[test]
fn keys_are_shared_by_weight() {
    let counts = counts(&mut ConsistentHash::default(), &pool(&[5, 1, 4]), 10_000);
    for (count, expected) in counts.into_iter().zip([5_000u64, 1_000, 4_000]) {
        assert!(count.abs_diff(expected) < 250, "{count} {expected}");
    }
}

#[test]
fn an_overloaded_backend_lets_its_keys_go_and_gets_them_back() {
    let mut strategy = ConsistentHash::default();
    let mut backends = pool(&[1; 4]);
    for key in 0..100 {
        let first = owner(&mut strategy, key, &backends) as usize;
        backends[first].in_flight = 50;
        assert_ne!(owner(&mut strategy, key, &backends), first as u32);
        backends[first].in_flight = 0;
        assert_eq!(owner(&mut strategy, key, &backends), first as u32);
    }
}

/// With every request for one key, no backend has more than the bound.
#[test]
fn one_popular_key_does_not_drown_its_backend() {
    #[derive(Default)]
    struct OneKey(ConsistentHash);
    impl Strategy for OneKey {
        fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
            let total: u32 = backends.iter().map(|backend| backend.in_flight).sum();
            let bound = (1.25 * f64::from(total + 1) / backends.len() as f64).ceil();
            let index = self.0.pick(
                &Request {
                    key: 42,
                    ..*request
                },
                backends,
            )?;
            assert!(f64::from(backends[index].in_flight + 1) <= bound);
            Ok(index)
        }
    }
    let mut simulation = Simulation::new(pool(&[1; 5]), &[1_000; 5]);
    simulation.run(&mut OneKey::default(), 5_000, 40);
}

#[test]
fn without_a_bound_the_key_stays() {
    let mut strategy = configured(r#"{"bound": 0}"#);
    let mut backends = pool(&[1; 4]);
    let first = owner(&mut strategy, 5, &backends);
    backends[first as usize].in_flight = u32::MAX;
    assert_eq!(owner(&mut strategy, 5, &backends), first);
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (r#"{"bound": 1}"#, "option `bound` must be 0 or more than 1"),
        (r#"{"bound": "x"}"#, "option `bound` must be a number"),
        (
            r#"{"bounds": 2}"#,
            "unknown option `bounds`; there is: `bound`",
        ),
    ] {
        assert_eq!(
            ConsistentHash::default().configure(text).unwrap_err(),
            error
        );
    }
    assert_eq!(configured(r#"{"bound": 1.5}"#).bound, 1.5);
}

#[test]
fn anything_goes() {
    survives_anything(ConsistentHash::default());
    survives_anything(configured(r#"{"bound": 0}"#));
}

proptest! {
    /// Also right after the change, with a list in another order.
    #[test]
    fn who_leaves_an_idle_pool_moves_only_its_own_keys(
        weights in prop::collection::vec(1u32..=100, 2..10),
        leaves: prop::sample::Index,
    ) {
        let (all, mut strategy) = (pool(&weights), ConsistentHash::default());
        let mut fewer = all.clone();
        let gone = fewer.remove(leaves.index(all.len())).id;
        fewer.reverse();
        for key in 0..100 {
            let before = owner(&mut strategy, key, &all);
            prop_assert!(before == gone || owner(&mut strategy, key, &fewer) == before);
        }
    }
}
