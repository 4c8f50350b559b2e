//! The API's answers as people read them.

use std::fmt::Write as _;
use std::time::Duration;

use super::table::{Table, printable};
use crate::admin::model::{
    Backend, BackendAgent, BackendHealth, BackendState, Backends, History, Pools, Reloaded,
    Strategy, Swapped,
};

/// `anubis ctl pools`
pub fn pools(pools: &Pools) -> String {
    let mut table = Table::new(&[
        "POOL",
        "STRATEGY",
        "VERSION",
        "STANDING",
        ">ACTIVE",
        ">DRAIN",
        ">MAINTENANCE",
        ">UNHEALTHY",
        ">EJECTED",
        "PANIC",
        ">IN FLIGHT",
        ">QUEUED",
    ]);
    for pool in &pools.pools {
        table.row([
            pool.name.clone(),
            pool.strategy.name.clone(),
            short(&pool.strategy.version),
            pool.strategy.standing.clone(),
            pool.backends.active.to_string(),
            pool.backends.drain.to_string(),
            pool.backends.maintenance.to_string(),
            pool.backends.unhealthy.to_string(),
            pool.backends.ejected.to_string(),
            if pool.panic { "yes" } else { "-" }.to_owned(),
            pool.in_flight.to_string(),
            pool.queued.to_string(),
        ]);
    }
    table.to_string()
}

/// `anubis ctl backends`
pub fn backends(backends: &Backends) -> String {
    let mut table = Table::new(&[
        "BACKEND",
        "ADDRESS",
        "STATE",
        ">WEIGHT",
        ">CAPACITY",
        ">PRIORITY",
        ">IN FLIGHT",
        ">LATENCY",
        ">FAILED",
        ">LOAD",
        "ELIGIBLE",
        "HEALTH",
    ]);
    for backend in &backends.backends {
        table.row([
            backend.name.clone(),
            backend.address.clone(),
            state(backend.state).to_owned(),
            backend.weight.to_string(),
            limit(backend.capacity),
            backend.priority.to_string(),
            backend.in_flight.to_string(),
            latency(backend.latency_us),
            share(backend.failures),
            backend.utilization.map_or_else(|| "-".to_owned(), share),
            eligible(backend),
            health_and_why(backend.health.as_ref()),
        ]);
    }
    table.to_string()
}

/// One backend, after a change.
pub fn backend(backend: &Backend) -> String {
    printable(format!(
        "backend {} at {}: {}, weight {}, {} in flight",
        backend.name,
        backend.address,
        state(backend.state),
        backend.weight,
        backend.in_flight,
    )) + "\n"
}

/// `anubis ctl history`
pub fn history(history: &History) -> String {
    let mut table = Table::new(&[
        ">NUMBER", "STRATEGY", "VERSION", "SINCE", "ORIGIN", "STANDING", ">PICKS", ">FAULTS",
    ]);
    for version in &history.versions {
        table.row([
            version.number.to_string(),
            version.name.clone(),
            short(&version.version),
            version.since.clone(),
            version.origin.clone(),
            version.standing.clone(),
            version.stats.picks.to_string(),
            faults(version).to_string(),
        ]);
    }
    table.to_string()
}

/// After a change of the strategy.
pub fn swapped(swapped: &Swapped) -> String {
    let Swapped { took_us, strategy } = swapped;
    let mut text = format!(
        "{} {} in force as number {} after {}",
        strategy.name,
        short(&strategy.version),
        strategy.number,
        time(*took_us),
    );
    // Writing to a string cannot fail.
    if let Some(rehearsal) = &strategy.rehearsal {
        let _ = write!(
            text,
            ", {} of it to compile; {} calls rehearsed, {} each",
            time(strategy.compile_us),
            rehearsal.calls,
            time(rehearsal.per_call_ns.div_ceil(1000)),
        );
    }
    let _ = match strategy.imports.as_slice() {
        [] => write!(text, "; it imports nothing"),
        imports => write!(text, "; it imports {}", imports.join(" ")),
    };
    printable(text) + "\n"
}

/// `anubis ctl reload`
pub fn reloaded(reloaded: &Reloaded) -> String {
    let number = reloaded.generation;
    if reloaded.changed {
        format!("reloaded: generation {number} is in force\n")
    } else {
        format!("nothing to reload: generation {number} stays in force\n")
    }
}

/// Faults of all kinds.
pub fn faults(strategy: &Strategy) -> u64 {
    strategy.stats.faults.values().sum()
}

/// Enough of a version to tell it from others.
pub fn short(version: &str) -> String {
    version.chars().take(12).collect()
}

/// As in the configuration.
pub fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Active => "active",
        BackendState::Drain => "drain",
        BackendState::Maintenance => "maintenance",
    }
}

/// Whether nothing speaks against asking it; if something does, what.
pub fn eligible(backend: &Backend) -> String {
    if let Some(ejected) = &backend.ejected {
        return match ejected.trial_in_us {
            None => "on trial".to_owned(),
            Some(0) => "ejected".to_owned(),
            Some(us) => format!("ejected {} s", us.div_ceil(1_000_000)),
        };
    }
    if let Some(refused) = backend.agent.as_ref().and_then(refused) {
        return format!("no: its agent says {refused}");
    }
    match backend.slow_start_percent {
        _ if !backend.eligible => "no".to_owned(),
        Some(percent) => format!("{percent} %"),
        None => "yes".to_owned(),
    }
}

/// Why its agent lets it take no new requests, if so.
fn refused(agent: &BackendAgent) -> Option<&str> {
    match &*agent.administration {
        "ready" if agent.down => Some("down"),
        "ready" if agent.weight_percent == 0 => Some("0%"),
        "ready" => None,
        administration => Some(administration),
    }
}

/// What the health checks say; `-` where there are none.
pub fn health(health: Option<&BackendHealth>) -> &'static str {
    match health {
        None => "-",
        Some(health) if !health.healthy => "unhealthy",
        Some(health) if health.checked.is_none() => "unchecked",
        Some(_) => "healthy",
    }
}

/// The same, and what is wrong.
fn health_and_why(of: Option<&BackendHealth>) -> String {
    let error = of
        .filter(|health| !health.healthy)
        .and_then(|health| health.last_error.as_deref());
    match error {
        Some(error) => format!("{}: {error}", health(of)),
        None => health(of).to_owned(),
    }
}

/// Milliseconds; `-` before the first answer.
pub fn latency(us: Option<u32>) -> String {
    us.map_or("-".to_owned(), |us| {
        format!("{:.1} ms", f64::from(us) / 1e3)
    })
}

/// A share of 1 in percent.
pub fn share(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn limit(capacity: u32) -> String {
    match capacity {
        0 => "-".to_owned(),
        capacity => capacity.to_string(),
    }
}

fn time(us: u64) -> String {
    let time = Duration::from_micros(us);
    if time < Duration::from_millis(1) {
        format!("{us} us")
    } else {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    }
}
