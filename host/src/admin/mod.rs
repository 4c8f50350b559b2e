//! The admin API: what the proxy tells about itself, and what may be changed
//! while it runs.
//!
//! Its own thread, its own sockets: nothing here runs on a worker or can be
//! reached through a listener of the traffic. Reads come from the generation in
//! force; every change goes through [`Control`] and is published as a reload is.

mod backends;
mod body;
mod connection;
mod guard;
mod health;
pub mod model;
mod path;
mod pools;
mod problem;
mod process;
mod routes;
mod socket;
mod strategy;
mod view;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::config::{AdminSettings, Token};
use crate::control::Control;
use crate::generation::Generation;
use crate::telemetry::metrics::Metrics;
use guard::Guard;
use socket::{TcpSocket, UnixSocket};

/// Connections that are served at once; more have to wait.
const CONNECTIONS: u32 = 64;
/// Plugins that are received at once: with the largest upload limit, 256 MiB.
const UPLOADS: usize = 4;
/// How long answers may still take to leave when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the endpoints work with.
pub struct Context {
    /// Reads and changes.
    pub control: Control,
    /// Set to the grace time when the process begins to end.
    pub shutdown: watch::Receiver<Option<Duration>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Longest body of a request, in bytes.
    pub upload_limit: usize,
    uploads: Semaphore,
}

impl Context {
    /// What the endpoints work with while `settings` are in force.
    pub fn new(
        settings: &AdminSettings,
        control: Control,
        shutdown: watch::Receiver<Option<Duration>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            control,
            shutdown,
            metrics,
            upload_limit: settings.upload_limit,
            uploads: Semaphore::new(UPLOADS),
        }
    }

    fn generation(&self) -> Arc<Generation> {
        self.control.generation()
    }

    /// On the clock of the live columns, in microseconds.
    fn now_us(&self) -> u64 {
        view::micros(self.control.started().elapsed())
    }
}

/// The sockets of the admin API, bound and not yet served.
pub struct Bound {
    tcp: Option<TcpSocket>,
    unix: Option<UnixSocket>,
    token: Option<Token>,
}

impl Bound {
    /// Binds what `settings` name; `None` where they name nothing.
    ///
    /// # Errors
    ///
    /// When an address or path cannot be bound; the message names it.
    pub fn new(settings: &AdminSettings) -> Result<Option<Bound>> {
        if !settings.listens() {
            return Ok(None);
        }
        Ok(Some(Bound {
            tcp: settings.address.map(bind_tcp).transpose()?,
            unix: settings.socket.as_deref().map(bind_unix).transpose()?,
            token: settings.token.clone(),
        }))
    }

    /// Serves until [`Admin::stop`].
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn serve(self, context: Context) -> Result<Admin> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(self.until(stopped, Arc::new(context))))?;
        Ok(Admin { stop, thread })
    }

    async fn until(self, stopped: oneshot::Receiver<()>, context: Arc<Context>) {
        let hall = connection::Hall::new(CONNECTIONS);
        if let Some(socket) = self.tcp {
            tracing::info!(address = %socket.address(), "admin API open");
            hall.open(socket, routes::router(&context, Guard::tcp(self.token)));
        }
        // Kept to the end, when it removes its file.
        let _file = self.unix.map(|socket| {
            tracing::info!(socket = %socket.path().display(), "admin API open");
            let file = socket.file();
            hall.open(socket, routes::router(&context, Guard::unix()));
            file
        });
        // An error is a sender that was dropped: the process ends all the same.
        let _ = stopped.await;
        hall.close(FAREWELL).await;
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpSocket> {
    TcpSocket::bind(address).with_context(|| format!("admin: cannot listen on {address}"))
}

fn bind_unix(path: &Path) -> Result<UnixSocket> {
    UnixSocket::bind(path).with_context(|| format!("admin: cannot listen on {}", path.display()))
}

/// The running admin API.
pub struct Admin {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Lets answers under way leave, and returns when all connections are closed.
    pub fn stop(self) {
        // Without a receiver the thread is over already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin API ended abnormally");
        }
    }
}
