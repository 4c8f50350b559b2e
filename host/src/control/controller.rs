//! The control thread: one change after the other, each whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::overrides::{Asked, Overrides, StrategyOverride};
use super::state::StateFile;
use super::watcher::Watcher;
use super::{BackendChange, Command, Control, Done, NewSource, Refused, Wish, no_pool};
use crate::config::{self, BackendSettings, PoolSettings, Settings, StrategySource};
use crate::generation::Served;
use crate::history::Origin;
use crate::plugin::{Binary, shipped};
use crate::reload::{Publisher, Reloaded};
use crate::server::StartError;
use crate::strategy::{Probe, Standing, Strategy};
use crate::telemetry::metrics::{Metrics, Reload};
use crate::upgrade::{self, Successor, Told};

/// Changes of files this close together are one: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(20);
/// How often the plugins' conduct is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Longest name of an uploaded plugin, in bytes.
const NAME: usize = 64;

/// Where settings come from when they are read again.
#[derive(Debug, Clone)]
pub enum Source {
    /// A configuration file, which is watched.
    File(PathBuf),
    /// The command line; only the plugins are watched.
    CommandLine,
}

/// Everything that the control thread has.
pub struct Controller {
    publisher: Publisher,
    source: Source,
    /// What the configuration says, overrides aside.
    configured: Settings,
    overrides: Overrides,
    state: Option<StateFile>,
    metrics: Arc<Metrics>,
    random: fastrand::Rng,
    /// A successor has been started: what is changed now it would not know of.
    frozen: bool,
}

impl Controller {
    /// Starts what is configured, with what was changed at run time before the
    /// last end of the process on top of it.
    ///
    /// # Errors
    ///
    /// As [`Publisher::start`].
    pub fn new(
        settings: Settings,
        source: Source,
        state_file: Option<PathBuf>,
        metrics: Arc<Metrics>,
        start: impl Fn(Settings) -> Result<Publisher, StartError>,
    ) -> Result<Controller, StartError> {
        let state = state_file.map(StateFile::new);
        let saved = state.as_ref().map(StateFile::load).unwrap_or_default();
        let mut overrides = saved.clone();
        let publisher = match start(effective(&settings, &mut overrides)) {
            Err(StartError::Plugin(error)) if overrides.has_strategies() => {
                tracing::error!(%error, "strategy of the state file refused, the configured ones are in force");
                overrides.forget_strategies();
                start(effective(&settings, &mut overrides))?
            }
            other => other?,
        };
        // What the configuration has overtaken must not come back with an older one.
        if let Some(state) = state.as_ref().filter(|_| overrides != saved) {
            state.save(&overrides);
        }
        Ok(Controller {
            publisher,
            source,
            configured: settings,
            overrides,
            state,
            metrics,
            random: fastrand::Rng::new(),
            frozen: false,
        })
    }

