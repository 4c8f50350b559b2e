//! What the end-to-end tests are written with: scriptable backends, the proxy
//! as a real process, clients that see every byte, and load that can be
//! stopped and counted.
//!
//! Nothing here knows how the proxy works inside; it sees what an operator
//! sees: a configuration file, signals, log lines, sockets and an exit code.

pub mod admin;
pub mod agent;
pub mod answer;
pub mod backend;
pub mod client;
pub mod config;
pub mod dns;
pub mod gate;
pub mod guests;
pub mod load;
pub mod metrics;
pub mod pattern;
pub mod proxy;
pub mod wire;

use std::future::Future;
use std::time::Duration;

pub use admin::Admin;
pub use agent::Agent;
pub use answer::Answer;
pub use backend::Backend;
pub use client::Client;
pub use config::Config;
pub use dns::NameServer;
pub use gate::Gate;
pub use load::Load;
pub use metrics::Metered;
pub use proxy::Proxy;

/// The longest any event is waited for. Generous, because two cores run the
/// whole suite at once; a passing test never waits that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `event`, or fails the test saying what it waited for.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
