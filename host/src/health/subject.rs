//! A backend that is checked, and what is done with a result.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::course::{Thresholds, Turn};
use super::probe::Target;
use super::record::Record;
use super::verdict::Fault;
use crate::config::HealthSettings;
use crate::pool::{Eligibility, Member, Pool, Standing};
use crate::telemetry::metrics::Checked;

/// A backend, and how it is checked.
pub struct Subject {
    /// How it is checked.
    pub settings: Rc<HealthSettings>,
    pool: String,
    backend: String,
    /// As its requests name it.
    authority: Arc<str>,
    /// Where the checks go.
    address: String,
    record: Arc<Record>,
    standing: Arc<Standing>,
    eligibility: Arc<Eligibility>,
}

impl Subject {
    /// A member of `pool`, to be checked as `settings` say.
    pub fn new(pool: &Pool, member: &Member, settings: &Rc<HealthSettings>) -> Subject {
        let authority = Arc::clone(&member.address);
        Subject {
            settings: Rc::clone(settings),
            pool: pool.settings.name.clone(),
            backend: member.settings.name.clone(),
            address: match settings.port {
                Some(port) => format!("{}:{port}", host(&member.target)),
                None => member.target.to_string(),
            },
            authority,
            record: Arc::clone(&member.health),
            standing: Arc::clone(&member.standing),
            eligibility: Arc::clone(&pool.eligibility),
        }
    }

    /// Where its checks go.
    pub fn target(&self) -> Target<'_> {
        Target {
            address: &self.address,
            authority: &self.authority,
        }
    }

    /// It is held for healthy.
    pub fn is_healthy(&self) -> bool {
        self.record.is_healthy()
    }

    /// It is healthy and the last check says so too.
    pub fn is_settled(&self) -> bool {
        self.record.is_settled()
    }

    /// Puts the result of a check in force.
    pub fn take(&self, result: Result<(), Fault>, took: Duration) {
        let limits = Thresholds {
            rise: self.settings.rise,
            fall: self.settings.fall,
        };
        let since = self.record.report().since;
        let now = SystemTime::now();
        let turn = self
            .record
            .take(result.as_ref().copied(), took, limits, now);
        // Before it is told: who reads of it can rely on it.
        if turn.is_some() && self.standing.set_healthy(self.record.is_healthy()) {
            self.eligibility.changed();
        }
        let (pool, backend) = (&self.pool, &self.backend);
        match (turn, result) {
            (Some(Turn::ToUnhealthy), Err(fault)) => {
                tracing::warn!(pool, backend, error = %fault, "backend is unhealthy");
            }
            (Some(_), _) => {
                let lasted = since.and_then(|since| now.duration_since(since).ok());
                let after_s = lasted.unwrap_or_default().as_secs();
                tracing::info!(pool, backend, after_s, "backend is healthy");
            }
            (None, Err(fault)) => {
                tracing::debug!(pool, backend, error = %fault, "health check failed");
            }
            (None, Ok(())) => {}
        }
    }

    /// A check has ended that says nothing of the backend.
    pub fn discard(&self, why: &str) {
        let (pool, backend) = (&self.pool, &self.backend);
        tracing::debug!(pool, backend, why, "health check discarded");
        self.record.count(Checked::Discarded);
    }
}

/// The same backend, checked in the same way.
impl PartialEq for Subject {
    fn eq(&self, other: &Subject) -> bool {
        Arc::ptr_eq(&self.record, &other.record)
            && self.address == other.address
            && self.authority == other.authority
            && self.settings == other.settings
    }
}

/// The host of `host:port`, with the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_replaced_and_nothing_else() {
        assert_eq!(host("127.0.0.1:80"), "127.0.0.1");
        assert_eq!(host("[::1]:80"), "[::1]");
        assert_eq!(host("app.internal:8080"), "app.internal");
    }
}
