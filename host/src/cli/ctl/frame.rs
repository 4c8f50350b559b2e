//! One frame of `anubis ctl top`: two looks at the proxy and what changed
//! between them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::table::{Table, printable};
use super::text::{eligible, faults, health, latency, share, short, state};
use crate::admin::model::{Backend, Pool, Strategy, Version};

/// What was seen, and when.
pub struct Moment {
    pub at: Instant,
    /// Where.
    pub place: String,
    pub version: Version,
    pub pools: Vec<Pool>,
}

/// What `now` looks like, with rates since `before`.
pub fn frame(before: &Moment, now: &Moment) -> String {
    let elapsed = now.at - before.at;
    let uptime = Duration::from_secs(now.version.uptime_us / 1_000_000);
    let mut text = format!(
        "anubis {}  {}  generation {}  up {}\n",
        now.version.version,
        now.place,
        now.version.generation,
        humantime::format_duration(uptime),
    );
    for pool in &now.pools {
        let earlier = before.pools.iter().find(|old| old.name == pool.name);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{}\n{}",
            printable(heading(earlier, pool, elapsed)),
            backends(earlier, pool, elapsed),
        );
    }
    text
}

fn heading(before: Option<&Pool>, now: &Pool, elapsed: Duration) -> String {
    let strategy = &now.strategy;
    // Another strategy counts anew.
    let earlier = before
        .map(|pool| &pool.strategy)
        .filter(|earlier| earlier.version == strategy.version);
    let per_second =
        |count: fn(&Strategy) -> u64| rate(earlier.map(count), count(strategy), elapsed);
    format!(
        "{}  {} {} {}  picks/s {}  fallbacks/s {}  faults {}",
        now.name,
        strategy.name,
        short(&strategy.version),
        strategy.standing,
        per_second(|strategy| strategy.stats.picks),
        per_second(|strategy| strategy.stats.fallbacks),
        faults(strategy),
    )
}

fn backends(before: Option<&Pool>, now: &Pool, elapsed: Duration) -> Table {
    let mut table = Table::new(&[
        "  BACKEND",
        "STATE",
        "ELIGIBLE",
        "HEALTH",
        ">WEIGHT",
        ">REQUESTS/S",
        ">IN FLIGHT",
        ">LATENCY",
        ">FAILED",
    ]);
    for backend in &now.backends {
        let same = |old: &&Backend| old.id == backend.id;
        let earlier = before.and_then(|pool| pool.backends.iter().find(same));
        table.row([
            format!("  {}", backend.name),
            state(backend.state).to_owned(),
            eligible(backend),
            health(backend.health.as_ref()).to_owned(),
            backend.weight.to_string(),
            rate(earlier.map(attempts), attempts(backend), elapsed),
            backend.in_flight.to_string(),
            latency(backend.latency_us),
            share(backend.failures),
        ]);
    }
    table
}

fn attempts(backend: &Backend) -> u64 {
    backend.attempts.values().sum()
}

/// How much a counter grew in a second; `-` where there is nothing to compare.
fn rate(before: Option<u64>, now: u64, elapsed: Duration) -> String {
    let grown = before.and_then(|before| now.checked_sub(before));
    match grown.filter(|_| !elapsed.is_zero()) {
        Some(grown) => format!("{:.0}", grown as f64 / elapsed.as_secs_f64()),
        None => "-".to_owned(),
    }
}
