//! Whether the workers still turn: each notes the time now and then, and somebody
//! else looks.
//!
//! A worker that does not come back from one of its tasks serves nobody and says
//! nothing. It cannot be helped from outside, but it can be told of, which is what
//! this does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::upgrade::Vigil;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// However often a service manager asks.
const SHORTEST: Duration = Duration::from_millis(10);
/// A worker notes the time every 100 ms. One that has not for so long is stuck.
const STUCK_US: u64 = 1_000_000;

/// When each worker last noted the time.
#[derive(Debug)]
pub struct Heartbeats {
    /// What the notes count from.
    started: Instant,
    workers: Vec<Heartbeat>,
}

/// One worker's, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Heartbeat {
    /// Microseconds since the start.
    at: AtomicU64,
    /// How often it was found stuck.
    stuck: AtomicU64,
}

impl Heartbeats {
    /// Of so many workers, all of which are well at first.
    pub fn new(started: Instant, workers: usize) -> Heartbeats {
        let now_us = started.elapsed().as_micros() as u64;
        let heartbeat = || Heartbeat {
            at: AtomicU64::new(now_us),
            stuck: AtomicU64::new(0),
        };
        Heartbeats {
            started,
            workers: std::iter::repeat_with(heartbeat).take(workers).collect(),
        }
    }

    /// The workers start now, and all are well. What came before, such as compiling
    /// for half a minute, was not their time.
    pub fn begin(&self) {
        let now_us = self.now_us();
        (0..self.workers.len()).for_each(|worker| self.beat(worker, now_us));
    }

    /// This worker is well.
    pub fn beat(&self, worker: usize, now_us: u64) {
        self.workers[worker].at.store(now_us, Relaxed);
    }

    /// How long ago each worker noted the time, in microseconds.
    pub fn ages_us(&self) -> impl Iterator<Item = u64> {
        let now_us = self.now_us();
        let ages = self.workers.iter();
        ages.map(move |worker| now_us.saturating_sub(worker.at.load(Relaxed)))
    }

    /// How often each worker was found stuck.
    pub fn stuck(&self) -> impl Iterator<Item = u64> {
        self.workers.iter().map(|worker| worker.stuck.load(Relaxed))
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

/// Looks after the workers for as long as it is polled, and tells the log; and a
/// service manager that wants to know, as long as none is stuck.
pub async fn watch(heartbeats: Arc<Heartbeats>, mut vigil: Vigil) {
    let mut watchdog = Watchdog::new(heartbeats.workers.len(), heartbeats.now_us());
    let look = vigil.every().map_or(LOOK, |every| every.min(LOOK));
    let mut looks = tokio::time::interval(look.max(SHORTEST));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now_us = heartbeats.now_us();
        for (worker, heartbeat) in heartbeats.workers.iter().enumerate() {
            let age_us = now_us.saturating_sub(heartbeat.at.load(Relaxed));
            match watchdog.look(worker, age_us, now_us) {
                Some(News::Stuck) => {
                    heartbeat.stuck.fetch_add(1, Relaxed);
                    let age_ms = age_us / 1000;
                    tracing::error!(worker, age_ms, "worker is stuck");
                }
                Some(News::Back { after_us }) => {
                    let after_ms = after_us / 1000;
                    tracing::warn!(worker, after_ms, "worker goes on");
                }
                None => {}
            }
        }
        watchdog.looked(now_us);
        if !watchdog.any_stuck() {
            vigil.all_is_well(Instant::now());
        }
    }
}

/// What is known of the workers.
struct Watchdog {
    /// Since when each is stuck, in microseconds.
    stuck_since: Vec<Option<u64>>,
    looked_us: u64,
}

/// A change that somebody should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Stuck,
    Back { after_us: u64 },
}

impl Watchdog {
    fn new(workers: usize, now_us: u64) -> Watchdog {
        Watchdog {
            stuck_since: vec![None; workers],
            looked_us: now_us,
        }
    }

    /// One worker has noted the time `age_us` ago.
    fn look(&mut self, worker: usize, age_us: u64, now_us: u64) -> Option<News> {
        // After SIGSTOP, or on a machine that had no time for us either, an age says
        // nothing of the worker.
        let late = now_us.saturating_sub(self.looked_us) > STUCK_US;
        let stuck_since = &mut self.stuck_since[worker];
        match *stuck_since {
            None if age_us > STUCK_US && !late => {
                *stuck_since = Some(now_us - age_us);
                Some(News::Stuck)
            }
            Some(since) if age_us <= STUCK_US => {
                *stuck_since = None;
                let after_us = now_us.saturating_sub(age_us).saturating_sub(since);
                Some(News::Back { after_us })
            }
            _ => None,
        }
    }

    fn any_stuck(&self) -> bool {
        self.stuck_since.iter().any(Option::is_some)
    }

    /// All were looked at.
    fn looked(&mut self, now_us: u64) {
        self.looked_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1000;

    /// What is told of one worker, looked at at these times (ms) with these ages.
    fn told(looks: &[(u64, u64)]) -> Vec<Option<News>> {
        let mut watchdog = Watchdog::new(1, 0);
        let look = |&(at, age): &(u64, u64)| {
            let news = watchdog.look(0, age * MS, at * MS);
            watchdog.looked(at * MS);
            news
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn who_is_stuck_is_told_of_once_and_again_when_it_goes_on() {
        let news = told(&[
            (250, 40),
            (500, 290),
            (1250, 1040),
            (1500, 1290),
            (1750, 100),
        ]);
        let back = Some(News::Back {
            after_us: 1440 * MS,
        });
        assert_eq!(news, [None, None, Some(News::Stuck), None, back]);
    }

    #[test]
    fn nobody_is_blamed_when_everything_stood_still() {
        assert_eq!(
            told(&[(250, 40), (10_250, 10_040), (10_500, 50)]),
            [None; 3]
        );
        let news = told(&[(250, 40), (10_250, 10_040), (10_500, 10_290)]);
        assert_eq!(news, [None, None, Some(News::Stuck)], "it is, by now");
    }

    #[test]
    fn ages_are_those_of_the_last_beat() {
        let heartbeats = Heartbeats::new(Instant::now(), 2);
        heartbeats.beat(1, u64::MAX);
        assert_eq!(heartbeats.ages_us().nth(1), Some(0));
        assert_eq!(heartbeats.stuck().collect::<Vec<_>>(), [0, 0]);
    }

    #[test]
    fn what_came_before_the_workers_was_not_their_time() {
        let compiled = Duration::from_secs(40);
        let started = Instant::now();
        let heartbeats = Heartbeats {
            started: started.checked_sub(compiled).unwrap_or(started),
            ..Heartbeats::new(started, 2)
        };
        heartbeats.begin();
        assert!(heartbeats.ages_us().all(|age_us| age_us < STUCK_US));
    }

    proptest! {
        /// Stuck and back take turns, and a worker that beats is never stuck.
        #[test]
        fn news_take_turns(looks in proptest::collection::vec((1_u64..3000, 0_u64..3000), 0..50)) {
            let mut at = 0;
            let looks: Vec<_> = looks.into_iter().map(|(step, age)| { at += step; (at, age.min(at)) }).collect();
            let mut stuck = false;
            for ((_, age), news) in looks.iter().zip(told(&looks)) {
                match news {
                    Some(News::Stuck) => {
                        prop_assert!(!stuck && age * MS > STUCK_US);
                        stuck = true;
                    }
                    Some(News::Back { .. }) => {
                        prop_assert!(stuck && age * MS <= STUCK_US);
                        stuck = false;
                    }
                    None => {}
                }
            }
        }
    }
}
