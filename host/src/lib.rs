//! anubis: an HTTP load balancer whose balancing decision is a call into a
//! sandboxed WebAssembly component. `host/ARCHITECTURE.md` is the map.

mod admin;
pub mod cli;
pub mod config;
mod connection;
mod control;
mod direct;
mod discovery;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gather;
mod generation;
mod grammar;
mod health;
mod history;
mod listener;
pub mod plugin;
pub mod pool;
mod proxy;
mod reload;
pub mod route;
pub mod server;
#[doc(hidden)]
pub mod steps;
pub mod strategy;
pub mod telemetry;
mod timer;
pub mod toolkit;
mod transport;
mod upgrade;
mod watchdog;
mod worker;
