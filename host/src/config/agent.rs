//! `[pools.NAME.agent-check]`: programs beside the backends that say how they are.

use std::num::NonZeroU16;
use std::time::Duration;

/// One `[pools.NAME.agent-check]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// Where a backend's agent listens, on the backend's host.
    pub port: NonZeroU16,
    /// What it is told first. Default: nothing.
    pub send: String,
    /// From the start of a check to the start of the next, at least 10 ms. Default 2 s.
    pub interval: Duration,
    /// From the start of a check to its result, at least 1 ms. Default 1 s.
    pub timeout: Duration,
    /// How long the load counts that an agent tells, at least 10 ms. Default three
    /// intervals, and at least 10 s.
    pub expiry: Duration,
}

impl AgentSettings {
    /// Agents at this port.
    pub fn new(port: NonZeroU16) -> Self {
        let interval = Duration::from_secs(2);
        Self {
            port,
            send: String::new(),
            interval,
            timeout: Duration::from_secs(1),
            expiry: Self::expiry_for(interval),
        }
    }

    /// Two answers may be missing before the load is forgotten.
    pub fn expiry_for(interval: Duration) -> Duration {
        interval.saturating_mul(3).max(Duration::from_secs(10))
    }
}
