//! One key, one backend, by the pool's `hash-key`; but a backend that has more
//! than `bound` times its share of the requests in flight lets its keys go to
//! their next choice meanwhile (consistent hashing with bounded loads).
//!
//! For caches: a key's backend changes only when it leaves, or when a popular
//! key would overload it. With `bound = 0` it is kept whatever the load, as
//! `ip-hash` does.

use anubis_strategy::options::Options;
use anubis_strategy::rendezvous::Rendezvous;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy, draw};

/// The strategy; it keeps its option and what it knows of the backends' names.
#[derive(Debug)]
pub struct ConsistentHash {
    rendezvous: Rendezvous,
    /// How often the mean load a backend may have; 0 = any load.
    bound: f64,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self {
            rendezvous: Rendezvous::default(),
            bound: 1.25,
        }
    }
}

impl Configure for ConsistentHash {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        match options.thousandths("bound", 0..=1_000_000)? {
            Some(1..1_001) => return Err("option `bound` must be 0 or more than 1".to_string()),
            Some(bound) => self.bound = bound as f64 / 1000.0,
            None => {}
        }
        options.finish()
    }
}

impl Strategy for ConsistentHash {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let most = self.most_per_weight(backends);
        let has_room =
            |backend: &Backend| f64::from(backend.in_flight) < most * f64::from(backend.weight);
        let preferred = self.rendezvous.prefer(request.key, backends, has_room);
        let preferred =
            preferred.or_else(|| self.rendezvous.prefer(request.key, backends, |_| true));
        preferred.ok_or(Refusal::Fallback)
    }
}

impl ConsistentHash {
    /// How many requests in flight a backend may have for each unit of its
    /// weight, this request counted in: not all of them can have more.
    fn most_per_weight(&self, backends: &[Backend]) -> f64 {
        if self.bound == 0.0 {
            return f64::INFINITY;
        }
        let in_flight: u64 = backends
            .iter()
            .map(|backend| u64::from(backend.in_flight))
            .sum();
        self.bound * (in_flight + 1) as f64 / draw::total_weight(backends).max(1) as f64
    }
}

anubis_strategy::export!(ConsistentHash, configured);

#[cfg(test)]
mod tests;
