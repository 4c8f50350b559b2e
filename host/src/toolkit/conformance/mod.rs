//! Whether a plugin behaves as a strategy should: one property after the other, each
//! tried on made-up backends and requests under the limits that it has in service.
//!
//! Nothing here is random but by the seed, and no time passes but in numbers, so the
//! same plugin, configuration and seed give the same result; only where a plugin is
//! too slow for all its calls does the clock end them.

mod declared;
pub(super) mod made_up;
mod property;
mod report;
mod scene;
mod subject;
#[cfg(test)]
mod tests;
mod traffic;

use std::time::{Duration, Instant};

pub use declared::Declared;
pub use report::{Document, as_json, as_junit, as_line, summary};
pub use subject::{Subject, Terms};

use property::{Property, Shown};

/// What a property came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds; what was measured, in words.
    Passed(String),
    /// It does not hold, and here is where.
    Failed(Counterexample),
    /// It was declared as lacking, for this reason, and where it does not hold;
    /// none when it was seen to hold all the same.
    Lacks(String, Option<Counterexample>),
    /// There is nothing to hold, for this reason.
    NotApplicable(String),
}

/// What was asked and what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// What the plugin was given.
    pub input: String,
    /// What it answered, and what is wrong with that.
    pub answer: String,
}

/// One property's result.
#[derive(Debug)]
pub struct Verdict {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub sentence: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// Wall time that it took.
    pub time: Duration,
}

impl Verdict {
    /// It should hold and does not.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// Tries every property, in the order of their names below, and tells of each as
/// soon as it is known.
pub fn run(subject: &Subject, declared: &Declared, mut tell: impl FnMut(&Verdict)) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(property::ALL.len());
    for property in property::ALL {
        let verdict = try_one(property, subject, declared);
        tell(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

fn try_one(property: &Property, subject: &Subject, declared: &Declared) -> Verdict {
    let begin = Instant::now();
    let proof = (property.prove)(subject);
    let outcome = match (proof, declared.lacks(property.name)) {
        (Ok(Shown::Beside(why)), _) => Outcome::NotApplicable(why),
        (Ok(Shown::Holds(_)), Some(why)) => Outcome::Lacks(why.to_owned(), None),
        (Err(against), Some(why)) => Outcome::Lacks(why.to_owned(), Some(against)),
        (Ok(Shown::Holds(measured)), None) => Outcome::Passed(measured),
        (Err(against), None) => Outcome::Failed(against),
    };
    Verdict {
        name: property.name,
        sentence: property.sentence,
        outcome,
        time: begin.elapsed(),
    }
}
