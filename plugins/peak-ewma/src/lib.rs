//! Draws two different backends by weight and takes the one that is expected to
//! answer sooner.
//!
//! The time is [`ExpectedTime`] of the proxy's peak-sensitive estimate. While
//! one of the two has no estimate yet, only their load is compared: a newcomer
//! gets its share, and neither every request nor none. Of equals the first
//! drawn is taken.

use anubis_strategy::load::{ExpectedTime, Load};
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Random, Refusal, Request, Strategy, draw};

/// The strategy; it keeps nothing but its option.
#[derive(Debug)]
pub struct PeakEwma {
    /// An estimate below, in microseconds, counts as this much.
    floor: u32,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { floor: 1_000 }
    }
}

impl Configure for PeakEwma {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(floor) = options.microseconds("floor", 1..=60_000_000)? {
            self.floor = floor as u32;
        }
        options.finish()
    }
}

impl Strategy for PeakEwma {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let mut random = Random::of(request);
        let mut drawn = draw::distinct(backends, &mut random);
        let first = drawn.next().ok_or(Refusal::Fallback)?;
        match drawn.next() {
            Some(second) if self.is_sooner(backends, second, first) => Ok(second),
            _ => Ok(first),
        }
    }
}

impl PeakEwma {
    fn is_sooner(&self, backends: &[Backend], a: usize, b: usize) -> bool {
        let (a, b) = (&backends[a], &backends[b]);
        if a.latency_us == 0 || b.latency_us == 0 {
            return Load::of(a) < Load::of(b);
        }
        let time = ExpectedTime::of(backends);
        let time = |backend: &Backend| time.at(backend, backend.latency_us.max(self.floor));
        time(a) < time(b)
    }
}

anubis_strategy::export!(PeakEwma, configured);

#[cfg(test)]
mod tests;
