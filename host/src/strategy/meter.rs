//! How much of a worker's time a plugin takes.
//!
//! Reading a clock twice for every pick would cost a tenth of the pick, and the
//! wall clock convicts a plugin on a worker that was not scheduled. So picks are
//! timed by sampling, which raises suspicion, and only a suspect is measured
//! call by call with the thread's CPU clock, which decides. Distances between
//! samples are random: a plugin cannot be quick just when it is looked at.

use std::time::{Duration, Instant};

use crate::plugin::thread_cpu_time;

/// Picks from one sample to the next, on average and at most twice that.
const SAMPLE_EVERY: u32 = 16;
/// What a verdict is about: a quarter of a second.
const WINDOW_US: u64 = 250_000;

/// One worker's account of its plugin.
#[derive(Debug)]
pub(super) struct Meter {
    /// Nanoseconds per second of the worker that are allowed.
    budget: u64,
    random: fastrand::Rng,
    /// Picks until the next sample.
    countdown: u32,
    /// How many picks the next sample stands for.
    stands_for: u32,
    suspect: bool,
    window_began_us: u64,
    /// Nanoseconds in this window.
    used: u64,
}

/// A call that is being timed.
#[derive(Debug)]
pub(super) enum Timing {
    Sampled(Instant),
    Exact(Duration),
}

/// What a timed call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) time: Duration,
    /// How many calls it stands for.
    pub(super) calls: u32,
}

impl Meter {
    /// `budget`: CPU time per second of the worker.
    pub(super) fn new(budget: Duration, random: fastrand::Rng) -> Self {
        let mut meter = Self {
            budget: nanos(budget),
            random,
            countdown: 0,
            stands_for: 0,
            suspect: false,
            window_began_us: 0,
            used: 0,
        };
        meter.draw();
        meter
    }

    /// A call begins; `None`: it is not timed.
    #[inline]
    pub(super) fn begin(&mut self) -> Option<Timing> {
        if self.suspect {
            return Some(Timing::Exact(thread_cpu_time()));
        }
        self.countdown -= 1;
        (self.countdown == 0).then(|| Timing::Sampled(Instant::now()))
    }

    /// The call that `timing` was begun for is over.
    pub(super) fn end(&mut self, timing: &Timing) -> Taken {
        let taken = match timing {
            Timing::Exact(begin) => Taken {
                time: thread_cpu_time().saturating_sub(*begin),
                calls: 1,
            },
            Timing::Sampled(begin) => Taken {
                time: begin.elapsed(),
                calls: std::mem::replace(&mut self.stands_for, 0),
            },
        };
        if self.countdown == 0 {
            self.draw();
        }
        let used = nanos(taken.time).saturating_mul(taken.calls.into());
        self.used = self.used.saturating_add(used);
        taken
    }

    /// A call that is timed always, because it is rare, is over; `begin` is the
    /// thread's CPU time when it began.
    pub(super) fn add(&mut self, begin: Duration) -> Duration {
        let taken = thread_cpu_time().saturating_sub(begin);
        self.used = self.used.saturating_add(nanos(taken));
        taken
    }

    /// Looks at the time of day; true when the plugin has been over its budget
    /// for a whole window, by the thread's CPU clock. Then everything begins anew.
    pub(super) fn is_over_budget(&mut self, now_us: u64) -> bool {
        let elapsed_us = now_us.saturating_sub(self.window_began_us);
        if elapsed_us < WINDOW_US {
            return false;
        }
        // Microseconds of the window times budget per second, in nanoseconds.
        let allowed = u128::from(self.budget) * u128::from(elapsed_us) / 1_000_000;
        let over = u128::from(self.used) > allowed;
        let convicted = over && self.suspect;
        self.suspect = over && !self.suspect;
        self.window_began_us = now_us;
        self.used = 0;
        convicted
    }

    fn draw(&mut self) {
        self.countdown = self.random.u32(1..2 * SAMPLE_EVERY);
        self.stands_for = self.countdown;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(Duration::from_millis(250), fastrand::Rng::with_seed(7))
    }

    /// Uses `share` of a window's time.
    fn use_up(meter: &mut Meter, window: u64, share: f64) -> bool {
        meter.used = (WINDOW_US as f64 * 1000.0 * share) as u64;
        meter.is_over_budget(window * WINDOW_US)
    }

    #[test]
    fn a_suspect_is_convicted_by_the_second_window() {
        let mut meter = meter();
        assert!(!use_up(&mut meter, 1, 0.9));
        assert!(matches!(meter.begin(), Some(Timing::Exact(_))));
        assert!(use_up(&mut meter, 2, 0.9));
        assert!(!use_up(&mut meter, 3, 0.1), "it begins anew");
    }

    #[test]
    fn one_long_call_is_no_habit() {
        let mut meter = meter();
        assert!(!use_up(&mut meter, 1, 0.9));
        assert!(!use_up(&mut meter, 2, 0.1));
        assert!(!use_up(&mut meter, 3, 0.9));
        assert!(!use_up(&mut meter, 4, 0.2));
    }

    #[test]
    fn a_window_without_requests_counts_as_time() {
        let mut meter = meter();
        meter.used = 250_000_000;
        assert!(!meter.is_over_budget(4 * WINDOW_US));
        assert!(!meter.suspect);
    }

    #[test]
    fn samples_stand_for_the_picks_between_them() {
        let mut meter = meter();
        let mut stood_for = 0;
        let mut samples = 0;
        for _ in 0..10_000 {
            if let Some(timing) = meter.begin() {
                stood_for += meter.end(&timing).calls;
                samples += 1;
            }
        }
        assert!((9_960..=10_000).contains(&stood_for), "{stood_for}");
        assert!((500..800).contains(&samples), "{samples}");
    }
}
