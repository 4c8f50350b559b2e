//! What is counted of the proxy as a whole.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::sheet::Sheet;
use super::{Metrics, Reload};
use crate::generation::Generation;
use crate::plugin::RUNTIME_VERSION;
use crate::telemetry::lines;

/// Writes it; `generation` is the one in force.
pub fn write(sheet: &mut Sheet, generation: &Generation, metrics: &Metrics) -> fmt::Result {
    sheet.gauge(
        "anubis_generation",
        "Number of the configuration in force: 1 at first, one more for each that was published.",
        [([], generation.number)],
    )?;
    sheet.counter(
        "anubis_reloads_total",
        "Times that the configuration was read again, by what came of it.",
        Reload::ALL.iter().map(|&result| {
            let count = metrics.reloads[result as usize].load(Relaxed);
            ([("result", result.as_str())], count)
        }),
    )?;
    sheet.gauge(
        "anubis_workers",
        "Worker threads.",
        [([], metrics.heartbeats.stuck().count() as u64)],
    )?;
    let numbers: Vec<String> = (0..metrics.heartbeats.stuck().count())
        .map(|worker| worker.to_string())
        .collect();
    let worker = |number: usize| [("worker", numbers[number].as_str())];
    sheet.gauge(
        "anubis_worker_heartbeat_age_seconds",
        "Time since the worker last said that it turns, which it does every 100 ms.",
        (metrics.heartbeats.ages_us().enumerate())
            .map(|(number, age_us)| (worker(number), age_us as f64 / 1e6)),
    )?;
    sheet.counter(
        "anubis_worker_stuck_total",
        "Times that the worker was found stuck: it had said nothing for a second.",
        (metrics.heartbeats.stuck().enumerate()).map(|(number, stuck)| (worker(number), stuck)),
    )?;
    sheet.counter(
        "anubis_log_lines_dropped_total",
        "Lines that a log's file was too slow for, by log.",
        lines::dropped()
            .into_iter()
            .map(|(stream, count)| ([("stream", stream)], count)),
    )?;
    let versions = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("wasmtime", RUNTIME_VERSION),
    ];
    sheet.gauge(
        "anubis_build_info",
        "Always 1: this program's version and that of the runtime for its plugins.",
        [(versions, 1_u32)],
    )
}
