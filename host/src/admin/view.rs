//! The state of the proxy as the API shows it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::model;
use crate::config::{BackendState, OnFault, StrategySettings, Target};
use crate::generation::Served;
use crate::health;
use crate::history::Version;
use crate::plugin::FaultKind;
use crate::pool::{Advice, Ejected, Member, Pool};
use crate::strategy::{HandOver, Recycled, Rehearsal, Strategy};
use crate::telemetry::metrics::Attempted;

/// A pool in a list.
pub fn pool_summary(served: &Served) -> model::PoolSummary {
    let mut summary = model::PoolSummary {
        name: served.pool.settings.name.clone(),
        strategy: model::StrategySummary {
            name: served.strategy.name().to_owned(),
            version: served.strategy.full_version(),
            standing: served.strategy.standing().as_str().to_owned(),
        },
        backends: model::BackendCounts::default(),
        panic: served.pool.eligibility.is_in_panic(),
        in_flight: 0,
        queued: served.pool.queue.len() as u64,
    };
    for member in &served.pool.members.list {
        summary.in_flight += u64::from(member.cell.in_flight());
        let count = match member.settings.state {
            BackendState::Active => &mut summary.backends.active,
            BackendState::Drain => &mut summary.backends.drain,
            BackendState::Maintenance => &mut summary.backends.maintenance,
        };
        *count += 1;
        summary.backends.unhealthy += usize::from(!member.standing.is_healthy());
        summary.backends.ejected += usize::from(member.standing.is_ejected());
        summary.backends.eligible += usize::from(member.is_eligible());
    }
    summary
}

/// A pool with everything in it.
pub fn pool(served: &Served, now_us: u64) -> model::Pool {
    model::Pool {
        name: served.pool.settings.name.clone(),
        strategy: strategy(served.history.current()),
        admission: admission(&served.pool),
        backends: backends(served, now_us),
    }
}

fn admission(pool: &Pool) -> model::Admission {
    let settings = &pool.settings;
    model::Admission {
        max_requests: settings.max_requests,
        requests: pool.requests.count(),
        queue_size: settings.queue_size as u64,
        queued: pool.queue.len() as u64,
        queue_timeout_us: micros(settings.queue_timeout),
    }
}

/// A pool's backends.
pub fn backends(served: &Served, now_us: u64) -> Vec<model::Backend> {
    let members = served.pool.members.list.iter();
    members
        .map(|member| backend(&served.pool, member, now_us))
        .collect()
}

/// A backend of `pool`, with its load at `now_us`.
pub fn backend(pool: &Pool, member: &Member, now_us: u64) -> model::Backend {
    let settings = &member.settings;
    model::Backend {
        name: settings.name.clone(),
        address: settings.address.to_string(),
        resolved: match settings.target {
            Target::Resolved(address) => Some(address.to_string()),
            Target::Written | Target::Service => None,
        },
        id: member.id,
        state: settings.state.into(),
        weight: settings.weight.get(),
        capacity: settings.capacity,
        priority: settings.priority,
        zone: settings.zone.clone(),
        labels: settings.labels.clone(),
        in_flight: member.cell.in_flight(),
        latency_us: Some(member.cell.latency_us(now_us)).filter(|&latency| latency != 0),
        failures: f64::from(member.cell.failures(now_us)) / 10_000.0,
        utilization: utilization(member, now_us),
        eligible: member.is_eligible(),
        ejected: pool
            .ejection(member)
            .map(|ejected| ejection(ejected, now_us)),
        slow_start_percent: pool.slow_start_percent(member, now_us),
        health: pool
            .settings
            .health_check
            .is_some()
            .then(|| health(&member.health.report())),
        agent: pool.settings.agent_check.is_some().then(|| agent(member)),
        attempts: attempts(member),
    }
}

fn utilization(member: &Member, now_us: u64) -> Option<f64> {
    match member.cell.utilization(now_us) {
        0 => None,
        parts => Some(f64::from(parts) / 10_000.0),
    }
}

fn ejection(ejected: Ejected, now_us: u64) -> model::BackendEjection {
    model::BackendEjection {
        trial_in_us: ejected.until_us.map(|until| until.saturating_sub(now_us)),
        ejections: ejected.ejections,
    }
}

fn health(report: &health::Report) -> model::BackendHealth {
    model::BackendHealth {
        healthy: report.healthy,
        since: report.since.map(instant),
        checked: report.checked.map(instant),
        took_us: report.took.map(micros),
        last_error: report.error.clone(),
    }
}

