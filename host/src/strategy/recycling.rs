//! When an instance makes room for a new one though it did nothing wrong:
//! interpreters and careless plugins hold more memory the longer they run.
//!
//! A pure state machine: what it looks at, and the time, are arguments.

use std::time::Duration;

use crate::config::StrategySettings;

/// The shortest life of an instance that is recycled.
const SHORTEST_US: u64 = Duration::from_secs(1).as_micros() as u64;
/// The longest time that one is kept on which fills its memory at once.
const LONGEST_US: u64 = Duration::from_secs(60).as_micros() as u64;

/// Why an instance is recycled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycled {
    /// It was called `recycle-calls` times.
    Calls,
    /// It holds more than `recycle-memory`.
    Memory,
}

impl Recycled {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Calls, Self::Memory];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Memory => "memory",
        }
    }
}

/// The life of one worker's instance, and how long the ones before it lasted.
#[derive(Debug)]
pub(super) struct Recycling {
    /// 0 = any number.
    most_calls: u64,
    most_memory: usize,
    began_us: u64,
    calls: u64,
    /// No instance is recycled before it is this old.
    pause_us: u64,
    /// And this one not before then.
    not_before_us: u64,
    /// This one's memory was full before it was [`SHORTEST_US`] old.
    hasty: bool,
}

/// What is to be done about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stays,
    /// Nothing yet: it filled its memory so fast that recycling it at once would
    /// be all that the worker does. It stays until it is this old. Said once for
    /// each instance, and only where that is longer than usual.
    HeldBack(Duration),
    /// It is to be replaced.
    Due(Recycled),
}

impl Recycling {
    /// An instance begins at `now_us`.
    pub(super) fn new(settings: &StrategySettings, now_us: u64) -> Self {
        Self {
            most_calls: settings.recycle_calls,
            most_memory: settings.recycle_memory,
            began_us: now_us,
            calls: 0,
            pause_us: SHORTEST_US,
            not_before_us: now_us.saturating_add(SHORTEST_US),
            hasty: false,
        }
    }

    /// The instance is called.
    #[inline]
    pub(super) fn called(&mut self) {
        self.calls += 1;
    }

    /// How often it was called.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Looks at an instance that has held `memory` bytes.
    pub(super) fn look(&mut self, memory: usize, now_us: u64) -> Verdict {
        let reason = if memory > self.most_memory {
            Recycled::Memory
        } else if self.most_calls != 0 && self.calls >= self.most_calls {
            Recycled::Calls
        } else {
            return Verdict::Stays;
        };
        let age_us = now_us.saturating_sub(self.began_us);
        let news = reason == Recycled::Memory && age_us < SHORTEST_US && !self.hasty;
        self.hasty |= news;
        if now_us >= self.not_before_us {
            Verdict::Due(reason)
        } else if news && self.pause_us > SHORTEST_US {
            Verdict::HeldBack(Duration::from_micros(self.pause_us))
        } else {
            Verdict::Stays
        }
    }

    /// Another instance begins at `now_us`, for whatever reason.
    pub(super) fn begin(&mut self, now_us: u64) {
        self.pause_us = if self.hasty {
            self.pause_us.saturating_mul(2).min(LONGEST_US)
        } else {
            SHORTEST_US
        };
        (self.began_us, self.calls, self.hasty) = (now_us, 0, false);
        self.postpone(now_us);
    }

    /// Nothing is due for as long as an instance lives at least.
    pub(super) fn postpone(&mut self, now_us: u64) {
        self.not_before_us = now_us.saturating_add(self.pause_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StrategySource;

    const SECOND: u64 = 1_000_000;
    const FULL: usize = 1001;

    fn recycling(calls: u64) -> Recycling {
        let settings = StrategySettings {
            recycle_calls: calls,
            recycle_memory: 1000,
            ..StrategySettings::new(StrategySource::Fallback)
        };
        Recycling::new(&settings, 0)
    }

    #[test]
    fn who_holds_little_stays() {
        let mut recycling = recycling(0);
        (0..1_000_000).for_each(|_| recycling.called());
        assert_eq!(recycling.look(1000, 3600 * SECOND), Verdict::Stays);
    }

    #[test]
    fn too_much_memory_and_enough_calls_are_reasons() {
        let mut recycling = recycling(2);
        let (due, stays) = (Verdict::Due, Verdict::Stays);
        assert_eq!(recycling.look(FULL, 2 * SECOND), due(Recycled::Memory));
        recycling.called();
        assert_eq!(recycling.look(0, 2 * SECOND), stays);
        recycling.called();
        assert_eq!(recycling.look(0, 2 * SECOND), due(Recycled::Calls));
        recycling.begin(2 * SECOND);
        assert_eq!(recycling.look(0, 9 * SECOND), stays, "it counts anew");
    }

    #[test]
    fn many_calls_are_no_reason_more_than_once_a_second() {
        let mut recycling = recycling(1);
        for life in 0..5 {
            recycling.called();
            let began = life * SECOND;
            assert_eq!(recycling.look(0, began + SECOND - 1), Verdict::Stays);
            let verdict = recycling.look(0, began + SECOND);
            assert_eq!(verdict, Verdict::Due(Recycled::Calls));
            recycling.begin(began + SECOND);
        }
    }

    /// Fills its memory at once; how old it is when it is recycled, and whether
    /// anything was said.
    fn hasty_life(recycling: &mut Recycling, began: u64) -> (u64, bool) {
        let mut said = false;
        for tick in 1.. {
            let age = tick * SECOND / 10;
            match recycling.look(FULL, began + age) {
                Verdict::Stays => {}
                Verdict::HeldBack(_) => {
                    assert!(!said, "it is said once");
                    said = true;
                }
                Verdict::Due(_) => return (age / SECOND, said),
            }
        }
        unreachable!("it is recycled at last")
    }

    #[test]
    fn who_fills_its_memory_at_once_is_recycled_ever_less_often() {
        let mut recycling = recycling(0);
        let mut now = 0;
        let mut lives = Vec::new();
        for _ in 0..9 {
            let (age, said) = hasty_life(&mut recycling, now);
            assert_eq!(said, age > 1, "at {age} s");
            lives.push(age);
            now += age * SECOND;
            recycling.begin(now);
        }
        assert_eq!(lives, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // One that takes its time is recycled late once more, and then at once.
        assert_eq!(recycling.look(0, now + SECOND), Verdict::Stays);
        assert_eq!(recycling.look(FULL, now + 2 * SECOND), Verdict::Stays);
        now += 60 * SECOND;
        let due = Verdict::Due(Recycled::Memory);
        assert_eq!(recycling.look(FULL, now), due);
        recycling.begin(now);
        assert_eq!(recycling.look(FULL, now + 2 * SECOND), due);
    }

    #[test]
    fn a_successor_that_failed_is_not_asked_for_at_once() {
        let mut recycling = recycling(0);
        let due = Verdict::Due(Recycled::Memory);
        assert_eq!(recycling.look(FULL, 2 * SECOND), due);
        recycling.postpone(2 * SECOND);
        assert_eq!(recycling.look(FULL, 3 * SECOND - 1), Verdict::Stays);
        assert_eq!(recycling.look(FULL, 3 * SECOND), due);
    }
}
