//! Whether this process ran while a check did.
//!
//! A process that was stopped (SIGSTOP, a suspended machine, a starved core)
//! finds all its timers run out when it goes on. That says nothing of the
//! backends. So the runner beats a pulse, and a check across a missing beat is
//! not believed.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time between two beats.
pub const BEAT: Duration = Duration::from_millis(250);
/// A beat that comes later than this was missed.
const LATE: Duration = Duration::from_secs(1);

/// The beats of one thread.
#[derive(Debug)]
pub struct Pulse {
    last: Cell<Instant>,
    /// Beats that were missed, by how often.
    gaps: Cell<u64>,
}

/// The moment at which something began.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    gaps: u64,
}

impl Pulse {
    /// A pulse whose first beat is now.
    pub fn new(now: Instant) -> Pulse {
        Pulse {
            last: Cell::new(now),
            gaps: Cell::new(0),
        }
    }

    /// A beat, due every [`BEAT`].
    pub fn beat(&self, now: Instant) {
        if now.saturating_duration_since(self.last.get()) > BEAT + LATE {
            self.gaps.set(self.gaps.get() + 1);
        }
        self.last.set(now);
    }

    /// Something begins now.
    pub fn mark(&self, now: Instant) -> Mark {
        self.beat(now);
        Mark {
            gaps: self.gaps.get(),
        }
    }

    /// A beat was missed since `mark`, or is being missed now: after a gap it
    /// is anybody's guess whose timer is looked at first.
    pub fn missed_since(&self, mark: Mark, now: Instant) -> bool {
        self.beat(now);
        self.gaps.get() != mark.gaps
    }

    /// What was due at `due` is looked at far too late.
    pub fn missed(due: Instant, now: Instant) -> bool {
        now.saturating_duration_since(due) > LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_beats_are_no_gap() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let mark = pulse.mark(start);
        for beat in 1..100 {
            // A busy machine: each a little late.
            pulse.beat(start + (BEAT + Duration::from_millis(700)) * beat);
        }
        assert!(!pulse.missed_since(mark, start + (BEAT + Duration::from_millis(700)) * 99));
    }

    #[test]
    fn a_gap_is_noticed_whoever_looks_first() {
        let start = Instant::now();
        let stopped = start + Duration::from_secs(10);
        let pulse = Pulse::new(start);
        let mark = pulse.mark(start);
        assert!(pulse.missed_since(mark, stopped), "the check's timer");

        let pulse = Pulse::new(start);
        let mark = pulse.mark(start);
        pulse.beat(stopped);
        assert!(pulse.missed_since(mark, stopped), "the beat");
    }

    #[test]
    fn what_begins_after_a_gap_is_believed() {
        let start = Instant::now();
        let stopped = start + Duration::from_secs(10);
        let pulse = Pulse::new(start);
        let mark = pulse.mark(stopped);
        pulse.beat(stopped + Duration::from_millis(1));
        assert!(!pulse.missed_since(mark, stopped + BEAT));
    }
}
