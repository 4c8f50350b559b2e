//! The generated bindings, one for each export that a plugin can have, and the
//! way between their types and ours.

/// The export `strategy`.
pub mod simple {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "simple",
        pub_export_macro: true,
        export_macro_name: "export_strategy",
    });
}

/// The export `config`.
pub mod config {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package anubis:guest; world configure { export anubis:lb/config@0.1.0; }",
        pub_export_macro: true,
        export_macro_name: "export_config",
    });
}

/// The exports `feedback` and `state`.
pub mod learning {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package anubis:guest; world learn {
            export anubis:lb/feedback@0.1.0;
            export anubis:lb/state@0.1.0;
        }",
        with: { "anubis:lb/types@0.1.0": crate::glue::simple::anubis::lb::types },
        pub_export_macro: true,
        export_macro_name: "export_learning",
    });
}

/// The export `planner`.
pub mod planner {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package anubis:guest; world plan { export anubis:lb/planner@0.1.0; }",
        with: { "anubis:lb/types@0.1.0": crate::glue::simple::anubis::lb::types },
        pub_export_macro: true,
        export_macro_name: "export_planner",
    });
}

/// What the proxy offers. What a plugin does not use does not get into its
/// component.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "imports",
        with: { "anubis:lb/types@0.1.0": crate::glue::simple::anubis::lb::types },
        generate_all,
    });
}

/// What the proxy offers, with our own types.
pub mod proxy {
    pub use super::imports::anubis::lb::{inbound, members, shared};

    /// The log.
    pub mod log {
        /// Writes a line.
        pub fn write(level: crate::Level, message: &str) {
            crate::glue::imports::anubis::lb::log::write(level.into(), message);
        }
    }
}

pub use simple::anubis::lb::types;

use crate::{Backend, Level, Outcome, Planner, Refusal, Request, Routing, Strategy};
use std::mem::{offset_of, size_of};

macro_rules! assert_same_layout {
    ($record:ident: $($field:ident)*) => {
        const _: () = {
            $(assert!(offset_of!($record, $field) == offset_of!(types::$record, $field));)*
            assert!(size_of::<$record>() == size_of::<types::$record>());
        };
    };
}
assert_same_layout!(Backend: id weight capacity priority zone in_flight latency_us failures utilization state);
assert_same_layout!(Outcome: tag id latency_us status failure attempt);

/// The contract's list as ours, without touching it.
#[inline]
fn backends(list: &[types::Backend]) -> &[Backend] {
    // SAFETY: both are `repr(C)` structs of ten `u32` fields with the same
    // names at the same offsets, as asserted above.
    unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), list.len()) }
}

/// The contract's list as ours, without touching it.
#[inline]
pub fn outcomes(list: &[types::Outcome]) -> &[Outcome] {
    // SAFETY: both are `repr(C)` structs of one `u64` and five `u32` fields with the
    // same names at the same offsets, as asserted above.
    unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), list.len()) }
}

/// Calls the strategy with the contract's types turned into ours.
#[inline]
pub fn pick<S: Strategy>(
    strategy: &mut S,
    request: types::Request,
    list: &[types::Backend],
) -> Result<u32, types::Refusal> {
    match strategy.pick(&request.into(), backends(list)) {
        Ok(index) => Ok(index as u32),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Calls the planner with the contract's types turned into ours.
pub fn plan<P: Planner>(planner: &mut P, list: &[types::Backend]) -> types::Routing {
    match planner.plan(backends(list)) {
        Routing::Weights(weights) => types::Routing::Weights(weights),
        Routing::TwoChoices(weights) => types::Routing::TwoChoices(weights),
        Routing::Table(table) => types::Routing::Table(table),
        Routing::Order(order) => types::Routing::Order(order),
    }
}

impl From<types::Request> for Request {
    #[inline]
    fn from(request: types::Request) -> Self {
        Self {
            key: request.key,
            random: request.random,
            sequence: request.sequence,
            now_us: request.now_us,
            generation: request.generation,
            attempt: request.attempt,
        }
    }
}

impl From<Refusal> for types::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fallback => Self::Fallback,
            Refusal::Wait => Self::Wait,
            Refusal::Reject(status) => Self::Reject(status),
        }
    }
}

impl From<Level> for types::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}
