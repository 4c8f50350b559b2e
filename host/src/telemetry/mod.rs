//! What the process tells: its log, the access log and its metrics.

pub mod access;
mod lines;
pub mod log;
pub mod metrics;

pub use lines::finish;
