//! The fallback: the one strategy that is native. Weighted two-choices on
//! requests in flight, within the best priority that is present.
//!
//! Two distinct backends are drawn, each with a chance in proportion to its
//! weight, and the one with fewer requests in flight per weight is taken.

use super::{Candidates, PickRequest, below, spread};

/// An index into `candidates`; `None` when there are none.
pub(crate) fn pick<C: Candidates + ?Sized>(candidates: &C, request: &PickRequest) -> Option<usize> {
    let tier = Tier::best(candidates)?;
    let (first, first_weight) = tier.draw(candidates, spread(request.random, 1), None)?;
    if tier.members == 1 {
        return Some(first);
    }
    let skip = Some((first, first_weight));
    let (second, second_weight) = tier.draw(candidates, spread(request.random, 2), skip)?;
    let first_load = u64::from(candidates.in_flight(first)) * second_weight;
    let second_load = u64::from(candidates.in_flight(second)) * first_weight;
    Some(if first_load <= second_load {
        first
    } else {
        second
    })
}

/// The candidates of the best priority that is present.
struct Tier {
    priority: u32,
    members: usize,
    weight: u64,
}

impl Tier {
    fn best<C: Candidates + ?Sized>(candidates: &C) -> Option<Self> {
        let mut best: Option<Self> = None;
        for index in 0..candidates.len() {
            let row = candidates.row(index);
            match &mut best {
                Some(tier) if row.priority > tier.priority => {}
                Some(tier) if row.priority == tier.priority => {
                    tier.members += 1;
                    tier.weight += weight(row.weight);
                }
                _ => {
                    best = Some(Self {
                        priority: row.priority,
                        members: 1,
                        weight: weight(row.weight),
                    });
                }
            }
        }
        best
    }

    /// A member in proportion to its weight, and that weight.
    fn draw<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        bits: u64,
        skip: Option<(usize, u64)>,
    ) -> Option<(usize, u64)> {
        let skipped = skip.map_or(0, |(_, weight)| weight);
        let mut ticket = below(bits, self.weight - skipped);
        for index in 0..candidates.len() {
            let row = candidates.row(index);
            if row.priority != self.priority || skip.is_some_and(|(skip, _)| skip == index) {
                continue;
            }
            let weight = weight(row.weight);
            if ticket < weight {
                return Some((index, weight));
            }
            ticket -= weight;
        }
        None
    }
}

/// A weight of 0 does not occur; if it did, it must not divide by zero.
fn weight(weight: u32) -> u64 {
    u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Row;

    fn rows(of: &[(u32, u32)]) -> Vec<Row> {
        let row = |(id, &(weight, in_flight)): (usize, &(u32, u32))| Row {
            id: id as u32,
            weight,
            in_flight,
            ..Row::default()
        };
        of.iter().enumerate().map(row).collect()
    }

    fn shares(rows: &[Row]) -> Vec<u32> {
        let mut shares = vec![0; rows.len()];
        for random in 0..10_000 {
            let request = PickRequest {
                random,
                ..PickRequest::default()
            };
            shares[pick(rows, &request).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn nothing_to_choose_from() {
        let none: &[Row] = &[];
        assert_eq!(pick(none, &PickRequest::default()), None);
        assert_eq!(pick(&rows(&[(3, 7)])[..], &PickRequest::default()), Some(0));
    }

    #[test]
    fn equal_backends_share_equally() {
        for share in shares(&rows(&[(1, 0), (1, 0), (1, 0), (1, 0)])) {
            assert!((2_350..2_650).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_busier_of_two_is_left_alone() {
        assert_eq!(shares(&rows(&[(1, 5), (1, 4)])), [0, 10_000]);
        // 5 of weight 10 are less than 1 of weight 1.
        assert_eq!(shares(&rows(&[(10, 5), (1, 1)])), [10_000, 0]);
    }

    #[test]
    fn heavier_backends_get_more() {
        let shares = shares(&rows(&[(5, 0), (1, 0), (1, 0)]));
        assert!(shares[0] > 2 * shares[1], "{shares:?}");
        assert!(shares[1] > 500 && shares[2] > 500, "{shares:?}");
    }

    #[test]
    fn backups_wait_for_their_turn() {
        let mut rows = rows(&[(1, 9), (1, 0), (1, 9)]);
        rows[1].priority = 1;
        assert_eq!(shares(&rows)[1], 0);
        rows.remove(0);
        rows.remove(1);
        assert_eq!(shares(&rows), [10_000]);
    }

    proptest::proptest! {
        #[test]
        fn whoever_is_chosen_is_there_and_of_the_best_priority(
            of in proptest::collection::vec((0_u32..=65_535, 0_u32..3, proptest::num::u32::ANY), 1..40),
            random in proptest::num::u64::ANY,
        ) {
            let row = |&(weight, priority, in_flight)| Row {
                weight,
                priority,
                in_flight,
                ..Row::default()
            };
            let rows: Vec<Row> = of.iter().map(row).collect();
            let request = PickRequest {
                random,
                ..PickRequest::default()
            };
            let chosen = rows[pick(&rows[..], &request).unwrap()];
            assert!(rows.iter().all(|row| row.priority >= chosen.priority));
        }
    }
}
