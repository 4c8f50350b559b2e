//! Building the next generation aside and publishing it once, or keeping the
//! one in force and saying why.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use tokio::sync::watch;

use crate::config::{ListenerSettings, PoolSettings, Settings};
use crate::discovery;
use crate::generation::{Generation, Listening, Served};
use crate::history::{History, Origin, Version};
use crate::listener::Bound;
use crate::plugin::Engine;
use crate::pool::{Pool, Row};
use crate::route::Routes;
use crate::server::StartError;
use crate::strategy::{self, Rehearsal, Strategy};
use crate::telemetry;
use crate::upgrade::Inheritance;

/// The one writer of generations.
pub struct Publisher {
    engine: Engine,
    workers: usize,
    settings: Settings,
    /// When the process started.
    started: Instant,
    publish: watch::Sender<Arc<Generation>>,
    /// Replaced generations that a worker may still hold; dropped here, not there.
    replaced: Vec<Arc<Generation>>,
}

/// What a reload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Same settings, same plugins: nothing happened.
    Unchanged,
    /// This generation is in force now.
    Published(u64),
}

impl Publisher {
    /// Builds the first generation from `settings`.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound or a plugin is refused.
    pub fn start(
        engine: Engine,
        settings: Settings,
        inheritance: &Inheritance,
        started: Instant,
    ) -> Result<Publisher, StartError> {
        let workers = settings.workers.get();
        let builder = Builder {
            inheritance: Some(inheritance),
            ..Builder::new(&engine, started, None)
        };
        let first = builder.generation(&settings, workers)?;
        inheritance.tell_health(&first);
        inheritance.tell_advice(&first);
        let publish = watch::Sender::new(Arc::new(first));
        Ok(Publisher {
            engine,
            workers,
            settings,
            started,
            publish,
            replaced: Vec::new(),
        })
    }

    /// Where workers see the generation in force, and hear of the next.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Generation>> {
        self.publish.subscribe()
    }

    /// The generation in force.
    pub fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.publish.borrow())
    }

    /// When the process started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Microseconds since the process started.
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Makes `settings` the ones in force. `change` says how a pool comes to
    /// another strategy, where not by the configuration.
    ///
    /// # Errors
    ///
    /// As [`Publisher::start`]; then nothing has changed.
    pub fn reload(
        &mut self,
        settings: Settings,
        change: Option<(&str, Origin)>,
    ) -> Result<Reloaded, StartError> {
        let current = self.current();
        let builder = Builder {
            change,
            ..Builder::new(&self.engine, self.started, Some(&current))
        };
        let next = builder.generation(&settings, self.workers)?;
        Ok(self.publish(settings, &current, next))
    }

    /// Makes `settings` the ones in force, which differ in the pools' backends
    /// alone. No plugin is read for that, so that none can be in its way.
    ///
    /// # Errors
    ///
    /// When the system refuses something.
    pub fn follow_addresses(&mut self, settings: Settings) -> Result<Reloaded, StartError> {
        let current = self.current();
        let builder = Builder {
            same_strategies: true,
            ..Builder::new(&self.engine, self.started, Some(&current))
        };
        let next = builder.generation(&settings, self.workers)?;
        Ok(self.publish(settings, &current, next))
    }

    /// Publishes `next`, made from `settings`, if it is not what is in force.
    fn publish(&mut self, settings: Settings, current: &Generation, next: Generation) -> Reloaded {
        let same_strategies = next
            .pools
            .iter()
            .zip(&current.pools)
            .all(|(a, b)| Arc::ptr_eq(&a.strategy, &b.strategy));
        if settings == self.settings && same_strategies {
            return Reloaded::Unchanged;
        }
        self.warn_of_what_needs_a_restart(&settings);
        telemetry::log::set_level(settings.log.level);
        report(current, &next);
        let number = next.number;
        self.settings = settings;
        self.replaced
            .push(self.publish.send_replace(Arc::new(next)));
        Reloaded::Published(number)
    }

    /// Drops replaced generations that no worker holds any more.
    pub fn clean_up(&mut self) {
        self.replaced
            .retain(|generation| Arc::strong_count(generation) > 1);
    }

    fn warn_of_what_needs_a_restart(&self, settings: &Settings) {
        if settings.workers != self.settings.workers {
            tracing::warn!(key = "workers", "takes effect at the next start");
        }
        if settings.compile.time != self.settings.compile.time {
            tracing::warn!(key = "compile-time", "takes effect at the next start");
        }
        if settings.compile.cache != self.settings.compile.cache {
            tracing::warn!(key = "cache-dir", "takes effect at the next start");
        }
        if settings.log.format != self.settings.log.format {
            tracing::warn!(key = "log.format", "takes effect at the next start");
        }
        if settings.log.access != self.settings.log.access {
            tracing::warn!(key = "log.access", "takes effect at the next start");
        }
        if settings.admin != self.settings.admin {
            tracing::warn!(key = "admin", "takes effect at the next start");
        }
    }
}

