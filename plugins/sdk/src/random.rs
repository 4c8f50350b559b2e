//! Random numbers that replay.

use crate::Request;

/// A random generator (SplitMix64) seeded by [`Request::random`]: the same
/// request gives the same numbers, so that a recorded pick replays exactly.
///
/// ```
/// use anubis_strategy::{Random, Request};
///
/// let request = Request { random: 42, ..Request::default() };
/// let (mut a, mut b) = (Random::of(&request), Random::of(&request));
/// assert_eq!(a.below(1000), b.below(1000));
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this request.
    pub fn of(request: &Request) -> Self {
        Self(request.random)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number from 0 up to, but not including, `bound`; 0 where
    /// `bound` is 0. Each comes up equally often, but for one part in 2^64 /
    /// `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.bits(), bound)
    }
}

/// 2^64 divided by the golden ratio, made odd.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Maps all of `u64` onto `0..bound`, evenly and keeping the order.
pub(crate) fn scale(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Spreads every bit of the input over all bits of the output (the finaliser of
/// SplitMix64); a bijection.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_bound_and_reaches_all_of_it() {
        let mut random = Random(7);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(
            seen.iter().all(|&count| (900..1100).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn below_zero_and_one_is_zero() {
        let mut random = Random(7);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }

    #[test]
    fn scaling_keeps_the_ends() {
        assert_eq!(scale(0, 10), 0);
        assert_eq!(scale(u64::MAX, 10), 9);
        assert_eq!(scale(u64::MAX, u64::MAX), u64::MAX - 1);
    }
}
