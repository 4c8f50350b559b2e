//! Native: `cargo test` needs no WebAssembly.

use super::*;
use anubis_strategy::testing::{Simulation, pool, survives_anything};

/// One request after the other at backends that take 20, 5 and 40 ms.
fn one_by_one() -> Simulation {
    Simulation::new(pool(&[1, 1, 1]), &[20_000, 5_000, 40_000])
}

fn configured(text: &str) -> Bandit {
    let mut bandit = Bandit::default();
    bandit.configure(text).expect("these are options");
    bandit
}

fn share(counts: &[u64], index: usize) -> f64 {
    counts[index] as f64 / counts.iter().sum::<u64>() as f64
}

#[test]
fn it_finds_the_best_and_explores_no_more_than_it_may() {
    for (text, explore) in [("", 0.05), (r#"{"explore": 0.2}"#, 0.2)] {
        let (mut bandit, mut pool) = (configured(text), one_by_one());
        let first = pool.learn(&mut bandit, 200, 1);
        assert!(first.iter().all(|count| *count > 0), "{first:?}");
        let then = pool.learn(&mut bandit, 10_000, 1);
        // Half as much again, as the draw is by chance.
        assert!(share(&then, 1) > 1.0 - 1.5 * explore, "{then:?}");
    }
}

#[test]
fn it_notices_that_the_best_has_become_slow_and_that_it_is_well_again() {
    let (mut bandit, mut pool) = (Bandit::default(), one_by_one());
    pool.learn(&mut bandit, 2_000, 1);
    pool.service_us[1] = 400_000;
    pool.learn(&mut bandit, 100, 1);
    let slow = pool.learn(&mut bandit, 2_000, 1);
    assert!(share(&slow, 0) > 0.9, "{slow:?}");
    pool.service_us[1] = 5_000;
    // 40 seconds.
    pool.learn(&mut bandit, 2_000, 1);
    let well = pool.learn(&mut bandit, 2_000, 1);
    assert!(share(&well, 1) > 0.9, "{well:?}");
}

#[test]
fn who_fails_quickly_is_not_quick() {
    for status in [503, 0] {
        let (mut bandit, mut pool) = (Bandit::default(), one_by_one());
        pool.status[1] = status;
        pool.learn(&mut bandit, 200, 1);
        let counts = pool.learn(&mut bandit, 10_000, 1);
        assert!(share(&counts, 1) < 0.02, "{counts:?}");
        pool.status[1] = 200;
        pool.learn(&mut bandit, 2_000, 1);
        let counts = pool.learn(&mut bandit, 2_000, 1);
        assert!(share(&counts, 1) > 0.9, "{counts:?}");
    }
}

/// As the README says.
#[test]
fn who_failed_is_tried_again_within_a_minute() {
    /// A bandit, and when it asked the second backend.
    #[derive(Default)]
    struct Watched(Bandit, Vec<u64>);
    impl Strategy for Watched {
        fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
            let index = self.0.pick(request, backends)?;
            self.1.extend((index == 1).then_some(request.now_us));
            Ok(index)
        }
    }
    impl Configure for Watched {
        fn configure(&mut self, text: &str) -> Result<(), String> {
            self.0.configure(text)
        }
    }
    impl Learn for Watched {
        fn observe(&mut self, outcomes: &[Outcome]) {
            self.0.observe(outcomes);
        }
    }
    let (mut bandit, mut pool) = (Watched::default(), one_by_one());
    pool.learn(&mut bandit, 5_000, 1);
    pool.status[1] = 503;
    // Five minutes at 20 ms.
    pool.learn(&mut bandit, 15_000, 1);
    let waits = bandit.1.windows(2).map(|two| two[1] - two[0]);
    let longest_us = waits.max().unwrap();
    assert!(
        (1_000_000..60_000_000).contains(&longest_us),
        "{longest_us}"
    );
    // It was not tried much oftener than that either.
    assert!(bandit.1.len() < 5_200, "{}", bandit.1.len());
}

#[test]
fn when_there_is_much_to_do_the_others_help() {
    let (mut bandit, mut pool) = (Bandit::default(), one_by_one());
    pool.learn(&mut bandit, 1_000, 32);
    let counts = pool.learn(&mut bandit, 10_000, 32);
    // In flight they are as 1 / time, so each serves as 1 / time squared: of 100
    // requests 5.8, 92.7 and 1.4, but that only whole ones are in flight.
    assert!((0.045..0.07).contains(&share(&counts, 0)), "{counts:?}");
    assert!((0.91..0.945).contains(&share(&counts, 1)), "{counts:?}");
    assert!((0.005..0.02).contains(&share(&counts, 2)), "{counts:?}");
}

#[test]
fn equals_share() {
    let (mut bandit, mut pool) = (
        Bandit::default(),
        Simulation::new(pool(&[1; 4]), &[9_000; 4]),
    );
    let counts = pool.learn(&mut bandit, 10_000, 4);
    for index in 0..4 {
        assert!((0.2..0.3).contains(&share(&counts, index)), "{counts:?}");
    }
}

#[test]
fn a_newcomer_gets_its_chance_and_is_not_overrun() {
    let mut bandit = Bandit::default();
    one_by_one().learn(&mut bandit, 2_000, 1);
    let mut backends = pool(&[1; 4]);
    let index = bandit.exploit(&backends, 0);
    assert!(matches!(index, Some(1 | 3)), "{index:?}");
    backends[3].in_flight = 1;
    assert_eq!(bandit.exploit(&backends, 0), Some(1));
}

#[test]
fn a_successor_knows_what_was_learned_also_late_in_the_day() {
    let mut old = Bandit::default();
    one_by_one().learn(&mut old, 2_000, 1);
    let mut new = Bandit::default();
    new.restore(&old.save()).unwrap();
    let request = Request {
        now_us: 86_400_000_000,
        random: 1 << 40,
        ..Request::default()
    };
    new.pick(&request, &pool(&[1; 3])).unwrap();
    assert_eq!(new.save(), old.save());
    assert_eq!(new.exploit(&pool(&[1; 3]), 0), Some(1));
}

#[test]
fn other_bytes_are_refused_and_change_nothing() {
    let mut bandit = Bandit::default();
    one_by_one().learn(&mut bandit, 100, 1);
    let saved = bandit.save();
    assert!(bandit.restore(b"nonsense").is_err());
    assert!(bandit.restore(&[0xff; 28]).is_err());
    assert!(bandit.restore(&[0; 29]).is_err());
    assert_eq!(bandit.save(), saved);
}

#[test]
fn a_client_that_left_says_nothing() {
    let mut bandit = Bandit::default();
    bandit.observe(&[Outcome {
        failure: 5,
        latency_us: 1,
        ..Outcome::default()
    }]);
    assert!(bandit.save().is_empty());
}

#[test]
fn ever_other_backends_take_no_more_room() {
    let mut bandit = Bandit::default();
    for id in 0..25_000 {
        bandit.observe(&[Outcome {
            id,
            latency_us: id,
            status: 200,
            ..Outcome::default()
        }]);
    }
    let saved = bandit.save().len();
    assert!((28..=280_000).contains(&saved), "{saved}");
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    for (text, said) in [
        (r#"{"explore": 0.9}"#, "explore"),
        (r#"{"explored": 0.1}"#, "explored"),
        (r#"{"half-life": "1ms"}"#, "half-life"),
        (r#"{"failure": 3}"#, "failure"),
    ] {
        let error = Bandit::default().configure(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn no_input_makes_it_panic() {
    survives_anything(Bandit::default());
}
