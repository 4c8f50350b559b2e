//! The backend with the shortest expected time to a response; equals take turns.

use anubis_strategy::load::{self, ExpectedTime};
use anubis_strategy::{Backend, Refusal, Request, Strategy};

/// In microseconds: a latency below it counts as that much, as does none yet.
const DEFAULT_LATENCY: u32 = 20_000;

#[derive(Default)]
struct LeastTime;

impl Strategy for LeastTime {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        // latency * (1 + in-flight * mean weight / weight)
        let time = ExpectedTime::of(backends);
        let cost = |backend: &Backend| time.at(backend, backend.latency_us.max(DEFAULT_LATENCY));
        load::least_by(backends, request.sequence, |backend| Some(cost(backend)))
            .ok_or(Refusal::Fallback)
    }
}

anubis_strategy::export!(LeastTime);

#[cfg(test)]
mod tests;
