//! Going round in proportion to the weights, by the pool's own count of picks
//! ([`Request::sequence`](crate::Request::sequence)), so that all workers
//! together keep the order exactly.

use crate::Backend;
use crate::random::{GOLDEN, mix, scale};

/// Shares picks among the backends that `takes_part` holds for, in proportion
/// to their weights, and returns the index of the one whose turn it is; 0 where
/// none takes part.
///
/// For ties, whose members change from pick to pick. The turn goes over the whole
/// list by multiples of the golden ratio: while all take part (every pick, or
/// every second one ...), each one's share comes out right to within a pick or two,
/// with no state to keep. Where the turn comes to one that takes no part, the
/// others are drawn among. It must not simply go on among those who do: who takes
/// part depends on the last picks (whoever was picked is busy), and turns that
/// follow a pattern meet that pattern, so that one gets half of its share for ever.
pub fn share(sequence: u64, backends: &[Backend], takes_part: impl Fn(&Backend) -> bool) -> usize {
    let all = backends.iter().enumerate();
    if let Some((index, backend)) = turn(sequence, total(all.clone()), all.clone())
        && takes_part(backend)
    {
        return index;
    }
    let members = all.filter(|(_, backend)| takes_part(backend));
    draw(sequence, total(members.clone()), members)
}

/// The one of these, whose weights add up to `total`, whose turn it is; `None`
/// where there are none.
#[inline]
pub(crate) fn turn<'a>(
    sequence: u64,
    total: u64,
    all: impl Iterator<Item = (usize, &'a Backend)>,
) -> Option<(usize, &'a Backend)> {
    at(scale(sequence.wrapping_mul(GOLDEN), total), all)
}

/// One of these, whose weights add up to `total`, in proportion to the weights
/// and without any order; 0 where there are none.
#[inline]
pub(crate) fn draw<'a>(
    sequence: u64,
    total: u64,
    members: impl Iterator<Item = (usize, &'a Backend)>,
) -> usize {
    let point = scale(mix(sequence.wrapping_mul(GOLDEN)), total);
    at(point, members).map_or(0, |(index, _)| index)
}

/// Who owns this point, where each owns as many as it has weight; the last one
/// beyond the end.
#[inline]
fn at<'a>(
    mut point: u64,
    members: impl Iterator<Item = (usize, &'a Backend)>,
) -> Option<(usize, &'a Backend)> {
    let mut last = None;
    for member in members {
        let weight = u64::from(member.1.weight);
        last = Some(member);
        if point < weight {
            break;
        }
        point -= weight;
    }
    last
}

fn total<'a>(members: impl Iterator<Item = (usize, &'a Backend)>) -> u64 {
    members.map(|(_, backend)| u64::from(backend.weight)).sum()
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

    /// Who is busy with the last request or two is left out; every one of four must
    /// get its quarter all the same.
    #[test]
    fn turns_do_not_meet_the_pattern_of_who_is_busy() {
        let backends = pool(&[1, 1, 1, 1]);
        for busy_for in 1..=3 {
            let mut random = 7u64;
            let mut last = Vec::new();
            let mut turns = Vec::new();
            for sequence in 0..8_000 {
                random = mix(random);
                // The oldest of them has ended in time for half of the picks.
                let busy: &[usize] = match random % 2 {
                    0 => &last,
                    _ => last.get(1..).unwrap_or_default(),
                };
                let is_busy = |backend: &Backend| busy.contains(&(backend.id as usize));
                let index = share(sequence, &backends, |backend| !is_busy(backend));
                turns.push(index);
                last.push(backends[index].id as usize);
                if last.len() > busy_for {
                    last.remove(0);
                }
            }
            for count in counts(&turns, 4) {
                assert!(count.abs_diff(2_000) < 200, "{busy_for}: {count}");
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
