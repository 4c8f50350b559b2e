//! The properties, a file each: what a strategy should be like, and how that is tried.

mod bounded;
mod configure;
mod deterministic;
mod feedback;
mod in_range;
mod minimal_disruption;
mod no_starvation;
mod proportional;
mod state_round_trip;
mod ties_shared;

#[cfg(test)]
pub(super) use deterministic::compare;

use super::{Counterexample, Subject};

/// Something that should hold of every strategy, or of every one of a kind.
pub(super) struct Property {
    /// In kebab case.
    pub(super) name: &'static str,
    /// What it says.
    pub(super) sentence: &'static str,
    /// A strategy may by nature be without it; else the proxy relies on it.
    pub(super) may_lack: bool,
    /// Tries it.
    pub(super) prove: fn(&Subject) -> Proof,
}

/// Whether a property was seen to hold; where not, an input that shows it.
pub(super) type Proof = Result<Shown, Counterexample>;

/// What a proof comes to when nothing speaks against the property.
#[derive(Debug)]
pub(super) enum Shown {
    /// It holds; what was measured, in words.
    Holds(String),
    /// It says nothing of this plugin, for this reason.
    Beside(String),
}

/// All of them, in the order in which they are tried.
pub(super) static ALL: &[Property] = &[
    in_range::PROPERTY,
    configure::PROPERTY,
    deterministic::PROPERTY,
    ties_shared::PROPERTY,
    proportional::PROPERTY,
    no_starvation::PROPERTY,
    minimal_disruption::PROPERTY,
    feedback::PROPERTY,
    state_round_trip::PROPERTY,
    bounded::PROPERTY,
];
