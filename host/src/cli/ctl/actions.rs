//! What `anubis ctl` can do: each action is a request and how its answer reads.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use http::Method;
use serde::de::DeserializeOwned;

use super::client::{Ask, Client, encoded};
use super::{text, top};
use crate::admin::model::{
    BackendChange, BackendState, NewBackend, NewStrategy, Nothing, Rollback,
};
use crate::config;

#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the pools
    Pools,
    /// List a pool's backends
    Backends { pool: String },
    /// Put another strategy in force
    Swap(Swap),
    /// Bring an earlier strategy back
    Rollback {
        pool: String,
        /// A number of `history` or the beginning of a version
        /// [default: the newest earlier one in good standing]
        version: Option<String>,
    },
    /// Go back to the strategy that the configuration asks for
    Forget { pool: String },
    /// List what has been in force in a pool
    History { pool: String },
    /// Send a backend, or all of a pool, no new requests
    Drain {
        pool: String,
        backend: Option<String>,
    },
    /// Send a backend, or all of a pool, requests again
    Activate {
        pool: String,
        backend: Option<String>,
    },
    /// The same as drain, and close idle connections
    Maintain {
        pool: String,
        backend: Option<String>,
    },
    /// Change a backend's share of the requests
    Weight {
        pool: String,
        backend: String,
        /// 1 to 65535
        weight: u32,
    },
    /// Add a backend to a pool, or change the one of this name
    Add(Add),
    /// Take a backend out of a pool; what it has in flight it finishes
    Remove { pool: String, backend: String },
    /// Read the configuration and the plugins again
    Reload,
    /// Watch pools and backends live; q or Ctrl-C ends
    Top,
}

#[derive(Debug, Args)]
pub struct Swap {
    pool: String,
    /// A file (whatever contains a `/` or ends in .wasm) or a shipped strategy's name
    #[arg(value_name = "FILE.wasm|NAME")]
    strategy: String,
    /// The strategy's configuration, or @ and the file that holds it
    #[arg(long, value_name = "TEXT|@FILE")]
    config: Option<String>,
}

#[derive(Debug, Args)]
pub struct Add {
    pool: String,
    /// HOST:PORT or http://HOST:PORT
    address: String,
    /// [default: the address]
    #[arg(long)]
    name: Option<String>,
    /// 1 to 65535 [default: 1]
    #[arg(long)]
    weight: Option<u32>,
    /// Most requests at once; 0 = no limit [default: 0]
    #[arg(long)]
    capacity: Option<u32>,
    /// 0 = first choice [default: 0]
    #[arg(long)]
    priority: Option<u32>,
    #[arg(long)]
    zone: Option<String>,
}

impl Action {
    /// Asks, and prints the answer: for people, or as it came.
    pub async fn execute(&self, client: &Client, json: bool) -> Result<()> {
        let teller = Teller { client, json };
        match self {
            Self::Pools => teller.tell(Ask::get("/v1/pools"), text::pools).await,
            Self::Backends { pool } => {
                let ask = Ask::get(format!("{}/backends", path(pool)));
                teller.tell(ask, text::backends).await
            }
            Self::Swap(swap) => teller.tell(swap.ask()?, text::swapped).await,
            Self::Rollback { pool, version } => {
                let path = format!("{}/strategy/rollback", path(pool));
                let version = version.clone();
                let ask = Ask::new(Method::POST, path).json(&Rollback { version })?;
                teller.tell(ask, text::swapped).await
            }
            Self::Forget { pool } => {
                let ask = Ask::new(Method::DELETE, format!("{}/strategy", path(pool)));
                teller.tell(ask, text::swapped).await
            }
            Self::History { pool } => {
                let ask = Ask::get(format!("{}/strategy/history", path(pool)));
                teller.tell(ask, text::history).await
            }
            Self::Drain { pool, backend } => {
                teller
                    .set(pool, backend.as_deref(), BackendState::Drain)
                    .await
            }
            Self::Activate { pool, backend } => {
                teller
                    .set(pool, backend.as_deref(), BackendState::Active)
                    .await
            }
            Self::Maintain { pool, backend } => {
                let state = BackendState::Maintenance;
                teller.set(pool, backend.as_deref(), state).await
            }
            Self::Weight {
                pool,
                backend,
                weight,
            } => {
                let change = BackendChange {
                    weight: Some(*weight),
                    ..BackendChange::default()
                };
                teller.change(pool, backend, change).await
            }
            Self::Add(add) => teller.tell(add.ask()?, text::backend).await,
            Self::Remove { pool, backend } => {
                let ask = Ask::new(Method::DELETE, backend_path(pool, backend));
                client.ask(ask).await?;
                print(format_args!("pool {pool}: backend {backend} removed\n"))
            }
            Self::Reload => {
                let ask = Ask::new(Method::POST, "/v1/reload").json(&Nothing {})?;
                teller.tell(ask, text::reloaded).await
            }
            Self::Top => top::watch(client).await,
        }
    }
}

