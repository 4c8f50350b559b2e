//! Who has room for one more conversation.

use anubis_strategy::{Backend, draw};

/// Who has room, in one list.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    /// Most requests for each unit of weight.
    most: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that a reported load of 1 means.
    pub full: u32,
    /// How often the mean of the list a backend with room may have; more than 1.
    pub bound: f64,
    /// With fewer requests than that it has room, whatever the others have.
    pub idle: u32,
}

impl Room {
    /// In this list.
    pub fn of(backends: &[Backend], limits: Limits) -> Self {
        let requests = backends.iter().map(|backend| limits.requests(backend));
        // With this one, so that not all of them can have more.
        let requests = requests.sum::<u64>() + 1;
        let weights = draw::total_weight(backends).max(1);
        Self {
            limits,
            most: limits.bound * requests as f64 / weights as f64,
        }
    }

    /// Whether it has room.
    pub fn is_at(&self, backend: &Backend) -> bool {
        let requests = self.limits.requests(backend);
        requests < u64::from(self.limits.idle)
            || (requests as f64) < self.most * f64::from(backend.weight)
    }
}

impl Limits {
    /// Those in flight from here, or those that it says it has, if they are more: the
    /// ones are among the others, but a report may be older than the last few.
    fn requests(self, backend: &Backend) -> u64 {
        let reported = u64::from(backend.utilization) * u64::from(self.full) / 10_000;
        reported.max(u64::from(backend.in_flight))
    }
}
