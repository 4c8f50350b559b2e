//! What is known of a backend beyond its load: whether it may be asked.
//!
//! Written by whoever watches backends (health checks, outlier detection), read
//! by every worker's snapshot. A backend keeps its standing for as long as it is
//! in the pool, across reloads and swaps, as it keeps its id.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Advice;

/// Whether one backend may be asked, over all workers. Eligible until somebody
/// says otherwise.
#[derive(Debug, Default)]
pub struct Standing {
    against: AtomicU32,
    /// What its agent wants, packed.
    advice: AtomicU32,
    /// Microseconds of its return or its arrival in a running pool; 0 = it has
    /// been there from the beginning, [`SINCE_NOW`].
    returned_us: AtomicU64,
    /// It is not known yet whether it is healthy: to be found so is no return.
    unknown: AtomicBool,
}

/// Its health checks fail.
const UNHEALTHY: u32 = 1;
/// Its answers to clients were too bad for a while.
const EJECTED: u32 = 2;
/// Its agent says that it is down.
const DOWN: u32 = 4;

/// Returned a moment ago: whoever looks next knows the time.
const SINCE_NOW: u64 = u64::MAX;

impl Standing {
    /// Of a backend that joins a pool which has been running.
    pub fn of_newcomer() -> Standing {
        Standing {
            returned_us: AtomicU64::new(SINCE_NOW),
            ..Standing::default()
        }
    }

    /// How it stands before the first health check.
    pub fn begin(&self, healthy: bool) {
        self.set(UNHEALTHY, !healthy);
        self.unknown.store(!healthy, Ordering::Relaxed);
    }

    /// Nothing speaks against asking it.
    pub fn is_eligible(&self) -> bool {
        self.against.load(Ordering::Acquire) == 0
    }

    /// Its health checks pass, or there are none.
    pub fn is_healthy(&self) -> bool {
        !self.has(UNHEALTHY)
    }

    /// It is left out for a while because of its answers to clients.
    pub fn is_ejected(&self) -> bool {
        self.has(EJECTED)
    }

    /// Notes what the health checks say; true if that is a change.
    pub fn set_healthy(&self, healthy: bool) -> bool {
        self.set(UNHEALTHY, !healthy)
    }

    /// Notes what outlier detection says; true if that is a change.
    pub fn set_ejected(&self, ejected: bool) -> bool {
        self.set(EJECTED, ejected)
    }

    /// What its agent wants done with it.
    pub fn advice(&self) -> Advice {
        Advice::unpacked(self.advice.load(Ordering::Acquire))
    }

    /// Notes what its agent wants; true if that is a change. Only the health thread
    /// may, and whoever makes the backend.
    pub fn set_advice(&self, advice: Advice) -> bool {
        let before = self.advice.swap(advice.packed(), Ordering::AcqRel);
        let before = Advice::unpacked(before);
        if !before.admits() && advice.admits() {
            self.returns();
        }
        self.set(DOWN, advice.down);
        before != advice
    }

    /// It takes requests again, after a time without.
    pub fn returns(&self) {
        self.returned_us.store(SINCE_NOW, Ordering::Relaxed);
    }

    /// When it returned, in microseconds, as far as anybody knows at `now_us`;
    /// `None`: it has never been away.
    pub fn returned_us(&self, now_us: u64) -> Option<u64> {
        let relaxed = Ordering::Relaxed;
        match self.returned_us.load(relaxed) {
            0 => None,
            SINCE_NOW => {
                let now_us = now_us.max(1);
                let first = self
                    .returned_us
                    .compare_exchange(SINCE_NOW, now_us, relaxed, relaxed);
                Some(first.map_or_else(|other| other, |_| now_us))
            }
            since => Some(since),
        }
    }

    fn has(&self, mark: u32) -> bool {
        self.against.load(Ordering::Acquire) & mark != 0
    }

    fn set(&self, mark: u32, on: bool) -> bool {
        let before = match on {
            true => self.against.fetch_or(mark, Ordering::AcqRel),
            false => self.against.fetch_and(!mark, Ordering::AcqRel),
        };
        let eligible_again = before != 0 && before & !mark == 0 && !on;
        if eligible_again && !self.unknown.swap(false, Ordering::Relaxed) {
            self.returns();
        }
        (before & mark != 0) != on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_against_it_counts_and_only_changes_are_news() {
        let standing = Standing::default();
        assert!(standing.is_eligible());
        assert!(!standing.set_healthy(true));
        assert!(standing.set_healthy(false));
        assert!(standing.set_ejected(true));
        assert!(!standing.set_ejected(true));
        assert!(standing.set_healthy(true));
        assert!(!standing.is_eligible());
        assert_eq!(standing.returned_us(5), None, "not yet");
        assert!(standing.set_ejected(false));
        assert!(standing.is_eligible());
        assert_eq!(standing.returned_us(7), Some(7));
        assert_eq!(standing.returned_us(9), Some(7), "the first look counts");
    }

    #[test]
    fn what_an_agent_says_counts_and_who_comes_back_has_returned() {
        let standing = Standing::default();
        let usual = standing.advice();
        assert_eq!(usual, Advice::default());
        assert!(!standing.set_advice(usual));
        assert!(standing.set_advice(Advice {
            down: true,
            ..usual
        }));
        assert!(!standing.is_eligible() && standing.is_healthy());
        assert!(standing.set_advice(Advice {
            drain: true,
            ..usual
        }));
        assert!(standing.is_eligible(), "the one is not the other");
        assert!(!standing.advice().admits());
        assert_eq!(standing.returned_us(4), Some(4), "from being down");
        assert!(standing.set_advice(Advice {
            percent: 50,
            ..usual
        }));
        assert_eq!(standing.returned_us(6), Some(6), "from draining");
        assert!(standing.set_advice(usual));
        assert_eq!(standing.returned_us(7), Some(6), "a weight is no return");
    }

    #[test]
    fn who_was_there_from_the_beginning_has_not_returned() {
        let standing = Standing::default();
        standing.begin(true);
        assert_eq!(standing.returned_us(5), None);
        let standing = Standing::default();
        standing.begin(false);
        assert!(!standing.is_eligible());
        standing.set_healthy(true);
        assert_eq!(standing.returned_us(5), None, "found healthy at first");
        standing.set_healthy(false);
        standing.set_healthy(true);
        assert_eq!(standing.returned_us(6), Some(6));
        assert_eq!(Standing::of_newcomer().returned_us(8), Some(8));
    }
}
