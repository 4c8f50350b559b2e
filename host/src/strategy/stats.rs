//! What a strategy counts: one cell a worker, summed when asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// CPU time of all calls, estimated from samples.
    pub cpu: Duration,
    /// Most linear memory that one instance held, in bytes.
    pub memory: u64,
    /// Times of the sampled picks.
    pub pick_times: PickTimes,
    faults: [u64; FaultKind::ALL.len()],
}

/// A histogram of the sampled picks' times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PickTimes {
    /// Samples up to each of [`PickTimes::BOUNDS`] but above the one before,
    /// and, last, above all of them.
    pub counts: [u64; PickTimes::BOUNDS.len() + 1],
    /// Of all samples.
    pub sum: Duration,
}

impl PickTimes {
    /// Upper bounds of the buckets, in nanoseconds.
    pub const BOUNDS: [u64; 14] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 5_000_000, 10_000_000,
    ];
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
    cpu_ns: Counter,
    memory: AtomicU64,
    pick_times: [Counter; PickTimes::BOUNDS.len() + 1],
    pick_times_ns: Counter,
    faults: [Counter; FaultKind::ALL.len()],
}

impl Counters {
    pub(super) fn fault(&self, kind: FaultKind) {
        self.faults[kind as usize].add(1);
    }

    /// A timed pick, standing for `calls`.
    pub(super) fn pick_took(&self, time: Duration, calls: u32) {
        self.call_took(time, calls);
        let time = nanos(time);
        let bucket = PickTimes::BOUNDS.partition_point(|&bound| bound < time);
        self.pick_times[bucket].add(1);
        self.pick_times_ns.add(time);
    }

    /// Any timed call, standing for `calls`.
    pub(super) fn call_took(&self, time: Duration, calls: u32) {
        self.cpu_ns.add(nanos(time).saturating_mul(calls.into()));
    }

    /// An instance holds this much memory.
    pub(super) fn memory(&self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.memory.load(Ordering::Relaxed) {
            self.memory.store(bytes, Ordering::Relaxed);
        }
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
            stats.cpu += Duration::from_nanos(counters.cpu_ns.get());
            stats.memory = stats.memory.max(counters.memory.load(Ordering::Relaxed));
            stats.pick_times.sum += Duration::from_nanos(counters.pick_times_ns.get());
            let counts = &mut stats.pick_times.counts;
            for (sum, counter) in counts.iter_mut().zip(&counters.pick_times) {
                *sum += counter.get();
            }
            for (sum, counter) in stats.faults.iter_mut().zip(&counters.faults) {
                *sum += counter.get();
            }
        }
        stats
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_holds_it() {
        let ledger = Ledger::default();
        let counters = ledger.open();
        for nanos in [0, 250, 251, 10_000_001] {
            counters.pick_took(Duration::from_nanos(nanos), 2);
        }
        counters.memory(7);
        counters.memory(5);
        let sum = ledger.sum();
        let counts = sum.pick_times.counts;
        assert_eq!((counts[0], counts[1], counts[14]), (2, 1, 1));
        assert_eq!(sum.pick_times.sum, Duration::from_nanos(10_000_502));
        assert_eq!(sum.cpu, 2 * sum.pick_times.sum);
        assert_eq!(sum.memory, 7);
    }

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
