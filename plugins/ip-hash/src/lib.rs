//! One client, one backend: by the pool's `hash-key`, which is the client's
//! address where nothing else is configured.
//!
//! The same mapping as `consistent-hash`, but kept also when the backend has
//! more than its share to do: for sessions that live in one backend's memory.

use anubis_strategy::rendezvous::Rendezvous;
use anubis_strategy::{Backend, Refusal, Request, Strategy};

/// The strategy; it keeps only what it knows of the backends' names.
#[derive(Debug, Default)]
pub struct IpHash {
    rendezvous: Rendezvous,
}

impl Strategy for IpHash {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        self.rendezvous
            .prefer(request.key, backends, |_| true)
            .ok_or(Refusal::Fallback)
    }
}

anubis_strategy::export!(IpHash);

#[cfg(test)]
mod tests;
