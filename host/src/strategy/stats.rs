//! What a strategy counts: one cell a worker, summed when asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::plugin::FaultKind;

/// Sums over all workers since the strategy was prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Decisions asked for.
    pub picks: u64,
    /// Decisions that the fallback made because the plugin could not or would not.
    pub fallbacks: u64,
    /// Instances started in place of one that faulted or grew too large.
    pub replacements: u64,
    /// Plans made by a planner.
    pub plans: u64,
    /// Outcomes that were not handed to the plugin, because its buffer was full.
    pub outcomes_dropped: u64,
    faults: [u64; FaultKind::ALL.len()],
}

impl Stats {
    /// Faults of one kind.
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize]
    }

    /// Faults of all kinds.
    pub fn all_faults(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// The counters of one worker. Only its own thread writes them.
#[derive(Debug, Default)]
#[repr(align(128))] // two workers' counters never share a cache line
pub(super) struct Counters {
    pub(super) picks: Counter,
    pub(super) fallbacks: Counter,
    pub(super) replacements: Counter,
    pub(super) plans: Counter,
    pub(super) outcomes_dropped: Counter,
    faults: [Counter; FaultKind::ALL.len()],
}

impl Counters {
    pub(super) fn fault(&self, kind: FaultKind) {
        self.faults[kind as usize].add(1);
    }
}

/// A number with one writer: no locked instruction is needed to add to it.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All workers' counters. Those of workers that are gone stay: nothing counted
/// is lost. The lock is taken when a worker comes and when sums are wanted.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Vec<Arc<Counters>>>);

impl Ledger {
    pub(super) fn open(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(counters.clone());
        counters
    }

    pub(super) fn sum(&self) -> Stats {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = Stats::default();
        for counters in all.iter() {
            stats.picks += counters.picks.get();
            stats.fallbacks += counters.fallbacks.get();
            stats.replacements += counters.replacements.get();
            stats.plans += counters.plans.get();
            stats.outcomes_dropped += counters.outcomes_dropped.get();
            for (sum, counter) in stats.faults.iter_mut().zip(&counters.faults) {
                *sum += counter.get();
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counted_is_lost_when_a_worker_goes() {
        let ledger = Ledger::default();
        let first = ledger.open();
        first.picks.add(2);
        first.fault(FaultKind::Trap);
        drop(first);
        ledger.open().picks.add(1);
        let sum = ledger.sum();
        assert_eq!((sum.picks, sum.all_faults()), (3, 1));
        assert_eq!(sum.faults(FaultKind::Trap), 1);
    }

    #[test]
    fn kinds_are_numbered_in_order() {
        for (number, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
