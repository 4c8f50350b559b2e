//! Real processes, real sockets: what an operator and a client see of anubis.
//!
//! One module a story. A test starts the backends and the proxy it needs and
//! ends them when it returns; everything runs in parallel on ports that the
//! system chooses, and waits for events, never for time to pass.

mod admin;
mod agent;
mod balance;
mod chaos;
mod cli;
mod clients;
mod compile;
mod conduct;
mod dns;
mod eligibility;
mod faults;
mod figures;
mod forwarding;
mod health;
mod lifecycle;
mod limits;
mod load_report;
mod log;
mod matrix;
mod metastable;
mod metrics;
mod mixed;
mod plugins;
mod process;
mod queue;
mod recycling;
mod regressions;
mod retry;
mod routes;
mod smuggling;
mod soak;
mod sticky;
mod streaming;
mod successor;
mod swap;
mod timeouts;
mod upgrade;

/// What the proxy logs when a new generation is in force.
const RELOADED: &str = "reloaded";
/// What it logs when the old generation stays because the new one is wrong.
const REFUSED: &str = "reload refused";
