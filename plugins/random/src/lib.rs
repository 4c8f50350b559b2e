//! Each pick is a random draw in proportion to the weights.

use anubis_strategy::{Backend, Random, Refusal, Request, Strategy, draw};

/// The strategy; it keeps nothing.
#[derive(Debug, Default)]
pub struct Draw;

impl Strategy for Draw {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        Ok(draw::weighted(backends, &mut Random::of(request)))
    }
}

anubis_strategy::export!(Draw);

#[cfg(test)]
mod tests;
