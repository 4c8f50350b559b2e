use super::*;
use anubis_strategy::testing::{Simulation, counts, pool, survives_anything};

fn timed(list: &[(u32, u32, u32)]) -> Vec<Backend> {
    let backend = |&(weight, in_flight, latency_us)| Backend {
        weight,
        in_flight,
        latency_us,
        ..Backend::default()
    };
    list.iter().map(backend).collect()
}

#[test]
fn of_two_the_sooner_is_always_taken() {
    let list = timed(&[(1, 0, 9_000), (1, 0, 5_000)]);
    assert_eq!(counts(&mut PeakEwma::default(), &list, 100), [0, 100]);
    let list = timed(&[(1, 0, 9_000), (1, 1, 5_000)]);
    assert_eq!(counts(&mut PeakEwma::default(), &list, 100), [100, 0]);
}

/// The slowest of all can only be picked if one were drawn twice.
#[test]
fn the_two_are_different_ones() {
    let mut list = timed(&[(1, 0, 5_000); 10]);
    list[3].latency_us = 5_001;
    assert_eq!(counts(&mut PeakEwma::default(), &list, 5_000)[3], 0);
}

#[test]
fn a_newcomer_gets_its_share_until_it_is_known() {
    let list = timed(&[(1, 0, 2_000), (1, 0, 0)]);
    let counts_idle = counts(&mut PeakEwma::default(), &list, 1_000);
    assert!(counts_idle[1].abs_diff(500) < 60, "{counts_idle:?}");
    let list = timed(&[(1, 0, 2_000), (1, 1, 0)]);
    assert_eq!(counts(&mut PeakEwma::default(), &list, 100), [100, 0]);
}

#[test]
fn a_backend_that_was_slow_once_is_asked_again() {
    let mut simulation = Simulation::new(pool(&[1, 1]), &[5_000, 200_000]);
    let mut strategy = PeakEwma::default();
    simulation.run(&mut strategy, 20, 1);
    simulation.service_us = vec![5_000; 2];
    let counts = simulation.run(&mut strategy, 20_000, 1);
    assert!(counts[1] > 300, "{counts:?}");
    let counts = simulation.run(&mut strategy, 20_000, 1);
    assert!(counts[1] > 5_000, "{counts:?}");
}

#[test]
fn equally_fast_ones_are_shared_by_weight() {
    let list = timed(&[(5, 0, 800), (1, 0, 400), (4, 0, 999)]);
    let counts = counts(&mut PeakEwma::default(), &list, 10_000);
    for (count, expected) in counts.into_iter().zip([5_000u64, 1_000, 4_000]) {
        assert!(count.abs_diff(expected) < 250, "{count} {expected}");
    }
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (
            r#"{"floor": "0s"}"#,
            "option `floor` must be between 1us and 1m",
        ),
        (
            r#"{"tau": "10s"}"#,
            "unknown option `tau`; there is: `floor`",
        ),
    ] {
        assert_eq!(PeakEwma::default().configure(text).unwrap_err(), error);
    }
}

#[test]
fn anything_goes() {
    survives_anything(PeakEwma::default());
}
