//! What is counted for each pool.

use http::StatusCode;

use super::{Code, Counter, Gauge, Histogram, Refused, Scale};

/// From a request's route to the end of its response, in microseconds.
#[derive(Debug)]
struct Duration;

impl Scale<16> for Duration {
    const BOUNDS: [u64; 16] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
    const PER_SECOND: f64 = 1e6;
}

/// One worker's counts of one pool.
#[derive(Debug, Default)]
pub struct PoolCounts {
    in_flight: Gauge,
    pub retries: Counter,
    /// Bytes of bodies.
    pub received: Counter,
    pub sent: Counter,
    requests: [Counter; Code::COUNT],
    abandoned: Counter,
    refused: [Counter; Refused::COUNT],
    durations: Histogram<Duration, 16>,
}

impl PoolCounts {
    /// A request was routed to the pool.
    pub fn began(&self) {
        self.in_flight.up();
    }

    /// A request has ended after `us` microseconds; without a status nobody
    /// was there any more to be answered.
    pub fn ended(&self, status: Option<StatusCode>, us: u64) {
        self.in_flight.down();
        match status {
            Some(status) => self.requests[Code::of(status) as usize].add(1),
            None => self.abandoned.add(1),
        }
        self.durations.observe(us);
    }

    /// The proxy answers a request itself.
    pub fn refused(&self, why: Refused) {
        self.refused[why as usize].add(1);
    }
}