impl Swap {
    fn ask(&self) -> Result<Ask> {
        let path = format!("{}/strategy", path(&self.pool));
        let config = self.config.as_deref().map(read_config).transpose()?;
        if !self.strategy.contains('/') && !self.strategy.ends_with(".wasm") {
            return Ask::new(Method::PUT, path).json(&NewStrategy {
                name: self.strategy.clone(),
                config: config.map(serde_json::Value::String),
            });
        }
        let file = Path::new(&self.strategy);
        let bytes = std::fs::read(file).with_context(|| self.strategy.clone())?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut path = format!("{path}?name={}", encoded(&name));
        if let Some(config) = config {
            path += &format!("&config={}", encoded(&config));
        }
        Ok(Ask::new(Method::PUT, path).body("application/wasm", bytes))
    }
}

impl Add {
    fn ask(&self) -> Result<Ask> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => config::backend_address(&self.address)
                .map_err(anyhow::Error::msg)?
                .to_string(),
        };
        Ask::new(Method::PUT, backend_path(&self.pool, &name)).json(&NewBackend {
            address: self.address.clone(),
            weight: self.weight,
            capacity: self.capacity,
            priority: self.priority,
            zone: self.zone.clone(),
            labels: BTreeMap::new(),
            state: None,
        })
    }
}

/// Prints answers.
struct Teller<'c> {
    client: &'c Client,
    json: bool,
}

impl Teller<'_> {
    async fn tell<T: DeserializeOwned>(
        &self,
        ask: Ask,
        for_people: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        let answer = self.client.ask(ask).await?;
        if self.json {
            return print(format_args!("{}\n", String::from_utf8_lossy(&answer)));
        }
        if answer.is_empty() {
            // A name, which stands for any number of backends.
            return print(format_args!("done, for every address of the name\n"));
        }
        let answer = serde_json::from_slice(&answer)
            .with_context(|| format!("{}: an answer of another shape", self.client))?;
        print(for_people(&answer))
    }

    /// Another state for a backend, or for all of a pool.
    async fn set(&self, pool: &str, backend: Option<&str>, state: BackendState) -> Result<()> {
        let change = BackendChange {
            state: Some(state),
            ..BackendChange::default()
        };
        let Some(backend) = backend else {
            let path = format!("{}/backends", path(pool));
            let ask = Ask::new(Method::PATCH, path).json(&change)?;
            return self.tell(ask, text::backends).await;
        };
        self.change(pool, backend, change).await
    }

    async fn change(&self, pool: &str, backend: &str, change: BackendChange) -> Result<()> {
        let ask = Ask::new(Method::PATCH, backend_path(pool, backend)).json(&change)?;
        self.tell(ask, text::backend).await
    }
}

fn print(what: impl Display) -> Result<()> {
    write!(std::io::stdout(), "{what}").context("standard output")
}

fn path(pool: &str) -> String {
    format!("/v1/pools/{}", encoded(pool))
}

fn backend_path(pool: &str, backend: &str) -> String {
    format!("{}/backends/{}", path(pool), encoded(backend))
}

fn read_config(text: &str) -> Result<String> {
    match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("--config @{file}")),
        None => Ok(text.to_owned()),
    }
}
