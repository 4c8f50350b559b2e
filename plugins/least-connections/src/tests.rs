use super::*;
use anubis_strategy::testing::{Simulation, counts, pool, request, survives_anything};

fn busy(list: &[(u32, u32)]) -> Vec<Backend> {
    let backend = |&(weight, in_flight)| Backend {
        weight,
        in_flight,
        ..Backend::default()
    };
    list.iter().map(backend).collect()
}

#[test]
fn the_least_loaded_for_its_weight_is_taken() {
    let pick = |list| LeastConnections.pick(&request(0), &busy(list));
    assert_eq!(pick(&[(1, 2), (1, 1), (1, 3)]), Ok(1));
    assert_eq!(pick(&[(1, 2), (10, 11), (1, 3)]), Ok(1));
    assert_eq!(pick(&[(65535, u32::MAX), (65534, u32::MAX)]), Ok(0));
}

/// Ties that always go to the first are the classic mistake.
#[test]
fn an_idle_pool_is_shared_by_weight() {
    assert_eq!(counts(&mut LeastConnections, &pool(&[1, 1]), 10), [5, 5]);
    let counts = counts(&mut LeastConnections, &pool(&[5, 1, 1]), 700);
    for (count, expected) in counts.into_iter().zip([500u64, 100, 100]) {
        assert!(count.abs_diff(expected) <= 3, "{count} {expected}");
    }
}

#[test]
fn ties_are_shared_among_the_tied_only() {
    let counts = counts(
        &mut LeastConnections,
        &busy(&[(1, 1), (1, 0), (2, 0), (1, 7)]),
        300,
    );
    assert_eq!((counts[0], counts[3]), (0, 0));
    // Where the turn comes to a busy one, the tied are drawn among.
    assert!(
        counts[1].abs_diff(100) <= 20 && counts[2].abs_diff(200) <= 20,
        "{counts:?}"
    );
}

#[test]
fn equal_backends_under_load_get_equal_parts() {
    let mut simulation = Simulation::new(pool(&[1, 1, 1]), &[1_000; 3]);
    for count in simulation.run(&mut LeastConnections, 3_000, 8) {
        assert!(count.abs_diff(1_000) < 120, "{count}");
    }
}

#[test]
fn a_slow_backend_gets_less_under_load_but_is_not_forgotten() {
    let mut simulation = Simulation::new(pool(&[1, 1]), &[1_000, 9_000]);
    let counts = simulation.run(&mut LeastConnections, 10_000, 10);
    assert!(counts[0] > 8_500 && counts[1] > 800, "{counts:?}");
}

#[test]
fn anything_goes() {
    survives_anything(LeastConnections);
}
