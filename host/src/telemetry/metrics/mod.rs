//! Metrics: counted by whoever does the work, summed when scraped.
//!
//! What is counted belongs to the thing it is counted of (`ledger.rs`), so a
//! scrape walks the generation in force and nothing is looked up by name. One
//! file for each kind of thing has both what is counted and how it is written;
//! `host/METRICS.md` is the reference.

mod backends;
mod cell;
mod checks;
mod histogram;
mod label;
mod ledger;
mod listeners;
mod names;
mod pools;
mod process;
mod proxy;
mod sheet;
mod strategies;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::discovery::Board;
use crate::generation::Generation;
use crate::watchdog::Heartbeats;

pub use backends::BackendCounts;
pub use cell::{Counter, Gauge};
pub use histogram::{Distribution, Histogram, Scale};
pub use label::{
    Attempted, Checked, Code, Ejection, Ended, LoadReport, Refused, Reload, RetryDenied,
    RetryReason, SessionToken,
};
pub use ledger::{Ledger, Own};
pub use listeners::{Connected, ListenerCounts};
pub use pools::PoolCounts;

use sheet::Sheet;

/// The content type of the text that is scraped.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted of the process as a whole, and the way to all the rest.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    start: SystemTime,
    heartbeats: Arc<Heartbeats>,
    reloads: [AtomicU64; Reload::COUNT],
    names: Arc<Board>,
}

impl Metrics {
    /// Those of a process with these workers, whose clock began at `started`.
    pub fn new(started: Instant, heartbeats: Arc<Heartbeats>) -> Metrics {
        Metrics {
            started,
            start: SystemTime::now() - started.elapsed(),
            heartbeats,
            reloads: Default::default(),
            names: Arc::default(),
        }
    }

    /// Where it is counted what became of names.
    pub fn names(&self) -> &Arc<Board> {
        &self.names
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: Reload) {
        self.reloads[result as usize].fetch_add(1, Relaxed);
    }

    /// Everything, in the OpenMetrics text format. `generation` is the one in
    /// force. Takes milliseconds where there are thousands of backends: never
    /// on a worker.
    pub(crate) fn render(self: &Arc<Self>, generation: &Arc<Generation>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape {
            metrics: Arc::clone(self),
            generation: Arc::clone(generation),
        }));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes every write");
        text
    }
}

/// One scrape.
struct Scrape {
    metrics: Arc<Metrics>,
    generation: Arc<Generation>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let Scrape {
            metrics,
            generation,
        } = self;
        let now_us = metrics.started.elapsed().as_micros() as u64;
        let sheet = &mut Sheet::new(encoder);
        listeners::write(sheet, generation)?;
        pools::write(sheet, generation)?;
        backends::write(sheet, generation, now_us)?;
        checks::write(sheet, generation)?;
        names::write(sheet, &metrics.names)?;
        strategies::write(sheet, generation)?;
        proxy::write(sheet, generation, metrics)?;
        process::write(sheet, metrics.start)
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}
