//! The state file as it is written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::super::overrides::{Asked, BackendOverride, Overrides, PoolOverrides, StrategyOverride};
use crate::config::{BackendSettings, BackendState, StrategySource, Target};
use crate::plugin::{Binary, Digest};

/// What this version writes and understands.
const VERSION: u32 = 1;
/// The target of a backend that stands for SRV records.
const SERVICE: &str = "service";

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    pools: BTreeMap<String, Pool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Pool {
    strategy: Option<Strategy>,
    backends: Vec<Changed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Strategy {
    instead_of: InsteadOf,
    name: String,
    /// Of uploaded bytes, which lie in the folder; none: `name` is shipped.
    digest: Option<String>,
    config: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct InsteadOf {
    source: String,
    config: String,
    digest: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Changed {
    name: String,
    configured: Option<Backend>,
    now: Option<Backend>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Backend {
    name: String,
    address: String,
    /// Where a name was told to lead, or `service`; none: as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    weight: u16,
    capacity: u32,
    priority: u32,
    zone: Option<String>,
    labels: BTreeMap<String, String>,
    state: String,
}

impl From<&Overrides> for State {
    fn from(overrides: &Overrides) -> Self {
        let pool = |(name, pool): (&String, &PoolOverrides)| (name.clone(), Pool::from(pool));
        State {
            version: VERSION,
            pools: overrides.pools.iter().map(pool).collect(),
        }
    }
}

impl State {
    /// What it means; `binary` finds an uploaded plugin.
    pub fn into_overrides(
        self,
        binary: impl Fn(&str, Digest) -> Result<Binary>,
    ) -> Result<Overrides> {
        ensure!(self.version == VERSION, "version {}", self.version);
        let pools = self.pools.into_iter().map(|(name, pool)| {
            let pool = pool.into_overrides(&binary);
            let pool = pool.with_context(|| format!("pool {name}"))?;
            Ok((name, pool))
        });
        Ok(Overrides {
            pools: pools.collect::<Result<_>>()?,
        })
    }
}

impl From<&PoolOverrides> for Pool {
    fn from(pool: &PoolOverrides) -> Self {
        let changed = |one: &BackendOverride| Changed {
            name: one.name.clone(),
            configured: one.configured.as_ref().map(Backend::from),
            now: one.now.as_ref().map(Backend::from),
        };
        Pool {
            strategy: pool.strategy.as_ref().map(Strategy::from),
            backends: pool.backends.iter().map(changed).collect(),
        }
    }
}

impl Pool {
    fn into_overrides(
        self,
        binary: &impl Fn(&str, Digest) -> Result<Binary>,
    ) -> Result<PoolOverrides> {
        let strategy = self.strategy.map(|strategy| strategy.into_override(binary));
        let backends = self.backends.into_iter().map(|one| {
            Ok(BackendOverride {
                name: one.name,
                configured: one.configured.map(Backend::into_settings).transpose()?,
                now: one.now.map(Backend::into_settings).transpose()?,
            })
        });
        Ok(PoolOverrides {
            strategy: strategy.transpose()?,
            backends: backends.collect::<Result<_>>()?,
        })
    }
}

impl From<&StrategyOverride> for Strategy {
    fn from(strategy: &StrategyOverride) -> Self {
        let digest = match &strategy.source {
            StrategySource::Given(binary) => Some(binary.digest().to_string()),
            _ => None,
        };
        Strategy {
            instead_of: InsteadOf {
                source: strategy.instead_of.source.clone(),
                config: strategy.instead_of.config.clone(),
                digest: strategy.instead_of.digest.map(|digest| digest.to_string()),
            },
            name: strategy.source.to_string(),
            digest,
            config: strategy.config.clone(),
        }
    }
}

impl Strategy {
    fn into_override(
        self,
        binary: &impl Fn(&str, Digest) -> Result<Binary>,
    ) -> Result<StrategyOverride> {
        let source = match self.digest {
            Some(digest) => StrategySource::Given(binary(&self.name, parse(&digest)?)?),
            None if self.name == "fallback" => StrategySource::Fallback,
            None => StrategySource::Shipped(self.name),
        };
        let digest = self.instead_of.digest.as_deref().map(parse);
        Ok(StrategyOverride {
            instead_of: Asked {
                source: self.instead_of.source,
                config: self.instead_of.config,
                digest: digest.transpose()?,
            },
            source,
            config: self.config,
        })
    }
}

fn parse(digest: &str) -> Result<Digest> {
    digest
        .parse()
        .map_err(|()| anyhow!("`{digest}` is no SHA-256"))
}

impl From<&BackendSettings> for Backend {
    fn from(backend: &BackendSettings) -> Self {
        Backend {
            name: backend.name.clone(),
            address: backend.address.to_string(),
            target: match backend.target {
                Target::Written => None,
                Target::Service => Some(SERVICE.to_owned()),
                Target::Resolved(address) => Some(address.to_string()),
            },
            weight: backend.weight.get(),
            capacity: backend.capacity,
            priority: backend.priority,
            zone: backend.zone.clone(),
            labels: backend.labels.clone(),
            state: backend.state.as_str().to_owned(),
        }
    }
}

impl Backend {
    fn into_settings(self) -> Result<BackendSettings> {
        let Some(state) = BackendState::from_name(&self.state) else {
            bail!("backend {}: state `{}`", self.name, self.state);
        };
        let address = self.address.parse();
        let address = address.with_context(|| format!("backend {}", self.name))?;
        let target = match self.target.as_deref() {
            None => Target::Written,
            Some(SERVICE) => Target::Service,
            Some(address) => {
                let address = address.parse();
                Target::Resolved(address.with_context(|| format!("backend {}", self.name))?)
            }
        };
        let weight = self.weight.try_into();
        let weight = weight.with_context(|| format!("backend {}: weight", self.name))?;
        Ok(BackendSettings {
            name: self.name,
            address,
            target,
            weight,
            capacity: self.capacity,
            priority: self.priority,
            zone: self.zone,
            labels: self.labels,
            state,
        })
    }
}
