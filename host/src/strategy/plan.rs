//! A planner's answer, checked and made ready for look-ups: a pick reads a few
//! words of it, however many backends there are.

use crate::plugin::{Fault, FaultKind};
use crate::pool::Row;

use super::{Candidates, PickRequest, spread};

/// Draws and entries tried before the fallback is asked, when what the plan
/// says is not eligible now.
const ATTEMPTS: u64 = 32;

/// A planner's answer over a list of backends: the contract's `routing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// A weight for each backend: weighted random.
    Weights(Vec<u32>),
    /// A weight for each: two draws, the less loaded one wins.
    TwoChoices(Vec<u32>),
    /// Indices; entry `key % length`.
    Table(Vec<u32>),
    /// Indices; the first eligible one.
    Order(Vec<u32>),
}

/// A routing that is valid for the backends it was made for, whose ids it
/// remembers: they may have changed places when it is used.
#[derive(Debug)]
pub(crate) struct Plan {
    ids: Vec<u32>,
    lookup: Lookup,
}

#[derive(Debug)]
enum Lookup {
    Weights(Alias),
    TwoChoices(Alias),
    Table(Vec<u32>),
    Order(Vec<u32>),
}

impl Plan {
    /// Checks `routing`, which was made for `rows`.
    pub(crate) fn new(routing: Routing, rows: &[Row]) -> Result<Self, Fault> {
        let lookup = match routing {
            Routing::Weights(weights) => Lookup::Weights(Alias::new(weights, rows.len())?),
            Routing::TwoChoices(weights) => Lookup::TwoChoices(Alias::new(weights, rows.len())?),
            Routing::Table(entries) => Lookup::Table(indices(entries, rows.len())?),
            Routing::Order(order) => Lookup::Order(indices(order, rows.len())?),
        };
        Ok(Self {
            ids: rows.iter().map(|row| row.id).collect(),
            lookup,
        })
    }

    /// An index into `candidates`; `None` when it finds nobody eligible.
    /// `same_generation`: nobody came, went or changed places since the plan was
    /// made, though some may be left out now.
    #[inline]
    pub(crate) fn pick<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        request: &PickRequest,
        same_generation: bool,
    ) -> Option<usize> {
        let now = Now {
            plan: self,
            candidates,
            unchanged: same_generation && candidates.len() == self.ids.len(),
        };
        match &self.lookup {
            Lookup::Weights(alias) => now.one_draw(alias, request.random),
            Lookup::TwoChoices(alias) => now.two_draws(alias, request.random),
            Lookup::Table(entries) => now.entry(entries, request.key),
            Lookup::Order(order) => order.iter().find_map(|&planned| now.place(planned)),
        }
    }
}

/// A plan and the backends of one pick.
struct Now<'a, C: ?Sized> {
    plan: &'a Plan,
    candidates: &'a C,
    /// They are the list that the plan was made for: nothing to compare.
    unchanged: bool,
}

impl<C: Candidates + ?Sized> Now<'_, C> {
    #[inline]
    fn one_draw(&self, alias: &Alias, random: u64) -> Option<usize> {
        (0..ATTEMPTS).find_map(|attempt| self.place(alias.draw(spread(random, attempt))))
    }

    #[inline]
    fn two_draws(&self, alias: &Alias, random: u64) -> Option<usize> {
        let mut first = None;
        for attempt in 0..ATTEMPTS {
            let planned = alias.draw(spread(random, attempt));
            let Some(place) = self.place(planned) else {
                continue;
            };
            match first {
                None => first = Some((place, planned)),
                Some((other, _)) if other == place => {}
                Some(other) => {
                    return Some(alias.less_loaded(self.candidates, other, (place, planned)));
                }
            }
        }
        first.map(|(place, _)| place)
    }

    #[inline]
    fn entry(&self, entries: &[u32], key: u64) -> Option<usize> {
        let length = entries.len() as u64;
        let start = key % length;
        (0..ATTEMPTS.min(length)).find_map(|step| {
            // The remainder is below a length that fits in memory.
            self.place(entries[((start + step) % length) as usize])
        })
    }

    /// Where the planned backend stands among the candidates now. They are
    /// usually the list the plan was made for, or that list without a few, in
    /// the same order: so it is looked for at its old place and just before.
    #[inline]
    fn place(&self, planned: u32) -> Option<usize> {
        let planned = planned as usize;
        if self.unchanged {
            return Some(planned);
        }
        let id = self.plan.ids[planned];
        if planned < self.candidates.len() && self.candidates.id(planned) == id {
            return Some(planned);
        }
        self.search(planned, id)
    }

    #[cold]
    fn search(&self, planned: usize, id: u32) -> Option<usize> {
        let (before, now) = (self.plan.ids.len(), self.candidates.len());
        let is_it = |&at: &usize| self.candidates.id(at) == id;
        let missing = before.saturating_sub(now);
        let end = now.min(planned + 1);
        let start = planned.saturating_sub(missing).min(end);
        (start..end)
            .rev()
            .find(is_it)
            .or_else(|| (0..now).find(is_it))
    }
}

