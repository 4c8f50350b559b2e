//! "Less loaded", compared without division.

use std::cmp::Ordering;

use crate::{Backend, draw, rotation};

/// Compares `in_flight / weight` of two backends exactly, by
/// cross-multiplication. A weight of 0, which the proxy never sends, counts
/// as 1.
///
/// ```
/// use anubis_strategy::{Backend, load};
///
/// let big = Backend { weight: 4, in_flight: 3, ..Backend::default() };
/// let small = Backend { weight: 1, in_flight: 1, ..Backend::default() };
/// assert!(load::compare(&big, &small).is_lt());
/// ```
#[inline]
pub fn compare(a: &Backend, b: &Backend) -> Ordering {
    let left = u64::from(a.in_flight) * u64::from(b.weight.max(1));
    let right = u64::from(b.in_flight) * u64::from(a.weight.max(1));
    left.cmp(&right)
}

/// The least loaded backend's index; those that are equally little loaded take
/// turns by weight ([`rotation::share`]). 0 for an empty list.
pub fn least(backends: &[Backend], sequence: u64) -> usize {
    least_of(backends, sequence, |_| true)
}

/// [`least`] of those that `takes_part` holds for; 0 where there is none.
#[inline]
pub fn least_of(
    backends: &[Backend],
    sequence: u64,
    takes_part: impl Fn(&Backend) -> bool,
) -> usize {
    let mut candidates = backends
        .iter()
        .enumerate()
        .filter(|(_, backend)| takes_part(backend));
    let Some((mut index, mut best)) = candidates.next() else {
        return 0;
    };
    let mut ties = false;
    for (candidate, backend) in candidates {
        match compare(backend, best) {
            Ordering::Less => (best, index, ties) = (backend, candidate, false),
            Ordering::Equal => ties = true,
            Ordering::Greater => {}
        }
    }
    if !ties {
        return index;
    }
    let is_tied = |backend: &Backend| takes_part(backend) && compare(backend, best).is_eq();
    rotation::share(sequence, backends, is_tied)
}

/// Expected times, comparable over the backends of one list:
///
/// `latency * (1 + in_flight * mean weight / weight)`
///
/// With equal weights that is nginx's and Linkerd's `latency * (1 + in_flight)`.
/// Dividing all of it by the weight, as is usual, would send every request of
/// an idle pool to its heaviest backend; here idle backends that are equally
/// fast are equals, to be shared among by weight, and under load the requests
/// in flight settle in proportion to the weights all the same.
///
/// ```
/// use anubis_strategy::{Backend, load::ExpectedTime};
///
/// let backends = [
///     Backend { weight: 1, in_flight: 2, latency_us: 1_000, ..Backend::default() },
///     Backend { weight: 1, in_flight: 0, latency_us: 2_000, ..Backend::default() },
/// ];
/// let time = ExpectedTime::of(&backends);
/// let [a, b] = backends.map(|backend| time.at(&backend, backend.latency_us));
/// assert_eq!((a, b), (3_000.0, 2_000.0));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ExpectedTime {
    mean_weight: f64,
}

impl ExpectedTime {
    /// The expected times in this list.
    #[inline]
    pub fn of(backends: &[Backend]) -> Self {
        let total = draw::total_weight(backends) as f64;
        Self {
            mean_weight: total / backends.len().max(1) as f64,
        }
    }

    /// The time that one more request takes at this backend, in microseconds,
    /// if it needs `latency_us` when idle.
    #[inline]
    pub fn at(&self, backend: &Backend, latency_us: u32) -> f64 {
        let share = self.mean_weight / f64::from(backend.weight.max(1));
        f64::from(latency_us) * (1.0 + f64::from(backend.in_flight) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(weight: u32, in_flight: u32) -> Backend {
        Backend {
            weight,
            in_flight,
            ..Backend::default()
        }
    }

    #[test]
    fn compares_load_per_weight() {
        assert!(compare(&backend(1, 1), &backend(1, 2)).is_lt());
        assert!(compare(&backend(2, 2), &backend(1, 1)).is_eq());
        assert!(compare(&backend(3, 1), &backend(65535, 65535)).is_lt());
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let (most, least) = (backend(1, u32::MAX), backend(65535, u32::MAX));
        assert!(compare(&least, &most).is_lt());
        assert!(compare(&backend(u32::MAX, u32::MAX), &most).is_lt());
    }

    #[test]
    fn expected_times_do_not_depend_on_the_scale_of_the_weights() {
        let times = |scale: u32| {
            let list = [
                backend(scale, 3),
                backend(5 * scale, 7),
                backend(2 * scale, 0),
            ];
            let time = ExpectedTime::of(&list);
            list.map(|backend| (time.at(&backend, 100) * 1000.0).round())
        };
        assert_eq!(times(1), times(1000));
    }

    #[test]
    fn expected_times_of_the_largest_values_are_numbers() {
        let list = [
            backend(1, u32::MAX),
            backend(65535, u32::MAX),
            backend(0, 0),
        ];
        let time = ExpectedTime::of(&list);
        assert!(
            list.iter()
                .all(|backend| time.at(backend, u32::MAX).is_finite())
        );
        assert!(time.at(&list[1], u32::MAX) < time.at(&list[0], u32::MAX));
    }

    #[test]
    fn equals_take_turns_and_the_loaded_one_is_left_alone() {
        let backends = [backend(1, 0), backend(1, 5), backend(1, 0)];
        let mut seen = [0u32; 3];
        for sequence in 0..100 {
            seen[least(&backends, sequence)] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!(seen[0].abs_diff(seen[2]) <= 2, "{seen:?}");
    }
}
