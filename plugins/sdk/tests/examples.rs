//! An example with an option compiles with this crate, and its own tests pass.

#[path = "../../../examples/plugins/careful/src/lib.rs"]
mod careful;