    /// What publishes the generations.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no watches.
    pub fn run(mut self) -> anyhow::Result<Control> {
        let (sender, wishes) = mpsc::channel();
        let changes = sender.clone();
        // Nobody listens any more when the process is ending.
        let mut watcher = Watcher::new(move || drop(changes.send(Wish::Changed)))?;
        watcher.follow(&self.watched());
        // For what changed between the first reading and the watch.
        sender.send(Wish::Changed)?;
        let control = Control {
            wishes: sender,
            generations: self.publisher.subscribe(),
            started: self.publisher.started(),
        };
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || self.serve(&wishes, &mut watcher))?;
        Ok(control)
    }

    /// Serves wishes until nobody can wish any more.
    fn serve(&mut self, wishes: &mpsc::Receiver<Wish>, watcher: &mut Watcher) {
        let mut settled: Option<Instant> = None;
        let mut tick = Instant::now() + TICK;
        loop {
            let next = settled.map_or(tick, |settled| settled.min(tick));
            match wishes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Wish::Changed) => settled = Some(Instant::now() + SETTLE),
                Ok(Wish::Ask(command, reply)) => {
                    if matches!(command, Command::Reload) {
                        // What changed until now is read by this one.
                        settled = None;
                    }
                    // Whoever asked may be gone.
                    let _ = reply.send(self.answer(command));
                    watcher.follow(&self.watched());
                }
                Ok(Wish::HandOver(offer, program, reply)) => {
                    self.frozen = true;
                    // On this thread, so that no compiler is started meanwhile.
                    let started = offer.give(&program);
                    let successor = started.map(|(child, ready)| Successor::new(child, ready));
                    // Nobody there: it is dropped, which ends it.
                    let _ = reply.send(successor);
                }
                Ok(Wish::Thaw) => {
                    self.frozen = false;
                    settled = Some(Instant::now());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if settled.is_some_and(|settled| settled <= now) && self.frozen {
                // Thawing looks at everything.
                settled = None;
            }
            if settled.is_some_and(|settled| settled <= now) {
                settled = None;
                // Said in the log: nobody waits for it.
                let _ = self.guarded("reload", |this| this.reload(Asking::File));
                watcher.follow(&self.watched());
            }
            if tick <= now {
                tick = now + TICK;
                let _ = self.guarded("looking at plugins", |this| {
                    this.publisher.clean_up();
                    if !this.frozen {
                        this.watch_conduct();
                    }
                    Ok(())
                });
            }
        }
    }

    fn answer(&mut self, command: Command) -> Result<Done, Refused> {
        let reloaded = self.guarded("change", |this| this.perform(command))?;
        Ok(Done {
            reloaded,
            generation: self.publisher.current(),
        })
    }

    /// A panic in one change is the end of that change and of nothing else:
    /// what is in force is only ever replaced as a whole.
    fn guarded<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_panic| {
            tracing::error!("{what} failed unexpectedly, everything stays as it was");
            Err(Refused::Failed(format!("{what} failed unexpectedly")))
        })
    }

    fn perform(&mut self, command: Command) -> Result<Reloaded, Refused> {
        if self.frozen {
            let what = "an upgrade is under way, nothing is changed until it is over";
            return Err(Refused::Conflict(what.to_owned()));
        }
        match command {
            Command::Reload => self.reload(Asking::Somebody),
            Command::Swap {
                pool,
                wanted,
                expected,
            } => {
                self.expect(&pool, expected)?;
                let source = source(&pool, wanted.source)?;
                let current = self.served(&pool)?.strategy;
                if current.is_version(&source, &wanted.config) {
                    // The same thing, whatever it is called this time.
                    return Ok(Reloaded::Unchanged);
                }
                self.set_strategy(&pool, Origin::Swapped, source, wanted.config)
            }
            Command::Rollback {
                pool,
                version,
                expected,
            } => {
                self.expect(&pool, expected)?;
                let target = earlier(&self.served(&pool)?, version.as_deref())?;
                self.bring_back(&pool, Origin::RolledBack, &target)
            }
            Command::ForgetStrategy { pool, expected } => {
                self.expect(&pool, expected)?;
                self.configured_pool(&pool)?;
                self.change(None, |overrides| overrides.of(&pool).strategy = None)
            }
            Command::PutBackend { pool, backend } => {
                self.set_backend(&pool, &backend.name.clone(), Some(backend))
            }
            Command::ChangeBackend { pool, name, change } => {
                let changed = change.of(self.backend(&pool, &name)?);
                self.set_backend(&pool, &name, Some(changed))
            }
            Command::ChangeBackends { pool, change } => {
                let backends = self.served(&pool)?.pool.settings.backends.clone();
                let changed = backends.into_iter().map(|one| change.of(one));
                self.set_backends(&pool, changed.collect())
            }
            Command::RemoveBackend { pool, name } => {
                self.backend(&pool, &name)?;
                if self.served(&pool)?.pool.settings.backends.len() == 1 {
                    return Err(Refused::Conflict(format!(
                        "pool {pool}: backend {name} is the only one; drain it instead"
                    )));
                }
                self.set_backend(&pool, &name, None)
            }
        }
    }

    /// Reads the configuration again and puts it in force.
    fn reload(&mut self, asking: Asking) -> Result<Reloaded, Refused> {
        let tell = |told| {
            if asking == Asking::Somebody {
                upgrade::tell(told);
            }
        };
        tell(Told::Reloading);
        let reloaded = self.read().and_then(|settings| {
            let mut overrides = self.overrides.clone();
            let effective = effective(&settings, &mut overrides);
            let reloaded = self.publisher.reload(effective, None)?;
            self.keep(settings, overrides);
            Ok(reloaded)
        });
        match &reloaded {
            Ok(Reloaded::Published(generation)) => {
                self.metrics.reloaded(Reload::Published);
                tracing::info!(generation, "reloaded");
                self.configured.tell_warnings();
            }
            Ok(Reloaded::Unchanged) if asking == Asking::Somebody => {
                self.metrics.reloaded(Reload::Unchanged);
                tracing::info!("nothing to reload");
            }
            Ok(Reloaded::Unchanged) => {}
            Err(error) => {
                self.metrics.reloaded(Reload::Refused);
                tracing::error!(%error, "reload refused, the previous configuration stays in force");
            }
        }
        tell(Told::Ready);
        reloaded.map_err(Refused::from)
    }

    fn read(&self) -> Result<Settings, StartError> {
        match &self.source {
            Source::File(path) => config::load(path).map_err(StartError::Configuration),
            Source::CommandLine => Ok(self.configured.clone()),
        }
    }

    /// Puts a change of the overrides in force, with `origin` for the strategy
    /// of its pool.
    fn change(
        &mut self,
        origin: Option<(&str, Origin)>,
        change: impl FnOnce(&mut Overrides),
    ) -> Result<Reloaded, Refused> {
        let mut overrides = self.overrides.clone();
        change(&mut overrides);
        let effective = effective(&self.configured, &mut overrides);
        let reloaded = self.publisher.reload(effective, origin)?;
        self.keep(self.configured.clone(), overrides);
        if let Reloaded::Published(generation) = reloaded {
            tracing::info!(generation, "changed at run time");
        }
        Ok(reloaded)
    }

    /// What is in force now, and what to start with the next time.
    fn keep(&mut self, configured: Settings, overrides: Overrides) {
        self.configured = configured;
        if self.overrides == overrides {
            return;
        }
        self.overrides = overrides;
        if let Some(state) = &self.state {
            state.save(&self.overrides);
        }
    }

    fn set_strategy(
        &mut self,
        pool: &str,
        origin: Origin,
        source: StrategySource,
        config: String,
    ) -> Result<Reloaded, Refused> {
        let configured = &self.configured_pool(pool)?.strategy;
        let instead_of = Asked::by(configured).map_err(Refused::Plugin)?;
        let is_configured = instead_of.is(&source, &config);
        self.change(Some((pool, origin)), |overrides| {
            overrides.of(pool).strategy = (!is_configured).then_some(StrategyOverride {
                instead_of,
                source,
                config,
            });
        })
    }

    fn bring_back(
        &mut self,
        pool: &str,
        origin: Origin,
        target: &Strategy,
    ) -> Result<Reloaded, Refused> {
        let source = match (&target.settings().source, target.binary()) {
            // The file may have changed since.
            (StrategySource::File(_), Some(binary)) => StrategySource::Given(binary.clone()),
            (source, _) => source.clone(),
        };
        self.set_strategy(pool, origin, source, target.settings().config.clone())
    }

    fn set_backend(
        &mut self,
        pool: &str,
        name: &str,
        now: Option<BackendSettings>,
    ) -> Result<Reloaded, Refused> {
        let configured = self.configured_pool(pool)?.backends.iter();
        let configured = configured.clone().find(|one| one.name == name).cloned();
        self.change(None, |overrides| {
            let pool = overrides.of(pool);
            pool.set_backend(name, configured.as_ref(), now);
        })
    }

    fn set_backends(
        &mut self,
        pool: &str,
        backends: Vec<BackendSettings>,
    ) -> Result<Reloaded, Refused> {
        let configured = self.configured_pool(pool)?.backends.clone();
        self.change(None, |overrides| {
            let pool = overrides.of(pool);
            for now in backends {
                let before = configured.iter().find(|one| one.name == now.name);
                pool.set_backend(&now.name.clone(), before, Some(now));
            }
        })
    }

    /// Moves quarantines on, and brings the strategy before back where one
    /// fails on probation.
    fn watch_conduct(&mut self) {
        let now_us = self.publisher.now_us();
        for served in &self.publisher.current().pools {
            let strategy = &served.strategy;
            if strategy.standing() == Standing::Trusted {
                continue;
            }
            if fails_on_probation(served, now_us) {
                self.return_to_the_one_before(served);
                continue;
            }
            let members = served.pool.members.clone();
            tell(
                strategy,
                strategy.probe(&(members as _), now_us, self.random.u64(..)),
            );
        }
    }

    fn return_to_the_one_before(&mut self, served: &Served) {
        let Some(target) = served.history.last_good() else {
            return;
        };
        let pool = &served.pool.settings.name;
        tracing::error!(
            pool,
            plugin = served.strategy.name(),
            version = served.strategy.version(),
            back_to = target.name(),
            back_to_version = target.version(),
            "plugin failed on probation, the strategy before it comes back"
        );
        if let Err(error) = self.bring_back(pool, Origin::Returned, target) {
            tracing::error!(pool, %error, "it does not come back");
        }
    }

    fn expect(&self, pool: &str, expected: Option<String>) -> Result<(), Refused> {
        let current = self.served(pool)?.strategy.full_version();
        match expected {
            Some(expected) if expected != current => Err(Refused::Precondition(format!(
                "pool {pool}: version {current} is in force, not {expected}"
            ))),
            _ => Ok(()),
        }
    }

    fn served(&self, pool: &str) -> Result<Served, Refused> {
        let generation = self.publisher.current();
        generation.pool(pool).cloned().ok_or_else(|| no_pool(pool))
    }

    fn configured_pool(&self, name: &str) -> Result<&PoolSettings, Refused> {
        let pools = &mut self.configured.pools.iter();
        pools
            .find(|pool| pool.name == name)
            .ok_or_else(|| no_pool(name))
    }

    /// A backend as it is in force.
    fn backend(&self, pool: &str, name: &str) -> Result<BackendSettings, Refused> {
        let served = self.served(pool)?;
        let backends = &mut served.pool.settings.backends.iter();
        let backend = backends.find(|backend| backend.name == name);
        backend
            .cloned()
            .ok_or_else(|| Refused::NotFound(format!("pool {pool}: there is no backend {name}")))
    }

    fn watched(&self) -> Vec<PathBuf> {
        let plugins = self
            .configured
            .plugin_files()
            .into_iter()
            .map(PathBuf::from);
        match &self.source {
            Source::File(path) => plugins.chain([path.clone()]).collect(),
            Source::CommandLine => plugins.collect(),
        }
    }
}

