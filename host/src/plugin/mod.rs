//! Bytes to a validated, compiled plugin, and plugins to running instances.
//!
//! Everything that names wasmtime is in this module; only `bindings.rs` and
//! `lowering.rs` name the contract's types as wasmtime sees them. It knows
//! nothing of pools: texts for the log and the members come in from outside.
//!
//! What a plugin can reach is what `imports.rs` defines: no sockets, files,
//! environment or wall clock.

mod binary;
mod bindings;
mod component;
mod deadline;
mod disposal;
mod engine;
mod fault;
#[cfg(test)]
pub(crate) mod guests;
mod imports;
mod instance;
mod limits;
mod lowering;
pub mod shipped;
#[cfg(test)]
mod tests;

pub use binary::{Binary, Digest};
pub use component::{MAX_COMPONENT_BYTES, Plugin};
pub use deadline::thread_cpu_time;
pub use engine::Engine;
pub use fault::{Fault, FaultKind};
pub use imports::SharedSlots;
pub use instance::{Answer, Instance, InstanceSettings, Label};
