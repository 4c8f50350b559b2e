//! What a strategy counts: a block of counters a worker, summed when asked for.

use std::time::Duration;

use crate::plugin::FaultKind;
use crate::telemetry::metrics::{Counter, Gauge, Histogram, Ledger, Scale};

use super::recycling::Recycled;

/// Sums over all workers since the strategy was prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Decisions asked for.
    pub picks: u64,
    /// Decisions that the fallback made because the plugin could not or would not.
    pub fallbacks: u64,
    /// Instances started in place of one that faulted.
    pub replacements: u64,
    /// Plans made by a planner.
    pub plans: u64,
    /// Outcomes that were not handed to the plugin, because its buffer was full.
    pub outcomes_dropped: u64,
    /// CPU time of all calls, estimated from samples.
    pub cpu: Duration,
    /// Most linear memory that one instance held, in bytes.
    pub memory: u64,
    faults: [u64; FaultKind::ALL.len()],
    recycled: [u64; Recycled::ALL.len()],
}

impl Stats {
    /// Faults of one kind.
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize]
    }

    /// Instances that made room for a new one, without a fault, for one reason.
    pub fn recycled(&self, reason: Recycled) -> u64 {
        self.recycled[reason as usize]
    }

    /// Faults of all kinds.
    pub fn all_faults(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// The counters of one worker. Only its own thread writes them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) picks: Counter,
    pub(super) fallbacks: Counter,
    pub(super) replacements: Counter,
    pub(super) plans: Counter,
    pub(super) outcomes_dropped: Counter,
    cpu_ns: Counter,
    memory: Gauge,
    pub(super) pick_times: Histogram<PickTime, 14>,
    faults: [Counter; FaultKind::ALL.len()],
    recycled: [Counter; Recycled::ALL.len()],
}

impl Counters {
    pub(super) fn recycled(&self, reason: Recycled) {
        self.recycled[reason as usize].add(1);
    }

    pub(super) fn fault(&self, kind: FaultKind) {
        self.faults[kind as usize].add(1);
    }

    /// A timed pick, standing for `calls`.
    pub(super) fn pick_took(&self, time: Duration, calls: u32) {
        self.call_took(time, calls);
        self.pick_times.observe(nanos(time));
    }

    /// Any timed call, standing for `calls`.
    pub(super) fn call_took(&self, time: Duration, calls: u32) {
        self.cpu_ns.add(nanos(time).saturating_mul(calls.into()));
    }

    /// An instance holds this much memory.
    pub(super) fn memory(&self, bytes: usize) {
        self.memory.raise_to(bytes as u64);
    }
}

/// CPU time of a pick, in nanoseconds.
#[derive(Debug)]
pub(super) struct PickTime;

impl Scale<14> for PickTime {
    const BOUNDS: [u64; 14] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 5_000_000, 10_000_000,
    ];
    const PER_SECOND: f64 = 1e9;
}

impl Stats {
    /// Adds up what all workers counted.
    pub(super) fn of(ledger: &Ledger<Counters>) -> Stats {
        let mut stats = Stats::default();
        ledger.each(|counters| {
            stats.picks += counters.picks.get();
            stats.fallbacks += counters.fallbacks.get();
            stats.replacements += counters.replacements.get();
            stats.plans += counters.plans.get();
            stats.outcomes_dropped += counters.outcomes_dropped.get();
            stats.cpu += Duration::from_nanos(counters.cpu_ns.get());
            stats.memory = stats.memory.max(counters.memory.get());
            for (sum, counter) in stats.faults.iter_mut().zip(&counters.faults) {
                *sum += counter.get();
            }
            for (sum, counter) in stats.recycled.iter_mut().zip(&counters.recycled) {
                *sum += counter.get();
            }
        });
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
    fn every_counter_is_summed() {
        let ledger = Ledger::<Counters>::default();
        let count = |memory| {
            let counters = ledger.open();
            counters.picks.add(1);
            counters.fallbacks.add(2);
            counters.replacements.add(3);
            counters.plans.add(4);
            counters.outcomes_dropped.add(5);
            counters.fault(FaultKind::Trap);
            counters.recycled(Recycled::Memory);
            counters.pick_took(Duration::from_nanos(250), 10);
            counters.call_took(Duration::from_nanos(100), 1);
            counters.memory(memory);
        };
        std::thread::scope(|scope| drop(scope.spawn(|| count(7))));
        count(5);
        let stats = Stats::of(&ledger);
        assert_eq!((stats.picks, stats.fallbacks), (2, 4));
        assert_eq!((stats.replacements, stats.plans), (6, 8));
        assert_eq!(stats.outcomes_dropped, 10);
        assert_eq!((stats.faults(FaultKind::Trap), stats.all_faults()), (2, 2));
        assert_eq!(stats.cpu, Duration::from_nanos(2 * 2_600));
        assert_eq!(stats.recycled(Recycled::Calls), 0);
        assert_eq!(stats.recycled(Recycled::Memory), 2);
        assert_eq!(stats.memory, 7, "of the instance with the most");
        let times = ledger.distribution(|counters| &counters.pick_times);
        assert_eq!(times.buckets[0], (250e-9, 2));
    }

    #[test]
    fn kinds_are_numbered_in_order() {
        for (number, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        for (number, reason) in Recycled::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