/// Who wants a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    File,
    Somebody,
}

/// The configuration with the overrides on top, less those that it overtook.
fn effective(configured: &Settings, overrides: &mut Overrides) -> Settings {
    let mut settings = configured.clone();
    for dropped in overrides.apply(&mut settings) {
        tracing::warn!(
            dropped,
            "the configuration has changed here, what was set at run time is dropped"
        );
    }
    settings
}

fn fails_on_probation(served: &Served, now_us: u64) -> bool {
    let current = served.history.current();
    let probation = served.strategy.settings().probation;
    Duration::from_micros(now_us.saturating_sub(current.since_us)) < probation
        && served.history.last_good().is_some()
}

fn tell(strategy: &Strategy, probe: Probe) {
    let (pool, plugin, version) = (strategy.pool(), strategy.name(), strategy.version());
    match probe {
        Probe::None => {}
        Probe::Passed => tracing::info!(pool, plugin, version, "plugin out of quarantine"),
        Probe::Failed(fault, time) => {
            let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let error = fault.to_string();
            tracing::warn!(
                pool,
                plugin,
                version,
                error,
                time_ms,
                "plugin stays in quarantine"
            );
        }
    }
}

fn earlier(served: &Served, version: Option<&str>) -> Result<Arc<Strategy>, Refused> {
    let pool = &served.pool.settings.name;
    let found = match version {
        Some(version) => served.history.find(version).map(|found| &found.strategy),
        None => served.history.last_good(),
    };
    found.cloned().ok_or_else(|| {
        Refused::NotFound(match version {
            Some(version) => format!("pool {pool}: there is no earlier version {version}"),
            None => format!("pool {pool}: there is no earlier version in good standing"),
        })
    })
}

