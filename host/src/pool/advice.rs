//! What a backend's agent wants done with it, and what that makes of weights.

use super::Row;

/// The largest weight that strategies are promised.
const HEAVIEST: u32 = 65_535;
/// A share of a weight is exact to a hundredth.
const PARTS: u32 = 100;

/// What a backend's agent has said last of each thing that it can speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// It is down.
    pub down: bool,
    /// It takes no new requests; sessions go on.
    pub drain: bool,
    /// Nor those.
    pub maintenance: bool,
    /// How much of its weight it should have, in percent, 0 to
    /// [`Advice::MOST_PERCENT`]. None: no new requests.
    pub percent: u32,
}

impl Default for Advice {
    /// Of a backend whose agent has said nothing, or that has none.
    fn default() -> Self {
        Self {
            down: false,
            drain: false,
            maintenance: false,
            percent: PARTS,
        }
    }
}

const DRAIN: u32 = 1 << 16;
const MAINTENANCE: u32 = 1 << 17;
const DOWN: u32 = 1 << 18;

impl Advice {
    /// More of its weight than this is as much as this.
    pub const MOST_PERCENT: u32 = 1000;

    /// It takes new requests, as far as that is for the agent to decide. That it is
    /// down is another thing: whom nobody else can stand in for is asked all the same.
    pub fn admits(self) -> bool {
        !self.drain && !self.maintenance && self.percent != 0
    }

    /// As one number, which is 0 where nothing was said.
    pub(super) fn packed(self) -> u32 {
        let marks = [
            (self.drain, DRAIN),
            (self.maintenance, MAINTENANCE),
            (self.down, DOWN),
        ];
        let set = marks.iter().filter(|(is_set, _)| *is_set);
        // What most say must be 0.
        set.fold(self.percent ^ PARTS, |packed, (_, mark)| packed | mark)
    }

    pub(super) fn unpacked(packed: u32) -> Advice {
        Advice {
            down: packed & DOWN != 0,
            drain: packed & DRAIN != 0,
            maintenance: packed & MAINTENANCE != 0,
            percent: (packed & 0xffff) ^ PARTS,
        }
    }
}

/// Gives each row its share of its weight, in percent. As weights mean something only
/// beside each other, all are raised so far that shares of the lightest are still
/// whole numbers, where there is room for that.
pub(super) fn apply(rows: &mut [Row], percents: &[u32]) {
    if percents.iter().all(|&percent| percent == PARTS) {
        return;
    }
    let share = |(row, &percent): (&Row, &u32)| u64::from(row.weight) * u64::from(percent);
    let heaviest = rows.iter().zip(percents).map(share).max().unwrap_or(0);
    // In hundredths; as it stands a share is exact.
    let divide = heaviest.div_ceil(u64::from(HEAVIEST)).max(1);
    for (row, &percent) in rows.iter_mut().zip(percents) {
        let weight = share((row, &percent)) / divide;
        row.weight = u32::try_from(weight).unwrap_or(HEAVIEST).max(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(weights: &[u32], percents: &[u32]) -> Vec<u32> {
        let row = |&weight: &u32| Row {
            weight,
            ..Row::default()
        };
        let mut rows: Vec<Row> = weights.iter().map(row).collect();
        apply(&mut rows, percents);
        rows.iter().map(|row| row.weight).collect()
    }

    #[test]
    fn shares_of_small_weights_are_exact() {
        assert_eq!(weights(&[1, 1, 2], &[75, 100, 50]), [75, 100, 100]);
        assert_eq!(
            weights(&[5, 3], &[100, 100]),
            [5, 3],
            "nobody says anything"
        );
        assert_eq!(weights(&[1, 1], &[200, 100]), [200, 100]);
        assert_eq!(weights(&[65_535, 1], &[50, 100]), [65_535, 2]);
    }

    proptest! {
        #[test]
        fn weights_stay_in_range_and_in_proportion(
            members in proptest::collection::vec((1_u32..=65_535, 1_u32..=1000), 1..20),
        ) {
            let (before, percents): (Vec<u32>, Vec<u32>) = members.into_iter().unzip();
            let after = weights(&before, &percents);
            prop_assert!(after.iter().all(|weight| (1..=65_535).contains(weight)));
            let share = |index: usize| f64::from(before[index]) * f64::from(percents[index]);
            let most = (0..before.len()).map(share).fold(0.0, f64::max);
            let heaviest = after.iter().copied().max().map_or(1.0, f64::from);
            for (index, weight) in after.iter().enumerate() {
                let wanted = share(index) / most * heaviest;
                prop_assert!((f64::from(*weight) - wanted).abs() <= 2.0, "{weight} {wanted}");
            }
        }

        #[test]
        fn advice_survives_its_packing(
            down: bool, drain: bool, maintenance: bool, percent in 0_u32..=1000,
        ) {
            let advice = Advice { down, drain, maintenance, percent };
            prop_assert_eq!(Advice::unpacked(advice.packed()), advice);
            prop_assert_eq!(advice.packed() == 0, advice == Advice::default());
        }
    }
}
