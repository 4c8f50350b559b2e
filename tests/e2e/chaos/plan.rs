//! What happens, and when: drawn from a seed, and never so bad that no backend is
//! left.

use std::time::Duration;

/// How many backends there are.
pub const BACKENDS: usize = 4;

/// Acts after which a backend that came back is one to rely on: the proxy has
/// found out by then that it is well.
const PROVEN: u64 = 20;

/// How a backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Well,
    /// It takes its time, less than the response timeout.
    Slow,
    /// It takes requests and never answers.
    Stalled,
    /// Nothing listens, and its connections are reset.
    Dead,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Turn(usize, Mood),
    /// It closes all its connections and goes on.
    HangUp(usize),
    /// Another configuration.
    Reload(u64),
    /// Another strategy, perhaps one that traps.
    Swap(u64),
    /// What an operator wants of a backend.
    State(usize, &'static str),
}

/// The acts of one run.
pub struct Plan {
    random: fastrand::Rng,
    round: u64,
    moods: [Mood; BACKENDS],
    states: [&'static str; BACKENDS],
    /// The round from which each takes requests; `None`: it does not.
    takes_since: [Option<u64>; BACKENDS],
}

impl Plan {
    /// The same acts for the same seed.
    pub fn new(seed: u64) -> Plan {
        Plan {
            random: fastrand::Rng::with_seed(seed),
            // All were well before.
            round: PROVEN,
            moods: [Mood::Well; BACKENDS],
            states: ["active"; BACKENDS],
            takes_since: [Some(0); BACKENDS],
        }
    }

    /// The next act, and how long after the one before.
    pub fn next_act(&mut self) -> (Duration, Act) {
        let pause = Duration::from_millis(self.random.u64(20..250));
        self.round += 1;
        loop {
            let act = self.draw();
            if self.leaves_somebody(act) {
                self.note(act);
                return (pause, act);
            }
        }
    }

    /// What makes everything as it was in the beginning.
    pub fn make_peace(&mut self) -> Vec<Act> {
        let well = (0..BACKENDS).map(|which| Act::Turn(which, Mood::Well));
        let active = (0..BACKENDS).map(|which| Act::State(which, "active"));
        well.chain(active).collect()
    }

    fn draw(&mut self) -> Act {
        let which = self.random.usize(..BACKENDS);
        match self.random.u8(..12) {
            0 | 1 => Act::Turn(which, Mood::Dead),
            2 => Act::Turn(which, Mood::Stalled),
            3 => Act::Turn(which, Mood::Slow),
            4..=6 => Act::Turn(which, Mood::Well),
            7 => Act::HangUp(which),
            8 => Act::Reload(self.round),
            9 => Act::Swap(self.round),
            10 => Act::State(which, ["drain", "maintenance"][self.random.usize(..2)]),
            _ => Act::State(which, "active"),
        }
    }

    /// Two backends stay well, so that one does while the other changes, and one of
    /// them has been for some time.
    fn leaves_somebody(&self, act: Act) -> bool {
        let mut after = (self.moods, self.states);
        match act {
            Act::Turn(which, mood) => after.0[which] = mood,
            Act::State(which, state) => after.1[which] = state,
            Act::HangUp(_) | Act::Reload(_) | Act::Swap(_) => {}
        }
        let takes = |which: &usize| takes(after.0[*which], after.1[*which]);
        let proven = |which: usize| {
            let since = self.takes_since[which];
            since.is_some_and(|since| self.round >= since + PROVEN)
        };
        let take: Vec<usize> = (0..BACKENDS).filter(takes).collect();
        take.len() >= 2 && take.into_iter().any(proven)
    }

    fn note(&mut self, act: Act) {
        match act {
            Act::Turn(which, mood) => self.moods[which] = mood,
            Act::State(which, state) => self.states[which] = state,
            Act::HangUp(_) | Act::Reload(_) | Act::Swap(_) => {}
        }
        for which in 0..BACKENDS {
            let takes = takes(self.moods[which], self.states[which]);
            let since = &mut self.takes_since[which];
            *since = match takes {
                true => Some(since.unwrap_or(self.round)),
                false => None,
            };
        }
    }
}

/// A backend like this answers what it is asked.
fn takes(mood: Mood, state: &str) -> bool {
    matches!(mood, Mood::Well | Mood::Slow) && state == "active"
}

#[test]
fn the_same_seed_makes_the_same_plan() {
    let acts = |seed| {
        let mut plan = Plan::new(seed);
        (0..100).map(|_| plan.next_act()).collect::<Vec<_>>()
    };
    assert_eq!(acts(7), acts(7));
    assert_ne!(acts(7), acts(8));
}