/// Sees whether every plugin of `settings` would be taken.
///
/// # Errors
///
/// The first plugin that is refused.
pub fn check(engine: &Engine, settings: &Settings) -> Result<(), StartError> {
    let mut settings = settings.clone();
    // As at a start where nobody answers.
    discovery::expand(&mut settings, &discovery::Answers::new());
    Builder::new(engine, Instant::now(), None)
        .pools(&settings)
        .map(drop)
}

/// Builds a generation; what it has in common with `previous` is taken over.
struct Builder<'a> {
    engine: &'a Engine,
    started: Instant,
    previous: Option<&'a Generation>,
    /// Sockets that listen already, for the first generation.
    inheritance: Option<&'a Inheritance>,
    /// How a pool comes to another strategy, where not by the configuration.
    change: Option<(&'a str, Origin)>,
    /// Every pool goes on with the strategy that it has.
    same_strategies: bool,
}

impl<'a> Builder<'a> {
    fn new(engine: &'a Engine, started: Instant, previous: Option<&'a Generation>) -> Self {
        Self {
            engine,
            started,
            previous,
            inheritance: None,
            change: None,
            same_strategies: false,
        }
    }

    fn generation(&self, settings: &Settings, workers: usize) -> Result<Generation, StartError> {
        let pools = self.pools(settings)?;
        let listeners = settings
            .listeners
            .iter()
            .map(|listener| self.listen(listener, workers))
            .collect::<anyhow::Result<Vec<Listening>>>()
            .map_err(StartError::Bind)?;
        Ok(Generation {
            number: self.previous.map_or(1, |old| old.number + 1),
            shutdown_grace: settings.shutdown_grace,
            upgrade_timeout: settings.upgrade_timeout,
            max_connections: settings.max_connections.get(),
            listeners,
            routes: Routes::new(&settings.routes),
            pools,
        })
    }

    /// Every pool with its strategy, compiled and rehearsed.
    fn pools(&self, settings: &Settings) -> Result<Vec<Served>, StartError> {
        settings
            .pools
            .iter()
            .map(|pool| self.serve(pool))
            .collect::<anyhow::Result<_>>()
            .map_err(StartError::Plugin)
    }

    fn serve(&self, settings: &PoolSettings) -> anyhow::Result<Served> {
        let previous = self.previous.and_then(|old| old.pool(&settings.name));
        let pool = Pool::new(settings.clone(), previous.map(|served| &*served.pool));
        let pool = pool.with_sessions();
        let pool = Arc::new(pool.with_context(|| format!("pool {}: sessions", settings.name))?);
        let history = self.strategy(&pool, previous)?;
        Ok(Served {
            pool,
            strategy: Arc::clone(&history.current().strategy),
            history,
        })
    }

