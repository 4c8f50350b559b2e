//! What is known of one backend.

use anubis_strategy::Random;

/// An estimate of a cost in microseconds, which forgets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm {
    /// How many outcomes it is worth: at most `MOST`, less with time.
    weight: f64,
    mean: f64,
    variance: f64,
}

/// Outcomes that count: with more of them an estimate would be slow to change.
const MOST: f64 = 500.0;
/// No cost differs less than this from its mean, in parts of it: without it an estimate
/// from outcomes that happen to be equal would be sure for ever.
const LEAST_DEVIATION: f64 = 0.2;
/// What a weight counts for at least, so that a draw is a number.
const LEAST_WEIGHT: f64 = 0.01;

impl Arm {
    pub const SAVED: usize = 24;

    /// Nothing but a guess.
    pub fn guessed(mean: f64) -> Self {
        Self {
            weight: 0.0,
            mean,
            variance: 0.0,
        }
    }

    pub fn weight(&self) -> f64 {
        self.weight
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    pub fn learn(&mut self, cost: f64) {
        self.weight = (self.weight + 1.0).min(MOST);
        let off = cost - self.mean;
        self.mean += off / self.weight.max(1.0);
        let spread = off * (cost - self.mean);
        self.variance += (spread - self.variance) / self.weight.max(1.0);
    }

    /// Only the part `kept` (0 to 1) of what is known counts from now on.
    pub fn forget(&mut self, kept: f64) {
        self.weight *= kept;
    }

    /// What its mean cost may be, drawn: normally distributed around the estimate, the
    /// wider the less is known.
    pub fn drawn(&self, random: &mut Random) -> f64 {
        let least = (LEAST_DEVIATION * self.mean).powi(2);
        let deviation = (self.variance.max(least) / self.weight.max(LEAST_WEIGHT)).sqrt();
        self.mean + deviation * normal(random)
    }

    pub fn save(&self) -> impl Iterator<Item = u8> {
        [self.weight, self.mean, self.variance]
            .into_iter()
            .flat_map(f64::to_le_bytes)
    }

    /// `None` where these bytes can be no estimate.
    pub fn restore(saved: [u8; Self::SAVED]) -> Option<Self> {
        let (numbers, _) = saved.as_chunks();
        let number = |place: usize, most: f64| {
            let number = f64::from_le_bytes(numbers[place]);
            // Nor is it what is no number at all.
            (0.0..=most).contains(&number).then_some(number)
        };
        let most = f64::from(u32::MAX);
        Some(Self {
            weight: number(0, MOST)?,
            mean: number(1, most)?,
            variance: number(2, most * most)?,
        })
    }
}

/// Very nearly normal: the sum of twelve uniform numbers has the variance 1.
fn normal(random: &mut Random) -> f64 {
    let uniform = (0..12).map(|_| random.below(1 << 32) as f64 / (1u64 << 32) as f64);
    uniform.sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use anubis_strategy::Request;

    /// Mean and deviation of many draws.
    fn draws(arm: &Arm) -> (f64, f64) {
        let mut random = Random::of(&Request::default());
        let drawn: Vec<f64> = (0..10_000).map(|_| arm.drawn(&mut random)).collect();
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        let variance = drawn.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 10_000.0;
        (mean, variance.sqrt())
    }

    #[test]
    fn it_learns_mean_and_spread() {
        let mut arm = Arm::guessed(0.0);
        (0..100).for_each(|number| arm.learn(if number % 2 == 0 { 8_000.0 } else { 12_000.0 }));
        assert!((arm.mean() - 10_000.0).abs() < 1.0, "{arm:?}");
        assert!((arm.variance.sqrt() - 2_000.0).abs() < 10.0, "{arm:?}");
        let (mean, deviation) = draws(&arm);
        assert!((mean - 10_000.0).abs() < 20.0, "{mean}");
        assert!((deviation - 200.0).abs() < 10.0, "{deviation}");
    }

    #[test]
    fn what_is_forgotten_is_drawn_wider_but_the_mean_stays() {
        let mut arm = Arm::guessed(0.0);
        (0..100).for_each(|_| arm.learn(10_000.0));
        arm.forget(0.01);
        assert_eq!(arm.mean(), 10_000.0);
        let (_, deviation) = draws(&arm);
        assert!((deviation - 2_000.0).abs() < 100.0, "{deviation}");
    }

    #[test]
    fn a_change_is_believed_after_some_hundred_outcomes() {
        let mut arm = Arm::guessed(0.0);
        (0..1_000_000).for_each(|_| arm.learn(1_000.0));
        (0..500).for_each(|_| arm.learn(11_000.0));
        assert!(arm.mean() > 7_000.0, "{arm:?}");
    }

    #[test]
    fn what_is_no_number_is_not_restored() {
        let mut arm = Arm::guessed(5.0);
        arm.learn(7.0);
        let saved: Vec<u8> = arm.save().collect();
        assert_eq!(Arm::restore(saved.try_into().unwrap()), Some(arm));
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let saved = [wrong.to_le_bytes(); 3].concat();
            assert_eq!(Arm::restore(saved.try_into().unwrap()), None);
        }
    }
}
