//! Native: `cargo test` needs no WebAssembly.

use super::*;
use anubis_strategy::testing::{counts, pool, survives_anything};

#[test]
fn the_quickest_is_picked() {
    let mut backends = pool(&[1, 1, 1]);
    for (backend, latency_us) in backends.iter_mut().zip([90_000, 30_000, 60_000]) {
        backend.latency_us = latency_us;
    }
    let picked = LeastTime.pick(&Request::default(), &backends);
    assert_eq!(picked, Ok(1));
}

#[test]
fn who_is_busy_takes_longer() {
    let mut backends = pool(&[1, 1]);
    backends[0].in_flight = 3;
    assert_eq!(LeastTime.pick(&Request::default(), &backends), Ok(1));
}

#[test]
fn equals_take_turns_by_weight() {
    let counts = counts(&mut LeastTime, &pool(&[3, 1]), 400);
    assert!((295..=305).contains(&counts[0]), "{counts:?}");
}

#[test]
fn no_input_makes_it_panic() {
    survives_anything(LeastTime);
}
