//! Deadlines for guest code, judged by the CPU time it used.
//!
//! A ticker thread advances the engine's epoch; guest code looks at the epoch
//! at every loop and call. While none looks the ticks are far apart; one that looks, which
//! takes long, has them follow closely. Wall time alone would convict an innocent plugin
//! on a worker that was not scheduled, so the first look, at the tick that
//! follows the start of the call, only reads the thread's CPU clock, and later
//! ones convict when the CPU time used since then exceeds the deadline. A pick
//! that is over before the next tick, as all but slow ones are, reads no clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{EngineWeak, UpdateDeadline};

/// Distance of two epochs while a call takes long.
const TICK: Duration = Duration::from_millis(2);

/// Distance of two epochs otherwise. Each wakes a thread: on a core that serves
/// requests 2 ms cost 7 ms a second, 8 ms cost 2 (2026-11-28).
const PATROL: Duration = Duration::from_millis(8);

/// Most ticks between two looks of running guest code, far below
/// [`REST_AFTER`], so that the ticker never rests during a call.
const MAX_TICKS: u64 = 64;

/// Ticks without a single call after which the ticker rests.
const REST_AFTER: u32 = 128;

const ACTIVE: u8 = 0;
const QUIET: u8 = 1;
const RESTING: u8 = 2;
const ENDED: u8 = 3;

/// The thread that advances the epoch while guest code is being called, and
/// rests when none is, so that an idle proxy does not wake up.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: thread::Thread,
}

/// What calls tell the thread.
struct Shared {
    state: AtomicU8,
    /// So many ticks more are to follow closely.
    hurried: AtomicU64,
}

impl Ticker {
    pub(super) fn start(engine: EngineWeak) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU8::new(ACTIVE),
            hurried: AtomicU64::new(0),
        });
        let told = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("anubis-epoch".into())
            .spawn(move || tick(&engine, &told))?
            .thread()
            .clone();
        Ok(Self { shared, thread })
    }

    /// The next ticks are waited for.
    fn hurry(&self, ticks: u64) {
        self.shared.hurried.fetch_max(ticks, Ordering::Relaxed);
        self.thread.unpark();
    }

    /// Says that guest code is about to run. One load when the ticker runs.
    #[inline]
    fn wake(&self) {
        if self.shared.state.load(Ordering::Relaxed) != ACTIVE {
            self.resume();
        }
    }

    #[cold]
    fn resume(&self) {
        if self.shared.state.swap(ACTIVE, Ordering::AcqRel) == RESTING {
            self.thread.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state.store(ENDED, Ordering::Release);
        self.thread.unpark();
    }
}

fn tick(engine: &EngineWeak, Shared { state, hurried }: &Shared) {
    loop {
        for _ in 0..REST_AFTER {
            pause(hurried);
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.increment_epoch();
        }
        if state.load(Ordering::Acquire) == ENDED {
            return;
        }
        let quiet = state.compare_exchange(QUIET, RESTING, Ordering::AcqRel, Ordering::Acquire);
        while state.load(Ordering::Acquire) == RESTING {
            thread::park();
        }
        if quiet.is_err() {
            // Fails when the ticker was ended meanwhile: seen in the next round.
            let _ = state.compare_exchange(ACTIVE, QUIET, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// Waits for the next tick's time.
fn pause(hurried: &AtomicU64) {
    if hurried.load(Ordering::Relaxed) == 0 {
        thread::park_timeout(PATROL);
    }
    if hurried.load(Ordering::Relaxed) > 0 {
        hurried.fetch_sub(1, Ordering::Relaxed);
        thread::sleep(TICK);
    }
}

/// The deadline of one store's current call.
pub(super) struct Deadline {
    ticker: Arc<Ticker>,
    /// CPU time that the call may use after the first look.
    budget: Duration,
    /// The thread's CPU clock at the first look.
    first_look: Option<Duration>,
}

impl Deadline {
    pub(super) fn new(ticker: Arc<Ticker>) -> Self {
        Self {
            ticker,
            budget: Duration::ZERO,
            first_look: None,
        }
    }

    /// Starts a call that may use `budget` of CPU time, [`PATROL`] before and a tick
    /// after; returns the ticks until the first look.
    #[inline]
    pub(super) fn arm(&mut self, budget: Duration) -> u64 {
        self.ticker.wake();
        self.budget = budget;
        self.first_look = None;
        1
    }

    /// The epoch has reached the store's deadline while guest code runs.
    pub(super) fn look(&mut self) -> UpdateDeadline {
        self.ticker.wake();
        let now = thread_cpu_time();
        let used = now.saturating_sub(*self.first_look.get_or_insert(now));
        if used >= self.budget {
            return UpdateDeadline::Interrupt;
        }
        let ticks = ticks(self.budget - used);
        self.ticker.hurry(ticks);
        UpdateDeadline::Continue(ticks)
    }
}

fn ticks(time: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, MAX_TICKS)
}

/// CPU time that this thread has used so far.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_never_far_apart() {
        assert_eq!(ticks(Duration::from_micros(1)), 1);
        assert_eq!(ticks(Duration::from_millis(10)), 5);
        assert_eq!(ticks(Duration::from_secs(10)), MAX_TICKS);
    }

    fn deadline(engine: &wasmtime::Engine) -> Deadline {
        Deadline::new(Arc::new(Ticker::start(engine.weak()).unwrap()))
    }

    #[test]
    fn waiting_is_no_crime_and_spinning_is() {
        let engine = wasmtime::Engine::default();
        let mut deadline = deadline(&engine);
        deadline.arm(Duration::from_millis(4));
        assert!(matches!(deadline.look(), UpdateDeadline::Continue(2)));
        thread::sleep(Duration::from_millis(20));
        assert!(matches!(deadline.look(), UpdateDeadline::Continue(2)));
        let start = thread_cpu_time();
        while thread_cpu_time() - start < Duration::from_millis(5) {}
        assert!(matches!(deadline.look(), UpdateDeadline::Interrupt));
    }

    #[test]
    fn the_ticker_rests_without_calls_and_wakes_for_one() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let mut deadline = deadline(&engine);
        while deadline.ticker.shared.state.load(Ordering::Acquire) != RESTING {
            thread::yield_now();
        }
        deadline.arm(Duration::from_millis(10));
        assert_eq!(deadline.ticker.shared.state.load(Ordering::Acquire), ACTIVE);
    }

    /// Milliseconds that so many ticks take.
    fn time_of(ticks: u64, engine: &wasmtime::Engine, hurry: impl Fn()) -> u128 {
        let mut store = wasmtime::Store::new(engine, ());
        let module = wat::parse_str("(module (func (export \"spin\") (loop br 0)))").unwrap();
        let module = wasmtime::Module::new(engine, module).unwrap();
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();
        store.set_epoch_deadline(ticks);
        hurry();
        let start = std::time::Instant::now();
        spin.call(&mut store, ()).unwrap_err();
        start.elapsed().as_millis()
    }

    #[test]
    fn ticks_are_far_apart_until_one_is_waited_for() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let deadline = deadline(&engine);
        let rare = time_of(30, &engine, || {});
        assert!(rare >= 29 * PATROL.as_millis(), "{rare} ms");
        let close = time_of(30, &engine, || deadline.ticker.hurry(30));
        assert!(close < rare, "{close} ms, {rare} ms otherwise");
    }
}
