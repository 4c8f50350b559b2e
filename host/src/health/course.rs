//! What a row of results makes of a backend: rise and fall, and nothing else.
//!
//! Pure: results and times come in as arguments.

use std::num::NonZeroU32;
use std::time::SystemTime;

use crate::config::HealthStart;

/// The course of one backend's health.
#[derive(Debug, Clone)]
pub struct Course {
    healthy: bool,
    /// What it is held for rests on a result, not on `start` alone.
    proven: bool,
    /// The last results in a row that contradict what it is held for.
    against: u32,
    /// The last change.
    since: Option<SystemTime>,
}

/// How many results in a row change what a backend is held for.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Passed checks until it is healthy.
    pub rise: NonZeroU32,
    /// Failed checks until it is unhealthy.
    pub fall: NonZeroU32,
}

/// A change of what a backend is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    ToHealthy,
    ToUnhealthy,
}

impl Course {
    /// The course of a backend that was not checked yet.
    pub fn new(start: HealthStart) -> Course {
        Course {
            healthy: start == HealthStart::Healthy,
            proven: false,
            against: 0,
            since: None,
        }
    }

    /// The course of a backend that another process has checked before.
    pub fn inherited(healthy: bool, since: Option<SystemTime>) -> Course {
        Course {
            healthy,
            proven: true,
            against: 0,
            since,
        }
    }

    /// Takes in the result of a check.
    ///
    /// A backend that has been unhealthy from the start is healthy after its
    /// first passed check: `rise` is for those that have failed.
    pub fn take(&mut self, passed: bool, limits: Thresholds, now: SystemTime) -> Option<Turn> {
        if passed == self.healthy {
            self.proven = true;
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (passed, self.proven) {
            (true, false) => 1,
            (true, true) => limits.rise.get(),
            (false, _) => limits.fall.get(),
        };
        if self.against < needed {
            return None;
        }
        *self = Course {
            healthy: passed,
            proven: true,
            against: 0,
            since: Some(now),
        };
        Some(match passed {
            true => Turn::ToHealthy,
            false => Turn::ToUnhealthy,
        })
    }

    /// It is held for healthy.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// What it is held for rests on a result.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Healthy, and the last result says so too: there is no hurry to know more.
    pub fn is_settled(&self) -> bool {
        self.healthy && self.proven && self.against == 0
    }

    /// Since when it has been held for what it is held for; none where that
    /// never changed.
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limits(rise: u32, fall: u32) -> Thresholds {
        let times = |times| NonZeroU32::new(times).expect("not 0");
        Thresholds {
            rise: times(rise),
            fall: times(fall),
        }
    }

    /// The turns that results, `+` and `-`, lead to, by how many came before.
    fn turns(course: &mut Course, limits: Thresholds, results: &str) -> Vec<(usize, Turn)> {
        let now = SystemTime::UNIX_EPOCH;
        let turn = |(number, result)| Some((number, course.take(result == '+', limits, now)?));
        results.chars().enumerate().filter_map(turn).collect()
    }

    #[test]
    fn only_a_row_of_results_changes_anything() {
        let mut course = Course::new(HealthStart::Healthy);
        let seen = turns(&mut course, limits(2, 3), "+--+---+-+-++-");
        assert_eq!(seen, [(6, Turn::ToUnhealthy), (12, Turn::ToHealthy)]);
        assert!(course.is_healthy() && !course.is_settled());
    }

    #[test]
    fn an_unhealthy_start_ends_with_the_first_passed_check() {
        let mut course = Course::new(HealthStart::Unhealthy);
        assert!(!course.is_healthy());
        let seen = turns(&mut course, limits(3, 1), "+-+++");
        let expected = [
            (0, Turn::ToHealthy),
            (1, Turn::ToUnhealthy),
            (4, Turn::ToHealthy),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_healthy_start_takes_as_many_failures_as_any() {
        let mut course = Course::new(HealthStart::Healthy);
        assert!(!course.is_settled(), "nothing is known yet");
        let seen = turns(&mut course, limits(2, 3), "---");
        assert_eq!(seen, [(2, Turn::ToUnhealthy)]);
    }

    #[test]
    fn the_time_of_the_last_change_is_kept() {
        let mut course = Course::new(HealthStart::Healthy);
        assert_eq!(course.since(), None);
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        course.take(false, limits(1, 1), at(1));
        course.take(false, limits(1, 1), at(2));
        assert_eq!(course.since(), Some(at(1)));
    }

    proptest! {
        /// Turns alternate, and each is the end of as long a row of results of
        /// its kind as it takes.
        #[test]
        fn every_turn_has_its_row(
            results in prop::collection::vec(any::<bool>(), 0..200),
            rise in 1_u32..5,
            fall in 1_u32..5,
        ) {
            let mut course = Course::new(HealthStart::Healthy);
            let mut row = (true, 0);
            for passed in results {
                row = match row.0 == passed {
                    true => (passed, row.1 + 1),
                    false => (passed, 1),
                };
                let before = course.is_healthy();
                let turn = course.take(passed, limits(rise, fall), SystemTime::UNIX_EPOCH);
                let long = row.1 >= match passed { true => rise, false => fall };
                let expected = match (before, passed, long) {
                    (true, false, true) => Some(Turn::ToUnhealthy),
                    (false, true, true) => Some(Turn::ToHealthy),
                    _ => None,
                };
                prop_assert_eq!(turn, expected);
                prop_assert_eq!(course.is_healthy(), before == turn.is_none());
            }
        }
    }
}
