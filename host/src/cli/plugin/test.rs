//! `anubis plugin test`: whether a plugin behaves as a strategy should.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cli::{Exit, say};
use crate::config::{CompileSettings, StrategySettings, StrategySource};
use crate::plugin::{Binary, CompilerSettings, Engine, Plugin};
use crate::strategy;
use crate::toolkit::conformance::{
    self, Declared, Document, Subject, Terms, Verdict, as_json, as_junit, as_line, summary,
};

/// Try a plugin on made-up backends and requests, property by property
///
/// It runs under the limits that it has in service. What it lacks by nature (one that
/// fills backend after backend shares nothing) is declared in the `plugin.toml` beside
/// it and is told, but is no failure:
///
///   [test]
///   config = "..."
///   [test.lacks]
///   proportional = "it fills one backend before it asks the next"
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, verbatim_doc_comment)]
pub struct Test {
    /// The path of a .wasm, or a shipped strategy's name
    #[arg(value_name = "PATH|NAME")]
    plugin: StrategySource,

    /// Text for `configure` [default: `config` of the manifest, else empty]
    #[arg(long, value_name = "TEXT")]
    config: Option<String>,

    /// What the plugin declares [default: the `plugin.toml` beside it, if any]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Everything that is random follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Calls that must stay within their bounds
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    calls: u64,

    /// After this time no more of those calls are made
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// CPU time of one call, as the pool will have it [default: as a pool has it]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,

    /// One JSON object instead of lines for people
    #[arg(long)]
    json: bool,

    /// Write a JUnit report to this file too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  anubis plugin test ./mine.wasm
  anubis plugin test first-fit --config '{\"fill\": 0.5}' --json
  anubis plugin test ./slow.wasm --calls 100000 --junit report.xml

Exit codes:
  0 all that should hold holds   6 something does not   3 the proxy would refuse it
  2 its manifest is wrong   1 it could not be tested";

impl Test {
    pub(in crate::cli) fn execute(&self) -> Exit {
        let declared = match self.declared() {
            Ok(declared) => declared,
            Err(error) => {
                say(format_args!("{error:#}"));
                return Exit::Configuration;
            }
        };
        self.test(&declared).unwrap_or_else(|error| {
            say(format_args!("{error:#}"));
            Exit::Failed
        })
    }

    fn declared(&self) -> Result<Declared> {
        match (&self.manifest, &self.plugin) {
            (Some(path), _) => Declared::read(path),
            (None, StrategySource::File(path)) => Declared::beside(path),
            (None, StrategySource::Shipped(name)) => Declared::of_shipped(name),
            (None, _) => Ok(Declared::default()),
        }
    }

    fn test(&self, declared: &Declared) -> Result<Exit> {
        let config = self.config.as_deref().unwrap_or(declared.config());
        let mut settings = StrategySettings::new(self.plugin.clone());
        settings.config = config.to_owned();
        settings.deadline = self.deadline.unwrap_or(settings.deadline);
        let Some(binary) = strategy::read(&settings)? else {
            bail!("{} is no plugin: it is part of the proxy", self.plugin);
        };
        let verdicts = match self.subject(&binary, settings.clone())? {
            Ok(subject) => Ok(self.run(&subject, declared, binary.name())),
            Err(why) => Err(why),
        };
        let document = Document {
            plugin: binary.name(),
            digest: binary.digest(),
            config: &settings.config,
            seed: self.seed,
            verdicts: verdicts.as_deref().map_err(String::as_str),
        };
        self.report(&document)?;
        Ok(match document.verdicts {
            Err(_) => Exit::Plugin,
            Ok(verdicts) if verdicts.iter().any(Verdict::is_failure) => Exit::Property,
            Ok(_) => Exit::Well,
        })
    }

    /// The compiled plugin; the inner error is why the proxy would refuse it.
    fn subject(
        &self,
        binary: &Binary,
        settings: StrategySettings,
    ) -> Result<Result<Subject, String>> {
        let engine = Engine::with(CompilerSettings {
            child: Some(CompileSettings::default().time),
            cache: None,
        })?;
        let plugin = match Plugin::compile_once(&engine, binary) {
            Ok(plugin) => plugin,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let terms = Terms {
            seed: self.seed,
            calls: self.calls,
            time: self.time,
        };
        Ok(Subject::new(plugin, binary.name(), settings, terms))
    }

    /// Tries it, and tells people of each property at once: some take their time.
    fn run(&self, subject: &Subject, declared: &Declared, name: &str) -> Vec<Verdict> {
        self.tell(&format!("{name}\n"));
        let verdicts = conformance::run(subject, declared, |verdict| self.tell(&as_line(verdict)));
        self.tell(&summary(&verdicts, self.seed));
        verdicts
    }

    fn report(&self, document: &Document<'_>) -> Result<()> {
        if let Some(path) = &self.junit {
            write(path, &as_junit(document))?;
        }
        if self.json {
            print(&format!("{:#}\n", as_json(document)));
        } else if let Err(why) = document.verdicts {
            print(&format!("{}\n  refused {why}\n", document.plugin));
        }
        Ok(())
    }

    fn tell(&self, text: &str) {
        if !self.json {
            print(text);
        }
    }
}

fn print(text: &str) {
    // If nobody listens, nobody wants to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
