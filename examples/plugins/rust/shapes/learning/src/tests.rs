//! Native: `cargo test` needs no WebAssembly.

use super::*;
use anubis_strategy::testing::{pool, survives_anything};

fn outcome(id: u32, latency_us: u32, status: u32) -> Outcome {
    Outcome {
        id,
        latency_us,
        status,
        ..Outcome::default()
    }
}

fn pick(strategy: &mut Learned, backends: &[Backend]) -> u32 {
    let index = strategy.pick(&Request::default(), backends).unwrap();
    backends[index].id
}

#[test]
fn the_quickest_is_picked_and_failures_count_as_slow() {
    let backends = pool(&[1, 1, 1]);
    let [a, b, c] = [0, 1, 2].map(|index| backends[index].id);
    let mut strategy = Learned::default();
    let seen = [
        outcome(a, 9_000, 200),
        outcome(b, 3_000, 200),
        outcome(c, 100, 503),
    ];
    strategy.observe(&seen);
    assert_eq!(pick(&mut strategy, &backends), b);
}

#[test]
fn what_was_learned_is_handed_over() {
    let backends = pool(&[1, 1]);
    let mut old = Learned::default();
    old.observe(&[
        outcome(backends[0].id, 9_000, 200),
        outcome(backends[1].id, 1_000, 200),
    ]);
    let mut new = Learned::default();
    new.restore(&old.save()).unwrap();
    assert_eq!(pick(&mut new, &backends), backends[1].id);
    assert!(new.restore(b"nonsense?").is_err());
}

#[test]
fn no_input_makes_it_panic() {
    survives_anything(Learned::default());
}
