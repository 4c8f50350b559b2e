//! What each strategy in force has counted (`strategy/stats.rs`).

use std::fmt;

use super::sheet::Sheet;
use crate::generation::Generation;
use crate::plugin::FaultKind;
use crate::strategy::Stats;

/// Writes what all workers counted for the strategies of `generation`.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let all: Vec<_> = generation
        .pools
        .iter()
        .map(|served| {
            let labels = [
                ("pool", served.strategy.pool()),
                ("strategy", served.strategy.name()),
                ("version", served.strategy.version()),
            ];
            (labels, served.strategy.stats())
        })
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
        "Instances started in place of one that faulted or grew too large.",
        sums(|stats| stats.replacements),
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