fn source(pool: &str, wanted: NewSource) -> Result<StrategySource, Refused> {
    match wanted {
        NewSource::Shipped(name) if name == "fallback" => Ok(StrategySource::Fallback),
        NewSource::Shipped(name) if shipped::bytes(&name).is_some() => {
            Ok(StrategySource::Shipped(name))
        }
        NewSource::Shipped(name) => {
            let names: Vec<_> = shipped::names().collect();
            Err(Refused::Invalid(format!(
                "pool {pool}: no strategy {name} is shipped; there are fallback, {}",
                names.join(", ")
            )))
        }
        NewSource::Component { name, bytes } => Ok(StrategySource::Given(Binary::new(
            display_name(&name),
            bytes,
        ))),
    }
}

/// A name that is safe to show anywhere.
fn display_name(name: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let name: String = name.chars().filter(|&one| safe(one)).take(NAME).collect();
    match name.is_empty() {
        true => "upload".to_owned(),
        false => name,
    }
}

impl BackendChange {
    fn of(&self, mut backend: BackendSettings) -> BackendSettings {
        backend.weight = self.weight.unwrap_or(backend.weight);
        backend.capacity = self.capacity.unwrap_or(backend.capacity);
        backend.priority = self.priority.unwrap_or(backend.priority);
        backend.state = self.state.unwrap_or(backend.state);
        backend
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Plugin(error) => Self::Plugin(error),
            StartError::Configuration(_) => Self::Invalid(error.to_string()),
            StartError::Bind(_) | StartError::Other(_) => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_nothing_to_a_file_system_or_a_terminal() {
        assert_eq!(display_name("mine.wasm"), "mine.wasm");
        assert_eq!(display_name("../../etc/passwd"), "....etcpasswd");
        assert_eq!(display_name("\u{1b}[31m"), "31m");
        assert_eq!(display_name("\n"), "upload");
        assert_eq!(display_name(&"x".repeat(1000)).len(), NAME);
    }
}
