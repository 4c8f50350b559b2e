//! The process: start in order, follow signals and files, end in order.

mod watcher;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Settings};
use crate::generation::Generation;
use crate::listener::Spread;
use crate::plugin::Engine;
use crate::reload::{self, Publisher, Reloaded};
use crate::telemetry::access::AccessLog;
use crate::worker::{self, Seat};

/// Exit code after a second SIGTERM or SIGINT: 128 and the number of SIGINT,
/// as shells have it.
const ENDED_AT_ONCE: i32 = 130;

/// Where settings come from when they are read again.
#[derive(Debug, Clone)]
pub enum Source {
    /// A configuration file, which is watched.
    File(PathBuf),
    /// The command line; only the plugins are watched.
    CommandLine,
}

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
/// every plugin, and binds nothing.
///
/// # Errors
///
/// As [`Server::start`], but for addresses.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    let engine = Engine::new()
        .context("plugin engine")
        .map_err(StartError::Other)?;
    reload::serve_all(&engine, settings, None).map(drop)
}

/// A running proxy.
pub struct Server {
    generations: watch::Receiver<Arc<Generation>>,
    shutdown: watch::Sender<Option<Duration>>,
    wishes: mpsc::Sender<watcher::Wish>,
    workers: Vec<JoinHandle<()>>,
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
        let engine = Engine::new()
            .context("plugin engine")
            .map_err(StartError::Other)?;
        let publisher = Publisher::start(engine, settings.clone())?;
        let shutdown = watch::Sender::new(None);
        let workers = start_workers(&settings, &publisher, &shutdown, started)
            .context("workers")
            .map_err(StartError::Other)?;
        let first = publisher.current();
        let generations = publisher.subscribe();
        let wishes = Reloader { publisher, source }
            .start(&settings)
            .map_err(StartError::Other)?;
        first.pools.iter().for_each(reload::announce_strategy);
        first.listeners.iter().for_each(reload::announce_listener);
        Ok(Server {
            generations,
            shutdown,
            wishes,
            workers,
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
        // Without the thread that reloads, nothing can be reloaded.
        let _ = self.wishes.send(watcher::Wish::Reload);
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

/// The thread that reads settings again when a file changes or SIGHUP comes.
struct Reloader {
    publisher: Publisher,
    source: Source,
}

impl Reloader {
    fn start(mut self, settings: &Settings) -> anyhow::Result<mpsc::Sender<watcher::Wish>> {
        let (sender, wishes) = mpsc::channel();
        let mut watcher = watcher::Watcher::new(sender.clone())?;
        watcher.follow(&self.watched(settings));
        // For what changed between the first reading and the watch.
        sender.send(watcher::Wish::Changed)?;
        let mut settings = settings.clone();
        std::thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                while let Some(wish) = watcher::next(&wishes, || self.publisher.clean_up()) {
                    let reloaded = catch_unwind(AssertUnwindSafe(|| self.reload(&settings, wish)));
                    let Ok(reloaded) = reloaded else {
                        tracing::error!(
                            "reload failed unexpectedly, the previous configuration stays in force"
                        );
                        continue;
                    };
                    if let Some(changed) = reloaded {
                        settings = changed;
                        watcher.follow(&self.watched(&settings));
                    }
                }
            })?;
        Ok(sender)
    }

    /// The settings that are in force now, if that changed.
    fn reload(&mut self, current: &Settings, wish: watcher::Wish) -> Option<Settings> {
        let settings = match self.read(current) {
            Ok(settings) => settings,
            Err(error) => return refused(&error),
        };
        match self.publisher.reload(settings.clone()) {
            Ok(Reloaded::Published(generation)) => {
                tracing::info!(generation, "reloaded");
                settings.tell_warnings();
                Some(settings)
            }
            Ok(Reloaded::Unchanged) => {
                if wish == watcher::Wish::Reload {
                    tracing::info!("nothing to reload");
                }
                None
            }
            Err(error) => refused(&error),
        }
    }

    fn read(&self, current: &Settings) -> Result<Settings, StartError> {
        match &self.source {
            Source::File(path) => config::load(path).map_err(StartError::Configuration),
            Source::CommandLine => Ok(current.clone()),
        }
    }

    fn watched(&self, settings: &Settings) -> Vec<PathBuf> {
        let plugins = settings.plugin_files().into_iter().map(PathBuf::from);
        match &self.source {
            Source::File(path) => plugins.chain([path.clone()]).collect(),
            Source::CommandLine => plugins.collect(),
        }
    }
}

fn refused<T>(error: &StartError) -> Option<T> {
    tracing::error!(%error, "reload refused, the previous configuration stays in force");
    None
}
