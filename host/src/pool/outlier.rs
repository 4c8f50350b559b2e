//! Outlier detection: whose answers to clients are so bad that it is left out
//! for a while.
//!
//! Envoy's rules ("outlier detection" in its documentation) with one change: a
//! backend does not come back by the clock alone. When its time is over one
//! request, and only one, is its trial.
//!
//! No clock and no atomics: everything that happens is a call with its time.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::config::OutlierSettings;

/// How long a trial waits for a request that could be repeated if it failed;
/// after that any request will do.
const PATIENCE_US: u64 = 1_000_000;

/// Who is ejected in one pool, and who has been.
#[derive(Debug, Default)]
pub struct Outliers {
    records: FxHashMap<u32, Record>,
}

/// What is remembered of one backend (by its id).
#[derive(Debug, Default)]
struct Record {
    /// Ejections not yet forgiven.
    ejections: u32,
    out: Option<Out>,
}

/// How far an ejected backend is from its return, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    /// Left alone until then.
    Until(u64),
    /// One request is its trial.
    OnTrial,
}

/// A backend that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// When its trial may be, in microseconds; `None`: it is on trial.
    pub until_us: Option<u64>,
    /// This one and those before that are not forgiven.
    pub ejections: u32,
}

/// What a trial came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is back.
    Returned,
    /// It is ejected for so long.
    Ejected(Duration),
    /// There was no trial.
    None,
}

impl Outliers {
    /// Ejects the backend `id` of a pool with `active` backends, and says for
    /// how long; `None` where it is out already or too many others are.
    pub fn eject(
        &mut self,
        id: u32,
        active: usize,
        settings: &OutlierSettings,
        now_us: u64,
    ) -> Option<Duration> {
        if self.is_out(id) || self.ejected() >= most(active, settings) {
            return None;
        }
        Some(self.send_off(id, settings, now_us))
    }

    /// The ejected backend that this request is to try, if one's time is over.
    /// It is on trial until [`Outliers::tried`]. `repeatable`: that it fails
    /// would do no harm.
    pub fn trial(&mut self, now_us: u64, repeatable: bool) -> Option<u32> {
        let due = |until: u64| match repeatable {
            true => until,
            false => until.saturating_add(PATIENCE_US),
        };
        let records = self.records.iter_mut();
        let (&id, record) = records
            .filter(
                |(_, record)| matches!(record.out, Some(Out::Until(until)) if due(until) <= now_us),
            )
            .min_by_key(|(id, _)| **id)?;
        record.out = Some(Out::OnTrial);
        Some(id)
    }

    /// The trial of `id` is over; `good`: how it went, `None` where it says
    /// nothing of the backend, which then waits for another.
    pub fn tried(
        &mut self,
        id: u32,
        good: Option<bool>,
        settings: &OutlierSettings,
        now_us: u64,
    ) -> Verdict {
        let Some(record) = self.records.get_mut(&id) else {
            return Verdict::None;
        };
        if record.out != Some(Out::OnTrial) {
            return Verdict::None;
        }
        match good {
            Some(true) => {
                record.out = None;
                Verdict::Returned
            }
            Some(false) => Verdict::Ejected(self.send_off(id, settings, now_us)),
            None => {
                record.out = Some(Out::Until(now_us));
                Verdict::None
            }
        }
    }

    /// An interval is over: whoever was in the pool throughout is forgiven one
    /// ejection.
    pub fn forgive(&mut self) {
        self.records.retain(|_, record| {
            if record.out.is_none() {
                record.ejections = record.ejections.saturating_sub(1);
            }
            record.out.is_some() || record.ejections > 0
        });
    }

    /// Forgets who is not `kept`.
    pub fn retain(&mut self, kept: impl Fn(u32) -> bool) {
        self.records.retain(|id, _| kept(*id));
    }

