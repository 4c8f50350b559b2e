//! One question to one backend: a file for each kind of check.
//!
//! Every check has a connection of its own, which ends with it.

mod agent;
mod grpc;
mod http;
mod tcp;

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{self, JoinHandle};
use tokio::time::{Instant, timeout_at};

use super::verdict::{Fault, Unfit};
use crate::config::{AgentSettings, HealthSettings, Probe};

/// Says in server logs who asks.
const USER_AGENT: &str = concat!("anubis-health-check/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer's head.
const HEAD: usize = 16 << 10;
/// Most bytes of an answer's body that are looked at.
const BODY: usize = 64 << 10;
/// How long an answer that has been judged may still take to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a check goes.
pub struct Target<'t> {
    /// Host and port to connect to.
    pub address: &'t str,
    /// The backend's own address, which its requests have as `Host` by default.
    pub authority: &'t str,
}

/// Checks a backend, within the timeout.
pub async fn check(target: &Target<'_>, settings: &HealthSettings) -> Result<(), Unfit> {
    let end = Instant::now() + settings.timeout;
    let result = match &settings.probe {
        Probe::Http(probe) => timeout_at(end, http::check(target, probe)).await,
        Probe::Tcp => timeout_at(end, tcp::check(target)).await,
        Probe::Grpc(probe) => timeout_at(end, grpc::check(target, probe)).await,
    };
    result.unwrap_or_else(|_| Err(Fault::Timeout(settings.timeout).into()))
}

/// Asks a backend's agent, within the timeout: its line.
pub async fn ask(target: &Target<'_>, settings: &AgentSettings) -> Result<String, Unfit> {
    let end = Instant::now() + settings.timeout;
    let result = timeout_at(end, agent::ask(target, settings)).await;
    result.unwrap_or_else(|_| Err(Fault::Timeout(settings.timeout).into()))
}

async fn connect(target: &Target<'_>) -> Result<TcpStream, Unfit> {
    let stream = TcpStream::connect(target.address)
        .await
        .map_err(Unfit::connecting)?;
    // Without it a check may take a little longer.
    let _: io::Result<()> = stream.set_nodelay(true);
    Ok(stream)
}

/// Lets what is left of a connection end by itself, for a while: closed over
/// bytes that nobody read, it would end with a reset.
fn let_end(rest: impl Future<Output = ()> + 'static) {
    task::spawn_local(tokio::time::timeout(FAREWELL, rest));
}

/// What moves a connection's bytes; a check that is given up takes it along.
struct Driver(JoinHandle<()>);

impl Driver {
    fn spawn<E>(connection: impl Future<Output = Result<(), E>> + 'static) -> Driver {
        Driver(task::spawn_local(async move {
            // Whoever waits for an answer hears of the error.
            let _ = connection.await;
        }))
    }

    /// Returns when the connection is over.
    async fn ended(mut self) {
        // An error would be a panic, which was told where it happened.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
