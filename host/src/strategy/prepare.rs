//! From a pool's settings to a strategy that all workers share.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::config::{StrategySettings, StrategySource};
use crate::plugin::{
    self, Binary, Digest, InstanceSettings, Label, MAX_COMPONENT_BYTES, Plugin, SharedSlots,
};
use crate::telemetry::metrics::{Distribution, Ledger, Own};

use super::conduct::{Conduct, Standing};
use super::stats::{Counters, Stats};

/// What a pool's decisions come from: the native fallback, or a validated and
/// compiled plugin with its limits. Workers share it; each has its own
/// [`super::Picker`].
pub struct Strategy {
    pool: Arc<str>,
    name: Arc<str>,
    version: String,
    binary: Option<Binary>,
    settings: StrategySettings,
    plugin: Option<Arc<Plugin>>,
    config: Arc<str>,
    shared: Arc<SharedSlots>,
    compile_time: Duration,
    conduct: Conduct,
    ledger: Arc<Ledger<Counters>>,
}

/// Reads the plugin that the settings name; `None` for the fallback, which is
/// none. Blocks on the file system.
///
/// # Errors
/// When the file cannot be read or is larger than 64 MiB, or no shipped
/// strategy has the name; the message says which.
pub fn read(settings: &StrategySettings) -> Result<Option<Binary>> {
    let binary = match &settings.source {
        StrategySource::Fallback => return Ok(None),
        StrategySource::Shipped(name) => Binary::new(name.as_str(), shipped(name)?),
        StrategySource::File(path) => {
            let bytes = read_file(path).with_context(|| format!("plugin {}", path.display()))?;
            Binary::new(path.display().to_string(), bytes)
        }
        StrategySource::Given(binary) => binary.clone(),
    };
    Ok(Some(binary))
}

impl Strategy {
    /// Reads, validates and compiles a pool's strategy. Takes milliseconds to
    /// seconds: never on a worker.
    ///
    /// # Errors
    /// As [`read`] and [`Strategy::compile`].
    pub fn prepare(
        engine: &plugin::Engine,
        pool: &str,
        settings: &StrategySettings,
    ) -> Result<Arc<Self>> {
        let binary = read(settings).with_context(|| format!("pool {pool}"))?;
        Self::compile(engine, pool, binary, settings, None)
    }

    /// Validates and compiles `binary`. Where `before` is the same version, as
    /// it is when a rollback brings one back, its counters go on.
    ///
    /// # Errors
    /// When the bytes are no plugin of this contract; the message names pool
    /// and plugin and says what is wrong with it.
    pub fn compile(
        engine: &plugin::Engine,
        pool: &str,
        binary: Option<Binary>,
        settings: &StrategySettings,
        before: Option<&Self>,
    ) -> Result<Arc<Self>> {
        let begin = Instant::now();
        let plugin = match &binary {
            None => None,
            Some(binary) => {
                let plugin = Plugin::compile_once(engine, binary)
                    .with_context(|| format!("pool {pool}: plugin {}", binary.name()))?;
                Some(plugin)
            }
        };
        let name = match &binary {
            None => "fallback".into(),
            Some(binary) => binary.name().clone(),
        };
        ensure!(
            settings.config.is_empty() || plugin.as_deref().is_none_or(Plugin::takes_configuration),
            "pool {pool}: plugin {name}: it takes no configuration, but `config` is set",
        );
        let digest = binary.as_ref().map(Binary::digest);
        Ok(Arc::new(Self {
            pool: pool.into(),
            version: digest.map_or_else(|| "native".to_owned(), |digest| digest.short()),
            ledger: before
                .filter(|before| before.name == name && before.digest() == digest)
                .map(|before| before.ledger.clone())
                .unwrap_or_default(),
            name,
            binary,
            settings: settings.clone(),
            plugin,
            config: settings.config.as_str().into(),
            shared: engine.shared_slots(pool),
            compile_time: begin.elapsed(),
            conduct: Conduct::default(),
        }))
    }

    /// The same bytes under the same settings: a reload keeps this one.
    pub fn same_as(&self, binary: Option<&Binary>, settings: &StrategySettings) -> bool {
        self.digest() == binary.map(Binary::digest) && self.settings == *settings
    }

    /// Bytes that were handed over are the ones that it was compiled from, and
    /// its configuration is `config`.
    pub fn is_version(&self, source: &StrategySource, config: &str) -> bool {
        let given = match source {
            StrategySource::Given(binary) => Some(binary.digest()),
            _ => return false,
        };
        self.digest() == given && *self.config == *config
    }

    /// The shipped name, the file's path, what an upload was called, or `fallback`.
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

    /// The whole SHA-256 of the component; `native` for the fallback.
    pub fn full_version(&self) -> String {
        match self.digest() {
            Some(digest) => digest.to_string(),
            None => self.version.clone(),
        }
    }

    /// SHA-256 of the component; none for the fallback.
    pub fn digest(&self) -> Option<Digest> {
        self.binary.as_ref().map(Binary::digest)
    }

    /// What it was compiled from; none for the fallback.
    pub fn binary(&self) -> Option<&Binary> {
        self.binary.as_ref()
    }

    /// What it was prepared with: its configuration and its limits.
    pub fn settings(&self) -> &StrategySettings {
        &self.settings
    }

    /// How long it took to compile; next to nothing when it was already.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Whether its answers count just now.
    pub fn standing(&self) -> Standing {
        self.conduct.standing()
    }

    /// How often it was put into quarantine.
    pub fn quarantines(&self) -> u64 {
        self.conduct.quarantines()
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
        Stats::of(&self.ledger)
    }

    /// How long picks took, by CPU time, of those that were timed.
    pub fn pick_times(&self) -> Distribution {
        self.ledger.distribution(|counters| &counters.pick_times)
    }

    pub(super) fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    pub(super) fn plugin(&self) -> Option<&Arc<Plugin>> {
        self.plugin.as_ref()
    }

    pub(super) fn open_counters(&self) -> Own<Counters> {
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
