//! When a backend is checked. Pure: chance comes in as an argument.

use std::time::Duration;

/// How often something is checked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From check to check while nothing changes.
    pub interval: Duration,
    /// The same while there is a hurry to know more.
    pub interval_down: Duration,
}

/// How far the time between two checks strays, as a share of itself.
const JITTER: f64 = 0.1;

/// From now to a backend's first check, or to the next where all were missed:
/// soon, because nothing is known, but not all at once.
pub fn first(pace: Pace, random: &mut fastrand::Rng) -> Duration {
    pace.interval_down.mul_f64(random.f64())
}

/// From the start of a backend's first check to that of the second. First
/// checks come close together; from here on they are spread over the interval.
pub fn second(pace: Pace, random: &mut fastrand::Rng) -> Duration {
    let least = pace.interval.min(pace.interval_down);
    least + (pace.interval - least).mul_f64(random.f64())
}

/// From the start of any other check to that of the next: `settled` says that
/// the backend is healthy and there is no hurry to know more.
pub fn next(pace: Pace, settled: bool, random: &mut fastrand::Rng) -> Duration {
    let pause = match settled {
        true => pace.interval,
        false => pace.interval_down,
    };
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(interval_ms: u64, interval_down_ms: u64) -> Pace {
        Pace {
            interval: Duration::from_millis(interval_ms),
            interval_down: Duration::from_millis(interval_down_ms),
        }
    }

    /// How many of so many draws fall into each tenth of `whole`.
    fn tenths(whole: Duration, draws: impl Iterator<Item = Duration>) -> [usize; 10] {
        let mut tenths = [0; 10];
        for draw in draws {
            let tenth = draw.as_secs_f64() / whole.as_secs_f64() * 10.0;
            tenths[(tenth as usize).min(9)] += 1;
        }
        tenths
    }

    #[test]
    fn a_thousand_backends_do_not_begin_together() {
        let pace = pace(2_000, 1_000);
        let mut random = fastrand::Rng::with_seed(7);
        let draws = (0..1_000).map(|_| first(pace, &mut random));
        let tenths = tenths(Duration::from_secs(1), draws);
        assert!(tenths.iter().all(|&count| count > 60), "{tenths:?}");
    }

    #[test]
    fn a_long_interval_is_filled_after_the_first_checks() {
        let pace = pace(30_000, 1_000);
        let mut random = fastrand::Rng::with_seed(7);
        let draws = (0..1_000).map(|_| second(pace, &mut random));
        let tenths = tenths(Duration::from_secs(30), draws);
        assert!(tenths.iter().all(|&count| count > 60), "{tenths:?}");
    }

    #[test]
    fn a_second_check_is_never_sooner_than_the_shorter_interval() {
        for (interval, down) in [(2_000, 1_000), (1_000, 5_000), (20, 20)] {
            let pace = pace(interval, down);
            let mut random = fastrand::Rng::with_seed(7);
            let least = Duration::from_millis(interval.min(down));
            for _ in 0..100 {
                let pause = second(pace, &mut random);
                assert!(pause >= least && pause <= pace.interval);
            }
        }
    }

    #[test]
    fn the_pause_is_that_of_the_state_and_strays_by_a_tenth() {
        let pace = pace(2_000, 500);
        let mut random = fastrand::Rng::with_seed(7);
        for (settled, pause) in [(true, 2_000.0), (false, 500.0)] {
            let draws: Vec<f64> = (0..1_000)
                .map(|_| next(pace, settled, &mut random).as_secs_f64() * 1e3)
                .collect();
            let (least, most) = (pause * 0.9, pause * 1.1);
            assert!(draws.iter().all(|&draw| least <= draw && draw <= most));
            assert!(draws.iter().any(|&draw| draw < pause * 0.92));
            assert!(draws.iter().any(|&draw| draw > pause * 1.08));
        }
    }
}
