//! From a pool's settings to a strategy that all workers share.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::config::{StrategySettings, StrategySource};
use crate::plugin::{self, InstanceSettings, Label, MAX_COMPONENT_BYTES, Plugin, SharedSlots};

use super::stats::{Counters, Ledger, Stats};

/// What a pool's decisions come from: the native fallback, or a validated and
/// compiled plugin with its limits. Workers share it; each has its own
/// [`super::Picker`].
pub struct Strategy {
    pool: Arc<str>,
    name: Arc<str>,
    digest: Option<[u8; 32]>,
    version: String,
    settings: StrategySettings,
    plugin: Option<Arc<Plugin>>,
    config: Arc<str>,
    shared: Arc<SharedSlots>,
    ledger: Ledger,
}

/// The bytes of a strategy, read but not yet looked at.
pub struct Source {
    name: Arc<str>,
    bytes: Option<Cow<'static, [u8]>>,
    digest: Option<[u8; 32]>,
}

impl Source {
    /// Reads what the settings name. Blocks on the file system.
    ///
    /// # Errors
    /// When the file cannot be read or is larger than 64 MiB, or no shipped
    /// strategy has the name; the message says which.
    pub fn read(settings: &StrategySettings) -> Result<Self> {
        let (name, bytes) = match &settings.source {
            StrategySource::Fallback => ("fallback".to_owned(), None),
            StrategySource::Shipped(name) => (name.clone(), Some(Cow::Borrowed(shipped(name)?))),
            StrategySource::File(path) => {
                let bytes =
                    read_file(path).with_context(|| format!("plugin {}", path.display()))?;
                (path.display().to_string(), Some(Cow::Owned(bytes)))
            }
        };
        let digest = bytes.as_deref().map(|bytes| Sha256::digest(bytes).into());
        Ok(Self {
            name: name.into(),
            bytes,
            digest,
        })
    }
}

impl Strategy {
    /// Reads, validates and compiles a pool's strategy. Takes milliseconds to
    /// seconds: never on a worker.
    ///
    /// # Errors
    /// As [`Source::read`] and [`Strategy::compile`].
    pub fn prepare(
        engine: &plugin::Engine,
        pool: &str,
        settings: &StrategySettings,
    ) -> Result<Arc<Self>> {
        let source = Source::read(settings).with_context(|| format!("pool {pool}"))?;
        Self::compile(engine, pool, source, settings)
    }

    /// Validates and compiles what was read.
    ///
    /// # Errors
    /// When the bytes are no plugin of this contract; the message names pool
    /// and plugin and says what is wrong with it.
    pub fn compile(
        engine: &plugin::Engine,
        pool: &str,
        source: Source,
        settings: &StrategySettings,
    ) -> Result<Arc<Self>> {
        let plugin = match &source.bytes {
            None => None,
            Some(bytes) => {
                let plugin = Plugin::compile(engine, bytes)
                    .with_context(|| format!("pool {pool}: plugin {}", source.name))?;
                Some(Arc::new(plugin))
            }
        };
        ensure!(
            settings.config.is_empty() || plugin.as_deref().is_none_or(Plugin::takes_configuration),
            "pool {pool}: plugin {}: it takes no configuration, but `config` is set",
            source.name
        );
        Ok(Arc::new(Self {
            pool: pool.into(),
            version: source.digest.as_ref().map_or_else(native, short),
            name: source.name,
            digest: source.digest,
            settings: settings.clone(),
            plugin,
            config: settings.config.as_str().into(),
            shared: engine.shared_slots(pool),
            ledger: Ledger::default(),
        }))
    }

    /// The same bytes under the same settings: a reload keeps this one.
    pub fn same_as(&self, source: &Source, settings: &StrategySettings) -> bool {
        self.digest == source.digest && self.settings == *settings
    }

    /// The shipped name, the file's path, or `fallback`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool it decides for.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// First 12 digits of the SHA-256 of the component; `native` for the fallback.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Interfaces that the plugin imports: what it may do besides computing.
    pub fn imports(&self) -> &[String] {
        self.plugin.as_deref().map_or(&[], Plugin::imports)
    }

    /// It makes plans; call [`super::Picker::replan_if_due`].
    pub fn is_planner(&self) -> bool {
        self.plugin.as_deref().is_some_and(Plugin::is_planner)
    }

    /// It wants outcomes; for all others [`super::Picker::observe`] does nothing.
    pub fn wants_feedback(&self) -> bool {
        self.plugin.as_deref().is_some_and(Plugin::wants_feedback)
    }

    /// What was counted, over all workers.
    pub fn stats(&self) -> Stats {
        self.ledger.sum()
    }

    pub(super) fn settings(&self) -> &StrategySettings {
        &self.settings
    }

    pub(super) fn plugin(&self) -> Option<&Arc<Plugin>> {
        self.plugin.as_ref()
    }

    pub(super) fn open_counters(&self) -> Arc<Counters> {
        self.ledger.open()
    }

    pub(super) fn instance_settings(&self, shared: Arc<SharedSlots>) -> InstanceSettings {
        InstanceSettings {
            label: Label {
                pool: self.pool.clone(),
                plugin: self.name.clone(),
            },
            config: self.config.clone(),
            deadline: self.settings.deadline,
            memory: self.settings.memory,
            shared,
        }
    }

    pub(super) fn shared(&self) -> Arc<SharedSlots> {
        self.shared.clone()
    }
}

fn shipped(name: &str) -> Result<&'static [u8]> {
    let Some(bytes) = plugin::shipped::bytes(name) else {
        let names: Vec<_> = plugin::shipped::names().collect();
        bail!(
            "strategy {name}: no strategy of this name is shipped; there are fallback, {}",
            names.join(", ")
        );
    };
    Ok(bytes)
}

/// Reads a file unless it is too large, also when it grows meanwhile or its
/// size is not known beforehand.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).context("cannot be opened")?;
    let mut bytes = Vec::new();
    file.take(MAX_COMPONENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("cannot be read")?;
    ensure!(
        bytes.len() as u64 <= MAX_COMPONENT_BYTES,
        "is larger than {} MiB",
        MAX_COMPONENT_BYTES >> 20
    );
    Ok(bytes)
}

fn native() -> String {
    "native".to_owned()
}

fn short(digest: &[u8; 32]) -> String {
    digest[..6].iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
