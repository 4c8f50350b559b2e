//! Bytes to a validated, compiled plugin, and plugins to running instances.
//!
//! Everything that names wasmtime is in this module; only `bindings.rs` and
//! `lowering.rs` name the contract's types as wasmtime sees them. It knows
//! nothing of pools: texts for the log and the members come in from outside.
//!
//! What a plugin can reach is what `imports.rs` defines: no sockets, files,
//! environment or wall clock.

mod backstage;
mod backtrace;
mod binary;
mod bindings;
mod cache;
pub mod child;
mod code;
mod compiler;
mod component;
mod deadline;
mod engine;
mod fault;
#[cfg(test)]
pub(crate) mod guests;
mod imports;
mod instance;
mod limits;
mod lowering;
mod report;
mod scan;
pub mod shipped;
#[cfg(test)]
mod smith;
mod successor;
#[cfg(test)]
mod tests;
mod translate;

pub use binary::{Binary, Digest};
pub use cache::{Cache, default_folder};
pub use compiler::CompilerSettings;
pub use component::Plugin;
pub use deadline::thread_cpu_time;
pub use engine::Engine;
pub use fault::{Fault, FaultKind};
pub use imports::SharedSlots;
pub use instance::{Answer, Instance, InstanceSettings, Label};
pub use report::{Report, Role};
pub use scan::Found;
pub use successor::Successor;
pub use translate::MAX_COMPONENT_BYTES;
/// The version of wasmtime that runs the plugins.
pub use wasmtime_environ::VERSION as RUNTIME_VERSION;
