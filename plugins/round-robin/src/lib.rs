//! Smooth weighted round robin: `a a b a c a a` for the weights 5, 1, 1.
//!
//! The position is the pool's count of picks, so all workers together keep the
//! order exactly. Cycles too long to write out (weights such as 65535 and
//! 40000) keep exact shares in a well mixed order.

use anubis_strategy::rotation::Rotation;
use anubis_strategy::{Backend, Refusal, Request, Strategy};

/// The strategy; what it keeps is computed from the weights alone.
#[derive(Debug, Default)]
pub struct RoundRobin {
    rotation: Rotation,
}

impl Strategy for RoundRobin {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        Ok(self.rotation.at(request.sequence, backends))
    }
}

anubis_strategy::export!(RoundRobin);

#[cfg(test)]
mod tests;
