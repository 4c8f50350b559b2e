//! Numbers that one thread writes and any thread reads: adding to one is a
//! load, an add and a store, without a locked instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Relaxed);
    }

    /// The count so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    #[inline]
    pub fn up(&self) {
        self.set(self.get().wrapping_add(1));
    }

    /// One less, after an [`Gauge::up`] of the same thread.
    #[inline]
    pub fn down(&self) {
        self.set(self.get().wrapping_sub(1));
    }

    /// As many as that.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// At least as many as that.
    #[inline]
    pub fn raise_to(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }

    /// How many there are.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(0);
        counter.add(40);
        assert_eq!(counter.get(), 42);
    }

    #[test]
    fn a_gauge_returns_to_where_it_was() {
        let gauge = Gauge::default();
        gauge.set(7);
        gauge.up();
        assert_eq!(gauge.get(), 8);
        gauge.down();
        assert_eq!(gauge.get(), 7);
    }

    #[test]
    fn a_raised_gauge_keeps_the_most_that_it_had() {
        let gauge = Gauge::default();
        for value in [2, 9, 4] {
            gauge.raise_to(value);
        }
        assert_eq!(gauge.get(), 9);
    }
}
