use super::*;
use anubis_strategy::testing::{Simulation, counts, pool, request, survives_anything};

fn timed(list: &[(u32, u32, u32)]) -> Vec<Backend> {
    let backend = |&(weight, in_flight, latency_us)| Backend {
        weight,
        in_flight,
        latency_us,
        ..Backend::default()
    };
    list.iter().map(backend).collect()
}

fn pick(list: &[(u32, u32, u32)]) -> usize {
    LeastTime::default()
        .pick(&request(0), &timed(list))
        .expect("it never refuses")
}

#[test]
fn the_soonest_is_taken() {
    assert_eq!(pick(&[(1, 0, 90_000), (1, 0, 50_000), (1, 0, 70_000)]), 1);
    assert_eq!(pick(&[(1, 0, 90_000), (1, 1, 50_000), (1, 9, 30_000)]), 0);
    assert_eq!(pick(&[(1, 2, 50_000), (10, 2, 50_000)]), 1);
}

/// A newcomer that scored 0 would get every request until its first answer.
#[test]
fn a_newcomer_is_not_flooded_and_not_forgotten() {
    let list = timed(&[(1, 0, 15_000), (1, 0, 0)]);
    let counts = counts(&mut LeastTime::default(), &list, 100);
    assert!(counts[0].abs_diff(50) <= 2, "{counts:?}");
    assert_eq!(pick(&[(1, 0, 15_000), (1, 1, 0)]), 0);
}

/// 5 of 1,500 was what an equal backend got elsewhere.
#[test]
fn an_equal_backend_is_not_starved() {
    for service_us in [300, 5_000, 80_000] {
        for at_once in [1, 4] {
            let mut simulation = Simulation::new(pool(&[1, 1, 1]), &[service_us; 3]);
            let counts = simulation.run(&mut LeastTime::default(), 1_500, at_once);
            for count in &counts {
                assert!(
                    count.abs_diff(500) < 60,
                    "{service_us} us, {at_once} at once: {counts:?}"
                );
            }
        }
    }
}

/// One slow answer must not keep a backend out for ever.
#[test]
fn a_backend_that_was_slow_once_is_asked_again() {
    let mut simulation = Simulation::new(pool(&[1, 1]), &[5_000, 200_000]);
    let mut strategy = LeastTime::default();
    simulation.run(&mut strategy, 20, 1);
    simulation.service_us = vec![5_000; 2];
    let counts = simulation.run(&mut strategy, 20_000, 1);
    assert!(counts[1] > 4_000, "{counts:?}");
}

#[test]
fn a_slow_backend_gets_less() {
    let mut simulation = Simulation::new(pool(&[1, 1]), &[30_000, 120_000]);
    let counts = simulation.run(&mut LeastTime::default(), 5_000, 10);
    assert!(counts[0] > 4 * counts[1] && counts[1] > 0, "{counts:?}");
}

#[test]
fn an_idle_pool_is_shared_by_weight() {
    let counts = counts(&mut LeastTime::default(), &pool(&[5, 1, 1]), 700);
    for (count, expected) in counts.into_iter().zip([500u64, 100, 100]) {
        assert!(count.abs_diff(expected) <= 3, "{count} {expected}");
    }
}

#[test]
fn what_counts_as_fast_can_be_set() {
    let list = timed(&[(1, 0, 3_000), (1, 0, 1_000)]);
    let mut strategy = LeastTime::default();
    strategy
        .configure(r#"{"default-latency": "1ms"}"#)
        .expect("it is an option");
    assert_eq!(counts(&mut strategy, &list, 100), [0, 100]);
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (
            r#"{"default-latency": "0s"}"#,
            "option `default-latency` must be between 1us and 1m",
        ),
        (
            r#"{"tau": "10s"}"#,
            "unknown option `tau`; there is: `default-latency`",
        ),
    ] {
        assert_eq!(LeastTime::default().configure(text).unwrap_err(), error);
    }
    assert_eq!(LeastTime::default().configure(""), Ok(()));
}

#[test]
fn anything_goes() {
    survives_anything(LeastTime::default());
}
