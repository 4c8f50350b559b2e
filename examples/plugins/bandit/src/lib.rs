//! A bandit: it learns from outcomes which backends serve best, asks those, and spends
//! a bounded share of the requests on finding out whether that is still so.
//!
//! What a backend costs is the time to its answers; a failure costs as much as an answer
//! that takes `failure`. Most requests go to the backend with the least expected cost,
//! its requests in flight considered. The share `explore` goes where Thompson sampling
//! sends it: to whoever comes out best when for each backend a cost is drawn that it may
//! have after all. Knowledge grows old, `half-life` by half, and the less is known of a
//! backend, the wider its draws: who was bad for a while is tried again.

use anubis_strategy::load::{self, ExpectedTime};
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Learn, Outcome, Random, Refusal, Request, Strategy};

use knowledge::Knowledge;

mod arm;
mod knowledge;

/// Who costs up to this times the least is as good as the best: shares among equals
/// should not go by chance.
const ALIKE: f64 = 1.1;

#[derive(Debug)]
struct Bandit {
    /// Share of the requests that explore, in thousandths.
    explore: u64,
    /// What a failure costs, in microseconds.
    failure_us: u32,
    known: Knowledge,
}

impl Default for Bandit {
    fn default() -> Self {
        Self {
            explore: 50,
            failure_us: 1_000_000,
            known: Knowledge::with_half_life(5_000_000),
        }
    }
}

impl Configure for Bandit {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(explore) = options.thousandths("explore", 1..=500)? {
            self.explore = explore;
        }
        if let Some(failure) = options.microseconds("failure", 1_000..=600_000_000)? {
            self.failure_us = failure as u32;
        }
        if let Some(half_life) = options.microseconds("half-life", 1_000_000..=3_600_000_000)? {
            self.known = Knowledge::with_half_life(half_life);
        }
        options.finish()
    }
}

impl Strategy for Bandit {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        self.known.clock(request.now_us);
        let mut random = Random::of(request);
        let picked = match random.below(1000) < self.explore {
            true => self.explore(backends, &mut random),
            false => self.exploit(backends, request.sequence),
        };
        picked.ok_or(Refusal::Fallback)
    }
}

impl Bandit {
    /// The least expected cost. Who is new is as good as the best, until its first
    /// outcome: that it has requests in flight keeps it from being overrun.
    fn exploit(&self, backends: &[Backend], sequence: u64) -> Option<usize> {
        let least = self.known.least(backends);
        let time = ExpectedTime::of(backends);
        load::least_by(backends, sequence, |backend| {
            let cost = self.known.mean(backend).unwrap_or(least);
            let cost = if cost <= ALIKE * least { least } else { cost };
            Some(time.at(backend, cost as u32))
        })
    }

    /// The least cost that was drawn.
    fn explore(&self, backends: &[Backend], random: &mut Random) -> Option<usize> {
        let least = self.known.least(backends);
        let drawn = backends
            .iter()
            .map(|backend| self.known.drawn(backend, least, random));
        let best = drawn.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map(|(index, _)| index)
    }
}

impl Learn for Bandit {
    fn observe(&mut self, outcomes: &[Outcome]) {
        const CLIENT_LEFT: u32 = 5;
        for outcome in outcomes {
            let cost = match outcome.is_success() {
                // How long it would have taken is not known.
                _ if outcome.failure == CLIENT_LEFT => continue,
                true => outcome.latency_us.min(self.failure_us),
                false => self.failure_us,
            };
            self.known.learn(outcome.id, cost);
        }
    }

    fn save(&mut self) -> Vec<u8> {
        self.known.save()
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.known.restore(saved)
    }
}

anubis_strategy::export!(Bandit, learning);

#[cfg(test)]
mod tests;
