//! What the process tells: its log and the access log.

pub mod access;
mod lines;
pub mod log;

pub use lines::finish;
