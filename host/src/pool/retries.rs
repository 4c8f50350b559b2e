//! Whether trying again is any use, and how much of it a pool bears, over all
//! workers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::retry_budget::RetryBudget;

/// A pool fails when its last attempts, so many for each of its backends, all did.
const FAILS_AFTER: u32 = 3;

/// While a pool fails, one failed attempt in so many is still followed by
/// another: who always comes to the same dead backend finds one that came back.
const LOOKS_EVERY: u32 = 10;

/// What is known of a pool's retries. Belongs to the pool from generation to
/// generation.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Retries {
    /// Attempts in a row that got no answer, or one that is retried on. Written
    /// at failures, and at the first success after them.
    failed: AtomicU32,
    noted_s: AtomicU64,
    /// Taken for a retry and once a second, never for a request.
    budget: Mutex<RetryBudget>,
}

impl Retries {
    /// An attempt was answered.
    #[inline]
    pub fn went_well(&self) {
        if self.failed.load(Relaxed) != 0 {
            self.failed.store(0, Relaxed);
        }
    }

    /// An attempt was not.
    pub fn went_wrong(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// An attempt that has just failed may be followed by another in a pool of
    /// so many backends. Not where all fail, but for a few that look again.
    pub fn are_of_use(&self, backends: usize) -> bool {
        let failed = self.failed.load(Relaxed);
        let many = u32::try_from(backends).unwrap_or(u32::MAX);
        failed < many.saturating_mul(FAILS_AFTER) || failed.is_multiple_of(LOOKS_EVERY)
    }

    /// Takes a retry out of the budget, if there is one left; see
    /// [`RetryBudget::withdraw`].
    pub fn withdraw(&self, now_us: u64, requests: u64, percent: u8) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.withdraw(now_us, requests, percent)
    }

    /// Notes once a second how many requests have come.
    pub fn note(&self, now_us: u64, requests: impl FnOnce() -> u64) {
        // From 1: in the first second nobody has noted anything yet.
        let second = now_us / 1_000_000 + 1;
        let noted = self.noted_s.load(Relaxed);
        let is_mine = second > noted
            && self
                .noted_s
                .compare_exchange(noted, second, Relaxed, Relaxed)
                .is_ok();
        if is_mine {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.note(now_us, requests());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_whose_last_attempts_all_failed_is_rarely_asked_again() {
        let retries = Retries::default();
        let again: Vec<u32> = (1..=40)
            .filter(|_| {
                retries.went_wrong();
                retries.are_of_use(2)
            })
            .collect();
        assert_eq!(again, [1, 2, 3, 4, 5, 10, 20, 30, 40]);
        retries.went_well();
        retries.went_wrong();
        assert!(retries.are_of_use(2), "one success and it is used again");
    }

    #[test]
    fn requests_are_counted_once_a_second() {
        let retries = Retries::default();
        retries.note(0, || 0);
        retries.note(999_999, || unreachable!("it was noted"));
        assert!(retries.withdraw(999_999, 100, 20));
        retries.note(1_000_000, || 100);
    }
}
