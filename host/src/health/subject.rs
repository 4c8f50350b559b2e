//! A backend that is checked, or whose agent is, and what is done with a result.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::agent::{self, Says};
use super::course::{Thresholds, Turn};
use super::probe::{self, Target};
use super::record::Record;
use super::schedule::Pace;
use super::verdict::{Fault, Unfit};
use crate::config::{AgentSettings, HealthSettings};
use crate::pool::{Advice, Eligibility, LiveCell, Member, Pool, Standing};
use crate::telemetry::metrics::Checked;

/// Who is asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Inquiry {
    /// The backend, whether it is well.
    Health(Box<HealthSettings>),
    /// Its agent, what it says.
    Agent(AgentSettings),
}

/// A good answer.
pub enum Answer {
    /// The backend is well.
    Well,
    /// The agent's line.
    Line(String),
}

/// A backend, and how it is checked.
pub struct Subject {
    inquiry: Rc<Inquiry>,
    pool: String,
    backend: String,
    /// As its requests name it.
    authority: Arc<str>,
    /// Where the checks go.
    address: String,
    record: Arc<Record>,
    agent: Arc<agent::Record>,
    cell: LiveCell,
    standing: Arc<Standing>,
    eligibility: Arc<Eligibility>,
}

impl Inquiry {
    fn port(&self) -> Option<u16> {
        match self {
            Self::Health(settings) => settings.port.map(Into::into),
            Self::Agent(settings) => Some(settings.port.into()),
        }
    }
}

impl Subject {
    /// A member of `pool`, about whom `inquiry` is made.
    pub fn new(pool: &Pool, member: &Member, inquiry: &Rc<Inquiry>) -> Subject {
        let authority = Arc::clone(&member.address);
        Subject {
            inquiry: Rc::clone(inquiry),
            pool: pool.settings.name.clone(),
            backend: member.settings.name.clone(),
            address: match inquiry.port() {
                Some(port) => format!("{}:{port}", host(&member.target)),
                None => member.target.to_string(),
            },
            authority,
            record: Arc::clone(&member.health),
            agent: Arc::clone(&member.agent),
            cell: member.cell.clone(),
            standing: Arc::clone(&member.standing),
            eligibility: Arc::clone(&pool.eligibility),
        }
    }

    /// How often it is checked.
    pub fn pace(&self) -> Pace {
        match &*self.inquiry {
            Inquiry::Health(settings) => Pace {
                interval: settings.interval,
                interval_down: settings.interval_down,
            },
            Inquiry::Agent(settings) => Pace {
                interval: settings.interval,
                interval_down: settings.interval,
            },
        }
    }

    /// Asks, once.
    pub async fn ask(&self) -> Result<Answer, Unfit> {
        let target = Target {
            address: &self.address,
            authority: &self.authority,
        };
        match &*self.inquiry {
            Inquiry::Health(settings) => {
                let result = probe::check(&target, settings).await;
                result.map(|()| Answer::Well)
            }
            Inquiry::Agent(settings) => probe::ask(&target, settings).await.map(Answer::Line),
        }
    }

    /// It is held for healthy; of an agent, it answers.
    pub fn is_healthy(&self) -> bool {
        match &*self.inquiry {
            Inquiry::Health(_) => self.record.is_healthy(),
            Inquiry::Agent(_) => self.agent.answers(),
        }
    }

    /// It is healthy and the last check says so too.
    pub fn is_settled(&self) -> bool {
        match &*self.inquiry {
            Inquiry::Health(_) => self.record.is_settled(),
            Inquiry::Agent(_) => self.agent.answers(),
        }
    }

    /// Puts the result of a check in force, which took so long. `started` is when
    /// the process did.
    pub fn take(&self, result: Result<Answer, Fault>, took: Duration, started: Instant) {
        match (&*self.inquiry, result) {
            (Inquiry::Health(settings), result) => {
                self.take_health(settings, result.map(|_| ()), took);
            }
            (Inquiry::Agent(settings), Ok(Answer::Line(line))) => match Says::parse(&line) {
                Ok(says) => self.heed(&says, &line, took, settings.expiry, started),
                Err(fault) => self.agent_failed(&fault),
            },
            (Inquiry::Agent(_), Err(fault)) => self.agent_failed(&fault),
            // No answer of an agent.
            (Inquiry::Agent(_), Ok(Answer::Well)) => {}
        }
    }

    fn take_health(&self, settings: &HealthSettings, result: Result<(), Fault>, took: Duration) {
        let limits = Thresholds {
            rise: settings.rise,
            fall: settings.fall,
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

    /// Does what the agent says, from now on.
    fn heed(&self, says: &Says, line: &str, took: Duration, expiry: Duration, started: Instant) {
        if let Some(load) = says.load() {
            let until = started.elapsed().saturating_add(expiry).as_micros();
            let until_us = u64::try_from(until).unwrap_or(u64::MAX);
            self.cell.reports(load, until_us);
        }
        let before = self.standing.advice();
        let advice = says.advise(before);
        // Before it is told: who reads of it can rely on it.
        if self.standing.set_advice(advice) {
            self.eligibility.changed();
        }
        let (pool, backend) = (&self.pool, &self.backend);
        let says = agent::told(line);
        if self.agent.said(line, took, SystemTime::now()) {
            tracing::info!(pool, backend, "agent answers again");
        }
        let takes = |advice: Advice| (advice.down, advice.admits());
        match takes(advice) {
            now if now == takes(before) => {
                tracing::debug!(pool, backend, says, "agent answered");
            }
            (false, true) => {
                tracing::info!(pool, backend, says, "agent: backend takes requests");
            }
            (true, _) => tracing::warn!(pool, backend, says, "agent: backend is down"),
            (false, false) => {
                tracing::info!(pool, backend, says, "agent: backend takes no new requests");
            }
        }
    }

    /// What it said before stays: whether the backend can be reached is for others
    /// to find out.
    fn agent_failed(&self, fault: &Fault) {
        let (pool, backend) = (&self.pool, &self.backend);
        match self.agent.failed(fault) {
            true => tracing::warn!(pool, backend, error = %fault, "agent does not answer"),
            false => tracing::debug!(pool, backend, error = %fault, "agent check failed"),
        }
    }

    /// A check has ended that says nothing of the backend.
    pub fn discard(&self, why: &str) {
        let (pool, backend) = (&self.pool, &self.backend);
        match &*self.inquiry {
            Inquiry::Health(_) => {
                tracing::debug!(pool, backend, why, "health check discarded");
                self.record.count(Checked::Discarded);
            }
            Inquiry::Agent(_) => {
                tracing::debug!(pool, backend, why, "agent check discarded");
                self.agent.count(Checked::Discarded);
            }
        }
    }
}

/// The same backend, checked in the same way.
impl PartialEq for Subject {
    fn eq(&self, other: &Subject) -> bool {
        Arc::ptr_eq(&self.record, &other.record)
            && self.address == other.address
            && self.authority == other.authority
            && self.inquiry == other.inquiry
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
