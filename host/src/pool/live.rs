//! The live columns: what every worker reads for a pick and writes for an outcome.
//!
//! Kept in dense chunks, one cache line a backend: two workers that write to
//! different backends never share a line, and a scan over a pool walks memory
//! in order. A backend keeps its cell for as long as it is in the pool, across
//! reloads and swaps.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::ewma;

/// Backends in one chunk.
const CHUNK: usize = 64;

/// Load, latency and failures of one backend, over all workers.
///
/// Plain loads and stores, not read-modify-write, except for `in_flight`: two
/// samples that arrive at the same instant may count as one, which a moving
/// average does not notice, while a lost lease would never be found again.
#[derive(Default)]
#[repr(align(64))]
pub struct Live {
    in_flight: AtomicU32,
    /// Microseconds of the last sample; 0 = there was none.
    sampled_at: AtomicU64,
    /// Peak-EWMA in microseconds, the bits of an `f64`.
    latency: AtomicU64,
    /// EWMA of the failed share, 0 to 1, the bits of an `f64`.
    failures: AtomicU64,
    /// The last attempt did not get an answer; for the log, which tells changes.
    silent: AtomicBool,
    /// Attempts that went wrong since the last that went well.
    wrong: AtomicU32,
    /// Load that the backend reported last, in 1/10000.
    utilization: AtomicU32,
    /// Microseconds; from then on the report is too old.
    reported_until: AtomicU64,
}

/// What one attempt tells of its backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// To the response head, or to the moment the attempt was given up; `None`
    /// where the time says nothing of the backend (a refused connection).
    pub latency_us: Option<u64>,
    /// The backend did not do what was asked of it.
    pub failed: bool,
}

impl Live {
    /// Attempts from pick to the end of the response body.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// When the last sample came, in microseconds; a change means that
    /// latency and failures changed.
    pub fn sampled_at(&self) -> u64 {
        self.sampled_at.load(Relaxed)
    }

    /// Peak-EWMA in microseconds, decayed to `now_us`; 0 = no sample yet.
    pub fn latency_us(&self, now_us: u64) -> u32 {
        let value = f64::from_bits(self.latency.load(Relaxed));
        if value == 0.0 {
            return 0;
        }
        // A sample that has decayed away is still a sample: never back to 0.
        (ewma::decayed(value, self.since_sample(now_us)) as u32).max(1)
    }

    /// EWMA of the failed share in 1/10000, decayed to `now_us`.
    pub fn failures(&self, now_us: u64) -> u32 {
        let value = f64::from_bits(self.failures.load(Relaxed));
        (ewma::decayed(value, self.since_sample(now_us)) * 10_000.0).round() as u32
    }

    /// Load that the backend reports of itself, in 1/10000; 0 = not reported, or
    /// not lately.
    pub fn utilization(&self, now_us: u64) -> u32 {
        match now_us < self.reported_until.load(Relaxed) {
            true => self.utilization.load(Relaxed),
            false => 0,
        }
    }

    /// The backend says that its load is `load`, 0 to 1, which counts until
    /// `until_us`. A load of nothing is the least that is not "not reported".
    pub fn reports(&self, load: f64, until_us: u64) {
        let parts = (load * 10_000.0).round().clamp(1.0, 10_000.0);
        self.utilization.store(parts as u32, Relaxed);
        self.reported_until.store(until_us, Relaxed);
    }

    /// Takes the outcome of an attempt into the averages.
    pub fn record(&self, sample: Sample, now_us: u64) {
        let elapsed = self.since_sample(now_us);
        let failures = f64::from_bits(self.failures.load(Relaxed));
        let failed = f64::from(u8::from(sample.failed));
        self.failures
            .store(ewma::averaged(failures, failed, elapsed).to_bits(), Relaxed);
        let latency = f64::from_bits(self.latency.load(Relaxed));
        let latency = match sample.latency_us {
            Some(us) => ewma::peak(latency, (us as f64).max(1.0), elapsed),
            None => ewma::decayed(latency, elapsed),
        };
        self.latency.store(latency.to_bits(), Relaxed);
        self.sampled_at.store(now_us.max(1), Relaxed);
    }

    /// An attempt went well.
    #[inline]
    pub fn note_good(&self) {
        // Read before write: while nothing goes wrong, the line stays shared.
        if self.wrong.load(Relaxed) != 0 {
            self.wrong.store(0, Relaxed);
        }
    }

    /// An attempt went wrong; how many in a row, this one with them.
    pub fn note_bad(&self) -> u32 {
        self.wrong.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Attempts that went wrong since the last that went well.
    pub fn bad_in_a_row(&self) -> u32 {
        self.wrong.load(Relaxed)
    }

    /// Notes whether the backend answered at all; true if that is a change.
    pub fn note_answer(&self, answered: bool) -> bool {
        // Read before write: while nothing changes, the line stays shared.
        self.silent.load(Relaxed) == answered && self.silent.swap(!answered, Relaxed) == answered
    }

    fn since_sample(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.sampled_at())
    }
}

/// A backend's cell, held by whoever reads or writes it.
#[derive(Clone)]
pub struct LiveCell {
    chunk: Arc<[Live; CHUNK]>,
    index: usize,
}

impl Deref for LiveCell {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.chunk[self.index]
    }
}

/// Hands out the cells of one pool, in order.
#[derive(Clone, Default)]
pub struct Columns {
    chunk: Option<Arc<[Live; CHUNK]>>,
    used: usize,
}

