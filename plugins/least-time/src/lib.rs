//! The shortest expected time to a response; equals take turns by weight.
//!
//! See [`Cost`] for the formula.

mod cost;

pub use cost::Cost;

use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy, rotation};

/// The strategy; it keeps nothing but its option.
#[derive(Debug)]
pub struct LeastTime {
    /// What a backend without a sample is taken to need, in microseconds, and
    /// the least that any is taken to need.
    default_latency: u32,
}

impl Default for LeastTime {
    fn default() -> Self {
        Self {
            default_latency: 20_000,
        }
    }
}

impl Configure for LeastTime {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(latency) = options.microseconds("default-latency", 1..=60_000_000)? {
            self.default_latency = latency as u32;
        }
        options.finish()
    }
}

impl Strategy for LeastTime {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let cost = Cost::new(backends, self.default_latency);
        let (mut best, mut index, mut ties) = (cost.of(&backends[0]), 0, false);
        for (candidate, backend) in backends.iter().enumerate().skip(1) {
            let other = cost.of(backend);
            if other < best {
                (best, index, ties) = (other, candidate, false);
            } else if other == best {
                ties = true;
            }
        }
        if ties {
            index = rotation::share(request.sequence, backends, |backend| {
                cost.of(backend) == best
            });
        }
        Ok(index)
    }
}

anubis_strategy::export!(LeastTime, configured);
