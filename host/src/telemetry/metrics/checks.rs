//! What is counted of the health checks. The backends' records keep it.

use std::fmt;

use super::Checked;
use super::sheet::Sheet;
use crate::generation::Generation;

/// Writes what the health checks of `generation` came to.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let backends = || {
        let checked = |pool: &&_| is_checked(pool);
        let pools = generation.pools.iter().map(|served| &*served.pool);
        pools.filter(checked).flat_map(|pool| {
            let members = pool.members.list.iter();
            members.map(move |one| {
                let labels = [
                    ("pool", &*pool.settings.name),
                    ("backend", &*one.settings.name),
                ];
                (labels, &one.health)
            })
        })
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
    )
}

fn is_checked(pool: &crate::pool::Pool) -> bool {
    pool.settings.health_check.is_some()
}
