//! What is counted for each backend.

use super::{Attempted, Counter, Gauge};

/// One worker's counts of one backend.
#[derive(Debug, Default)]
pub struct BackendCounts {
    attempts: [Counter; Attempted::COUNT],
    /// Connections made.
    pub connects: Counter,
    /// Requests sent over a kept connection.
    pub reuses: Counter,
    /// Connections kept for the next request.
    pub idle: Gauge,
}

impl BackendCounts {
    /// An attempt has ended.
    pub fn attempted(&self, result: Attempted) {
        self.attempts[result as usize].add(1);
    }
}
