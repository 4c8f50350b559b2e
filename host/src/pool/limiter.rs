//! Rate limits: so many requests a second of each key, over all workers.
//!
//! The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): of each key
//! one number is kept, the time at which it would be back to having used nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::RateSettings;

/// Locks, so that workers rarely wait for each other.
const SHARDS: usize = 64;
/// Keys of a shard: some 65,000 in all, a few megabytes.
const KEYS: usize = 1024;
/// How many of a full shard's keys are compared to find one to forget.
const SAMPLE: usize = 16;

/// When each key that was seen lately has used nothing any more, in microseconds.
///
/// Keys are hashes that anybody may choose; hence maps with secret seeds.
pub struct Limiter {
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Limiter {
    /// Counts a request of `key` at `now_us`.
    ///
    /// # Errors
    ///
    /// It comes too soon, and would not after this time. It does not count.
    pub fn admit(&self, key: u64, settings: &RateSettings, now_us: u64) -> Result<(), Duration> {
        let shard = &self.shards[(key as usize) % SHARDS];
        let mut idle_at = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle_at.get(&key).copied().unwrap_or(0);
        let after = next(before, settings, now_us).map_err(Duration::from_micros)?;
        if before == 0 && idle_at.len() >= KEYS {
            make_room(&mut idle_at, now_us);
        }
        idle_at.insert(key, after);
        Ok(())
    }
}

/// When a key that has used nothing from `idle_us` on has after one more request;
/// or how long that is too soon, in microseconds.
fn next(idle_us: u64, settings: &RateSettings, now_us: u64) -> Result<u64, u64> {
    let each = (1e6 / settings.rate) as u64;
    let burst = each.saturating_mul(settings.burst.saturating_sub(1));
    let early = idle_us.saturating_sub(now_us).saturating_sub(burst);
    match early {
        0 => Ok(idle_us.max(now_us).saturating_add(each)),
        early => Err(early),
    }
}

/// Forgets all keys that have used nothing; if there is none, one that has used
/// little.
fn make_room(idle_at: &mut HashMap<u64, u64>, now_us: u64) {
    idle_at.retain(|_, idle_us| *idle_us > now_us);
    if idle_at.len() >= KEYS
        && let Some((&key, _)) = idle_at.iter().take(SAMPLE).min_by_key(|(_, idle)| **idle)
    {
        idle_at.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::HashKey;

    const S: u64 = 1_000_000;

    fn settings(rate: f64, burst: u64) -> RateSettings {
        RateSettings {
            rate,
            burst,
            key: HashKey::ClientAddress,
        }
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (limiter, settings) = (Limiter::default(), settings(2.0, 3));
        let at = |key, now| limiter.admit(key, &settings, now);
        for _ in 0..3 {
            assert_eq!(at(1, S), Ok(()));
        }
        assert_eq!(at(1, S), Err(Duration::from_millis(500)));
        assert_eq!(at(2, S), Ok(()), "another key");
        assert_eq!(at(1, S + S / 2), Ok(()));
        assert!(at(1, S + S / 2 + 1).is_err());
        assert_eq!(at(1, 100 * S), Ok(()));
    }

    #[test]
    fn memory_has_an_end_and_those_who_use_much_are_remembered() {
        let (limiter, settings) = (Limiter::default(), settings(1.0, 1000));
        for _ in 0..1000 {
            limiter.admit(0, &settings, S).expect("its burst");
        }
        for key in 1..10 * KEYS as u64 {
            limiter
                .admit(key * SHARDS as u64, &settings, S)
                .expect("a new one");
        }
        let shard = limiter.shards[0].lock().expect("no holder panics");
        assert_eq!(shard.len(), KEYS);
        assert!(shard.contains_key(&0));
    }

    proptest! {
        /// In no stretch of time more than its burst and what the rate adds.
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            rate in 1..1000u32,
            burst in 1..50u64,
            pauses in prop::collection::vec(0..2 * S, 1..200),
        ) {
            let (limiter, settings) = (Limiter::default(), settings(f64::from(rate), burst));
            let (mut now, mut admitted) = (S, Vec::new());
            for pause in pauses {
                now += pause / u64::from(rate);
                if limiter.admit(7, &settings, now).is_ok() {
                    admitted.push(now);
                }
            }
            for (first, &since) in admitted.iter().enumerate() {
                for (last, &until) in admitted.iter().enumerate().skip(first) {
                    let most = burst as f64 + (until - since + 1) as f64 / 1e6 * f64::from(rate) + 0.01;
                    prop_assert!((last - first + 1) as f64 <= most + 1.0);
                }
            }
        }

        /// Who keeps to the rate is never refused.
        #[test]
        fn who_keeps_to_the_rate_is_served(rate in 1..1000u32, burst in 1..5u64, count in 1..100u64) {
            let (limiter, settings) = (Limiter::default(), settings(f64::from(rate), burst));
            for request in 0..count {
                let now = S + request * (S / u64::from(rate) + 1);
                prop_assert!(limiter.admit(7, &settings, now).is_ok());
            }
        }
    }
}
