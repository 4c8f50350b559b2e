//! When a plugin that faulted may run again: at once after a first fault, with
//! growing pauses when faults keep coming. A pure state machine: time and
//! randomness are arguments.

use std::time::Duration;

/// First and longest pause.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// An instance that served this long is trusted as if it had never faulted.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// One worker's view of its plugin's faults.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Faults that are not forgiven yet.
    faults: u32,
    started_us: u64,
    retry_us: u64,
}

impl Recovery {
    /// An instance has started.
    pub(super) fn started(&mut self, now_us: u64) {
        self.started_us = now_us;
    }

    /// The instance faulted, or none could be started. Returns the pause
    /// before the next one: between half and all of 1 s, 2 s, 4 s ... 60 s, the
    /// share of the second half taken from `random`.
    pub(super) fn fault(&mut self, now_us: u64, random: u64) -> Duration {
        if now_us.saturating_sub(self.started_us) >= micros(FORGIVEN_AFTER) {
            self.faults = 0;
        }
        let pause = match self.faults {
            0 => Duration::ZERO,
            more => jittered(SHORTEST * 2_u32.pow((more - 1).min(6)), random).min(LONGEST),
        };
        self.faults = self.faults.saturating_add(1);
        self.retry_us = now_us.saturating_add(micros(pause));
        pause
    }

    /// A new instance may be started.
    pub(super) fn may_start(&self, now_us: u64) -> bool {
        now_us >= self.retry_us
    }

    /// Faults have been seen and are not forgiven.
    pub(super) fn is_recovering(&self) -> bool {
        self.faults > 0
    }

    /// How long ago the running instance started.
    pub(super) fn age(&self, now_us: u64) -> Duration {
        Duration::from_micros(now_us.saturating_sub(self.started_us))
    }
}

fn jittered(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_replaced_at_once() {
        let mut recovery = Recovery::default();
        assert!(recovery.may_start(0));
        assert_eq!(recovery.fault(5, 0), Duration::ZERO);
        assert!(recovery.may_start(5));
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut recovery = Recovery::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            recovery.started(now);
            let pause = recovery.fault(now, u64::MAX);
            pauses.push(pause.as_secs_f64().round() as u64);
            assert_eq!(recovery.may_start(now), pause.is_zero());
            now += micros(pause);
            assert!(recovery.may_start(now));
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn pauses_differ_between_workers() {
        let pause = |random| jittered(Duration::from_secs(4), random);
        assert_eq!(pause(0), Duration::from_secs(2));
        assert!(pause(u64::MAX / 2) > Duration::from_millis(2_900));
        assert!(pause(u64::MAX) <= Duration::from_secs(4));
    }

    #[test]
    fn good_conduct_is_rewarded() {
        let mut recovery = Recovery::default();
        recovery.fault(0, 0);
        recovery.fault(0, 0);
        recovery.started(2_000_000);
        assert_eq!(recovery.fault(62_000_000, 0), Duration::ZERO);
    }
}
