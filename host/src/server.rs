//! The process: start in order, follow signals and files, end in order.

mod engine;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config::{self, Settings};
pub use crate::control::Source;
use crate::control::{Control, Controller};
use crate::generation::Generation;
use crate::health::Checks;
use crate::listener::Spread;
use crate::reload::{self, Publisher};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::worker::{self, Seat};

/// Exit code after a second SIGTERM or SIGINT: 128 and the number of SIGINT,
/// as shells have it.
const ENDED_AT_ONCE: i32 = 130;

/// Why the process cannot start, by what its user has to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Configuration(config::Mistakes),
    #[error("{0:#}")]
    Plugin(anyhow::Error),
    #[error("{0:#}")]
    Bind(anyhow::Error),
    #[error("{0:#}")]
    Other(anyhow::Error),
}

/// Runs the proxy until SIGTERM or SIGINT, and to the end of what is then in
/// flight.
///
/// # Errors
///
/// When the proxy cannot start.
pub fn run(settings: Settings, source: Source) -> Result<(), StartError> {
    let other =
        |error: std::io::Error| StartError::Other(anyhow::Error::new(error).context("signals"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(other)?;
    // Before anybody can know that the process runs, so that no signal is missed.
    let mut signals = runtime
        .block_on(async { Signals::listen() })
        .map_err(other)?;
    let server = Server::start(settings, source)?;
    runtime.block_on(signals.follow(|| server.reload()));
    std::thread::spawn(move || {
        // Whoever asks twice does not want to wait for the grace time.
        runtime.block_on(signals.follow(|| ()));
        std::process::exit(ENDED_AT_ONCE);
    });
    server.stop();
    Ok(())
}

/// Sees whether a proxy could start with `settings`: compiles and rehearses
/// every plugin; binds nothing and keeps nothing.
///
/// # Errors
///
/// As [`Server::start`], but for addresses.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    let engine = engine::start(settings, None)?;
    reload::check(&engine, settings)
}

/// A running proxy.
pub struct Server {
    generations: watch::Receiver<Arc<Generation>>,
    shutdown: watch::Sender<Option<Duration>>,
    control: Control,
    workers: Vec<JoinHandle<()>>,
    checks: Checks,
    admin: Option<Admin>,
}

impl Server {
    /// Binds, compiles, and starts the workers; from here on requests are answered.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, a plugin is refused, or the system
    /// gives no threads.
    pub fn start(settings: Settings, source: Source) -> Result<Server, StartError> {
        let started = Instant::now();
        let engine = engine::start(&settings, engine::cache(&settings)?)?;
        let admin = admin::Bound::new(&settings.admin).map_err(StartError::Bind)?;
        let state_file = settings.admin.state_file.clone();
        let start = |settings| Publisher::start(engine.clone(), settings, started);
        let metrics = Arc::new(Metrics::new(started, settings.workers.get()));
        let counted = Arc::clone(&metrics);
        let controller = Controller::new(settings.clone(), source, state_file, counted, start)?;
        let publisher = controller.publisher();
        let shutdown = watch::Sender::new(None);
        let workers = start_workers(&settings, publisher, &shutdown, started)
            .context("workers")
            .map_err(StartError::Other)?;
        let first = publisher.current();
        let generations = publisher.subscribe();
        let checks = Checks::start(publisher.subscribe())
            .context("health checks")
            .map_err(StartError::Other)?;
        let control = controller.run().map_err(StartError::Other)?;
        first.pools.iter().for_each(reload::announce_strategy);
        first.listeners.iter().for_each(reload::announce_listener);
        let context = admin::Context::new(
            &settings.admin,
            control.clone(),
            shutdown.subscribe(),
            metrics,
        );
        let admin = admin
            .map(|bound| bound.serve(context))
            .transpose()
            .map_err(StartError::Other)?;
        Ok(Server {
            generations,
            shutdown,
            control,
            workers,
            checks,
            admin,
        })
    }

    /// The addresses that are listened on, in the order of the settings.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.generations
            .borrow()
            .listeners
            .iter()
            .map(|listening| listening.bound.address)
            .collect()
    }

    /// Reads the settings again, as SIGHUP does.
    pub fn reload(&self) {
        self.control.wish_for_reload();
    }

    /// Stops accepting, lets requests in flight end within the grace time, and
    /// returns when the workers are gone.
    pub fn stop(self) {
        let grace = self.generations.borrow().shutdown_grace;
        tracing::info!(grace = %humantime::format_duration(grace), "shutting down");
        self.shutdown.send_replace(Some(grace));
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended abnormally");
            }
        }
        self.checks.stop();
        // To the last it tells that the proxy is ending.
        if let Some(admin) = self.admin {
            admin.stop();
        }
        tracing::info!("shut down");
    }
}

/// What the process is told from outside.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when the process is told to end.
    async fn follow(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reload(),
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

fn start_workers(
    settings: &Settings,
    publisher: &Publisher,
    shutdown: &watch::Sender<Option<Duration>>,
    started: Instant,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..settings.workers.get())
        .map(|_| tokio::sync::mpsc::unbounded_channel())
        .unzip();
    let spread = Arc::new(Spread::new(senders));
    let access = AccessLog::open(settings.log.access);
    let (report, reports) = mpsc::channel();
    let workers = receivers
        .into_iter()
        .enumerate()
        .map(|(index, handed)| {
            let seat = Seat {
                index,
                started,
                generations: publisher.subscribe(),
                shutdown: shutdown.subscribe(),
                handed,
                spread: Arc::clone(&spread),
                access: access.as_ref().map(AccessLog::for_worker),
            };
            let (ready, failed) = (report.clone(), report.clone());
            let work = move || {
                // Nobody listens to reports any more once all workers are ready.
                let run = worker::run(seat, move || drop(ready.send(Ok(()))));
                run.unwrap_or_else(|error| drop(failed.send(Err(error))));
            };
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(work)
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    for report in reports.iter().take(workers.len()) {
        report?;
    }
    Ok(workers)
}
