//! Metrics: counted by whoever does the work, summed when scraped.

mod backends;
mod cell;
mod histogram;
mod label;
mod ledger;
mod listeners;
mod pools;

pub use backends::BackendCounts;
pub use cell::{Counter, Gauge};
pub use histogram::{Distribution, Histogram, Scale};
pub use label::{Attempted, Code, Ended, Refused, Reload};
pub use ledger::{Ledger, Own};
pub use listeners::{Connected, ListenerCounts};
pub use pools::PoolCounts;