impl Columns {
    /// A cell that no backend had before.
    pub fn allocate(&mut self) -> LiveCell {
        if self.used == CHUNK {
            self.chunk = None;
            self.used = 0;
        }
        let chunk = self
            .chunk
            .get_or_insert_with(|| Arc::new(std::array::from_fn(|_| Live::default())));
        let cell = LiveCell {
            chunk: Arc::clone(chunk),
            index: self.used,
        };
        self.used += 1;
        cell
    }
}

/// One attempt in flight at the backend whose cell `C` leads to, counted until it is
/// dropped.
pub struct InFlight<C: Deref<Target = Live>>(C);

impl<C: Deref<Target = Live>> InFlight<C> {
    /// Counts one more attempt at the backend of `cell`, unless it has as many
    /// as `capacity` (0 = no limit). Over all workers there are never more,
    /// not for a moment.
    pub fn reserve(cell: C, capacity: u32) -> Option<InFlight<C>> {
        if capacity == 0 {
            cell.in_flight.fetch_add(1, Relaxed);
        } else {
            let one_more = |count| (count < capacity).then_some(count + 1);
            cell.in_flight
                .fetch_update(Relaxed, Relaxed, one_more)
                .ok()?;
        }
        Some(InFlight(cell))
    }
}

impl<C: Deref<Target = Live>> Deref for InFlight<C> {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

impl<C: Deref<Target = Live>> Drop for InFlight<C> {
    fn drop(&mut self) {
        // Whoever waits for room says so before it looks a last time; who makes
        // room looks whether anybody waits afterwards (`queue.rs`). One of the
        // two sees the other, because these steps have one order for all.
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cache_line() {
        assert_eq!(size_of::<Live>(), 64);
    }

    #[test]
    fn cells_are_dense_and_never_handed_out_twice() {
        let mut columns = Columns::default();
        let cells: Vec<LiveCell> = (0..3 * CHUNK).map(|_| columns.allocate()).collect();
        let mut seen: Vec<*const Live> = cells.iter().map(|cell| &**cell as *const Live).collect();
        assert_eq!(seen[1] as usize - seen[0] as usize, 64);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3 * CHUNK);
    }

    #[test]
    fn in_flight_returns_to_zero_however_an_attempt_ends() {
        let cell = Columns::default().allocate();
        let first = InFlight::reserve(cell.clone(), 0);
        let second = InFlight::reserve(cell.clone(), 0).expect("there is no limit");
        assert_eq!(cell.in_flight(), 2);
        drop(first);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = second;
            panic!("the task died");
        }));
        assert!(unwound.is_err());
        assert_eq!(cell.in_flight(), 0);
    }

    #[test]
    fn a_full_backend_is_not_reserved_and_has_room_again() {
        let cell = Columns::default().allocate();
        let held = [
            InFlight::reserve(cell.clone(), 2),
            InFlight::reserve(cell.clone(), 2),
        ];
        assert!(held.iter().all(Option::is_some));
        assert!(InFlight::reserve(cell.clone(), 2).is_none());
        assert_eq!(cell.in_flight(), 2, "a refusal leaves no trace");
        assert!(
            InFlight::reserve(cell.clone(), 3).is_some(),
            "a reload raised it"
        );
        drop(held);
        assert_eq!(cell.in_flight(), 0);
        assert!(InFlight::reserve(cell.clone(), 2).is_some());
    }

    #[test]
    fn threads_never_have_more_in_flight_than_the_capacity() {
        const CAPACITY: u32 = 3;
        let cell = Columns::default().allocate();
        let inside = AtomicU32::new(0);
        let reserved = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(held) = InFlight::reserve(cell.clone(), CAPACITY) else {
                            continue;
                        };
                        assert!(inside.fetch_add(1, SeqCst) < CAPACITY);
                        assert!(held.in_flight() <= CAPACITY);
                        inside.fetch_sub(1, SeqCst);
                        reserved.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(cell.in_flight(), 0);
        assert!(reserved.into_inner() >= 20_000);
    }

    #[test]
    fn only_a_change_is_news() {
        let live = Live::default();
        assert!(!live.note_answer(true));
        assert!(live.note_answer(false));
        assert!(!live.note_answer(false));
        assert!(live.note_answer(true));
    }

    #[test]
    fn no_sample_is_zero_and_a_decayed_sample_is_not() {
        let live = Live::default();
        assert_eq!(live.latency_us(5_000_000), 0);
        live.record(
            Sample {
                latency_us: Some(300),
                failed: false,
            },
            1,
        );
        assert_eq!(live.latency_us(1), 300);
        assert_eq!(live.latency_us(10_000_000_000), 1);
    }

    #[test]
    fn a_report_counts_until_it_is_too_old() {
        let live = Live::default();
        assert_eq!(live.utilization(0), 0);
        for (load, parts) in [(0.4217, 4217), (0.0, 1), (1.0, 10_000), (7.0, 10_000)] {
            live.reports(load, 100);
            assert_eq!(live.utilization(99), parts);
            assert_eq!(live.utilization(100), 0);
        }
    }

    #[test]
    fn a_refused_connection_counts_as_failure_and_not_as_speed() {
        let live = Live::default();
        live.record(
            Sample {
                latency_us: None,
                failed: true,
            },
            10_000_000,
        );
        assert_eq!(live.latency_us(10_000_000), 0);
        assert!(live.failures(10_000_000) > 5_000);
        assert!(live.failures(60_000_000) < 100);
    }
}
