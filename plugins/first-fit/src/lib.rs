//! Fills one backend before it asks the next, by priority and then in the
//! configuration's order, so that as few as possible are busy.
//!
//! A backend is full at its `capacity`, or at `default-capacity` where it has
//! none, times `fill`. Without either it is never full and takes everything.
//! Where all are full, the one that has the most room left takes it.

use std::cmp::Ordering;

use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy};

/// The strategy; it keeps nothing but its options.
#[derive(Debug)]
pub struct FirstFit {
    /// For backends that have no capacity of their own; 0 = no limit.
    default_capacity: u32,
    /// The part of the capacity that is filled, in thousandths.
    fill: u64,
}

impl Default for FirstFit {
    fn default() -> Self {
        Self {
            default_capacity: 0,
            fill: 1000,
        }
    }
}

impl Configure for FirstFit {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(capacity) = options.integer("default-capacity", 0..=u64::from(u32::MAX))? {
            self.default_capacity = capacity as u32;
        }
        if let Some(fill) = options.thousandths("fill", 1..=1000)? {
            self.fill = fill;
        }
        options.finish()
    }
}

impl Strategy for FirstFit {
    fn pick(&mut self, _: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let has_room = |index: &usize| self.has_room(&backends[*index]);
        let first = (0..backends.len())
            .filter(has_room)
            .min_by_key(|&index| backends[index].priority);
        let emptiest = || {
            (0..backends.len()).min_by(|&a, &b| self.compare_fullness(&backends[a], &backends[b]))
        };
        first.or_else(emptiest).ok_or(Refusal::Fallback)
    }
}

impl FirstFit {
    fn has_room(&self, backend: &Backend) -> bool {
        match self.capacity(backend) {
            0 => true,
            capacity => u64::from(backend.in_flight) * 1000 < capacity * self.fill,
        }
    }

    /// Compares the filled parts of two backends, neither of them without limit.
    fn compare_fullness(&self, a: &Backend, b: &Backend) -> Ordering {
        let left = u128::from(a.in_flight) * u128::from(self.capacity(b));
        let right = u128::from(b.in_flight) * u128::from(self.capacity(a));
        left.cmp(&right)
    }

    fn capacity(&self, backend: &Backend) -> u64 {
        u64::from(if backend.capacity == 0 {
            self.default_capacity
        } else {
            backend.capacity
        })
    }
}

anubis_strategy::export!(FirstFit, configured);

#[cfg(test)]
mod tests;
