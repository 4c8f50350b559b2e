//! The command line: one file a subcommand, and what the process ends with.

mod check;
mod compile_plugin;
mod ctl;
mod demo;
mod plugin;
mod run;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Mistakes;
use crate::server::StartError;
use crate::telemetry;

/// A load balancer for HTTP whose balancing decision is a WebAssembly plugin.
///
/// anubis accepts HTTP/1.1 connections, picks a backend for every request by
/// asking a strategy (one of the shipped ones or your own, in any language that
/// compiles to WebAssembly), and forwards the request. Strategies and
/// configuration are replaced while traffic flows.
#[derive(Debug, Parser)]
#[command(
    name = "anubis",
    version,
    arg_required_else_help = true,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
See it work:  anubis demo
More:         anubis help COMMAND";

const AFTER_LONG_HELP: &str = "\
Examples:
  anubis demo
      three backends, a proxy and some traffic, all in this process
  anubis run
      with the configuration ./anubis.toml
  anubis run --listen 127.0.0.1:8080 --backend http://127.0.0.1:9001 --strategy least-time
      with no configuration at all
  anubis check /etc/anubis/anubis.toml
      say every mistake, change nothing
  anubis plugin inspect ./mine.wasm
      what a plugin is, what it may do, and whether it would be taken
  anubis plugin test ./mine.wasm
      whether it behaves as a strategy should
  anubis ctl swap web ./mine.wasm
      another strategy for a running proxy

Exit codes:
  0  ended well: told to stop, and all that was in flight is finished
  1  failed for a reason that is none of the below
  2  the configuration or the command line is wrong
  3  a plugin was refused
  4  the address of a listener could not be bound
  5  the compiler that a plugin needs is not installed
  6  a plugin lacks a property that it should have (plugin test)
  130  a second signal ended it at once

Signals:
  SIGTERM, SIGINT (Ctrl-C)  accept no more, finish what is in flight, end
  SIGHUP                    read the configuration and the plugins again
  SIGUSR2                   start the program anew, hand it the sockets, and end";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Demo(demo::Demo),
    Plugin(plugin::Plugin),
    #[command(name = crate::plugin::child::COMMAND, hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
    Ctl(ctl::Ctl),
}

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Well = 0,
    Failed = 1,
    Configuration = 2,
    Plugin = 3,
    Bind = 4,
    Compiler = 5,
    Property = 6,
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let exit = match Arguments::parse().command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Demo(demo) => demo.execute(),
        Command::Plugin(plugin) => plugin.execute(),
        Command::CompilePlugin(compile) => compile.execute(),
        Command::Ctl(ctl) => ctl.execute(),
    };
    telemetry::finish();
    ExitCode::from(exit as u8)
}

/// Says what the user has to mend before anything can start.
fn wrong(mistakes: &Mistakes) -> Exit {
    say(mistakes);
    Exit::Configuration
}

/// One thing on standard error, where it may be that nobody listens.
fn say(what: impl Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{what}");
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Configuration(_) => Self::Configuration,
            StartError::Plugin(_) => Self::Plugin,
            StartError::Bind(_) => Self::Bind,
            StartError::Other(_) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_failure_to_start_has_its_exit_code() {
        let mistakes = Mistakes::whole("anubis.toml", "wrong");
        let failed = || anyhow::anyhow!("failed");
        for (error, code) in [
            (StartError::Other(failed()), 1),
            (StartError::Configuration(mistakes), 2),
            (StartError::Plugin(failed()), 3),
            (StartError::Bind(failed()), 4),
        ] {
            assert_eq!(Exit::from(&error) as u8, code, "{error}");
        }
    }
}
