//! What has been in force in a pool, newest first. The last few strategies stay
//! compiled, so that a rollback is instant.

use std::sync::Arc;
use std::time::SystemTime;

use crate::plugin::Digest;
use crate::strategy::{Rehearsal, Standing, Strategy};

/// Versions that are remembered, and so kept compiled, the one in force among them.
const KEPT: usize = 6;

/// One strategy's time in force.
pub struct Version {
    /// 1 for the pool's first, then one more for each that came into force.
    pub number: u64,
    pub strategy: Arc<Strategy>,
    /// When it came into force.
    pub since: SystemTime,
    /// When it came into force, in microseconds since the process started.
    pub since_us: u64,
    pub origin: Origin,
    /// What it went through before; none when it had served already.
    pub rehearsal: Option<Rehearsal>,
}

/// How a version came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration asks for it.
    Configured,
    /// Somebody handed it over through the admin API.
    Swapped,
    /// Somebody brought it back.
    RolledBack,
    /// It came back by itself, because its successor failed on probation.
    Returned,
}

impl Origin {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::Configured,
        Self::Swapped,
        Self::RolledBack,
        Self::Returned,
    ];

    /// For people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Swapped => "swapped",
            Self::RolledBack => "rolled-back",
            Self::Returned => "returned",
        }
    }
}

/// A pool's versions; never empty.
#[derive(Clone)]
pub struct History {
    versions: Vec<Arc<Version>>,
    /// How often each of [`Origin::ALL`] brought a version into force.
    changes: [u64; Origin::ALL.len()],
}

impl History {
    /// `version` is in force, and `previous` is what was before.
    pub fn new(version: Version, previous: Option<&History>) -> History {
        let earlier = previous.map_or(&[][..], |history| &history.versions);
        let kept = earlier.iter().take(KEPT - 1).cloned();
        let mut changes = previous.map_or([0; Origin::ALL.len()], |history| history.changes);
        changes[version.origin as usize] += 1;
        History {
            changes,
            versions: std::iter::once(Arc::new(version)).chain(kept).collect(),
        }
    }

    /// What is in force.
    pub fn current(&self) -> &Arc<Version> {
        self.versions
            .first()
            .expect("a history begins with a version")
    }

    /// How often a strategy came into force like this.
    pub fn changes(&self, origin: Origin) -> u64 {
        self.changes[origin as usize]
    }

    /// Newest first.
    pub fn versions(&self) -> &[Arc<Version>] {
        &self.versions
    }

    /// The newest earlier version that is another strategy than the one in
    /// force, and trusted.
    pub fn last_good(&self) -> Option<&Arc<Strategy>> {
        let current = &self.current().strategy;
        self.versions
            .iter()
            .map(|version| &version.strategy)
            .find(|strategy| !same(strategy, current) && strategy.standing() == Standing::Trusted)
    }

    /// The newest strategy of these bytes, be it in force or not.
    pub fn of_version(&self, digest: Option<Digest>) -> Option<&Strategy> {
        let mut strategies = self.versions.iter().map(|version| &*version.strategy);
        strategies.find(|strategy| strategy.digest() == digest)
    }

    /// The newest earlier version that people mean by `text`: its number, or
    /// the beginning of its SHA-256 (`native` for the fallback).
    pub fn find(&self, text: &str) -> Option<&Arc<Version>> {
        let means = |version: &&Arc<Version>| {
            version.number.to_string() == text
                || match version.strategy.digest() {
                    Some(digest) => text.len() >= 4 && digest.to_string().starts_with(text),
                    None => version.strategy.version() == text,
                }
        };
        self.versions.iter().skip(1).find(means)
    }
}

/// The same bytes with the same configuration.
fn same(a: &Strategy, b: &Strategy) -> bool {
    a.digest() == b.digest() && a.settings().config == b.settings().config
}
