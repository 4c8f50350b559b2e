//! Going round in proportion to the weights, by the pool's own count of picks
//! ([`Request::sequence`](crate::Request::sequence)), so that all workers
//! together keep the order exactly.

use crate::Backend;
use crate::random::{GOLDEN, scale};

/// Shares picks among the backends that `takes_part` holds for, in proportion
/// to their weights, and returns the index of the one whose turn it is; 0 where
/// none takes part.
///
/// For ties, whose members change from pick to pick. The turn goes by multiples
/// of the golden ratio: whichever picks happen to end in this tie (all of them,
/// every second one ...), each member's share comes out right to within a pick
/// or two, with no state to keep. A plain remainder would give every second
/// pick of two to the same one.
pub fn share(sequence: u64, backends: &[Backend], takes_part: impl Fn(&Backend) -> bool) -> usize {
    let members = || {
        backends
            .iter()
            .enumerate()
            .filter(|(_, backend)| takes_part(backend))
    };
    let total = members()
        .map(|(_, backend)| u64::from(backend.weight))
        .sum();
    share_of(sequence, total, members())
}

/// [`share`] among these, whose weights add up to `total`.
#[inline]
pub(crate) fn share_of<'a>(
    sequence: u64,
    total: u64,
    members: impl Iterator<Item = (usize, &'a Backend)>,
) -> usize {
    let mut point = scale(sequence.wrapping_mul(GOLDEN), total);
    let mut last = 0;
    for (index, backend) in members {
        let weight = u64::from(backend.weight);
        if point < weight {
            return index;
        }
        point -= weight;
        last = index;
    }
    last
}

/// Smooth weighted round robin: `a a b a c a a` for the weights 5, 1, 1, and
/// over each full cycle exactly the weights' shares.
///
/// What it keeps is only computed from the weights, so instances never differ.
/// The list may lack a backend for a pick or two (full, or tried already):
/// the cycles of the last few lists are kept.
///
/// ```
/// use anubis_strategy::{Backend, rotation::Rotation};
///
/// let backends = [5, 1, 1].map(|weight| Backend { weight, ..Backend::default() });
/// let mut rotation = Rotation::default();
/// let picks: Vec<usize> = (0..7).map(|sequence| rotation.at(sequence, &backends)).collect();
/// assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
/// ```
#[derive(Debug, Default)]
pub struct Rotation {
    kept: Vec<Cycle>,
    oldest: usize,
}

impl Rotation {
    const KEPT: usize = 4;

    /// The index whose turn it is at this position; 0 for an empty list.
    pub fn at(&mut self, sequence: u64, backends: &[Backend]) -> usize {
        if let Some(cycle) = self.kept.iter().find(|cycle| cycle.is_of(backends)) {
            return cycle.at(sequence);
        }
        let cycle = Cycle::of(backends);
        let index = cycle.at(sequence);
        if self.kept.len() < Self::KEPT {
            self.kept.push(cycle);
        } else {
            self.kept[self.oldest] = cycle;
            self.oldest = (self.oldest + 1) % Self::KEPT;
        }
        index
    }
}

/// The order of one list of weights.
#[derive(Debug)]
struct Cycle {
    weights: Vec<u32>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// Equal weights: one after the other.
    Even,
    /// The whole cycle, written out.
    Table(Vec<u32>),
    /// A cycle too long to write out: slot `position * stride` of `total`,
    /// where each backend owns as many neighbouring slots as it has weight.
    /// `stride` is prime to `total`, so a cycle meets every slot once and the
    /// shares are exact; it is near the golden section, so they are also well
    /// mixed.
    Stride {
        ends: Vec<u64>,
        total: u64,
        stride: u64,
    },
}

impl Cycle {
    /// What writing out a cycle may cost, in steps: a fraction of a
    /// millisecond, as it happens within a pick.
    const STEPS: u64 = 1 << 17;

    fn of(backends: &[Backend]) -> Self {
        let weights: Vec<u32> = backends.iter().map(|backend| backend.weight).collect();
        let order = Order::of(&weights);
        Self { weights, order }
    }

    fn is_of(&self, backends: &[Backend]) -> bool {
        self.weights.len() == backends.len()
            && self
                .weights
                .iter()
                .zip(backends)
                .all(|(weight, backend)| *weight == backend.weight)
    }

    fn at(&self, sequence: u64) -> usize {
        match &self.order {
            Order::Even => (sequence % self.weights.len().max(1) as u64) as usize,
            Order::Table(table) => table[(sequence % table.len() as u64) as usize] as usize,
            Order::Stride {
                ends,
                total,
                stride,
            } => {
                let slot = u128::from(sequence % total) * u128::from(*stride) % u128::from(*total);
                ends.partition_point(|end| u128::from(*end) <= slot)
            }
        }
    }
}