fn indices(entries: Vec<u32>, backends: usize) -> Result<Vec<u32>, Fault> {
    if entries.is_empty() {
        return Err(unusable("the plan is empty"));
    }
    match entries.iter().find(|&&entry| entry as usize >= backends) {
        Some(entry) => Err(unusable(format!(
            "the plan names backend {entry} of {backends}"
        ))),
        None => Ok(entries),
    }
}

fn unusable(why: impl Into<String>) -> Fault {
    Fault::new(FaultKind::BadIndex, why)
}

/// Weighted draws in constant time (Walker's alias method, Vose's tables).
#[derive(Debug)]
struct Alias {
    weights: Vec<u32>,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Of 2^32: the chance that the cell's own index is meant.
    own: u32,
    other: u32,
}

impl Alias {
    fn new(weights: Vec<u32>, backends: usize) -> Result<Self, Fault> {
        if weights.len() != backends {
            return Err(unusable(format!(
                "the plan has {} weights for {backends} backends",
                weights.len()
            )));
        }
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        if total == 0 {
            return Err(unusable("all weights of the plan are 0"));
        }
        let cells = cells(&weights, total);
        Ok(Self { weights, cells })
    }

    #[inline]
    fn draw(&self, bits: u64) -> u32 {
        let (place, coin) = (bits >> 32, bits as u32);
        // Below the number of cells, which fits in 32 bits.
        let index = ((place * self.cells.len() as u64) >> 32) as u32;
        let cell = self.cells[index as usize];
        if coin < cell.own { index } else { cell.other }
    }

    fn less_loaded<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        (first, first_planned): (usize, u32),
        (second, second_planned): (usize, u32),
    ) -> usize {
        let weight = |planned: u32| u64::from(self.weights[planned as usize]);
        let first_load = u64::from(candidates.in_flight(first)) * weight(second_planned);
        let second_load = u64::from(candidates.in_flight(second)) * weight(first_planned);
        if first_load <= second_load {
            first
        } else {
            second
        }
    }
}

