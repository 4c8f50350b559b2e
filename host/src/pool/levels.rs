//! Which backends may be asked: priorities, and what happens when too few are
//! well.
//!
//! The arithmetic is Envoy's ("priority levels" and "panic threshold" in its
//! documentation). Only numbers here: who is who, the snapshot knows.

/// How much more than its share a backend is trusted to take, in percent: a
/// level with 72 % of its backends eligible still takes everything.
const OVERPROVISIONING: usize = 140;

/// The backends of one priority, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Those that an operator lets take requests.
    pub active: usize,
    /// Those of them that nothing speaks against.
    pub eligible: usize,
}

/// What one level is to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of all requests, in percent; those of all levels add up to 100.
    pub percent: u32,
    /// Too few are eligible: all active ones may be asked.
    pub panics: bool,
}

/// What each of `levels`, first choice first, takes. A level that has fewer
/// eligible backends than `panic_threshold` percent panics, unless the other
/// levels can take over all that it cannot; 0 = none ever does.
pub fn shares(levels: &[Level], panic_threshold: u8) -> Vec<Share> {
    let able = |level: &Level| match level.active {
        0 => 0,
        active => (level.eligible * OVERPROVISIONING / active).min(100),
    };
    let total = levels.iter().map(able).sum::<usize>().min(100);
    let panics = |level: &Level| {
        total < 100 && level.eligible * 100 < level.active * usize::from(panic_threshold)
    };
    let mut left = 100;
    let mut shares: Vec<Share> = levels
        .iter()
        .map(|level| {
            // Where all together are not able enough, each takes more than it should.
            let percent = (able(level) * 100)
                .checked_div(total)
                .unwrap_or(0)
                .min(left);
            left -= percent;
            Share {
                percent: percent as u32,
                panics: panics(level),
            }
        })
        .collect();
    // Of rounding, or all of it where nobody is able: to the first who has anybody.
    let takes = |(level, share): &(&Level, &mut Share)| {
        share.percent > 0 || (total == 0 && level.active > 0)
    };
    if let Some((_, share)) = levels.iter().zip(&mut shares).find(takes) {
        share.percent += left as u32;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percents(levels: &[(usize, usize)], panic_threshold: u8) -> Vec<u32> {
        let shares = shares(&of(levels), panic_threshold);
        shares.iter().map(|share| share.percent).collect()
    }

    fn panics(levels: &[(usize, usize)], panic_threshold: u8) -> Vec<bool> {
        let shares = shares(&of(levels), panic_threshold);
        shares.iter().map(|share| share.panics).collect()
    }

    fn of(levels: &[(usize, usize)]) -> Vec<Level> {
        let level = |&(eligible, active)| Level { active, eligible };
        levels.iter().map(level).collect()
    }

    /// The table of Envoy's documentation of priority levels.
    #[test]
    fn the_next_level_takes_what_the_first_is_not_able_to() {
        for (first, expected) in [
            (100, [100, 0]),
            (72, [100, 0]),
            (71, [99, 1]),
            (50, [70, 30]),
            (25, [35, 65]),
            (0, [0, 100]),
        ] {
            assert_eq!(percents(&[(first, 100), (100, 100)], 50), expected);
        }
        assert_eq!(percents(&[(25, 100), (25, 100)], 50), [50, 50]);
        assert_eq!(
            percents(&[(20, 100), (20, 100), (10, 100)], 50),
            [40, 40, 20]
        );
    }

    #[test]
    fn panic_is_for_who_cannot_be_helped() {
        assert_eq!(panics(&[(2, 4)], 50), [false]);
        assert_eq!(panics(&[(1, 3)], 50), [true]);
        assert_eq!(
            panics(&[(1, 3), (3, 3)], 50),
            [false, false],
            "the backup takes over"
        );
        assert_eq!(panics(&[(1, 3), (1, 3)], 50), [true, true]);
        assert_eq!(panics(&[(0, 3)], 0), [false], "never");
        assert_eq!(percents(&[(0, 3)], 0), [100]);
        assert_eq!(percents(&[(0, 0), (0, 3)], 50), [0, 100]);
    }

    proptest! {
        #[test]
        fn everything_is_taken_and_nobody_takes_what_it_has_not(
            levels in prop::collection::vec((0..20usize, 0..20usize), 1..6),
            threshold in 0..=100u8,
        ) {
            let levels: Vec<(usize, usize)> =
                levels.iter().map(|&(a, b)| (a.min(b), b)).collect();
            prop_assume!(levels.iter().any(|&(_, active)| active > 0));
            let percents = percents(&levels, threshold);
            prop_assert_eq!(percents.iter().sum::<u32>(), 100);
            let some = levels.iter().any(|&(eligible, _)| eligible > 0);
            for (&(eligible, active), &percent) in levels.iter().zip(&percents) {
                let has = if some { eligible } else { active };
                prop_assert!(percent == 0 || has > 0);
            }
        }
    }
}