impl Order {
    fn of(weights: &[u32]) -> Self {
        if weights.iter().all(|weight| *weight == weights[0]) {
            return Self::Even;
        }
        let divisor = u64::from(weights.iter().copied().fold(0, gcd));
        let shares: Vec<u64> = weights
            .iter()
            .map(|weight| u64::from(*weight) / divisor)
            .collect();
        let total: u64 = shares.iter().sum();
        if total.saturating_mul(shares.len() as u64) <= Cycle::STEPS {
            return Self::Table(smooth(&shares, total));
        }
        let ends = shares.iter().scan(0, |end, share| {
            *end += share;
            Some(*end)
        });
        Self::Stride {
            ends: ends.collect(),
            total,
            stride: stride(total),
        }
    }
}

/// nginx's smooth weighted round robin, one whole cycle of it.
fn smooth(shares: &[u64], total: u64) -> Vec<u32> {
    let mut current = vec![0i64; shares.len()];
    let turn = |_| {
        let mut best = 0;
        for (index, share) in shares.iter().enumerate() {
            current[index] += *share as i64;
            if current[index] > current[best] {
                best = index;
            }
        }
        current[best] -= total as i64;
        best as u32
    };
    (0..total).map(turn).collect()
}

/// A number prime to `total`, near its golden section.
fn stride(total: u64) -> u64 {
    let mut stride = scale(GOLDEN, total).max(1);
    while gcd_64(stride, total) != 1 {
        stride += 1;
    }
    stride
}

fn gcd(a: u32, b: u32) -> u32 {
    gcd_64(u64::from(a), u64::from(b)) as u32
}

fn gcd_64(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pool;
    use proptest::prelude::*;

    fn turns(weights: &[u32], count: u64) -> Vec<usize> {
        let (backends, mut rotation) = (pool(weights), Rotation::default());
        (0..count)
            .map(|sequence| rotation.at(sequence, &backends))
            .collect()
    }

    fn counts(turns: &[usize], len: usize) -> Vec<u64> {
        let mut counts = vec![0; len];
        turns.iter().for_each(|&index| counts[index] += 1);
        counts
    }

    #[test]
    fn is_smooth() {
        assert_eq!(turns(&[5, 1, 1], 9), [0, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(turns(&[500, 100, 100], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[7, 7, 7], 5), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn instances_and_the_order_of_calls_do_not_matter() {
        let backends = pool(&[3, 2, 4]);
        let (mut one, mut other) = (Rotation::default(), Rotation::default());
        for sequence in 0..50 {
            one.at(sequence * 31, &backends);
            one.at(sequence, &pool(&[sequence as u32 + 1, 2]));
            assert_eq!(one.at(sequence, &backends), other.at(sequence, &backends));
        }
    }

    #[test]
    fn long_cycles_are_exact_and_mixed() {
        let weights = [65535, 40000, 1];
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let turns = turns(&weights, total);
        assert_eq!(counts(&turns, 3), [65535, 40000, 1]);
        let longest = turns.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest <= Some(4), "{longest:?} in a row");
    }

    #[test]
    fn weights_of_zero_are_no_division_by_zero() {
        assert_eq!(turns(&[0, 0], 4), [0, 1, 0, 1]);
        assert_eq!(counts(&turns(&[0, 3], 4), 2), [0, 4]);
        assert_eq!(share(5, &pool(&[0, 0]), |_| true), 1);
        assert_eq!(share(5, &[], |_| true), 0);
        assert_eq!(Rotation::default().at(5, &[]), 0);
    }

    #[test]
    fn every_second_pick_is_shared_as_evenly_as_every_pick() {
        let backends = pool(&[1, 1, 1, 1]);
        for step in 1..20 {
            let turns: Vec<_> = (0..400)
                .map(|k| share(k * step, &backends, |_| true))
                .collect();
            for count in counts(&turns, 4) {
                assert!(count.abs_diff(100) <= 8, "step {step}: {count}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_cycle_gives_exactly_the_weights(weights in prop::collection::vec(1u32..200, 1..12)) {
            let divisor = weights.iter().copied().fold(0, gcd);
            let shares: Vec<u64> = weights.iter().map(|w| u64::from(w / divisor)).collect();
            let turns = turns(&weights, shares.iter().sum());
            prop_assert_eq!(counts(&turns, weights.len()), shares);
        }

        #[test]
        fn any_weights_and_any_position_stay_in_range(
            weights in prop::collection::vec(any::<u32>(), 1..40),
            sequence: u64,
        ) {
            let backends = pool(&weights);
            prop_assert!(Rotation::default().at(sequence, &backends) < backends.len());
            prop_assert!(share(sequence, &backends, |_| true) < backends.len());
        }

        #[test]
        fn ties_are_shared_by_weight(weights in prop::collection::vec(1u32..20, 1..10)) {
            let backends = pool(&weights);
            let total: u32 = weights.iter().sum();
            let turns: Vec<_> =
                (0..u64::from(total) * 100).map(|k| share(k, &backends, |_| true)).collect();
            for (count, weight) in counts(&turns, weights.len()).iter().zip(&weights) {
                prop_assert!(count.abs_diff(u64::from(*weight) * 100) <= 10);
            }
        }
    }
}