    /// The strategy in force if it is still the one that the pool asks for,
    /// otherwise a new one that has passed its rehearsal on this pool.
    fn strategy(&self, pool: &Pool, previous: Option<&Served>) -> anyhow::Result<History> {
        if let Some(previous) = previous.filter(|_| self.same_strategies) {
            return Ok(previous.history.clone());
        }
        let name = &pool.settings.name;
        let settings = &pool.settings.strategy;
        let binary = strategy::read(settings).with_context(|| format!("pool {name}"))?;
        let history = previous.map(|served| &served.history);
        if let Some(history) = history {
            let current = &history.current().strategy;
            if current.same_as(binary.as_ref(), settings) {
                return Ok(history.clone());
            }
        }
        let digest = binary.as_ref().map(|binary| binary.digest());
        let before = history.and_then(|history| history.of_version(digest));
        let strategy = Strategy::compile(self.engine, name, binary, settings, before)?;
        let origin = match self.change {
            Some((changed, origin)) if changed == name => origin,
            _ => Origin::Configured,
        };
        let rehearsal = match origin {
            Origin::Configured | Origin::Swapped => Some(self.rehearse(&strategy, pool, history)?),
            // It has served already, and is wanted back without further ado.
            Origin::RolledBack | Origin::Returned => None,
        };
        let version = Version {
            number: history.map_or(1, |history| history.current().number + 1),
            strategy,
            since: SystemTime::now(),
            since_us: self.started.elapsed().as_micros() as u64,
            origin,
            rehearsal,
        };
        Ok(History::new(version, history))
    }

    /// The socket of the generation before, an inherited one, or a new one.
    fn listen(&self, settings: &ListenerSettings, workers: usize) -> anyhow::Result<Listening> {
        let before = self.previous.into_iter().flat_map(|old| &old.listeners);
        let known = before.into_iter().find(|old| {
            // With port 0 many listeners have the same address: their names tell them apart.
            old.bound.requested == settings.address
                && (settings.address.port() != 0 || old.settings.name == settings.name)
        });
        let bound = match known {
            Some(listening) => Arc::clone(&listening.bound),
            None => Arc::new(self.bind(settings, workers).with_context(|| {
                let (name, address) = (&settings.name, settings.address);
                format!("listener {name}: cannot listen on {address}")
            })?),
        };
        Ok(Listening {
            bound,
            settings: Arc::new(settings.clone()),
        })
    }

    fn bind(&self, settings: &ListenerSettings, workers: usize) -> std::io::Result<Bound> {
        let inheritance = self.inheritance;
        let inherited = inheritance
            .map(|it| it.listener(settings.address, &settings.name, workers))
            .transpose()?;
        match inherited.flatten() {
            Some(bound) => Ok(bound),
            None => Bound::new(settings.address, workers),
        }
    }

    fn rehearse(
        &self,
        strategy: &Strategy,
        pool: &Pool,
        history: Option<&History>,
    ) -> anyhow::Result<Rehearsal> {
        let before = history.map(|history| &*history.current().strategy);
        strategy.rehearse(&self.live_rows(pool), pool.members.clone(), before)
    }

    /// The pool as it is loaded now.
    fn live_rows(&self, pool: &Pool) -> Vec<Row> {
        let now_us = self.started.elapsed().as_micros() as u64;
        pool.snapshot(now_us).everyone(now_us)
    }
}

/// Transitions, one line each.
fn report(current: &Generation, next: &Generation) {
    for served in &next.pools {
        let name = &served.pool.settings.name;
        let old = current.pool(name);
        if old.is_none_or(|old| !Arc::ptr_eq(&old.strategy, &served.strategy)) {
            announce_strategy(served);
        }
    }
    for listening in &next.listeners {
        if !current
            .listeners
            .iter()
            .any(|old| Arc::ptr_eq(&old.bound, &listening.bound))
        {
            announce_listener(listening);
        }
    }
}

/// Says what decides for a pool from now on, and what it may do.
pub fn announce_strategy(served: &Served) {
    let Served {
        pool,
        strategy,
        history,
    } = served;
    tracing::info!(
        pool = pool.settings.name,
        strategy = strategy.name(),
        version = strategy.version(),
        imports = strategy.imports().join(" "),
        origin = history.current().origin.as_str(),
        "strategy in force"
    );
}

/// Says where a listener can be reached.
pub fn announce_listener(listening: &Listening) {
    tracing::info!(listener = listening.settings.name, address = %listening.bound.address, "listening");
}
