//! The fewest requests in flight for its weight; equals take turns by weight.

use anubis_strategy::{Backend, Refusal, Request, Strategy, load};

/// The strategy; it keeps nothing.
#[derive(Debug, Default)]
pub struct LeastConnections;

impl Strategy for LeastConnections {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        Ok(load::least(backends, request.sequence))
    }
}

anubis_strategy::export!(LeastConnections);

#[cfg(test)]
mod tests;
