use super::*;
use anubis_strategy::testing::{Simulation, counts, pool, request, survives_anything};

#[test]
fn of_two_the_less_loaded_is_always_taken() {
    let mut backends = pool(&[1, 1]);
    backends[0].in_flight = 1;
    assert_eq!(counts(&mut TwoChoices::default(), &backends, 100), [0, 100]);
    backends[1].in_flight = 2;
    assert_eq!(counts(&mut TwoChoices::default(), &backends, 100), [100, 0]);
}

#[test]
fn one_is_enough() {
    assert_eq!(TwoChoices::default().pick(&request(0), &pool(&[1])), Ok(0));
}

/// The most loaded of all can only be picked if one were drawn twice.
#[test]
fn the_two_are_different_ones() {
    let mut backends = pool(&[1; 10]);
    backends[7].in_flight = 1;
    assert_eq!(counts(&mut TwoChoices::default(), &backends, 5_000)[7], 0);
}

#[test]
fn an_idle_pool_is_shared_by_weight() {
    let counts = counts(&mut TwoChoices::default(), &pool(&[5, 1, 4]), 10_000);
    for (count, expected) in counts.into_iter().zip([5_000u64, 1_000, 4_000]) {
        assert!(count.abs_diff(expected) < 250, "{count} {expected}");
    }
}

#[test]
fn under_load_the_slower_gets_less() {
    let mut simulation = Simulation::new(pool(&[1; 4]), &[1_000, 1_000, 1_000, 10_000]);
    let counts = simulation.run(&mut TwoChoices::default(), 20_000, 16);
    assert!(counts[3] * 4 < counts[0] && counts[3] > 200, "{counts:?}");
}

#[test]
fn more_choices_find_the_idle_one_more_often() {
    let mut backends = pool(&[1; 20]);
    backends[1..]
        .iter_mut()
        .for_each(|backend| backend.in_flight = 1);
    let mut more = TwoChoices::default();
    more.configure(r#"{"choices": 10}"#)
        .expect("it is an option");
    let [two, ten] = [TwoChoices::default(), more].map(|mut s| counts(&mut s, &backends, 1_000)[0]);
    assert!(
        two.abs_diff(100) < 40 && ten.abs_diff(500) < 70,
        "{two} {ten}"
    );
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (
            r#"{"choices": 1}"#,
            "option `choices` must be between 2 and 16",
        ),
        (
            r#"{"choice": 2}"#,
            "unknown option `choice`; there is: `choices`",
        ),
    ] {
        assert_eq!(TwoChoices::default().configure(text).unwrap_err(), error);
    }
}

#[test]
fn anything_goes() {
    survives_anything(TwoChoices { choices: 16 });
    survives_anything(TwoChoices::default());
}
