//! "Less loaded", compared without division.

use std::cmp::Ordering;

use crate::{Backend, draw, rotation};

/// A backend's `in_flight / weight`, compared exactly and without division. A
/// weight of 0, which the proxy never sends, counts as 1.
///
/// ```
/// use anubis_strategy::{Backend, load::Load};
///
/// let big = Backend { weight: 4, in_flight: 3, ..Backend::default() };
/// let small = Backend { weight: 1, in_flight: 1, ..Backend::default() };
/// assert!(Load::of(&big) < Load::of(&small));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Load {
    in_flight: u32,
    weight: u32,
}

impl Load {
    /// This backend's.
    #[inline]
    pub fn of(backend: &Backend) -> Self {
        Self {
            in_flight: backend.in_flight,
            weight: backend.weight.max(1),
        }
    }
}

impl Ord for Load {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u64::from(self.in_flight) * u64::from(other.weight);
        let right = u64::from(other.in_flight) * u64::from(self.weight);
        left.cmp(&right)
    }
}

impl PartialOrd for Load {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// The index of the least loaded backend ([`Load`]); 0 for an empty list.
/// Equals take turns, as with [`least_by`].
pub fn least(backends: &[Backend], sequence: u64) -> usize {
    least_by(backends, sequence, |backend| Some(Load::of(backend))).unwrap_or(0)
}

/// The index of the backend that `cost` is least for, leaving out those for
/// which it is `None`; `None` where that leaves nobody. Equals take turns by
/// weight ([`rotation::share`]).
///
/// ```
/// use anubis_strategy::{Backend, load};
///
/// let backends = [30, 10, 20].map(|failures| Backend { failures, ..Backend::default() });
/// let fewest = load::least_by(&backends, 0, |backend| Some(backend.failures));
/// assert_eq!(fewest, Some(1));
/// ```
#[inline]
pub fn least_by<C: PartialOrd>(
    backends: &[Backend],
    sequence: u64,
    cost: impl Fn(&Backend) -> Option<C>,
) -> Option<usize> {
    let mut costs = backends
        .iter()
        .enumerate()
        .map(|(index, backend)| (index, backend, cost(backend)));
    let (mut first, mut weight, mut least) = costs
        .by_ref()
        .find_map(|(index, backend, cost)| Some((index, u64::from(backend.weight), cost?)))?;
    let mut ties = false;
    let mut total = weight;
    for (index, backend, cost) in costs {
        let Some(cost) = cost else { continue };
        total += u64::from(backend.weight);
        if cost < least {
            (first, weight, least, ties) = (index, u64::from(backend.weight), cost, false);
        } else if cost == least {
            (weight, ties) = (weight + u64::from(backend.weight), true);
        }
    }
    if !ties {
        return Some(first);
    }
    let all = backends.iter().enumerate();
    let takes_part = all.clone().filter(|(_, backend)| cost(backend).is_some());
    if let Some((index, backend)) = rotation::turn(sequence, total, takes_part)
        && cost(backend).as_ref() == Some(&least)
    {
        return Some(index);
    }
    let tied = all.skip(first);
    let tied = tied.filter(|(_, backend)| cost(backend).as_ref() == Some(&least));
    Some(rotation::draw(sequence, weight, tied))
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
/// assert!(b < a);
/// assert_eq!((a.microseconds(), b.microseconds()), (3_000.0, 2_000.0));
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

    /// The time that one more request takes at this backend if it needs
    /// `latency_us` when idle.
    #[inline]
    pub fn at(&self, backend: &Backend, latency_us: u32) -> Time {
        let weight = f64::from(backend.weight.max(1));
        let share = weight + f64::from(backend.in_flight) * self.mean_weight;
        Time {
            weighted_us: f64::from(latency_us) * share,
            weight,
        }
    }
}

/// An expected time, compared without division.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    weighted_us: f64,
    weight: f64,
}

impl Time {
    /// In microseconds.
    pub fn microseconds(&self) -> f64 {
        self.weighted_us / self.weight
    }
}

impl PartialOrd for Time {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.weighted_us * other.weight).partial_cmp(&(other.weighted_us * self.weight))
    }

    #[inline]
    fn lt(&self, other: &Self) -> bool {
        self.weighted_us * other.weight < other.weighted_us * self.weight
    }
}

impl PartialEq for Time {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.weighted_us * other.weight == other.weighted_us * self.weight
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

    fn compare(a: Backend, b: Backend) -> Ordering {
        Load::of(&a).cmp(&Load::of(&b))
    }

    #[test]
    fn compares_load_per_weight() {
        assert!(compare(backend(1, 1), backend(1, 2)).is_lt());
        assert!(compare(backend(2, 2), backend(1, 1)).is_eq());
        assert!(compare(backend(3, 1), backend(65535, 65535)).is_lt());
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let (most, least) = (backend(1, u32::MAX), backend(65535, u32::MAX));
        assert!(compare(least, most).is_lt());
        assert!(compare(backend(u32::MAX, u32::MAX), most).is_lt());
        assert!(compare(backend(0, 1), backend(1, 1)).is_eq());
    }

    #[test]
    fn who_has_no_cost_takes_no_part() {
        let backends = [backend(1, 9), backend(1, 2), backend(1, 7)];
        let odd = |backend: &Backend| (backend.in_flight % 2 == 1).then_some(backend.in_flight);
        assert_eq!(least_by(&backends, 3, odd), Some(2));
        assert_eq!(least_by(&backends, 3, |_| None::<u32>), None);
        assert_eq!(least_by(&[], 3, odd), None);
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
            list.map(|backend| (time.at(&backend, 100).microseconds() * 1000.0).round())
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
                .all(|backend| time.at(backend, u32::MAX).microseconds().is_finite())
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
        // Two thirds go by turns, the rest are drawn.
        assert!(seen[0].abs_diff(seen[2]) <= 20, "{seen:?}");
    }
}
