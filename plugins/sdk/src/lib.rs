//! A load-balancing strategy for the anubis proxy in ten lines of Rust:
//!
//! ```
//! use anubis_strategy::{Backend, Refusal, Request, Strategy};
//!
//! #[derive(Default)]
//! struct Fewest;
//!
//! impl Strategy for Fewest {
//!     fn pick(&mut self, _: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
//!         let fewest = (0..backends.len()).min_by_key(|&index| backends[index].in_flight);
//!         fewest.ok_or(Refusal::Fallback)
//!     }
//! }
//!
//! anubis_strategy::export!(Fewest);
//! ```
//!
//! Built with `cargo build --release --target wasm32-unknown-unknown` and
//! `crate-type = ["cdylib"]`, this is a plugin that imports nothing. With
//! [`export!(Fewest, configured)`](export!) and an implementation of
//! [`Configure`] it takes options from the operator's `config = { ... }`. One that
//! hears what became of its picks implements [`Learn`]; one that is not asked for every
//! request, but makes plans, implements [`Planner`] instead.
//!
//! Everything but the export itself is ordinary Rust: test it natively with
//! `cargo test`, for which [`testing`] has pools, requests and a simulation.
//!
//! # Building blocks
//!
//! | for | use |
//! |---|---|
//! | random numbers that replay | [`Random`], [`Request::random`] |
//! | a draw in proportion to the weights | [`draw::weighted`], [`draw::distinct`] |
//! | the least loaded, compared without division | [`load::Load`], [`load::least`] |
//! | the least of anything, ties shared | [`load::least_by`] |
//! | the time a request is expected to take | [`load::ExpectedTime`] |
//! | times learned from outcomes (peak-EWMA) | [`latency::PeakEwma`] |
//! | going round in proportion to the weights (smooth weighted round robin) | [`rotation::Rotation`], [`rotation::share`] |
//! | affinity that survives a changed pool | [`rendezvous::Rendezvous`], [`identity::Identities`] |
//! | options from the configuration | [`options::Options`] |
//!
//! What the numbers do not say is asked of the proxy: [`inbound`] (the request's
//! path and headers), [`members`] (the backends' names and labels), [`shared`]
//! (counters over all workers), [`log`].
//!
//! # What to keep in mind
//!
//! Each worker thread of the proxy has its own instance. State in `self` is
//! therefore one worker's view; what must hold over all of them comes from the
//! request ([`Request::sequence`]) or from the list.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue;

pub mod draw;
mod export;
pub mod identity;
mod imports;
pub mod latency;
pub mod load;
pub mod options;
mod random;
pub mod rendezvous;
pub mod rotation;
mod strategy;
pub mod testing;
mod types;

pub use imports::{inbound, log, members, shared};
pub use random::Random;
pub use strategy::{Configure, Learn, Planner, Strategy};
pub use types::{Backend, Level, Outcome, Refusal, Request, Routing};
