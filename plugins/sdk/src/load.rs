//! "Less loaded", compared without division.

use std::cmp::Ordering;

use crate::{Backend, rotation};

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
    least_by(backends, sequence, compare)
}

/// [`least`] with an order of one's own, which must be a total one.
#[inline]
pub fn least_by(
    backends: &[Backend],
    sequence: u64,
    compare: impl Fn(&Backend, &Backend) -> Ordering,
) -> usize {
    let Some(first) = backends.first() else {
        return 0;
    };
    let (mut best, mut index, mut ties) = (first, 0, false);
    for (candidate, backend) in backends.iter().enumerate().skip(1) {
        match compare(backend, best) {
            Ordering::Less => (best, index, ties) = (backend, candidate, false),
            Ordering::Equal => ties = true,
            Ordering::Greater => {}
        }
    }
    if !ties {
        return index;
    }
    rotation::share(sequence, backends, |backend| compare(backend, best).is_eq())
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
    fn equals_take_turns_and_the_loaded_one_is_left_alone() {
        let backends = [backend(1, 0), backend(1, 5), backend(1, 0)];
        let mut seen = [0; 3];
        for sequence in 0..100 {
            seen[least(&backends, sequence)] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!(seen[0].abs_diff(seen[2]) <= 2, "{seen:?}");
    }
}