/// Vose's construction in whole numbers: a cell holds `total` parts, backend i
/// brings `weight * n` parts; who brings less is filled up by who brings more.
fn cells(weights: &[u32], total: u64) -> Vec<Cell> {
    let count = weights.len() as u64;
    let mut parts: Vec<u128> = weights
        .iter()
        .map(|&weight| u128::from(weight) * u128::from(count))
        .collect();
    let total = u128::from(total);
    let mut cells: Vec<Cell> = (0..weights.len() as u32)
        .map(|index| Cell {
            own: u32::MAX,
            other: index,
        })
        .collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..parts.len()).partition(|&index| parts[index] < total);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        cells[poor] = Cell {
            own: ((parts[poor] << 32) / total) as u32,
            other: rich as u32,
        };
        parts[rich] -= total - parts[poor];
        if parts[rich] < total {
            large.pop();
            small.push(rich);
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::{collection, num};

    use super::*;

    fn rows(ids: &[u32]) -> Vec<Row> {
        let row = |&id| Row {
            id,
            weight: 1,
            ..Row::default()
        };
        ids.iter().map(row).collect()
    }

    fn request(random: u64) -> PickRequest {
        PickRequest {
            random,
            key: random,
            ..PickRequest::default()
        }
    }

    fn shares(plan: &Plan, rows: &[Row]) -> Vec<u32> {
        let mut shares = vec![0; rows.len()];
        for random in 0..20_000 {
            if let Some(index) = plan.pick(rows, &request(random), false) {
                shares[index] += 1;
            }
        }
        shares
    }

    fn near(shares: &[u32], wanted: &[u32]) -> bool {
        let close = |(have, want): (&u32, &u32)| have.abs_diff(*want) <= want / 10;
        shares.iter().zip(wanted).all(close)
    }

    #[test]
    fn weights_are_kept() {
        let rows = rows(&[7, 8, 9, 10]);
        let plan = Plan::new(Routing::Weights(vec![5, 0, 2, 3]), &rows).unwrap();
        let shares = shares(&plan, &rows);
        assert!(near(&shares, &[10_000, 0, 4_000, 6_000]), "{shares:?}");
    }

    #[test]
    fn who_is_not_eligible_is_drawn_again() {
        let all = rows(&[7, 8, 9, 10]);
        let plan = Plan::new(Routing::Weights(vec![5, 1, 2, 3]), &all).unwrap();
        let left = rows(&[8, 10]);
        let shares = shares(&plan, &left);
        assert!(near(&shares, &[5_000, 15_000]), "{shares:?}");
    }

    #[test]
    fn two_choices_spare_the_busy() {
        let mut rows = rows(&[1, 2, 3]);
        rows[1].in_flight = 9;
        let plan = Plan::new(Routing::TwoChoices(vec![1, 1, 1]), &rows).unwrap();
        let shares = shares(&plan, &rows);
        assert!(shares[1] < 20, "{shares:?}");
        assert!(near(&[shares[0]], &[10_000]), "{shares:?}");
    }

    #[test]
    fn a_single_choice_is_taken() {
        let rows = rows(&[1, 2]);
        let plan = Plan::new(Routing::TwoChoices(vec![0, 1]), &rows).unwrap();
        assert_eq!(shares(&plan, &rows), [0, 20_000]);
    }

    #[test]
    fn a_table_is_read_at_the_key_and_probed_onwards() {
        let all = rows(&[4, 5, 6]);
        let plan = Plan::new(Routing::Table(vec![2, 0, 1, 0]), &all).unwrap();
        let ids = |rows: &[Row]| -> Vec<u32> {
            (0..5)
                .map(|key| rows[plan.pick(rows, &request(key), false).unwrap()].id)
                .collect()
        };
        assert_eq!(ids(&all), [6, 4, 5, 4, 6]);
        assert_eq!(ids(&rows(&[5, 6])), [6, 5, 5, 6, 6]);
    }

    #[test]
    fn the_first_eligible_of_an_order_is_taken() {
        let all = rows(&[4, 5, 6]);
        let plan = Plan::new(Routing::Order(vec![2, 0, 1]), &all).unwrap();
        assert_eq!(plan.pick(&all[..], &request(0), false), Some(2));
        assert_eq!(plan.pick(&all[..2], &request(0), false), Some(0));
        assert_eq!(plan.pick(&rows(&[9, 5])[..], &request(0), false), Some(1));
        assert_eq!(plan.pick(&rows(&[9])[..], &request(0), false), None);
    }

    #[test]
    fn backends_are_found_wherever_they_moved() {
        let all = rows(&[1, 2, 3, 4, 5]);
        let plan = Plan::new(Routing::Order(vec![3]), &all).unwrap();
        for (now, place) in [
            (&[1, 2, 3, 4, 5][..], Some(3)),
            (&[2, 4], Some(1)),
            (&[5, 4, 3, 2, 1], Some(1)),
            (&[4, 9, 9, 9, 9, 9, 9], Some(0)),
            (&[1, 2, 3], None),
        ] {
            assert_eq!(
                plan.pick(&rows(now)[..], &request(0), false),
                place,
                "{now:?}"
            );
        }
    }

    #[test]
    fn places_are_taken_on_trust_only_in_a_whole_list_of_the_same_generation() {
        let all = rows(&[1, 2, 3]);
        let plan = Plan::new(Routing::Order(vec![2]), &all).unwrap();
        let at = |now: &[u32], same| plan.pick(&rows(now)[..], &request(0), same);
        assert_eq!(at(&[1, 2, 3], true), Some(2));
        assert_eq!(at(&[2, 3], true), Some(1));
        assert_eq!(at(&[3, 2, 1], false), Some(0));
    }

    #[test]
    fn nonsense_is_a_fault() {
        let rows = rows(&[1, 2]);
        for routing in [
            Routing::Weights(vec![1]),
            Routing::Weights(vec![0, 0]),
            Routing::TwoChoices(vec![1, 2, 3]),
            Routing::Table(vec![]),
            Routing::Table(vec![0, 2]),
            Routing::Order(vec![u32::MAX]),
        ] {
            let fault = Plan::new(routing.clone(), &rows).unwrap_err();
            assert_eq!(fault.kind, FaultKind::BadIndex, "{routing:?}");
        }
    }

    /// Any routing over `count` backends, mostly a valid one.
    fn routing(count: u32) -> impl Strategy<Value = Routing> {
        let weights = || collection::vec(0_u32..5, count as usize);
        let entries = || collection::vec(0..count, 1..20);
        prop_oneof![
            weights().prop_map(Routing::Weights),
            weights().prop_map(Routing::TwoChoices),
            entries().prop_map(Routing::Table),
            entries().prop_map(Routing::Order),
        ]
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_is_there_and_planned(
            (count, routing) in (1_u32..20).prop_flat_map(|count| (Just(count), routing(count))),
            now in collection::vec(0_u32..25, 1..25),
            random in num::u64::ANY,
        ) {
            let planned: Vec<u32> = (0..count).collect();
            let Ok(plan) = Plan::new(routing.clone(), &rows(&planned)) else {
                return Ok(());
            };
            let now = rows(&now);
            if let Some(index) = plan.pick(&now[..], &request(random), false) {
                let id = now[index].id;
                let is_planned = match routing {
                    Routing::Weights(weights) | Routing::TwoChoices(weights) => {
                        weights[id as usize] > 0
                    }
                    Routing::Table(entries) | Routing::Order(entries) => entries.contains(&id),
                };
                assert!(is_planned, "{id}");
            }
        }
    }
}
