//! The control thread: one change after the other, each whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::overrides::{Asked, Overrides, StrategyOverride};
use super::state::StateFile;
use super::watcher::Watcher;
use super::{BackendChange, Command, Control, Done, NewSource, Refused, Wish, no_pool};
use crate::config::{self, BackendSettings, PoolSettings, Settings, StrategySource, Target};
use crate::discovery::{self, Answers, Discovery};
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
    discovery: Discovery,
    sender: mpsc::Sender<Wish>,
    wishes: mpsc::Receiver<Wish>,
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
        let (sender, wishes) = mpsc::channel();
        let resolved = sender.clone();
        // Nobody listens any more when the process is ending.
        let tell = move || drop(resolved.send(Wish::Resolved));
        let mut discovery = Discovery::new(Arc::clone(metrics.names()), tell);
        let publisher = match start(effective(&settings, &mut overrides, &mut discovery)) {
            Err(StartError::Plugin(error)) if overrides.has_strategies() => {
                tracing::error!(%error, "strategy of the state file refused, the configured ones are in force");
                overrides.forget_strategies();
                start(effective(&settings, &mut overrides, &mut discovery))?
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
            discovery,
            sender,
            wishes,
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
        let sender = self.sender.clone();
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
            .spawn(move || self.serve(&mut watcher))?;
        Ok(control)
    }

    /// Serves wishes until nobody can wish any more.
    fn serve(&mut self, watcher: &mut Watcher) {
        let mut settled: Option<Instant> = None;
        let mut tick = Instant::now() + TICK;
        loop {
            let next = settled.map_or(tick, |settled| settled.min(tick));
            match self
                .wishes
                .recv_timeout(next.saturating_duration_since(Instant::now()))
            {
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
                // A successor asks for itself, so an upgrade is no reason to wait.
                Ok(Wish::Resolved) => {
                    // Said in the log: nobody waits for it.
                    let _ = self.guarded("following names", Self::follow_addresses);
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
            Command::PutBackend { pool, mut backend } => {
                if let Ok(known) = self.backend(&pool, &backend.name)
                    && let Target::Resolved(_) = known.target
                {
                    if known.address != backend.address {
                        return Err(Refused::Conflict(format!(
                            "pool {pool}: backend {} is an address of {}, and has no other",
                            known.name, known.address
                        )));
                    }
                    backend.target = known.target;
                }
                self.set_backend(&pool, &backend.name.clone(), Some(backend))
            }
            Command::ChangeBackend { pool, name, change } => {
                let changed = change.of(self.backend(&pool, &name)?);
                self.set_backend(&pool, &name, Some(changed))
            }
            Command::ChangeBackends { pool, change } => self.change_backends(&pool, change),
            Command::RemoveBackend { pool, name } => {
                let alone = match self.backend(&pool, &name)?.target {
                    Target::Resolved(_) => self.served(&pool)?.pool.settings.backends.len() == 1,
                    Target::Written | Target::Service => {
                        self.written_pool(&pool)?.backends.len() == 1
                    }
                };
                if alone {
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
            let effective = effective(&settings, &mut overrides, &mut self.discovery);
            let reloaded = self.publisher.reload(effective, None)?;
            self.keep(settings, overrides);
            Ok(reloaded)
        });
        self.discovery.follow(&self.written());
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
        let effective = effective(&self.configured, &mut overrides, &mut self.discovery);
        let reloaded = self.publisher.reload(effective, origin);
        if reloaded.is_ok() {
            self.keep(self.configured.clone(), overrides);
        }
        self.discovery.follow(&self.written());
        let reloaded = reloaded?;
        if let Reloaded::Published(generation) = reloaded {
            tracing::info!(generation, "changed at run time");
        }
        Ok(reloaded)
    }

    /// Puts in force where names lead now.
    fn follow_addresses(&mut self) -> Result<(), Refused> {
        let mut overrides = self.overrides.clone();
        let effective = effective(&self.configured, &mut overrides, &mut self.discovery);
        let reloaded = self.publisher.follow_addresses(effective);
        let reloaded = reloaded.inspect_err(|error| {
            tracing::error!(%error, "the backends' new addresses are not in force");
        })?;
        self.keep(self.configured.clone(), overrides);
        if let Reloaded::Published(generation) = reloaded {
            tracing::info!(generation, "backends follow their names");
        }
        Ok(())
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
        let configured = self.without_override(pool, name)?;
        self.change(None, |overrides| {
            let pool = overrides.of(pool);
            pool.set_backend(name, configured.as_ref(), now);
        })
    }

    /// Changes every backend of a pool: those that stand for a name too, so that
    /// addresses which it gets later are changed as well.
    fn change_backends(&mut self, pool: &str, change: BackendChange) -> Result<Reloaded, Refused> {
        let written = self.written_pool(pool)?.backends;
        let configured = self.configured_pool(pool)?.backends.clone();
        let served = self.served(pool)?;
        let resolved = |one: &&BackendSettings| matches!(one.target, Target::Resolved(_));
        let addresses = served.pool.settings.backends.iter().filter(resolved);
        let addresses: Vec<BackendSettings> = addresses.cloned().collect();
        let (settings, answers) = (self.configured.clone(), self.discovery.answers());
        self.change(None, |overrides| {
            for backend in written {
                let before = configured.iter().find(|one| one.name == backend.name);
                let name = backend.name.clone();
                let now = change.of(backend);
                overrides.of(pool).set_backend(&name, before, Some(now));
            }
            let changed = expanded(&settings, overrides, &answers);
            let changed = find(&changed, pool).map_or(&[][..], |pool| &pool.backends);
            for address in addresses {
                let before = changed.iter().find(|one| one.name == address.name);
                let name = address.name.clone();
                let now = change.of(address);
                overrides.of(pool).set_backend(&name, before, Some(now));
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
        find(&self.configured, name).ok_or_else(|| no_pool(name))
    }

    /// A backend as it is in force: one that was written, which may stand for a
    /// name, or an address of a name.
    fn backend(&self, pool: &str, name: &str) -> Result<BackendSettings, Refused> {
        let written = self.written_pool(pool)?.backends;
        let served = self.served(pool)?;
        let in_force = served.pool.settings.backends.iter();
        let backend = written
            .iter()
            .chain(in_force)
            .find(|backend| backend.name == name);
        backend
            .cloned()
            .ok_or_else(|| Refused::NotFound(format!("pool {pool}: there is no backend {name}")))
    }

    /// A backend as it would be without an override of its own; nothing where
    /// there would be none.
    fn without_override(&self, pool: &str, name: &str) -> Result<Option<BackendSettings>, Refused> {
        let named = |one: &&BackendSettings| one.name == name;
        let configured = self.configured_pool(pool)?.backends.iter().find(named);
        if configured.is_some() {
            return Ok(configured.cloned());
        }
        let mut overrides = self.overrides.clone();
        let expanded = expanded(&self.configured, &mut overrides, &self.discovery.answers());
        let backends = find(&expanded, pool)
            .into_iter()
            .flat_map(|pool| &pool.backends);
        let resolved = |one: &&BackendSettings| matches!(one.target, Target::Resolved(_));
        Ok(backends.filter(resolved).find(named).cloned())
    }

    /// The settings in force as they were before names were replaced.
    fn written(&self) -> Settings {
        let mut settings = self.configured.clone();
        self.overrides.clone().apply(&mut settings);
        settings
    }

    fn written_pool(&self, name: &str) -> Result<PoolSettings, Refused> {
        let written = self.written();
        find(&written, name).cloned().ok_or_else(|| no_pool(name))
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

/// The configuration with the overrides on top, less those that it overtook, and
/// with addresses in the place of names. Waits for names that are new, a little.
fn effective(
    configured: &Settings,
    overrides: &mut Overrides,
    discovery: &mut Discovery,
) -> Settings {
    let mut settings = configured.clone();
    let mut dropped = overrides.apply(&mut settings);
    discovery.consider(&settings);
    discovery.wait();
    discovery::expand(&mut settings, &discovery.answers());
    dropped.append(&mut overrides.apply_to_addresses(&mut settings));
    for dropped in dropped {
        tracing::warn!(
            dropped,
            "the configuration has changed here, what was set at run time is dropped"
        );
    }
    settings
}

/// The configuration with addresses in the place of names, and only those
/// overrides on top that are not about single addresses.
fn expanded(configured: &Settings, overrides: &mut Overrides, answers: &Answers) -> Settings {
    let mut settings = configured.clone();
    overrides.apply(&mut settings);
    discovery::expand(&mut settings, answers);
    settings
}

fn find<'s>(settings: &'s Settings, pool: &str) -> Option<&'s PoolSettings> {
    settings.pools.iter().find(|one| one.name == pool)
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
