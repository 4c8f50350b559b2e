//! Metrics: counted by whoever does the work, summed when scraped.

mod cell;
mod histogram;
mod ledger;

pub use cell::{Counter, Gauge};
pub use histogram::{Distribution, Histogram, Scale};
pub use ledger::{Ledger, Own};
