//! For the tests of a strategy: pools, requests, and a pool that lives.

use std::collections::BinaryHeap;

use crate::random::{GOLDEN, mix};
use crate::{Backend, Learn, Outcome, Random, Request, Strategy};

/// Idle backends of these weights, with the ids 0, 1, 2 ...
pub fn pool(weights: &[u32]) -> Vec<Backend> {
    let backend = |(id, &weight)| Backend {
        id: id as u32,
        weight,
        ..Backend::default()
    };
    weights.iter().enumerate().map(backend).collect()
}

/// The pool's request of this number: its sequence, and a key and random bits
/// that go with it.
pub fn request(number: u64) -> Request {
    let bits = |salt: u64| mix(number.wrapping_mul(GOLDEN) ^ salt) >> 11;
    Request {
        key: bits(1),
        random: bits(2),
        sequence: number,
        generation: 1,
        ..Request::default()
    }
}

/// How often each backend is picked in so many picks on a list that stays as it
/// is.
///
/// # Panics
///
/// Where the strategy refuses or gives an index out of range.
pub fn counts<S: Strategy>(strategy: &mut S, backends: &[Backend], picks: u64) -> Vec<u64> {
    let mut counts = vec![0; backends.len()];
    for number in 0..picks {
        let index = strategy
            .pick(&request(number), backends)
            .expect("it picks one");
        counts[index] += 1;
    }
    counts
}

/// Checks that whatever the list and the request, the strategy neither panics
/// nor gives an index out of range: lists of one and of hundreds, the largest
/// and the smallest values, lists that change under the same generation.
///
/// # Panics
///
/// Where it does not hold.
pub fn survives_anything<S: Strategy>(mut strategy: S) {
    for seed in 0..500 {
        let mut random = Random::of(&request(seed));
        let length = [1, 2, 3, 10, 300][random.below(5) as usize];
        let backends: Vec<Backend> = (0..length).map(|id| anything(id, &mut random)).collect();
        let request = Request {
            generation: random.below(3) as u32,
            ..request(mix(seed))
        };
        if let Ok(index) = strategy.pick(&request, &backends) {
            assert!(
                index < backends.len(),
                "{index} of {}: {request:?} {backends:?}",
                backends.len()
            );
        }
    }
}

/// A backend with nothing but its weight (1 to 65535) as the contract wants it.
fn anything(id: u32, random: &mut Random) -> Backend {
    let mut number = || match random.below(4) {
        0 => 0,
        1 => u32::MAX,
        2 => random.below(10) as u32,
        _ => random.bits() as u32,
    };
    Backend {
        id: id * 3 + number() % 3,
        capacity: number(),
        priority: number() % 4,
        zone: number(),
        in_flight: number(),
        latency_us: number(),
        failures: number(),
        utilization: number(),
        state: number(),
        weight: [1, 65535, number().clamp(1, 65535)][random.below(3) as usize],
    }
}

/// A pool that lives: requests stay in flight for as long as their backend
/// takes, and its latency is estimated as the proxy does it (peak-EWMA over
/// 10 s, decaying while it is not asked).
#[derive(Debug)]
pub struct Simulation {
    /// As the strategy sees them; `in_flight` and `latency_us` are kept.
    pub backends: Vec<Backend>,
    /// What each takes for a request, in microseconds, give or take a tenth.
    pub service_us: Vec<u64>,
    /// The HTTP status that each answers with; 200 at first, 0 for no answer.
    pub status: Vec<u32>,
    now_us: u64,
    number: u64,
    /// The next to end first: the negated end, its backend, its start.
    running: BinaryHeap<(std::cmp::Reverse<u64>, usize, u64)>,
    /// Estimate in microseconds, and when it was made.
    estimates: Vec<(f64, u64)>,
    /// What a strategy that learns has not heard yet.
    outcomes: Vec<Outcome>,
}

/// Outcomes that a strategy hears of at once.
const BATCH: usize = 16;

const TAU_US: f64 = 10_000_000.0;

