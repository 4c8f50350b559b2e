//! What each version of a pool's strategy has counted (`strategy/stats.rs`):
//! the one in force, and the earlier ones that are kept.

use std::fmt;

use super::sheet::{Label, Sheet};
use crate::generation::{Generation, Served};
use crate::history::Origin;
use crate::plugin::FaultKind;
use crate::strategy::{Recycled, Standing, Stats, Strategy};

/// Writes what all workers counted for the strategies of `generation`.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let strategies: Vec<_> = generation.pools.iter().flat_map(versions).collect();
    write_counts(sheet, &strategies)?;
    write_costs(sheet, &strategies)?;
    sheet.gauge(
        "anubis_strategy_quarantined",
        "1 while the plugin in force is not asked because of its faults.",
        generation.pools.iter().map(|served| {
            let quarantined = served.strategy.standing() != Standing::Trusted;
            (labels(&served.strategy), u64::from(quarantined))
        }),
    )?;
    sheet.counter(
        "anubis_strategy_changes_total",
        "Times that a strategy came into force, by how.",
        generation.pools.iter().flat_map(|served| {
            Origin::ALL.into_iter().map(|origin| {
                let labels = [
                    ("pool", served.strategy.pool()),
                    ("origin", origin.as_str()),
                ];
                (labels, served.history.changes(origin))
            })
        }),
    )
}

fn labels(strategy: &Strategy) -> [Label<'_>; 3] {
    [
        ("pool", strategy.pool()),
        ("strategy", strategy.name()),
        ("version", strategy.version()),
    ]
}

/// One for each version: one that was brought back counts on where it was.
fn versions(served: &Served) -> Vec<&Strategy> {
    let mut versions: Vec<&Strategy> = Vec::new();
    for version in served.history.versions() {
        let strategy = &*version.strategy;
        if versions.iter().all(|one| labels(one) != labels(strategy)) {
            versions.push(strategy);
        }
    }
    versions
}

/// What they cost.
fn write_costs(sheet: &mut Sheet, strategies: &[&Strategy]) -> fmt::Result {
    sheet.histogram(
        "anubis_strategy_pick_seconds",
        "Time of a pick, of about one in sixteen.",
        strategies.iter().map(|one| (labels(one), one.pick_times())),
    )?;
    sheet.counter(
        "anubis_strategy_cpu_seconds_total",
        "CPU time of all calls, estimated from samples.",
        strategies
            .iter()
            .map(|one| (labels(one), one.stats().cpu.as_secs_f64())),
    )?;
    sheet.gauge(
        "anubis_strategy_memory_bytes",
        "Most linear memory that one instance held.",
        strategies
            .iter()
            .map(|one| (labels(one), one.stats().memory)),
    )?;
    sheet.gauge(
        "anubis_strategy_compile_seconds",
        "Time it took to be compiled; next to nothing when it was already.",
        strategies
            .iter()
            .map(|one| (labels(one), one.compile_time().as_secs_f64())),
    )?;
    sheet.counter(
        "anubis_strategy_quarantines_total",
        "Times that the plugin was put into quarantine.",
        strategies
            .iter()
            .map(|one| (labels(one), one.quarantines())),
    )
}

/// What they did.
fn write_counts(sheet: &mut Sheet, strategies: &[&Strategy]) -> fmt::Result {
    let all: Vec<_> = strategies
        .iter()
        .map(|one| (labels(one), one.stats()))
        .collect();
    let sums =
        |count: fn(&Stats) -> u64| all.iter().map(move |(labels, one)| (*labels, count(one)));
    sheet.counter(
        "anubis_strategy_picks_total",
        "Decisions asked for.",
        sums(|stats| stats.picks),
    )?;
    sheet.counter(
        "anubis_strategy_fallbacks_total",
        "Decisions that the fallback made because the plugin could not or would not.",
        sums(|stats| stats.fallbacks),
    )?;
    sheet.counter(
        "anubis_strategy_faults_total",
        "Calls of the plugin without a usable answer, by what went wrong.",
        all.iter().flat_map(|([pool, strategy, version], stats)| {
            FaultKind::ALL.into_iter().map(|kind| {
                let labels = [*pool, *strategy, *version, ("kind", kind.as_str())];
                (labels, stats.faults(kind))
            })
        }),
    )?;
    sheet.counter(
        "anubis_strategy_replacements_total",
        "Instances started in place of one that faulted.",
        sums(|stats| stats.replacements),
    )?;
    sheet.counter(
        "anubis_strategy_recycled_total",
        "Instances that made room for a new one without a fault.",
        all.iter().flat_map(|([pool, strategy, version], stats)| {
            Recycled::ALL.into_iter().map(|reason| {
                let labels = [*pool, *strategy, *version, ("reason", reason.as_str())];
                (labels, stats.recycled(reason))
            })
        }),
    )?;
    sheet.counter(
        "anubis_strategy_plans_total",
        "Plans made by a planner.",
        sums(|stats| stats.plans),
    )?;
    sheet.counter(
        "anubis_strategy_outcomes_dropped_total",
        "Outcomes that the plugin was not told because its buffer was full.",
        sums(|stats| stats.outcomes_dropped),
    )
}
