//! The requests of a pool under its limit.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

/// How many requests are in a pool that limits them, over all workers. Those
/// that came while there was no limit are not counted.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Requests(AtomicU32);

impl Requests {
    /// How many there are.
    #[inline]
    pub fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// One more, unless there are `most` already. Over all workers there are
    /// never more.
    pub fn enter(&self, most: u32) -> bool {
        let one_more = |count| (count < most).then_some(count + 1);
        self.0.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// One that entered is gone.
    pub fn leave(&self) {
        // In one order with what the queue does, as in `live.rs`.
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_enter_than_may() {
        let requests = Requests::default();
        assert!(requests.enter(2) && requests.enter(2));
        assert!(!requests.enter(2));
        assert!(requests.enter(3), "the limit was raised");
        assert!(!requests.enter(2), "and lowered");
        assert_eq!(requests.count(), 3);
        requests.leave();
        requests.leave();
        assert!(requests.enter(2));
    }
}
