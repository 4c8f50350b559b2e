//! What a request is expected to cost at a backend.

use anubis_strategy::{Backend, draw};

/// Expected time at one backend, compared over the backends of one list:
///
/// `latency * (1 + in_flight * mean weight / weight)`
///
/// With equal weights that is nginx's and Linkerd's `latency * (1 + in_flight)`.
/// Dividing all of it by the weight, as is usual, would keep every request
/// from the light backends of an idle pool; here equally fast idle backends are
/// equals, which take turns by weight, and under load the requests in flight
/// settle in proportion to the weights all the same.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    mean_weight: f64,
    least_latency: u32,
}

impl Cost {
    /// The costs in this list, where a backend without a sample, or with one
    /// below, counts as needing `least_latency` microseconds.
    pub fn new(backends: &[Backend], least_latency: u32) -> Self {
        let mean_weight = draw::total_weight(backends) as f64 / backends.len().max(1) as f64;
        Self {
            mean_weight,
            least_latency,
        }
    }

    /// The cost of one more request at this backend.
    #[inline]
    pub fn of(&self, backend: &Backend) -> f64 {
        let latency = f64::from(backend.latency_us.max(self.least_latency));
        let share = self.mean_weight / f64::from(backend.weight.max(1));
        latency * (1.0 + f64::from(backend.in_flight) * share)
    }
}
