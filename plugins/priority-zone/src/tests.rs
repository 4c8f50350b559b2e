use super::*;
use anubis_strategy::testing::{counts, request, survives_anything};

fn configured(text: &str) -> PriorityZone {
    let mut strategy = PriorityZone::default();
    strategy.configure(text).expect("these are options");
    strategy
}

/// Backends by priority and whether they are in the own zone.
fn zoned(list: &[(u32, bool)]) -> Vec<Backend> {
    let backend = |(id, &(priority, own)): (usize, &(u32, bool))| Backend {
        id: id as u32,
        weight: 1,
        priority,
        state: if own { 2 } else { 0 },
        ..Backend::default()
    };
    list.iter().enumerate().map(backend).collect()
}

/// The parts (in %) that the listed get once the whole pool has been seen.
fn parts(strategy: &mut PriorityZone, pool: &[Backend], listed: &[usize]) -> Vec<u64> {
    strategy.pick(&request(0), pool).expect("it never refuses");
    let listed: Vec<Backend> = listed.iter().map(|&index| pool[index]).collect();
    counts(strategy, &listed, 10_000)
        .iter()
        .map(|count| (count + 50) / 100)
        .collect()
}

fn assert_close(parts: &[u64], expected: &[u64]) {
    let is_close = parts
        .iter()
        .zip(expected)
        .all(|(part, expected)| part.abs_diff(*expected) <= 2);
    assert!(
        is_close && parts.len() == expected.len(),
        "{parts:?}, expected {expected:?}"
    );
}

#[test]
fn the_first_priority_takes_all_while_enough_of_it_is_there() {
    let pool = zoned(&[(0, false), (0, false), (0, false), (0, false), (5, false)]);
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1, 2, 3, 4]),
        &[25, 25, 25, 25, 0],
    );
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1, 2, 4]),
        &[33, 33, 33, 0],
    );
}

/// 2 of 4 times 1.4 can take 70 %.
#[test]
fn what_it_cannot_take_spills_over() {
    let pool = zoned(&[(0, false), (0, false), (0, false), (0, false), (5, false)]);
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1, 4]),
        &[35, 35, 30],
    );
    assert_close(&parts(&mut PriorityZone::default(), &pool, &[4]), &[100]);
    let mut twice = configured(r#"{"overprovisioning": 2}"#);
    assert_close(&parts(&mut twice, &pool, &[0, 1, 4]), &[50, 50, 0]);
}

/// 1 of 4 and 1 of 4: 35 % each, so half each.
#[test]
fn where_all_together_cannot_take_it_each_takes_its_part() {
    let pool = zoned(&[
        (0, false),
        (0, false),
        (0, false),
        (0, false),
        (1, false),
        (1, false),
        (1, false),
        (1, false),
    ]);
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 4]),
        &[50, 50],
    );
}

#[test]
fn the_own_zone_comes_first_and_spills_over_to_the_others() {
    let pool = zoned(&[(0, true), (0, true), (0, false), (0, false)]);
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1, 2, 3]),
        &[50, 50, 0, 0],
    );
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 2, 3]),
        &[70, 15, 15],
    );
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[2, 3]),
        &[50, 50],
    );
    let mut no_zone = configured(r#"{"own-zone": false}"#);
    assert_close(
        &parts(&mut no_zone, &pool, &[0, 1, 2, 3]),
        &[25, 25, 25, 25],
    );
}

#[test]
fn a_better_priority_comes_before_the_own_zone() {
    let pool = zoned(&[(1, true), (0, false)]);
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1]),
        &[0, 100],
    );
}

#[test]
fn within_a_level_the_least_loaded_is_taken() {
    let mut pool = zoned(&[(0, true), (0, true), (0, false)]);
    pool[0].in_flight = 3;
    assert_close(
        &parts(&mut PriorityZone::default(), &pool, &[0, 1, 2]),
        &[0, 100, 0],
    );
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (
            r#"{"overprovisioning": 0.9}"#,
            "option `overprovisioning` must be between 1 and 100",
        ),
        (
            r#"{"own-zone": 1}"#,
            "option `own-zone` must be true or false",
        ),
        (
            r#"{"zone": "a"}"#,
            "unknown option `zone`; there is: `overprovisioning`, `own-zone`",
        ),
    ] {
        assert_eq!(PriorityZone::default().configure(text).unwrap_err(), error);
    }
}

#[test]
fn anything_goes() {
    survives_anything(PriorityZone::default());
}
