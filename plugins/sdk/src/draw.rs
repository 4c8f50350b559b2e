//! Random draws in proportion to the weights.

use crate::{Backend, Random};

/// One backend's index, drawn in proportion to the weights; 0 for an empty list.
pub fn weighted(backends: &[Backend], random: &mut Random) -> usize {
    let point = random.below(total_weight(backends));
    at(backends, point, &[])
}

/// `N` *different* backends' indices, in the order drawn, each in proportion to
/// the weights of those not drawn before; fewer where the list is shorter. An
/// index that was not drawn is `None`.
///
/// ```
/// use anubis_strategy::{Backend, Random, Request, draw};
///
/// let backends = [Backend { weight: 1, ..Backend::default() }; 3];
/// let drawn = draw::distinct::<2>(&backends, &mut Random::of(&Request::default()));
/// assert_ne!(drawn[0], drawn[1]);
/// ```
pub fn distinct<const N: usize>(backends: &[Backend], random: &mut Random) -> [Option<usize>; N] {
    let mut drawn = [None; N];
    let mut sorted = [usize::MAX; N];
    let mut left = total_weight(backends);
    for count in 0..N.min(backends.len()) {
        let index = at(backends, random.below(left), &sorted[..count]);
        drawn[count] = Some(index);
        left = left.saturating_sub(u64::from(backends[index].weight));
        sorted[count] = index;
        sorted[..=count].sort_unstable();
    }
    drawn
}

/// The sum of all weights.
pub fn total_weight(backends: &[Backend]) -> u64 {
    backends
        .iter()
        .map(|backend| u64::from(backend.weight))
        .sum()
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

    fn pool(weights: &[u32]) -> Vec<Backend> {
        let backend = |(id, &weight)| Backend {
            id: id as u32,
            weight,
            ..Backend::default()
        };
        weights.iter().enumerate().map(backend).collect()
    }

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
            let mut drawn = distinct::<2>(&backends, &mut random(seed)).map(|index| index.unwrap());
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1]);
        }
    }

    #[test]
    fn a_short_list_gives_what_it_has() {
        let drawn = distinct::<3>(&pool(&[2, 2]), &mut random(3));
        assert!(drawn[0].is_some() && drawn[1].is_some() && drawn[2].is_none());
        assert_eq!(distinct::<2>(&[], &mut random(3)), [None, None]);
    }

    #[test]
    fn weights_of_zero_are_no_division_by_zero() {
        let backends = pool(&[0, 0, 0]);
        let mut random = random(5);
        assert!(weighted(&backends, &mut random) < 3);
        let drawn = distinct::<3>(&backends, &mut random);
        assert_eq!(drawn.iter().flatten().count(), 3);
    }
}