fn agent(member: &Member) -> model::BackendAgent {
    let advice = member.standing.advice();
    let report = member.agent.report();
    let administration = match advice {
        Advice {
            maintenance: true, ..
        } => "maint",
        Advice { drain: true, .. } => "drain",
        _ => "ready",
    };
    model::BackendAgent {
        down: advice.down,
        administration: administration.to_owned(),
        weight_percent: advice.percent,
        said: report.said,
        at: report.at.map(instant),
        took_us: report.took.map(micros),
        error: report.error,
    }
}

/// A version of a pool's strategy.
pub fn strategy(version: &Version) -> model::Strategy {
    let strategy = &version.strategy;
    model::Strategy {
        name: strategy.name().to_owned(),
        version: strategy.full_version(),
        number: version.number,
        since: instant(version.since),
        origin: version.origin.as_str().to_owned(),
        shape: shape(strategy).to_owned(),
        imports: strategy.imports().to_vec(),
        config: strategy.settings().config.clone(),
        limits: limits(strategy.settings()),
        standing: strategy.standing().as_str().to_owned(),
        compile_us: micros(strategy.compile_time()),
        rehearsal: version.rehearsal.as_ref().map(rehearsal),
        stats: stats(strategy),
    }
}

/// RFC 3339, in UTC.
pub fn instant(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn attempts(member: &Member) -> BTreeMap<String, u64> {
    let sum = |result| member.counts.sum(|counts| counts.attempts(result));
    let results = Attempted::ALL.iter();
    results
        .map(|&result| (result.as_str().to_owned(), sum(result)))
        .collect()
}

fn shape(strategy: &Strategy) -> &'static str {
    if strategy.digest().is_none() {
        "native"
    } else if strategy.is_planner() {
        "planner"
    } else if strategy.wants_feedback() {
        "learning"
    } else {
        "simple"
    }
}

fn limits(settings: &StrategySettings) -> model::Limits {
    model::Limits {
        deadline_us: micros(settings.deadline),
        budget_us: micros(settings.budget),
        memory_bytes: settings.memory as u64,
        recycle_memory_bytes: settings.recycle_memory as u64,
        recycle_calls: settings.recycle_calls,
        on_fault: match settings.on_fault {
            OnFault::Fallback => "fallback",
            OnFault::LastGood => "last-good",
            OnFault::Reject => "reject",
        }
        .to_owned(),
        probation_us: micros(settings.probation),
        plan_interval_us: micros(settings.plan_interval),
    }
}

fn rehearsal(rehearsal: &Rehearsal) -> model::Rehearsal {
    model::Rehearsal {
        calls: rehearsal.calls,
        per_call_ns: u64::try_from(rehearsal.per_call.as_nanos()).unwrap_or(u64::MAX),
        memory_bytes: rehearsal.memory as u64,
        state: match &rehearsal.state {
            HandOver::None => "none".to_owned(),
            HandOver::Taken => "taken".to_owned(),
            HandOver::Refused(why) => format!("refused: {why}"),
        },
    }
}

fn stats(strategy: &Strategy) -> model::Stats {
    let stats = strategy.stats();
    let faults = FaultKind::ALL
        .into_iter()
        .map(|kind| (kind.as_str().to_owned(), stats.faults(kind)));
    let recycled = Recycled::ALL
        .into_iter()
        .map(|reason| (reason.as_str().to_owned(), stats.recycled(reason)));
    model::Stats {
        picks: stats.picks,
        fallbacks: stats.fallbacks,
        faults: faults.collect(),
        quarantines: strategy.quarantines(),
        replacements: stats.replacements,
        recycled: recycled.collect(),
        plans: stats.plans,
        outcomes_dropped: stats.outcomes_dropped,
        cpu_us: micros(stats.cpu),
        memory_bytes: stats.memory,
    }
}

impl From<BackendState> for model::BackendState {
    fn from(state: BackendState) -> Self {
        match state {
            BackendState::Active => Self::Active,
            BackendState::Drain => Self::Drain,
            BackendState::Maintenance => Self::Maintenance,
        }
    }
}

impl From<model::BackendState> for BackendState {
    fn from(state: model::BackendState) -> Self {
        match state {
            model::BackendState::Active => Self::Active,
            model::BackendState::Drain => Self::Drain,
            model::BackendState::Maintenance => Self::Maintenance,
        }
    }
}
