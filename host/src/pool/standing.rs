//! What is known of a backend beyond its load: whether it may be asked.
//!
//! Written by whoever watches backends (health checks, outlier detection), read
//! by every worker's snapshot. A backend keeps its standing for as long as it is
//! in the pool, across reloads and swaps, as it keeps its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Queue;

/// Whether one backend may be asked, over all workers. Eligible until somebody
/// says otherwise.
#[derive(Debug, Default)]
pub struct Standing {
    against: AtomicU32,
}

/// Its health checks fail.
const UNHEALTHY: u32 = 1;
/// Its answers to clients were too bad for a while.
const EJECTED: u32 = 2;

impl Standing {
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

    fn has(&self, mark: u32) -> bool {
        self.against.load(Ordering::Acquire) & mark != 0
    }

    fn set(&self, mark: u32, on: bool) -> bool {
        let before = match on {
            true => self.against.fetch_or(mark, Ordering::AcqRel),
            false => self.against.fetch_and(!mark, Ordering::AcqRel),
        };
        (before & mark != 0) != on
    }
}

/// Tells the workers' snapshots that a standing of their pool changed: they
/// compare one number for each pick. Shared by a pool's generations.
#[derive(Default)]
pub struct Eligibility {
    version: AtomicU64,
    /// Who may be asked now is news for those who wait.
    queue: Arc<Queue>,
}

impl Eligibility {
    /// Of a pool whose requests wait in `queue`.
    pub fn waking(queue: &Arc<Queue>) -> Eligibility {
        Eligibility {
            version: AtomicU64::new(0),
            queue: Arc::clone(queue),
        }
    }

    /// Some standing of the pool is another now.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.queue.changed();
    }

    /// How many changes there were.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
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
        assert!(standing.set_ejected(false));
        assert!(standing.is_eligible());
    }
}
