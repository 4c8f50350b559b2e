//! The process: start in order, follow signals and files, end in order.

mod engine;
mod signals;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
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
pub use crate::upgrade::Inheritance;
use crate::upgrade::{Offer, Program, Successor, Told, Vigil, tell};
use crate::watchdog::{self, Heartbeats};
use crate::worker::{self, Seat};
use signals::{Signals, Wanted};

/// Exit code after a second SIGTERM or SIGINT: 128 and the number of SIGINT,
/// as shells have it.
const ENDED_AT_ONCE: i32 = 130;

/// How much longer than the grace time a worker may take to end.
const LATE: Duration = Duration::from_secs(2);

/// How long idle connections may still send a request when the process ends, and
/// when it does so because another one has taken its place.
const FAREWELL: Duration = Duration::from_millis(500);
const LONG_FAREWELL: Duration = Duration::from_secs(5);

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

/// Runs the proxy until SIGTERM or SIGINT, or until another process has taken its
/// place, and to the end of what is then in flight. `inheritance` is what the
/// process was started with.
///
/// # Errors
///
/// When the proxy cannot start.
pub fn run(settings: Settings, source: Source, inheritance: Inheritance) -> Result<(), StartError> {
    let other =
        |error: std::io::Error| StartError::Other(anyhow::Error::new(error).context("signals"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(other)?;
    let program = Program::own().map_err(other)?;
    // Before anybody can know that the process runs, so that no signal is missed.
    let mut signals = runtime
        .block_on(async { Signals::listen() })
        .map_err(other)?;
    let vigil = Vigil::wanted(inheritance.replaces());
    let server = Server::start(settings, source, inheritance)?;
    let end = runtime.block_on(async {
        tokio::spawn(watchdog::watch(Arc::clone(&server.heartbeats), vigil));
        server.until_its_end(&mut signals, &program).await
    });
    std::thread::spawn(move || {
        if end == End::Replaced {
            // It ends already, and whoever ends its successor need not know of it.
            runtime.block_on(signals.end());
        }
        // Whoever asks twice does not want to wait for the grace time.
        runtime.block_on(signals.end());
        std::process::exit(ENDED_AT_ONCE);
    });
    server.stop(end);
    Ok(())
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Told,
    /// Another one serves in its place.
    Replaced,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Farewell {
    /// How long requests in flight may still take.
    pub grace: Duration,
    /// How long connections that wait for a request may still send one.
    pub idle: Duration,
    /// Another process goes on with the listening sockets.
    pub replaced: bool,
}

impl End {
    fn farewell(self, grace: Duration) -> Farewell {
        let idle = match self {
            End::Told => FAREWELL,
            // Nobody waits for it: the next connection is served already.
            End::Replaced => LONG_FAREWELL,
        };
        Farewell {
            grace,
            idle: idle.min(grace),
            replaced: self == End::Replaced,
        }
    }
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
    shutdown: watch::Sender<Option<Farewell>>,
    control: Control,
    heartbeats: Arc<Heartbeats>,
    workers: Vec<JoinHandle<()>>,
    checks: Checks,
    admin: Option<Admin>,
}

impl Server {
    /// Binds what is not inherited, compiles, and starts the workers; from here on
    /// requests are answered.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, a plugin is refused, or the system
    /// gives no threads.
    pub fn start(
        settings: Settings,
        source: Source,
        inheritance: Inheritance,
    ) -> Result<Server, StartError> {
        let started = Instant::now();
        let engine = engine::start(&settings, engine::cache(&settings)?)?;
        let admin = admin::Bound::new(&settings.admin, &inheritance).map_err(StartError::Bind)?;
        let state_file = settings.admin.state_file.clone();
        let start = |settings| Publisher::start(engine.clone(), settings, &inheritance, started);
        let heartbeats = Arc::new(Heartbeats::new(started, settings.workers.get()));
        let metrics = Arc::new(Metrics::new(started, Arc::clone(&heartbeats)));
        let counted = Arc::clone(&metrics);
        let controller = Controller::new(settings.clone(), source, state_file, counted, start)?;
        let publisher = controller.publisher();
        let shutdown = watch::Sender::new(None);
        heartbeats.begin();
        let workers = start_workers(&settings, publisher, &shutdown, started, &heartbeats)
            .context("workers")
            .map_err(StartError::Other)?;
        let first = publisher.current();
        let generations = publisher.subscribe();
        let checks = Checks::start(started, publisher.subscribe())
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
        inheritance.ready(settings.admin.socket.as_deref());
        tell(Told::Ready);
        Ok(Server {
            generations,
            shutdown,
            control,
            heartbeats,
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

    /// Follows the signals until the process is to end.
    async fn until_its_end(&self, signals: &mut Signals, program: &Program) -> End {
        loop {
            match signals.next().await {
                Wanted::Reload => self.reload(),
                Wanted::End => return End::Told,
                Wanted::Upgrade => match self.upgrade(signals, program).await {
                    Some(end) => return end,
                    // What could not be changed meanwhile.
                    None => self.control.thaw(),
                },
            }
        }
    }

    /// Lets another process take this one's place; `None`: this one goes on.
    async fn upgrade(&self, signals: &mut Signals, program: &Program) -> Option<End> {
        let program_path = program.path().display();
        let mut replaced = std::pin::pin!(self.replaced(program));
        loop {
            tokio::select! {
                replaced = &mut replaced => return match replaced {
                    Ok(()) => Some(End::Replaced),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(program = %program_path, error, "upgrade failed, this process goes on");
                        None
                    }
                },
                wanted = signals.next() => match wanted {
                    Wanted::End => return Some(End::Told),
                    // The successor reads the configuration anyway.
                    Wanted::Reload => {}
                    Wanted::Upgrade => tracing::warn!("upgrade refused, one is under way"),
                }
            }
        }
    }

    /// Ends once another process serves.
    async fn replaced(&self, program: &Program) -> anyhow::Result<()> {
        ensure!(
            !rustix::process::getpid().is_init(),
            "a container ends with its first process, which this is"
        );
        let successor = self.successor(program).await?;
        let process = successor.id();
        tracing::info!(program = %program.path().display(), process, "upgrade begins");
        let patience = self.generations.borrow().upgrade_timeout;
        successor.serves(patience).await?;
        tracing::info!(process, "replaced by another process");
        tell(Told::Replaced(process));
        Ok(())
    }

    async fn successor(&self, program: &Program) -> anyhow::Result<Successor> {
        let admin = self.admin.as_ref().map(Admin::handles).transpose()?;
        let generation = self.control.generation();
        let offer = Offer::new(&generation, admin.unwrap_or_default())?;
        self.control.hand_over(offer, program.clone()).await
    }

    /// Stops accepting, lets requests in flight end within the grace time, and
    /// returns when the workers are gone.
    pub fn stop(mut self, end: End) {
        let grace = self.generations.borrow().shutdown_grace;
        tracing::info!(grace = %humantime::format_duration(grace), "shutting down");
        if end == End::Replaced {
            // Who asks now asks the successor, under the same name.
            self.admin.take().into_iter().for_each(Admin::leave);
        } else {
            tell(Told::Stopping);
        }
        self.shutdown.send_replace(Some(end.farewell(grace)));
        join(self.workers, Instant::now() + grace + LATE);
        self.checks.stop();
        // To the last it tells that the proxy is ending.
        if let Some(admin) = self.admin {
            admin.stop();
        }
        tracing::info!("shut down");
    }
}

/// Waits for the workers, but not for one that is stuck: it ends with the process.
fn join(workers: Vec<JoinHandle<()>>, deadline: Instant) {
    for (index, worker) in workers.into_iter().enumerate() {
        while !worker.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !worker.is_finished() {
            tracing::error!(worker = index, "worker does not end, the process does");
        } else if worker.join().is_err() {
            tracing::error!(worker = index, "worker ended abnormally");
        }
    }
}

fn start_workers(
    settings: &Settings,
    publisher: &Publisher,
    shutdown: &watch::Sender<Option<Farewell>>,
    started: Instant,
    heartbeats: &Arc<Heartbeats>,
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
                heartbeats: Arc::clone(heartbeats),
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