    /// When the next trial may be, in microseconds; `u64::MAX`: nobody waits.
    pub fn next_trial_us(&self) -> u64 {
        let until = |record: &Record| match record.out {
            Some(Out::Until(until)) => Some(until),
            Some(Out::OnTrial) | None => None,
        };
        self.records
            .values()
            .filter_map(until)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// How it stands with `id`, if that is out.
    pub fn ejection(&self, id: u32) -> Option<Ejected> {
        let record = self.records.get(&id)?;
        let until_us = match record.out? {
            Out::Until(until) => Some(until),
            Out::OnTrial => None,
        };
        Some(Ejected {
            until_us,
            ejections: record.ejections,
        })
    }

    /// How many are out, on trial or not.
    pub fn ejected(&self) -> usize {
        let records = self.records.values();
        records.filter(|record| record.out.is_some()).count()
    }

    fn is_out(&self, id: u32) -> bool {
        self.records
            .get(&id)
            .is_some_and(|record| record.out.is_some())
    }

    fn send_off(&mut self, id: u32, settings: &OutlierSettings, now_us: u64) -> Duration {
        let record = self.records.entry(id).or_default();
        record.ejections = record.ejections.saturating_add(1);
        let time = settings
            .ejection_time
            .saturating_mul(record.ejections)
            .min(settings.max_ejection_time);
        record.out = Some(Out::Until(now_us.saturating_add(micros(time))));
        time
    }
}

/// The most backends of `active` that may be out at once: the configured share,
/// but at least one, and never the last.
fn most(active: usize, settings: &OutlierSettings) -> usize {
    let share = active * usize::from(settings.max_ejected) / 100;
    let least = usize::from(settings.max_ejected > 0);
    share.max(least).min(active.saturating_sub(1))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What one backend did in an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tally {
    /// The backend's id.
    pub id: u32,
    /// Attempts that say something of it.
    pub attempts: u64,
    /// Those that went well.
    pub good: u64,
    /// Its average latency now, in microseconds; 0 = none.
    pub latency_us: u32,
}

/// Whose share of good answers is below the others' mean by more than the
/// configured number of standard deviations. Nobody's where too few backends
/// had enough attempts to compare.
pub fn worse_than_the_others(tallies: &[Tally], settings: &OutlierSettings) -> Vec<u32> {
    let rate = |tally: &Tally| tally.good as f64 / tally.attempts as f64;
    let enough: Vec<&Tally> = busy(tallies, settings).collect();
    if settings.success_rate_factor <= 0.0 || enough.len() < settings.min_backends {
        return Vec::new();
    }
    let count = enough.len() as f64;
    let mean = enough.iter().map(|tally| rate(tally)).sum::<f64>() / count;
    let square = |tally: &&Tally| (rate(tally) - mean).powi(2);
    let deviation = (enough.iter().map(square).sum::<f64>() / count).sqrt();
    let least = mean - settings.success_rate_factor * deviation;
    let worse = enough.iter().filter(|tally| rate(tally) < least);
    worse.map(|tally| tally.id).collect()
}

/// Whose latency is more than the configured multiple of the median.
pub fn slower_than_the_others(tallies: &[Tally], settings: &OutlierSettings) -> Vec<u32> {
    let mut enough: Vec<&Tally> = busy(tallies, settings)
        .filter(|tally| tally.latency_us > 0)
        .collect();
    if settings.slow_factor <= 0.0 || enough.len() < settings.min_backends {
        return Vec::new();
    }
    enough.sort_unstable_by_key(|tally| tally.latency_us);
    let median = f64::from(enough[(enough.len() - 1) / 2].latency_us);
    let most = median * settings.slow_factor;
    let slower = enough
        .iter()
        .filter(|tally| f64::from(tally.latency_us) > most);
    slower.map(|tally| tally.id).collect()
}

fn busy<'a>(
    tallies: &'a [Tally],
    settings: &OutlierSettings,
) -> impl Iterator<Item = &'a Tally> + use<'a> {
    let least = settings.min_requests.max(1);
    tallies.iter().filter(move |tally| tally.attempts >= least)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000;

    fn settings() -> OutlierSettings {
        OutlierSettings::default()
    }

    #[test]
    fn each_ejection_is_longer_up_to_a_limit() {
        let mut outliers = Outliers::default();
        let mut now = 0;
        let mut times = vec![outliers.eject(7, 10, &settings(), now)];
        for _ in 0..11 {
            now = outliers.next_trial_us();
            assert_eq!(outliers.trial(now - 1, true), None);
            assert_eq!(outliers.trial(now, true), Some(7));
            times.push(match outliers.tried(7, Some(false), &settings(), now) {
                Verdict::Ejected(time) => Some(time),
                other => panic!("{other:?}"),
            });
        }
        let seconds: Vec<u64> = times.into_iter().flatten().map(|t| t.as_secs()).collect();
        assert_eq!(
            seconds,
            [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
        );
    }

    #[test]
    fn good_times_are_remembered_one_ejection_an_interval() {
        let mut outliers = Outliers::default();
        outliers.eject(1, 10, &settings(), 0);
        outliers.trial(30 * S, true);
        outliers.tried(1, Some(false), &settings(), 30 * S);
        outliers.forgive();
        let now = outliers.next_trial_us();
        assert_eq!(now, 90 * S, "the second ejection took a minute");
        outliers.trial(now, true);
        let back = outliers.tried(1, Some(true), &settings(), now);
        assert_eq!(back, Verdict::Returned);
        outliers.forgive();
        let time = outliers.eject(1, 10, &settings(), now);
        // Being out was no good time: of two, one is forgiven.
        assert_eq!(time, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_trial_that_says_nothing_is_repeated() {
        let mut outliers = Outliers::default();
        outliers.eject(1, 3, &settings(), 0);
        let now = 30 * S;
        assert_eq!(outliers.trial(now, true), Some(1));
        assert_eq!(outliers.trial(now, true), None, "one at a time");
        let on_trial = Ejected {
            until_us: None,
            ejections: 1,
        };
        assert_eq!(outliers.ejection(1), Some(on_trial));
        assert_eq!(outliers.ejection(2), None);
        assert_eq!(outliers.tried(1, None, &settings(), now), Verdict::None);
        assert_eq!(outliers.trial(now, true), Some(1));
    }

    #[test]
    fn a_request_that_cannot_be_repeated_is_a_trial_only_after_a_while() {
        let mut outliers = Outliers::default();
        outliers.eject(1, 3, &settings(), 0);
        assert_eq!(outliers.trial(30 * S, false), None);
        assert_eq!(outliers.trial(31 * S, false), Some(1));
    }

    #[test]
    fn the_last_backend_is_never_ejected_and_one_of_few_may_be() {
        for (active, most) in [(0, 0), (1, 0), (2, 1), (9, 1), (10, 1), (20, 2), (100, 10)] {
            let mut outliers = Outliers::default();
            for id in 0..active {
                outliers.eject(id as u32, active, &settings(), 0);
            }
            assert_eq!(outliers.ejected(), most, "of {active}");
        }
        let all = OutlierSettings {
            max_ejected: 100,
            ..settings()
        };
        assert_eq!((most(4, &all), most(1, &all)), (3, 0));
        let none = OutlierSettings {
            max_ejected: 0,
            ..settings()
        };
        assert_eq!(most(50, &none), 0);
    }

    fn tally(id: u32, attempts: u64, good: u64) -> Tally {
        Tally {
            id,
            attempts,
            good,
            latency_us: 0,
        }
    }

    #[test]
    fn the_one_that_fails_far_more_than_the_others_stands_out() {
        let mut tallies: Vec<Tally> = (0..5).map(|id| tally(id, 200, 200)).collect();
        assert!(worse_than_the_others(&tallies, &settings()).is_empty());
        tallies[3].good = 150;
        assert_eq!(worse_than_the_others(&tallies, &settings()), [3]);
        tallies[3].attempts = 99;
        tallies[3].good = 0;
        assert!(
            worse_than_the_others(&tallies, &settings()).is_empty(),
            "too few attempts, which leaves too few backends"
        );
        let off = OutlierSettings {
            success_rate_factor: 0.0,
            ..settings()
        };
        tallies[3] = tally(3, 200, 0);
        assert!(worse_than_the_others(&tallies, &off).is_empty());
    }

    #[test]
    fn the_one_that_is_far_slower_than_the_median_stands_out() {
        let mut tallies: Vec<Tally> = (0..5).map(|id| tally(id, 200, 200)).collect();
        for (tally, ms) in tallies.iter_mut().zip([10, 11, 12, 13, 80]) {
            tally.latency_us = ms * 1000;
        }
        assert!(
            slower_than_the_others(&tallies, &settings()).is_empty(),
            "off"
        );
        let on = OutlierSettings {
            slow_factor: 3.0,
            ..settings()
        };
        assert_eq!(slower_than_the_others(&tallies, &on), [4]);
    }

    /// What can happen to a pool.
    #[derive(Debug, Clone)]
    enum Event {
        Eject(u32),
        Trial(bool),
        Tried(Option<bool>),
        Forgive,
        Pass(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..12u32).prop_map(Event::Eject),
            any::<bool>().prop_map(Event::Trial),
            any::<Option<bool>>().prop_map(Event::Tried),
            Just(Event::Forgive),
            (0..400u64).prop_map(Event::Pass),
        ]
    }

    proptest! {
        /// Whatever happens: never more are out than may be, never two trials of
        /// one backend at a time, and whoever is out gets a trial in the end.
        #[test]
        fn the_cap_holds_and_nobody_is_forgotten(
            active in 1..12usize,
            max_ejected in 0..=100u8,
            events in prop::collection::vec(event(), 0..60),
        ) {
            let settings = OutlierSettings { max_ejected, ..settings() };
            let mut outliers = Outliers::default();
            let (mut now, mut on_trial) = (0, Vec::new());
            for event in events {
                match event {
                    Event::Eject(id) => {
                        outliers.eject(id % active as u32, active, &settings, now);
                    }
                    Event::Trial(repeatable) => if let Some(id) = outliers.trial(now, repeatable) {
                        prop_assert!(!on_trial.contains(&id));
                        on_trial.push(id);
                    },
                    Event::Tried(good) => if let Some(id) = on_trial.pop() {
                        outliers.tried(id, good, &settings, now);
                    },
                    Event::Forgive => outliers.forgive(),
                    Event::Pass(seconds) => now += seconds * S,
                }
                prop_assert!(outliers.ejected() <= most(active, &settings));
            }
            now += 301 * S;
            let waiting = outliers.ejected() - on_trial.len();
            for _ in 0..waiting {
                prop_assert!(outliers.trial(now, true).is_some());
            }
            prop_assert_eq!(outliers.next_trial_us(), u64::MAX);
        }
    }
}
