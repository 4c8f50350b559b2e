//! `anubis check`: every mistake of a configuration, and nothing started.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Exit, say, wrong};
use crate::config::{self, Settings};
use crate::server;

/// Say every mistake of a configuration and its plugins
///
/// Each mistake is one line on standard error: file, line, column, key, what is
/// wrong, and what was probably meant. Plugins are compiled and rehearsed on
/// their pool as at a start. No address is bound.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Check {
    /// The configuration file
    config: PathBuf,
}

const AFTER_HELP: &str = "\
Example:
  $ anubis check anubis.toml
  anubis.toml:14:1: pools.web.backends[1].wieght: unknown key; did you mean `weight`?

Exit codes:
  0 the proxy would start with it   2 the configuration is wrong
  3 a plugin would be refused       1 it could not be checked";

impl Check {
    pub(super) fn execute(self) -> Exit {
        let settings = match config::load(&self.config) {
            Ok(settings) => settings,
            Err(mistakes) => return wrong(&mistakes),
        };
        for warning in &settings.warnings {
            say(format_args!("{warning} (warning)"));
        }
        if let Err(error) = server::check(&settings) {
            say(format_args!("{}: {error}", self.config.display()));
            return Exit::from(&error);
        }
        let _ = std::io::stdout().write_all(summary(&settings).as_bytes());
        Exit::Well
    }
}

/// What there is, and who decides in each pool.
fn summary(settings: &Settings) -> String {
    let backends = settings.pools.iter().map(|pool| pool.backends.len()).sum();
    let mut text = format!(
        "ok: {}, {}, {}, {}\n",
        counted(settings.listeners.len(), "listener"),
        counted(settings.routes.len(), "route"),
        counted(settings.pools.len(), "pool"),
        counted(backends, "backend"),
    );
    for pool in &settings.pools {
        let backends = counted(pool.backends.len(), "backend");
        text += &format!("  {}: {}, {backends}\n", pool.name, pool.strategy.source);
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_summary_counts_and_names_the_strategies() {
        let text = "[[listeners]]\naddress = '127.0.0.1:1'\n\
                    [pools.web]\nstrategy = 'least-time'\n\
                    [[pools.web.backends]]\naddress = 'a'\n[[pools.web.backends]]\naddress = 'b'\n";
        let settings = config::parse(text, Path::new("anubis.toml")).expect("right");
        assert_eq!(
            summary(&settings),
            "ok: 1 listener, 1 route, 1 pool, 2 backends\n  web: least-time, 2 backends\n"
        );
    }
}
