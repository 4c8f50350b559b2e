//! For those who write plugins: from an idea to a tested component, in any language
//! that compiles to WebAssembly, with no other tool of the WebAssembly world.
//!
//! Nothing here is used while the proxy serves.

pub mod bench;
pub mod conformance;
mod encode;
mod language;
mod manifest;
mod project;
mod recipe;
pub mod template;
mod tools;
pub mod wasi;

pub use language::Language;
pub use manifest::{Manifest, Shape, TestSettings};
pub use project::{Built, Project};
pub use tools::Missing;
