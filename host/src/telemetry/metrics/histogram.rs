//! Durations, sorted into buckets as they come and added up when scraped.

use std::marker::PhantomData;

use super::Counter;

/// The buckets of a histogram.
pub trait Scale<const N: usize> {
    /// The largest value of each bucket, ascending; what is larger has a
    /// bucket of its own.
    const BOUNDS: [u64; N];
    /// How many of the values' unit make a second.
    const PER_SECOND: f64;
}

/// How often durations came, by size. One thread writes it.
#[derive(Debug)]
pub struct Histogram<S, const N: usize> {
    buckets: [Counter; N],
    /// Larger than every bound.
    beyond: Counter,
    sum: Counter,
    scale: PhantomData<S>,
}

impl<S: Scale<N>, const N: usize> Histogram<S, N> {
    /// Counts `value`, in the scale's unit.
    #[inline]
    pub fn observe(&self, value: u64) {
        let bucket = S::BOUNDS.partition_point(|&bound| bound < value);
        self.buckets.get(bucket).unwrap_or(&self.beyond).add(1);
        self.sum.add(value);
    }
}

impl<S, const N: usize> Default for Histogram<S, N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum: Counter::default(),
            scale: PhantomData,
        }
    }
}

/// Histograms of several threads, added up.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The largest duration of each bucket in seconds, ascending to infinity,
    /// and how many fell into it and no bucket before.
    pub buckets: Vec<(f64, u64)>,
    /// All durations together, in seconds.
    pub sum: f64,
}

impl Distribution {
    /// Nothing counted yet.
    pub(super) fn empty<S: Scale<N>, const N: usize>() -> Self {
        let seconds = S::BOUNDS.map(|bound| bound as f64 / S::PER_SECOND);
        let bounds = seconds.into_iter().chain([f64::INFINITY]);
        Self {
            buckets: bounds.map(|bound| (bound, 0)).collect(),
            sum: 0.0,
        }
    }

    /// Adds what a thread counted; it may go on counting meanwhile.
    pub(super) fn add<S: Scale<N>, const N: usize>(&mut self, histogram: &Histogram<S, N>) {
        let counters = histogram.buckets.iter().chain([&histogram.beyond]);
        for ((_, count), counter) in self.buckets.iter_mut().zip(counters) {
            *count += counter.get();
        }
        self.sum += histogram.sum.get() as f64 / S::PER_SECOND;
    }

    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Milliseconds;

    impl Scale<3> for Milliseconds {
        const BOUNDS: [u64; 3] = [10, 100, 1_000];
        const PER_SECOND: f64 = 1_000.0;
    }

    fn histogram(values: &[u64]) -> Histogram<Milliseconds, 3> {
        let histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.observe(value));
        histogram
    }

    fn distribution(values: &[u64]) -> Distribution {
        let mut distribution = Distribution::empty::<Milliseconds, 3>();
        distribution.add(&histogram(values));
        distribution
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_that_it_ends() {
        let counted = distribution(&[0, 10, 11, 100, 1_000, 1_001]);
        let expected = [(0.01, 2), (0.1, 2), (1.0, 1), (f64::INFINITY, 1)];
        assert_eq!(counted.buckets, expected);
        assert!((counted.sum - 2.122).abs() < 1e-9, "{}", counted.sum);
    }

    proptest! {
        #[test]
        fn every_value_is_in_one_bucket_and_not_above_its_bound(
            values in prop::collection::vec(0_u64..3_000, 0..200)
        ) {
            let counted = distribution(&values);
            prop_assert_eq!(counted.count(), values.len() as u64);
            let mut cumulative = 0;
            for (bound, count) in counted.buckets {
                cumulative += count;
                let expected = values.iter().filter(|&&value| value as f64 / 1_000.0 <= bound);
                prop_assert_eq!(cumulative, expected.count() as u64);
            }
        }

        #[test]
        fn threads_add_up(
            one in prop::collection::vec(0_u64..3_000, 0..50),
            other in prop::collection::vec(0_u64..3_000, 0..50),
        ) {
            let mut sum = distribution(&one);
            sum.add(&histogram(&other));
            let both = distribution(&[one, other].concat());
            prop_assert_eq!(sum.buckets, both.buckets);
            prop_assert!((sum.sum - both.sum).abs() < 1e-6);
        }
    }
}
