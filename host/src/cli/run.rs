//! `anubis run`: the proxy, until it is told to stop.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, say, wrong};
use crate::config::{self, Mistakes, Settings};
use crate::server::{self, Inheritance, Source};
use crate::telemetry;

/// The configuration that is read when none is named.
const HERE: &str = "anubis.toml";

/// Run the proxy until SIGTERM or Ctrl-C
///
/// With a configuration file, or with --listen and --backend and no file at
/// all. A changed file or plugin is taken over while traffic flows; a wrong one
/// is refused with the reason in the log, and the old one stays in force.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, group = clap::ArgGroup::new("quick").multiple(true))]
pub struct Run {
    /// The configuration file [default: ./anubis.toml]
    #[arg(conflicts_with = "quick")]
    config: Option<PathBuf>,

    /// Accept on this address; may be repeated
    #[arg(long, value_name = "ADDRESS", group = "quick", help_heading = QUICK)]
    listen: Vec<String>,

    /// Forward to this backend, HOST:PORT or http://HOST:PORT; repeated for more
    #[arg(long, value_name = "URL", group = "quick", help_heading = QUICK)]
    backend: Vec<String>,

    /// A shipped strategy's name or the path of a .wasm, which is watched
    /// [default: round-robin]
    #[arg(long, value_name = "NAME|PATH", group = "quick", help_heading = QUICK)]
    strategy: Option<String>,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", group = "quick", help_heading = QUICK)]
    workers: Option<NonZeroUsize>,
}

const QUICK: &str = "Without a file";

const AFTER_HELP: &str = "\
Examples:
  anubis run                       with ./anubis.toml
  anubis run /etc/anubis.toml
  anubis run --listen 127.0.0.1:8080 \\
      --backend http://127.0.0.1:9001 --backend http://127.0.0.1:9002 \\
      --strategy least-time
  anubis run --listen '[::]:80' --backend app:8080 --strategy ./mine.wasm

Strategies:
  round-robin, random, least-connections, least-time, peak-ewma, two-choices,
  ip-hash, consistent-hash, maglev, first-fit, priority-zone; or fallback,
  which uses no plugin

Exit codes:
  0 ended well   1 failed   2 configuration or arguments wrong
  3 a plugin was refused    4 an address could not be bound";

impl Run {
    pub(super) fn execute(self) -> Exit {
        // Before this process opens anything.
        let inheritance = match Inheritance::claim() {
            Ok(inheritance) => inheritance,
            Err(error) => {
                say(format_args!("{error:#}"));
                return Exit::Failed;
            }
        };
        let (settings, source) = match self.settings() {
            Ok(read) => read,
            Err(mistakes) => return wrong(&mistakes),
        };
        if let Err(error) = telemetry::log::start(&settings.log) {
            say(format_args!("{error:#}"));
            return Exit::Failed;
        }
        settings.tell_warnings();
        match server::run(settings, source, inheritance) {
            Ok(()) => Exit::Well,
            Err(error) => {
                tracing::error!("cannot start: {error}");
                Exit::from(&error)
            }
        }
    }

    fn settings(self) -> Result<(Settings, Source), Mistakes> {
        if self.is_quick() {
            let strategy = self.strategy.as_deref();
            let settings = Settings::quick(&self.listen, &self.backend, strategy, self.workers)?;
            return Ok((settings, Source::CommandLine));
        }
        let path = match self.config {
            Some(path) => path,
            None => here()?,
        };
        let settings = config::load(&path)?;
        Ok((settings, Source::File(path)))
    }

    fn is_quick(&self) -> bool {
        !self.listen.is_empty()
            || !self.backend.is_empty()
            || self.strategy.is_some()
            || self.workers.is_some()
    }
}

fn here() -> Result<PathBuf, Mistakes> {
    if Path::new(HERE).exists() {
        return Ok(PathBuf::from(HERE));
    }
    let what = "there is no such file in this folder; name a configuration file, or use --listen \
                and --backend (anubis run --help)";
    Err(Mistakes::whole(HERE, what))
}
