//! Whether trying again is any use, and how much of it a pool bears, over all
//! workers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::Pool;
use super::retry_budget::RetryBudget;

/// A backend fails when so many attempts at it in a row went wrong.
const FAILS_AFTER: u32 = 3;

/// While a pool fails, one failed attempt in so many is still followed by
/// another: who always comes to the same dead backend finds one that came back.
const LOOKS_EVERY: u32 = 10;

/// What is known of a pool's retries. Belongs to the pool from generation to
/// generation.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Retries {
    /// Attempts that failed while the pool did.
    in_vain: AtomicU32,
    noted_s: AtomicU64,
    /// Taken for a retry and once a second, never for a request.
    budget: Mutex<RetryBudget>,
}

impl Pool {
    /// An attempt that has just failed may be followed by another. Where all who
    /// are eligible fail, only a few may, that look again.
    pub fn retries_are_of_use(&self) -> bool {
        let mut eligible = self.members.list.iter().filter(|one| one.is_eligible());
        let fails = eligible.all(|member| member.cell.bad_in_a_row() >= FAILS_AFTER);
        !fails || self.retries.looks_again()
    }
}

impl Retries {
    fn looks_again(&self) -> bool {
        let in_vain = self.in_vain.fetch_add(1, Relaxed).wrapping_add(1);
        in_vain.is_multiple_of(LOOKS_EVERY)
    }

    /// Takes a retry out of the budget, if there is one left; see
    /// `RetryBudget::withdraw`.
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
    use crate::config::{BackendSettings, PoolSettings};

    fn pool() -> Pool {
        let backend = |address: &str| BackendSettings::new(address.parse().expect("right"));
        let backends = ["a:1", "b:1"].map(backend).to_vec();
        Pool::new(PoolSettings::new("p", backends), None)
    }

    #[test]
    fn where_all_fail_one_in_ten_looks_again() {
        let pool = pool();
        let [a, b] = &pool.members.list[..] else {
            unreachable!("there are two");
        };
        for _ in 0..100 {
            a.cell.note_bad();
            assert!(pool.retries_are_of_use(), "the other may be well");
        }
        b.cell.note_bad();
        b.cell.note_bad();
        assert!(pool.retries_are_of_use(), "that may be chance");
        b.cell.note_bad();
        let again = (0..100).filter(|_| pool.retries_are_of_use()).count();
        assert_eq!(again, 10);
        b.cell.note_good();
        assert!((0..100).all(|_| pool.retries_are_of_use()));
    }

    #[test]
    fn who_is_not_eligible_does_not_count() {
        let pool = pool();
        let [a, b] = &pool.members.list[..] else {
            unreachable!("there are two");
        };
        for _ in 0..3 {
            a.cell.note_bad();
        }
        b.standing.set_healthy(false);
        assert!(!pool.retries_are_of_use());
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
