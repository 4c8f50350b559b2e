//! Changes while the proxy runs, from wherever they come: a changed file,
//! SIGHUP, the admin API, a plugin that fails on probation.
//!
//! One thread makes them, one after the other ([`controller`]); a [`Control`]
//! asks it. What was changed at run time stands beside the configuration as
//! [`overrides`], and outlives the process where there is a `state-file`.

mod controller;
mod overrides;
mod state;
mod watcher;

use std::io;
use std::num::NonZeroU16;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::config::{BackendSettings, BackendState};
use crate::generation::Generation;
use crate::history::Version;
use crate::reload::Reloaded;
use crate::upgrade::{Offer, Program, Successor};

pub use controller::{Controller, Source};

/// Asks the control thread; cheap to clone.
#[derive(Clone)]
pub struct Control {
    wishes: mpsc::Sender<Wish>,
    generations: watch::Receiver<Arc<Generation>>,
    started: Instant,
}

/// What the control thread is told.
enum Wish {
    /// A watched file changed.
    Changed,
    /// Names of backends lead elsewhere.
    Resolved,
    /// Somebody asks, and perhaps waits for the answer.
    Ask(Command, oneshot::Sender<Result<Done, Refused>>),
    /// This program is to go on in the place of this process. Until
    /// [`Wish::Thaw`] nothing is changed, which its successor would not know of.
    HandOver(Box<Offer>, Program, oneshot::Sender<io::Result<Successor>>),
    /// The upgrade has failed: changes go on.
    Thaw,
}

/// What can be asked for.
#[derive(Debug)]
enum Command {
    Reload,
    Swap {
        pool: String,
        wanted: NewStrategy,
        expected: Option<String>,
    },
    Rollback {
        pool: String,
        version: Option<String>,
        expected: Option<String>,
    },
    ForgetStrategy {
        pool: String,
        expected: Option<String>,
    },
    PutBackend {
        pool: String,
        backend: BackendSettings,
    },
    ChangeBackend {
        pool: String,
        name: String,
        change: BackendChange,
    },
    ChangeBackends {
        pool: String,
        change: BackendChange,
    },
    RemoveBackend {
        pool: String,
        name: String,
    },
}

/// What was done.
struct Done {
    reloaded: Reloaded,
    /// What is in force afterwards.
    generation: Arc<Generation>,
}

/// Another strategy for a pool.
#[derive(Debug, Clone)]
pub struct NewStrategy {
    pub source: NewSource,
    /// Text for its `configure`; empty = none.
    pub config: String,
}

/// Where another strategy comes from.
#[derive(Debug, Clone)]
pub enum NewSource {
    /// A shipped one, or `fallback`.
    Shipped(String),
    /// These bytes. The name is for people and reaches no file system.
    Component { name: String, bytes: Bytes },
}

/// Changes of a backend; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendChange {
    pub weight: Option<NonZeroU16>,
    pub capacity: Option<u32>,
    pub priority: Option<u32>,
    pub state: Option<BackendState>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such pool, backend or version.
    #[error("{0}")]
    NotFound(String),
    /// It does not go with what is in force.
    #[error("{0}")]
    Conflict(String),
    /// The version in force is not the one that was expected.
    #[error("{0}")]
    Precondition(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The plugin was refused.
    #[error("{0:#}")]
    Plugin(anyhow::Error),
    /// Something else went wrong.
    #[error("{0}")]
    Failed(String),
}

