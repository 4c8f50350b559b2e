//! `anubis plugin build`: sources to a component that the proxy takes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::inspect;
use crate::cli::{Exit, say};
use crate::plugin::Binary;
use crate::toolkit::{Built, Missing, Project};

/// Compile a plugin's project to a component, and check it against the contract
///
/// The language is what plugin.toml says, or what the files tell. Its own compiler is
/// run; making a component of what it leaves needs no other tool. The same sources
/// and compiler give the same bytes in any folder, but for JavaScript, TypeScript and
/// Python, whose interpreters draw random numbers while they are built in.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Build {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    project: PathBuf,

    /// Where the component goes [default: DIR/NAME.wasm]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  anubis plugin build
  anubis plugin build ./canary --output /etc/anubis/canary.wasm

Exit codes:
  0 built, and the proxy would take it   3 built, but it would be refused
  1 it could not be built                5 a compiler is missing";

impl Build {
    pub(in crate::cli) fn execute(&self) -> Exit {
        match self.build() {
            Ok(exit) => exit,
            Err(error) => {
                say(format_args!("{error:#}"));
                match error.downcast_ref::<Missing>() {
                    Some(_) => Exit::Compiler,
                    None => Exit::Failed,
                }
            }
        }
    }

    fn build(&self) -> Result<Exit> {
        let project = Project::open(&self.project)?;
        let name = &project.manifest().name;
        let Built { file, bytes } = project
            .build(self.output.as_deref())
            .with_context(|| format!("{name} ({})", project.language().as_str()))?;
        inspect::show(&Binary::new(file.display().to_string(), bytes), false)
    }
}
