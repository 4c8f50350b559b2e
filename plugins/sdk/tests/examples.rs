//! The example to copy compiles with this crate, and its own tests pass.

#[path = "../../../examples/custom-strategy/src/lib.rs"]
mod custom_strategy;
