use super::*;
use anubis_strategy::testing::{Simulation, pool, request, survives_anything};

fn configured(text: &str) -> FirstFit {
    let mut strategy = FirstFit::default();
    strategy.configure(text).expect("these are options");
    strategy
}

fn filled(list: &[(u32, u32)]) -> Vec<Backend> {
    let backend = |&(capacity, in_flight)| Backend {
        capacity,
        in_flight,
        weight: 1,
        ..Backend::default()
    };
    list.iter().map(backend).collect()
}

fn pick(strategy: &mut FirstFit, list: &[(u32, u32)]) -> usize {
    strategy
        .pick(&request(0), &filled(list))
        .expect("it never refuses")
}

#[test]
fn one_is_filled_before_the_next() {
    let mut strategy = FirstFit::default();
    assert_eq!(pick(&mut strategy, &[(10, 9), (10, 0), (10, 0)]), 0);
    assert_eq!(pick(&mut strategy, &[(10, 10), (10, 0), (10, 0)]), 1);
    assert_eq!(pick(&mut strategy, &[(10, 10), (10, 12), (0, 500)]), 2);
}

#[test]
fn the_priority_comes_before_the_order() {
    let mut backends = filled(&[(10, 0), (10, 0), (10, 0)]);
    backends[0].priority = 2;
    backends[2].priority = 1;
    assert_eq!(FirstFit::default().pick(&request(0), &backends), Ok(1));
}

#[test]
fn where_all_are_full_the_emptiest_takes_it() {
    assert_eq!(
        pick(&mut FirstFit::default(), &[(10, 15), (100, 120), (10, 13)]),
        1
    );
}

#[test]
fn fill_leaves_a_reserve() {
    let mut strategy = configured(r#"{"fill": 0.8}"#);
    assert_eq!(pick(&mut strategy, &[(10, 7), (10, 0)]), 0);
    assert_eq!(pick(&mut strategy, &[(10, 8), (10, 0)]), 1);
    assert_eq!(pick(&mut strategy, &[(10, 9), (10, 8)]), 1);
}

#[test]
fn a_default_capacity_limits_those_without_one() {
    let mut strategy = configured(r#"{"default-capacity": 5}"#);
    assert_eq!(pick(&mut strategy, &[(0, 5), (0, 0)]), 1);
    assert_eq!(pick(&mut strategy, &[(6, 5), (0, 0)]), 0);
}

#[test]
fn as_few_as_possible_are_busy() {
    let mut backends = pool(&[1; 4]);
    backends.iter_mut().for_each(|backend| backend.capacity = 5);
    let mut simulation = Simulation::new(backends, &[1_000; 4]);
    let counts = simulation.run(&mut FirstFit::default(), 1_000, 8);
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    assert_eq!(&counts[2..], [0, 0]);
}

#[test]
fn options_are_checked() {
    for (text, error) in [
        (
            r#"{"fill": 1.5}"#,
            "option `fill` must be between 0.001 and 1",
        ),
        (
            r#"{"capacity": 3}"#,
            "unknown option `capacity`; there is: `default-capacity`, `fill`",
        ),
    ] {
        assert_eq!(FirstFit::default().configure(text).unwrap_err(), error);
    }
}

#[test]
fn anything_goes() {
    survives_anything(FirstFit::default());
    survives_anything(configured(r#"{"default-capacity": 3, "fill": 0.5}"#));
}
