//! What is counted of the health checks. The backends' records keep it.

use std::fmt;

use super::Checked;
use super::backends::of_pool;
use super::sheet::{Label, Sheet};
use crate::generation::Generation;
use crate::pool::{Member, Pool};

/// Writes what the health checks of `generation` came to.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let backends = || {
        let checked = members(generation, |pool| pool.settings.health_check.is_some());
        checked.map(|(labels, one)| (labels, &one.health))
    };
    sheet.counter(
        "anubis_backend_health_checks_total",
        "Health checks that have ended, by what they came to.",
        backends().flat_map(|([pool, backend], health)| {
            Checked::ALL.iter().map(move |&result| {
                let labels = [pool, backend, ("result", result.as_str())];
                (labels, health.checks(result))
            })
        }),
    )?;
    sheet.gauge(
        "anubis_backend_healthy",
        "1 while a backend is held for healthy by its health checks, else 0.",
        backends().map(|(labels, health)| (labels, u32::from(health.is_healthy()))),
    )?;
    sheet.gauge(
        "anubis_backend_health_check_seconds",
        "Time that the last health check took, up to its timeout; none before the first.",
        backends().filter_map(|(labels, health)| {
            let took = health.report().took?;
            Some((labels, took.as_secs_f64()))
        }),
    )?;
    let asked = || members(generation, |pool| pool.settings.agent_check.is_some());
    sheet.counter(
        "anubis_backend_agent_checks_total",
        "Checks of backends' agents that have ended, by what they came to.",
        asked().flat_map(|([pool, backend], one)| {
            Checked::ALL.iter().map(move |&result| {
                let labels = [pool, backend, ("result", result.as_str())];
                (labels, one.agent.checks(result))
            })
        }),
    )?;
    sheet.gauge(
        "anubis_backend_agent_weight_ratio",
        "How much of its weight a backend's agent leaves it; 0 while it says that it is down or takes no new requests.",
        asked().map(|(labels, one)| {
            let advice = one.standing.advice();
            let takes = advice.admits() && !advice.down;
            let percent = if takes { advice.percent } else { 0 };
            (labels, f64::from(percent) / 100.0)
        }),
    )
}

/// The members of the pools that `wanted` is true of, with what tells them from others.
fn members(
    generation: &Generation,
    wanted: fn(&Pool) -> bool,
) -> impl Iterator<Item = ([Label<'_>; 2], &Member)> {
    let pools = generation.pools.iter().map(|served| &*served.pool);
    pools.filter(move |pool| wanted(pool)).flat_map(of_pool)
}
