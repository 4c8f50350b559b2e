//! `anubis plugin new`: a project to begin with.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::{Exit, say};
use crate::toolkit::{Language, Shape, template};

/// Make a project for a new plugin, which builds at once
///
/// It is least-time in ten to thirty lines of the language, with its build file, the
/// contract, tests, and a README that has the commands.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct New {
    /// What the plugin is called; the project's folder unless --folder is given
    #[arg(value_name = "NAME")]
    name: String,

    /// What it is written in
    #[arg(long, short)]
    language: Language,

    /// What it is asked: `simple` for every request, `learning` also what became of
    /// them, `planned` to make plans from which the proxy routes
    #[arg(long, default_value = "simple", value_parser = shape)]
    shape: Shape,

    /// Where the project goes: a folder that is not there yet, or empty
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  anubis plugin new canary --language python
  anubis plugin new cheapest --language go --shape planned

Then:
  cd canary && anubis plugin build && anubis plugin test canary.wasm";

impl New {
    pub(in crate::cli) fn execute(&self) -> Exit {
        let folder = self
            .folder
            .clone()
            .unwrap_or_else(|| self.name.clone().into());
        match template::write(&folder, &self.name, self.language, self.shape) {
            Ok(()) => {
                let (folder, name) = (folder.display(), &self.name);
                println!(
                    "{folder}: begin with its README.md, or at once:\n  cd {folder} && anubis plugin \
                     build && anubis plugin test {name}.wasm"
                );
                Exit::Well
            }
            Err(error) => {
                say(format_args!("{error:#}"));
                Exit::Failed
            }
        }
    }
}

/// The shapes that there are templates of.
fn shape(text: &str) -> Result<Shape, String> {
    match Shape::from_str(text, false) {
        Ok(Shape::Configured) | Err(_) => Err("one of simple, learning, planned".into()),
        Ok(shape) => Ok(shape),
    }
}
