//! Random draws in proportion to the weights.

use crate::{Backend, Random};

/// One backend's index, drawn in proportion to the weights; 0 for an empty list.
pub fn weighted(backends: &[Backend], random: &mut Random) -> usize {
    let point = random.below(total_weight(backends));
    at(backends, point, &[])
}

/// *Different* backends' indices, in the order drawn, each in proportion to the
/// weights of those not drawn before; ends with the list, and after 16.
///
/// ```
/// use anubis_strategy::{Backend, Random, Request, draw};
///
/// let backends = [Backend { weight: 1, ..Backend::default() }; 3];
/// let mut random = Random::of(&Request::default());
/// let drawn: Vec<usize> = draw::distinct(&backends, &mut random).take(2).collect();
/// assert_ne!(drawn[0], drawn[1]);
/// ```
pub fn distinct<'a>(backends: &'a [Backend], random: &'a mut Random) -> Distinct<'a> {
    Distinct {
        backends,
        random,
        left: total_weight(backends),
        drawn: [0; MOST],
        count: 0,
    }
}

/// The sum of all weights.
#[inline]
pub fn total_weight(backends: &[Backend]) -> u64 {
    backends
        .iter()
        .map(|backend| u64::from(backend.weight))
        .sum()
}

const MOST: usize = 16;

/// Draws without putting back; see [`distinct`].
#[derive(Debug)]
pub struct Distinct<'a> {
    backends: &'a [Backend],
    random: &'a mut Random,
    /// The weight of those not drawn yet.
    left: u64,
    /// The first `count` are drawn, ascending.
    drawn: [usize; MOST],
    count: usize,
}

impl Iterator for Distinct<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let count = self.count;
        if count == self.backends.len() || count == MOST {
            return None;
        }
        let index = at(
            self.backends,
            self.random.below(self.left),
            &self.drawn[..count],
        );
        self.left = self
            .left
            .saturating_sub(u64::from(self.backends[index].weight));
        let place = self.drawn[..count].partition_point(|earlier| *earlier < index);
        self.drawn.copy_within(place..count, place + 1);
        self.drawn[place] = index;
        self.count += 1;
        Some(index)
    }
}

/// The backend whose stretch of weights holds `point`, when those in `skip`
/// (ascending) have none.
fn at(backends: &[Backend], mut point: u64, skip: &[usize]) -> usize {
    let mut skip = skip.iter().copied().peekable();
    let mut last = 0;
    for (index, backend) in backends.iter().enumerate() {
        if skip.next_if_eq(&index).is_some() {
            continue;
        }
        let weight = u64::from(backend.weight);
        if point < weight {
            return index;
        }
        point -= weight;
        last = index;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use crate::testing::pool;

    fn random(seed: u64) -> Random {
        Random::of(&Request {
            random: seed,
            ..Request::default()
        })
    }

    #[test]
    fn draws_in_proportion_to_the_weights() {
        let backends = pool(&[5, 0, 1, 4]);
        let mut random = random(1);
        let mut seen = [0u32; 4];
        for _ in 0..10_000 {
            seen[weighted(&backends, &mut random)] += 1;
        }
        assert_eq!(seen[1], 0);
        for (count, expected) in seen.iter().zip([5000, 0, 1000, 4000]) {
            assert!(count.abs_diff(expected) < 200, "{seen:?}");
        }
    }

    #[test]
    fn the_second_draw_is_another_one_also_when_the_first_has_all_the_weight() {
        let backends = pool(&[65535, 1]);
        for seed in 0..1000 {
            let mut drawn: Vec<_> = distinct(&backends, &mut random(seed)).collect();
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1]);
        }
    }

    #[test]
    fn draws_every_one_once_in_an_order_that_goes_by_weight() {
        let backends = pool(&[1, 2, 3, 4, 5]);
        let mut first = [0; 5];
        for seed in 0..3000 {
            let mut drawn: Vec<_> = distinct(&backends, &mut random(seed)).collect();
            first[drawn[0]] += 1;
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1, 2, 3, 4]);
        }
        assert!(first.is_sorted(), "{first:?}");
        assert_eq!(distinct(&[], &mut random(3)).next(), None);
        assert_eq!(distinct(&pool(&[1; 40]), &mut random(3)).count(), MOST);
    }

    #[test]
    fn weights_of_zero_are_no_division_by_zero() {
        let backends = pool(&[0, 0, 0]);
        let mut random = random(5);
        assert!(weighted(&backends, &mut random) < 3);
        assert_eq!(distinct(&backends, &mut random).count(), 3);
    }
}
