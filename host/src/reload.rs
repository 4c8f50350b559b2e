//! Building the next generation aside and publishing it once, or keeping the
//! one in force and saying why.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use crate::config::{ListenerSettings, PoolSettings, Settings};
use crate::generation::{Generation, Listening, Served};
use crate::listener::Bound;
use crate::plugin::Engine;
use crate::pool::Pool;
use crate::route::Routes;
use crate::server::StartError;
use crate::strategy::{self, Strategy};
use crate::telemetry;

/// The one writer of generations.
pub struct Publisher {
    engine: Engine,
    workers: usize,
    settings: Settings,
    publish: watch::Sender<Arc<Generation>>,
    /// Replaced generations that a worker may still hold; dropped here, not there.
    replaced: Vec<Arc<Generation>>,
}

/// What a reload did.
#[derive(Debug, PartialEq, Eq)]
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
    pub fn start(engine: Engine, settings: Settings) -> Result<Publisher, StartError> {
        let workers = settings.workers.get();
        let first = build(&engine, &settings, workers, None)?;
        let publish = watch::Sender::new(Arc::new(first));
        Ok(Publisher {
            engine,
            workers,
            settings,
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

    /// Makes `settings` the ones in force.
    ///
    /// # Errors
    ///
    /// As [`Publisher::start`]; then nothing has changed.
    pub fn reload(&mut self, settings: Settings) -> Result<Reloaded, StartError> {
        let current = self.current();
        let next = build(&self.engine, &settings, self.workers, Some(&current))?;
        let same_strategies = next
            .pools
            .iter()
            .zip(&current.pools)
            .all(|(a, b)| Arc::ptr_eq(&a.strategy, &b.strategy));
        if settings == self.settings && same_strategies {
            return Ok(Reloaded::Unchanged);
        }
        self.warn_of_what_needs_a_restart(&settings);
        telemetry::log::set_level(settings.log.level);
        report(&current, &next);
        let number = next.number;
        self.settings = settings;
        self.replaced
            .push(self.publish.send_replace(Arc::new(next)));
        Ok(Reloaded::Published(number))
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
        if settings.log.format != self.settings.log.format {
            tracing::warn!(key = "log.format", "takes effect at the next start");
        }
        if settings.log.access != self.settings.log.access {
            tracing::warn!(key = "log.access", "takes effect at the next start");
        }
    }
}

/// Everything that `settings` say, with what `previous` has in common with
/// them taken over.
fn build(
    engine: &Engine,
    settings: &Settings,
    workers: usize,
    previous: Option<&Generation>,
) -> Result<Generation, StartError> {
    let pools = serve_all(engine, settings, previous)?;
    let listeners = settings
        .listeners
        .iter()
        .map(|listener| listen(listener, workers, previous))
        .collect::<anyhow::Result<Vec<Listening>>>()
        .map_err(StartError::Bind)?;
    Ok(Generation {
        number: previous.map_or(1, |old| old.number + 1),
        shutdown_grace: settings.shutdown_grace,
        listeners,
        routes: Routes::new(&settings.routes),
        pools,
    })
}

/// Every pool with its strategy, compiled and rehearsed.
///
/// # Errors
///
/// The first plugin that is refused.
pub fn serve_all(
    engine: &Engine,
    settings: &Settings,
    previous: Option<&Generation>,
) -> Result<Vec<Served>, StartError> {
    settings
        .pools
        .iter()
        .map(|pool| serve(engine, pool, previous.and_then(|old| old.pool(&pool.name))))
        .collect::<anyhow::Result<_>>()
        .map_err(StartError::Plugin)
}

fn serve(
    engine: &Engine,
    settings: &PoolSettings,
    previous: Option<&Served>,
) -> anyhow::Result<Served> {
    let pool = Arc::new(Pool::new(
        settings.clone(),
        previous.map(|served| &*served.pool),
    ));
    let strategy = strategy(engine, &pool, previous.map(|served| &served.strategy))?;
    Ok(Served { pool, strategy })
}

/// The strategy in force if it is still the one that the pool asks for,
/// otherwise a new one that has passed its rehearsal on this pool.
fn strategy(
    engine: &Engine,
    pool: &Pool,
    previous: Option<&Arc<Strategy>>,
) -> anyhow::Result<Arc<Strategy>> {
    let settings = &pool.settings.strategy;
    let source =
        strategy::Source::read(settings).with_context(|| format!("pool {}", pool.settings.name))?;
    if let Some(current) = previous.filter(|current| current.same_as(&source, settings)) {
        return Ok(Arc::clone(current));
    }
    let strategy = Strategy::compile(engine, &pool.settings.name, source, settings)?;
    strategy.rehearse(&pool.members.rows(), pool.members.clone())?;
    Ok(strategy)
}

fn listen(
    settings: &ListenerSettings,
    workers: usize,
    previous: Option<&Generation>,
) -> anyhow::Result<Listening> {
    let known = previous
        .into_iter()
        .flat_map(|old| &old.listeners)
        .find(|old| {
            // With port 0 many listeners have the same address: their names tell them apart.
            old.bound.requested == settings.address
                && (settings.address.port() != 0 || old.settings.name == settings.name)
        });
    let bound = match known {
        Some(listening) => Arc::clone(&listening.bound),
        None => Bound::new(settings.address, workers)
            .map(Arc::new)
            .with_context(|| {
                format!(
                    "listener {}: cannot listen on {}",
                    settings.name, settings.address
                )
            })?,
    };
    Ok(Listening {
        bound,
        settings: Arc::new(settings.clone()),
    })
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
    let Served { pool, strategy } = served;
    tracing::info!(
        pool = pool.settings.name,
        strategy = strategy.name(),
        version = strategy.version(),
        imports = strategy.imports().join(" "),
        "strategy in force"
    );
}

/// Says where a listener can be reached.
pub fn announce_listener(listening: &Listening) {
    tracing::info!(listener = listening.settings.name, address = %listening.bound.address, "listening");
}
