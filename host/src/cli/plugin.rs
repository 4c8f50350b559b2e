//! `anubis plugin`: for those who write plugins, one file a subcommand.

mod bench;
mod build;
mod inspect;
mod new;
mod test;

use clap::{Args, Subcommand};

use super::Exit;

/// For those who write plugins
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Bench),
    Build(build::Build),
    Inspect(inspect::Inspect),
    New(new::New),
    Test(test::Test),
}

impl Plugin {
    pub(super) fn execute(self) -> Exit {
        match self.command {
            Command::Bench(bench) => bench.execute(),
            Command::Build(build) => build.execute(),
            Command::Inspect(inspect) => inspect.execute(),
            Command::New(new) => new.execute(),
            Command::Test(test) => test.execute(),
        }
    }
}
