//! The shortest expected time to a response; equals take turns by weight.
//!
//! The time is [`ExpectedTime`] of the proxy's estimate, which decays while a
//! backend is not asked, so a slow one is tried again. An estimate below
//! `default-latency` counts as that much, as does none: differences so small
//! are noise, and a newcomer is the equal of the fastest until it is known.

use anubis_strategy::load::{self, ExpectedTime};
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy};

/// The strategy; it keeps nothing but its option.
#[derive(Debug)]
pub struct LeastTime {
    /// In microseconds, never 0.
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
        let time = ExpectedTime::of(backends);
        let time =
            |backend: &Backend| time.at(backend, backend.latency_us.max(self.default_latency));
        load::least_by(backends, request.sequence, |backend| Some(time(backend)))
            .ok_or(Refusal::Fallback)
    }
}

anubis_strategy::export!(LeastTime, configured);

#[cfg(test)]
mod tests;
