//! What becomes of a question's answers over time: the last good one stays,
//! failures are asked again. Pure: chance comes in as an argument.

use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;
use super::question::Answer;
use crate::config::DnsSettings;

/// How much later than its answer's end a question is asked again at most, as a
/// share of the time: many proxies shall not ask at one instant.
const LATE: f64 = 0.1;
/// How far the time between two failed attempts strays, as a share of itself.
const STRAY: f64 = 0.2;

/// One question's state.
#[derive(Debug, Default)]
pub struct Course {
    good: Option<Arc<Answer>>,
    failing: Option<Failure>,
    failures: u32,
}

/// A good answer and how long it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub answer: Answer,
    pub ttl: Duration,
    /// Some addresses were left out: there were too many.
    pub truncated: bool,
}

/// What a result came to.
#[derive(Debug, PartialEq)]
pub struct Turn {
    /// It is not what it was before.
    pub changed: bool,
    /// Something to tell.
    pub news: Option<News>,
    /// When to ask again.
    pub pause: Duration,
}

/// What is told of a question: changes of state, each once.
#[derive(Debug, PartialEq)]
pub enum News {
    /// There is no answer (any more), because of this.
    Failing(Failure),
    /// There is one again, or for the first time.
    Answered,
}

impl Course {
    /// The last good answer.
    pub fn good(&self) -> Option<&Arc<Answer>> {
        self.good.as_ref()
    }

    /// Takes the result of asking.
    pub fn take(
        &mut self,
        result: Result<Found, Failure>,
        settings: &DnsSettings,
        random: &mut fastrand::Rng,
    ) -> Turn {
        match result {
            Ok(found) => self.succeed(found, settings, random),
            Err(failure) => self.fail(failure, settings, random),
        }
    }

    fn succeed(
        &mut self,
        found: Found,
        settings: &DnsSettings,
        random: &mut fastrand::Rng,
    ) -> Turn {
        let news = match self.failing.take() {
            Some(_) => Some(News::Answered),
            None => self.good.is_none().then_some(News::Answered),
        };
        self.failures = 0;
        let changed = self.good.as_deref() != Some(&found.answer);
        if changed {
            self.good = Some(Arc::new(found.answer));
        }
        let holds = found.ttl.clamp(settings.min_ttl, settings.max_ttl);
        Turn {
            changed,
            news,
            pause: holds.mul_f64(1.0 + LATE * random.f64()),
        }
    }

    fn fail(
        &mut self,
        failure: Failure,
        settings: &DnsSettings,
        random: &mut fastrand::Rng,
    ) -> Turn {
        let told = self.failing.as_ref() == Some(&failure);
        self.failing = Some(failure.clone());
        let doubled = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let pause = settings.min_ttl.saturating_mul(doubled);
        let stray = 1.0 - STRAY + 2.0 * STRAY * random.f64();
        Turn {
            changed: false,
            news: (!told).then_some(News::Failing(failure)),
            pause: pause.min(settings.max_ttl).mul_f64(stray),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(min_ms: u64, max_ms: u64) -> DnsSettings {
        DnsSettings {
            min_ttl: Duration::from_millis(min_ms),
            max_ttl: Duration::from_millis(max_ms),
            ..DnsSettings::default()
        }
    }

    fn found(ip: &str, ttl_s: u64) -> Result<Found, Failure> {
        Ok(Found {
            answer: Answer::Addresses(vec![ip.parse().expect("an address")]),
            ttl: Duration::from_secs(ttl_s),
            truncated: false,
        })
    }

    fn good(course: &Course) -> String {
        format!("{:?}", course.good())
    }

    #[test]
    fn the_last_good_answer_stays_whatever_comes() {
        let (settings, random) = (settings(1_000, 10_000), &mut fastrand::Rng::with_seed(7));
        let mut course = Course::default();
        course.take(found("10.0.0.1", 5), &settings, random);
        let before = good(&course);
        for failure in [
            Failure::Timeout,
            Failure::NoSuchName,
            Failure::NoAddresses,
            Failure::Refused("SERVFAIL".to_owned()),
        ] {
            let turn = course.take(Err(failure.clone()), &settings, random);
            assert!(!turn.changed);
            assert_eq!(turn.news, Some(News::Failing(failure.clone())));
            let turn = course.take(Err(failure), &settings, random);
            assert_eq!(turn.news, None, "told once");
            assert_eq!(good(&course), before);
        }
        let turn = course.take(found("10.0.0.1", 5), &settings, random);
        assert_eq!((turn.changed, turn.news), (false, Some(News::Answered)));
        let turn = course.take(found("10.0.0.2", 5), &settings, random);
        assert_eq!((turn.changed, turn.news), (true, None));
    }

    #[test]
    fn a_failure_at_the_start_ends_with_the_first_answer() {
        let (settings, random) = (settings(1_000, 10_000), &mut fastrand::Rng::with_seed(7));
        let mut course = Course::default();
        course.take(Err(Failure::NoSuchName), &settings, random);
        assert!(course.good().is_none());
        let turn = course.take(found("10.0.0.1", 5), &settings, random);
        assert_eq!((turn.changed, turn.news), (true, Some(News::Answered)));
    }

    #[test]
    fn failures_are_asked_again_ever_later_up_to_the_longest_time() {
        let (settings, random) = (settings(1_000, 10_000), &mut fastrand::Rng::with_seed(7));
        let mut course = Course::default();
        for expected in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0] {
            let turn = course.take(Err(Failure::Timeout), &settings, random);
            let pause = turn.pause.as_secs_f64();
            assert!((pause / expected - 1.0).abs() <= 0.2 + 1e-9, "{pause}");
        }
        course.take(found("10.0.0.1", 5), &settings, random);
        let turn = course.take(Err(Failure::Timeout), &settings, random);
        assert!(turn.pause <= Duration::from_millis(1_200), "begun anew");
    }

    proptest! {
        #[test]
        fn an_answer_holds_between_the_two_bounds(
            min_ms in 10_u64..100_000,
            more_ms in 0_u64..100_000,
            ttl_s in 0_u64..u64::from(u32::MAX),
            seed in any::<u64>(),
        ) {
            let settings = settings(min_ms, min_ms + more_ms);
            let random = &mut fastrand::Rng::with_seed(seed);
            let turn = Course::default().take(found("10.0.0.1", ttl_s), &settings, random);
            prop_assert!(turn.pause >= settings.min_ttl);
            prop_assert!(turn.pause <= settings.max_ttl.mul_f64(1.0 + LATE));
        }

        #[test]
        fn any_number_of_failures_is_survived(failures in 0_u32..200, seed in any::<u64>()) {
            let settings = settings(10, 60_000);
            let random = &mut fastrand::Rng::with_seed(seed);
            let mut course = Course::default();
            for _ in 0..failures {
                let turn = course.take(Err(Failure::Timeout), &settings, random);
                prop_assert!(turn.pause >= Duration::from_millis(8));
                prop_assert!(turn.pause <= Duration::from_secs(72));
            }
        }
    }
}
