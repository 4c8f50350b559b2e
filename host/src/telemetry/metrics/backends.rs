//! What is counted for each backend.

use std::fmt;

use super::sheet::{Label, Sheet};
use super::{Attempted, Counter, Ejection, Gauge, LoadReport};
use crate::generation::Generation;
use crate::pool::{Member, Pool};

/// One worker's counts of one backend.
#[derive(Debug, Default)]
pub struct BackendCounts {
    attempts: [Counter; Attempted::COUNT],
    ejections: [Counter; Ejection::COUNT],
    load_reports: [Counter; LoadReport::COUNT],
    /// Connections made.
    pub connects: Counter,
    /// Requests sent over a kept connection.
    pub reuses: Counter,
    /// Connections kept for the next request.
    pub idle: Gauge,
}

impl BackendCounts {
    /// An attempt has ended.
    pub fn attempted(&self, result: Attempted) {
        self.attempts[result as usize].add(1);
    }

    /// It was ejected.
    pub fn ejected(&self, why: Ejection) {
        self.ejections[why as usize].add(1);
    }

    /// It told of its load.
    pub fn load_report(&self, result: LoadReport) {
        self.load_reports[result as usize].add(1);
    }

    /// Attempts that ended so.
    pub fn attempts(&self, result: Attempted) -> u64 {
        self.attempts[result as usize].get()
    }
}

/// The pool's backends, with what tells them from others.
pub fn of_pool(pool: &Pool) -> impl Iterator<Item = ([Label<'_>; 2], &Member)> {
    let name = ("pool", &*pool.settings.name);
    let members = pool.members.list.iter();
    members.map(move |one| ([name, ("backend", &*one.settings.name)], one))
}

/// Writes what all workers counted for the backends of `generation`, and what
/// their live columns say at `now_us`.
pub fn write(sheet: &mut Sheet, generation: &Generation, now_us: u64) -> fmt::Result {
    let pools = || generation.pools.iter().map(|served| &*served.pool);
    let backends = || pools().flat_map(of_pool);
    let reporting = || {
        let asked = |pool: &&Pool| pool.settings.load_report.is_some();
        pools().filter(asked).flat_map(of_pool)
    };
    let sums = |count: fn(&BackendCounts) -> u64| {
        backends().map(move |(labels, one)| (labels, one.counts.sum(count)))
    };
    sheet.counter(
        "anubis_backend_attempts_total",
        "Attempts that have ended, by what became of them.",
        backends().flat_map(|([pool, backend], one)| {
            Attempted::ALL.iter().map(move |&result| {
                let count = one.counts.sum(|counts| counts.attempts(result));
                ([pool, backend, ("result", result.as_str())], count)
            })
        }),
    )?;
    sheet.gauge(
        "anubis_backend_attempts_in_flight",
        "Attempts between their pick and the end of the response, tunnels included.",
        backends().map(|(labels, one)| (labels, one.cell.in_flight())),
    )?;
    sheet.gauge(
        "anubis_backend_latency_seconds",
        "Peak-EWMA of the time to the response head, as strategies see it; none before the first sample.",
        backends().filter_map(|(labels, one)| match one.cell.latency_us(now_us) {
            0 => None,
            us => Some((labels, f64::from(us) / 1e6)),
        }),
    )?;
    sheet.gauge(
        "anubis_backend_failure_ratio",
        "EWMA of the failed share of attempts, 0 to 1, as strategies see it.",
        backends().map(|(labels, one)| (labels, f64::from(one.cell.failures(now_us)) / 1e4)),
    )?;
    sheet.gauge(
        "anubis_backend_utilization_ratio",
        "Load that the backend reports of itself, 0 to 1, as strategies see it; none where it reports nothing, or not lately.",
        backends().filter_map(|(labels, one)| match one.cell.utilization(now_us) {
            0 => None,
            parts => Some((labels, f64::from(parts) / 1e4)),
        }),
    )?;
    sheet.counter(
        "anubis_backend_load_reports_total",
        "Answers that told of the backend's load, where that is asked for, by what could be done with it.",
        reporting().flat_map(|([pool, backend], one)| {
            LoadReport::ALL.iter().map(move |&result| {
                let count = one
                    .counts
                    .sum(|counts| counts.load_reports[result as usize].get());
                ([pool, backend, ("result", result.as_str())], count)
            })
        }),
    )?;
    sheet.gauge(
        "anubis_backend_weight",
        "Share of the requests, relative to the pool's other backends.",
        backends().map(|(labels, one)| (labels, u32::from(one.settings.weight.get()))),
    )?;
    sheet.gauge(
        "anubis_backend_eligible",
        "1 while nothing speaks against asking the backend: neither its operator nor its health checks nor its answers.",
        backends().map(|(labels, one)| (labels, u32::from(one.is_eligible()))),
    )?;
    sheet.gauge(
        "anubis_backend_ejected",
        "1 while the backend is left out because of its answers, until a trial goes well.",
        backends().map(|(labels, one)| (labels, u32::from(one.standing.is_ejected()))),
    )?;
    sheet.counter(
        "anubis_backend_ejections_total",
        "Times the backend was left out for a while because of its answers, by why.",
        backends().flat_map(|([pool, backend], one)| {
            Ejection::ALL.iter().map(move |&why| {
                let count = one
                    .counts
                    .sum(|counts| counts.ejections[why as usize].get());
                ([pool, backend, ("reason", why.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_backend_connections_total",
        "Connections made.",
        sums(|counts| counts.connects.get()),
    )?;
    sheet.counter(
        "anubis_backend_connections_reused_total",
        "Requests sent over a kept connection.",
        sums(|counts| counts.reuses.get()),
    )?;
    sheet.gauge(
        "anubis_backend_connections_idle",
        "Connections kept for the next request, up to 100 ms ago; pools that name the same address share them.",
        sums(|counts| counts.idle.get()),
    )
}
