//! Slow start: the weight of a backend that came back grows from a tenth to the
//! whole (nginx and HAProxy call it so).
//!
//! In ten steps and not continuously, because every change of a weight makes
//! strategies forget what they worked out.

use super::Row;

const STEPS: u64 = 10;
/// The largest weight that strategies are promised.
const HEAVIEST: u32 = 65_535;

/// How many tenths of its weight a backend has `elapsed_us` after its return,
/// at least one; `None`: all of it.
pub fn step(elapsed_us: u64, window_us: u64) -> Option<u64> {
    let step = elapsed_us.saturating_mul(STEPS).checked_div(window_us)?;
    (step < STEPS).then_some(step.max(1))
}

/// The same in percent.
pub fn percent(elapsed_us: u64, window_us: u64) -> Option<u32> {
    step(elapsed_us, window_us).map(|step| (step * 100 / STEPS) as u32)
}

/// When a backend that returned at `since_us` has one tenth more than `step`.
pub fn next_us(since_us: u64, step: u64, window_us: u64) -> u64 {
    // Rounded up: a moment earlier it would still be the same step.
    since_us.saturating_add((window_us.saturating_mul(step + 1)).div_ceil(STEPS))
}

/// Takes the weights down to their tenths. Weights mean something only beside
/// each other: all are raised so far that a tenth of the lightest is still a
/// whole number, where there is room for that.
pub fn apply(rows: &mut [Row], steps: &[Option<u64>]) {
    if steps.iter().all(Option::is_none) {
        return;
    }
    let heaviest = rows.iter().map(|row| row.weight).max().unwrap_or(1).max(1);
    let raise = (HEAVIEST / heaviest).clamp(1, STEPS as u32);
    for (row, step) in rows.iter_mut().zip(steps) {
        row.weight *= raise;
        if let Some(step) = *step {
            let weight = u64::from(row.weight) * step / STEPS;
            row.weight = (weight as u32).max(1);
            row.state |= Row::SLOW_START;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenth_at_first_and_all_of_it_in_the_end() {
        let seconds = |s: u64| s * 1_000_000;
        for (elapsed, expected) in [
            (0, Some(1)),
            (1, Some(1)),
            (6, Some(2)),
            (15, Some(5)),
            (29, Some(9)),
            (30, None),
            (3000, None),
        ] {
            assert_eq!(step(seconds(elapsed), seconds(30)), expected, "{elapsed} s");
        }
        assert_eq!(step(5, 0), None, "without a window there is no slow start");
    }

    fn rows(weights: &[u32]) -> Vec<Row> {
        let row = |&weight: &u32| Row {
            weight,
            ..Row::default()
        };
        weights.iter().map(row).collect()
    }

    fn grown(weights: &[u32], steps: &[Option<u64>]) -> Vec<u32> {
        let mut rows = rows(weights);
        apply(&mut rows, steps);
        rows.iter().map(|row| row.weight).collect()
    }

    #[test]
    fn weights_keep_their_proportions() {
        assert_eq!(grown(&[1, 1, 1], &[None, Some(1), Some(5)]), [10, 1, 5]);
        assert_eq!(grown(&[1, 3], &[None, None]), [1, 3], "nobody grows");
        assert_eq!(grown(&[65_535, 1], &[Some(1), Some(1)]), [6553, 1]);
        assert_eq!(grown(&[20_000, 2], &[None, Some(5)]), [60_000, 3]);
    }

    proptest! {
        #[test]
        fn the_next_step_is_the_next_step(since in 0..1u64 << 40, elapsed in 0..1u64 << 36, window in 1..1u64 << 36) {
            if let Some(now) = step(elapsed, window) {
                let next = next_us(since, now, window);
                prop_assert!(next > since + elapsed || now == 1);
                prop_assert!(step(next - since, window).is_none_or(|later| later > now));
            }
        }

        #[test]
        fn no_weight_is_out_of_range(
            weights in prop::collection::vec((1..=65_535u32, prop::option::of(1..10u64)), 1..20),
        ) {
            let (weights, steps): (Vec<u32>, Vec<Option<u64>>) = weights.into_iter().unzip();
            let grown = grown(&weights, &steps);
            prop_assert!(grown.iter().all(|weight| (1..=HEAVIEST).contains(weight)));
        }
    }
}