impl Control {
    /// What is in force.
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generations.borrow())
    }

    /// When the process started: the zero of `Version::since_us`.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Reads the configuration and the plugins again, and waits for nothing.
    pub fn wish_for_reload(&self) {
        let (reply, _nobody_waits) = oneshot::channel();
        // Without the control thread nothing can be reloaded.
        let _ = self.wishes.send(Wish::Ask(Command::Reload, reply));
    }

    /// Reads the configuration and the plugins again.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn reload(&self) -> Result<Reloaded, Refused> {
        Ok(self.ask(Command::Reload).await?.reloaded)
    }

    /// Puts another strategy in force in a pool, or keeps the one there is when
    /// it is the same; the version in force afterwards. It stays until the
    /// configuration asks for something else than it does now. With `expected`,
    /// only if that is the version in force (its SHA-256, or `native`).
    ///
    /// # Errors
    /// When the plugin is refused, there is no such pool, or another version is
    /// in force than expected.
    pub async fn swap(
        &self,
        pool: &str,
        wanted: NewStrategy,
        expected: Option<String>,
    ) -> Result<Arc<Version>, Refused> {
        let command = Command::Swap {
            pool: pool.to_owned(),
            wanted,
            expected,
        };
        self.ask(command).await?.version(pool)
    }

    /// Brings an earlier version back: the one that `version` says (its number
    /// or the beginning of its SHA-256), or the newest one in good standing.
    ///
    /// # Errors
    /// When there is no such pool or version.
    pub async fn rollback(
        &self,
        pool: &str,
        version: Option<String>,
        expected: Option<String>,
    ) -> Result<Arc<Version>, Refused> {
        let command = Command::Rollback {
            pool: pool.to_owned(),
            version,
            expected,
        };
        self.ask(command).await?.version(pool)
    }

    /// Back to the strategy that the configuration asks for.
    ///
    /// # Errors
    /// When there is no such pool, or the configured plugin is refused.
    pub async fn forget_strategy(
        &self,
        pool: &str,
        expected: Option<String>,
    ) -> Result<Arc<Version>, Refused> {
        let command = Command::ForgetStrategy {
            pool: pool.to_owned(),
            expected,
        };
        self.ask(command).await?.version(pool)
    }

    /// Adds a backend to a pool, or gives the one of this name these settings.
    ///
    /// # Errors
    /// When there is no such pool.
    pub async fn put_backend(
        &self,
        pool: &str,
        backend: BackendSettings,
    ) -> Result<Reloaded, Refused> {
        let pool = pool.to_owned();
        let command = Command::PutBackend { pool, backend };
        Ok(self.ask(command).await?.reloaded)
    }

    /// Changes a backend's weight, limits or state.
    ///
    /// # Errors
    /// When there is no such pool or backend.
    pub async fn change_backend(
        &self,
        pool: &str,
        name: &str,
        change: BackendChange,
    ) -> Result<Reloaded, Refused> {
        let (pool, name) = (pool.to_owned(), name.to_owned());
        let command = Command::ChangeBackend { pool, name, change };
        Ok(self.ask(command).await?.reloaded)
    }

    /// Changes all of a pool's backends, at once.
    ///
    /// # Errors
    /// When there is no such pool.
    pub async fn change_backends(
        &self,
        pool: &str,
        change: BackendChange,
    ) -> Result<Reloaded, Refused> {
        let pool = pool.to_owned();
        let command = Command::ChangeBackends { pool, change };
        Ok(self.ask(command).await?.reloaded)
    }

    /// Takes a backend out of a pool. What it has in flight it finishes.
    ///
    /// # Errors
    /// When there is no such pool or backend, or it is the pool's last one.
    pub async fn remove_backend(&self, pool: &str, name: &str) -> Result<Reloaded, Refused> {
        let (pool, name) = (pool.to_owned(), name.to_owned());
        let command = Command::RemoveBackend { pool, name };
        Ok(self.ask(command).await?.reloaded)
    }

    /// Starts `program` with what is offered, and changes nothing until
    /// [`Control::thaw`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn hand_over(&self, offer: Offer, program: Program) -> anyhow::Result<Successor> {
        let ended = || anyhow::anyhow!("the proxy is ending");
        let (reply, answer) = oneshot::channel();
        let wish = Wish::HandOver(Box::new(offer), program, reply);
        self.wishes.send(wish).map_err(|_| ended())?;
        Ok(answer.await.map_err(|_| ended())??)
    }

    /// After [`Control::hand_over`]: changes go on.
    pub fn thaw(&self) {
        // Without the control thread there are none.
        let _ = self.wishes.send(Wish::Thaw);
    }

    async fn ask(&self, command: Command) -> Result<Done, Refused> {
        let ended = || Refused::Failed("the proxy is ending".to_owned());
        let (reply, answer) = oneshot::channel();
        let asked = self.wishes.send(Wish::Ask(command, reply));
        asked.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Done {
    /// The version in force in a pool.
    fn version(&self, pool: &str) -> Result<Arc<Version>, Refused> {
        let served = self.generation.pool(pool).ok_or_else(|| no_pool(pool))?;
        Ok(Arc::clone(served.history.current()))
    }
}

fn no_pool(pool: &str) -> Refused {
    Refused::NotFound(format!("there is no pool {pool}"))
}