impl Simulation {
    /// A pool that was never asked.
    ///
    /// # Panics
    ///
    /// Where there is not one time for each backend.
    pub fn new(backends: Vec<Backend>, service_us: &[u64]) -> Self {
        assert_eq!(backends.len(), service_us.len());
        Self {
            estimates: vec![(0.0, 0); backends.len()],
            status: vec![200; backends.len()],
            outcomes: Vec::new(),
            backends,
            service_us: service_us.to_vec(),
            now_us: 0,
            number: 0,
            running: BinaryHeap::new(),
        }
    }

    /// Serves so many requests, always so many at once (a new one begins when
    /// one ends), and says how many went to each backend.
    ///
    /// # Panics
    ///
    /// Where the strategy refuses or gives an index out of range.
    pub fn run<S: Strategy>(
        &mut self,
        strategy: &mut S,
        requests: u64,
        at_once: usize,
    ) -> Vec<u64> {
        self.serve(strategy, requests, at_once, |_, _| {})
    }

    /// [`run`](Self::run) for a strategy that learns: it hears of the outcomes, in
    /// batches, and at the end of those that it has not heard yet.
    ///
    /// # Panics
    ///
    /// As `run`.
    pub fn learn<S: Learn>(&mut self, strategy: &mut S, requests: u64, at_once: usize) -> Vec<u64> {
        self.serve(strategy, requests, at_once, S::observe)
    }

    fn serve<S: Strategy>(
        &mut self,
        strategy: &mut S,
        requests: u64,
        at_once: usize,
        hear: impl Fn(&mut S, &[Outcome]),
    ) -> Vec<u64> {
        let mut counts = vec![0; self.backends.len()];
        for _ in 0..requests {
            while self.running.len() >= at_once {
                self.end_one();
            }
            if self.outcomes.len() >= BATCH {
                hear(strategy, &std::mem::take(&mut self.outcomes));
            }
            self.decay();
            let request = Request {
                now_us: self.now_us,
                ..request(self.number)
            };
            let index = strategy
                .pick(&request, &self.backends)
                .expect("it picks one");
            self.number += 1;
            counts[index] += 1;
            self.backends[index].in_flight += 1;
            let end = self.now_us + self.taken_us(index);
            self.running
                .push((std::cmp::Reverse(end), index, self.now_us));
        }
        hear(strategy, &std::mem::take(&mut self.outcomes));
        counts
    }

    /// The backend's time, give or take a tenth.
    fn taken_us(&self, index: usize) -> u64 {
        let tenth = self.service_us[index] / 10;
        self.service_us[index] - tenth + mix(self.number) % (2 * tenth + 1)
    }

    fn end_one(&mut self) {
        let Some((std::cmp::Reverse(end), index, start)) = self.running.pop() else {
            return;
        };
        self.now_us = end;
        self.backends[index].in_flight -= 1;
        self.outcomes.push(self.outcome(index, end - start));
        let taken = (end - start) as f64;
        let (estimate, at) = self.estimates[index];
        let kept = (-((end - at) as f64) / TAU_US).exp();
        let estimate = if taken > estimate {
            taken
        } else {
            estimate * kept + taken * (1.0 - kept)
        };
        self.estimates[index] = (estimate, end);
    }

    fn outcome(&self, index: usize, taken_us: u64) -> Outcome {
        const RESET: u32 = 3;
        let status = self.status[index];
        Outcome {
            id: self.backends[index].id,
            latency_us: u32::try_from(taken_us).unwrap_or(u32::MAX),
            status,
            failure: if status == 0 { RESET } else { 0 },
            ..Outcome::default()
        }
    }

    fn decay(&mut self) {
        for (backend, (estimate, at)) in self.backends.iter_mut().zip(&self.estimates) {
            let decayed = estimate * (-((self.now_us - at) as f64) / TAU_US).exp();
            backend.latency_us = if *estimate == 0.0 {
                0
            } else {
                (decayed as u32).max(1)
            };
        }
    }
}
