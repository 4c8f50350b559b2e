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

use std::io;
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
use crate::server::Farewell;
use crate::telemetry::metrics::Metrics;
use crate::upgrade::{AdminHandles, Inheritance};
use guard::Guard;
use socket::{SocketFile, TcpSocket, UnixSocket};

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
    /// Set when the process begins to end.
    pub shutdown: watch::Receiver<Option<Farewell>>,
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
        shutdown: watch::Receiver<Option<Farewell>>,
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
    /// Binds what `settings` name, where it is not inherited; `None` where they
    /// name nothing.
    ///
    /// # Errors
    ///
    /// When an address or path cannot be bound; the message names it.
    pub fn new(settings: &AdminSettings, inheritance: &Inheritance) -> Result<Option<Bound>> {
        if !settings.listens() {
            return Ok(None);
        }
        Ok(Some(Bound {
            tcp: settings
                .address
                .map(|address| bind_tcp(address, inheritance))
                .transpose()?,
            unix: settings
                .socket
                .as_deref()
                .map(|path| bind_unix(path, inheritance))
                .transpose()?,
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
        let handles = self.handles()?;
        let file = self.unix.as_ref().map(UnixSocket::file);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(self.until(stopped, Arc::new(context))))?;
        Ok(Admin {
            stop,
            thread,
            handles,
            file,
        })
    }

    fn handles(&self) -> io::Result<AdminHandles> {
        let tcp = self.tcp.as_ref().map(TcpSocket::handle).transpose()?;
        let unix = self.unix.as_ref().map(UnixSocket::handle).transpose()?;
        Ok(AdminHandles { tcp, unix })
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

fn bind_tcp(address: SocketAddr, inheritance: &Inheritance) -> Result<TcpSocket> {
    let bind = || match inheritance.admin(address)? {
        Some(socket) => TcpSocket::adopt(address, socket),
        None => TcpSocket::bind(address),
    };
    bind().with_context(|| format!("admin: cannot listen on {address}"))
}

fn bind_unix(path: &Path, inheritance: &Inheritance) -> Result<UnixSocket> {
    let bind = || match inheritance.admin_socket(path)? {
        Some(socket) => UnixSocket::adopt(path, socket),
        None => UnixSocket::bind(path),
    };
    bind().with_context(|| format!("admin: cannot listen on {}", path.display()))
}

/// The running admin API.
pub struct Admin {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    /// To the sockets, for a successor.
    handles: AdminHandles,
    file: Option<Arc<SocketFile>>,
}

impl Admin {
    /// Further handles to its sockets.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn handles(&self) -> io::Result<AdminHandles> {
        self.handles.try_clone()
    }

    /// Lets answers under way leave, and returns when all connections are closed.
    pub fn stop(self) {
        // Without a receiver the thread is over already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin API ended abnormally");
        }
    }

    /// The same where another process serves under its names.
    pub fn leave(self) {
        if let Some(file) = &self.file {
            file.leave();
        }
        self.stop();
    }
}
