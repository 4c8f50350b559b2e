//! `anubis plugin bench`: what a plugin costs.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Exit, say};
use crate::config::{CompileSettings, StrategySettings, StrategySource};
use crate::plugin::{CompilerSettings, Engine};
use crate::strategy;
use crate::toolkit::bench::{Figures, measure};
use crate::toolkit::conformance::Declared;

/// What every plugin is compared with.
const REFERENCE: &str = "least-time";

/// Measure what a plugin costs: a pick by the number of backends, a start, its
/// compilation, its memory
///
/// Calls go through the proxy's own limits. Beside each figure stands that of the
/// shipped least-time, measured in the same run: compare those two, and not figures of
/// different runs or machines.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Bench {
    /// The path of a .wasm, or a shipped strategy's name
    #[arg(value_name = "PATH|NAME")]
    plugin: StrategySource,

    /// Text for `configure` [default: `config` of the `plugin.toml` beside it, else empty]
    #[arg(long, value_name = "TEXT")]
    config: Option<String>,

    /// Numbers of backends
    #[arg(long, value_name = "N,N,...", value_delimiter = ',',
          default_values_t = [3, 10, 100, 1_000, 10_000],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    backends: Vec<u32>,

    /// One JSON object instead of lines for people
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  anubis plugin bench ./mine.wasm
  anubis plugin bench maglev --backends 10,100 --json

Exit codes:
  0 measured   3 the proxy would refuse it, or it failed a call
  1 it could not be measured";

impl Bench {
    pub(in crate::cli) fn execute(&self) -> Exit {
        match self.bench() {
            Ok(exit) => exit,
            Err(error) => {
                say(format_args!("{error:#}"));
                Exit::Failed
            }
        }
    }

    fn bench(&self) -> Result<Exit> {
        if cfg!(debug_assertions) {
            say("this anubis was built without optimisation: its figures mean nothing");
        }
        let mut settings = StrategySettings::new(self.plugin.clone());
        settings.config = self.config()?;
        let figures = match self.figures(&settings)? {
            Ok(figures) => figures,
            Err(refused) => {
                say(format_args!("{}: {refused:#}", self.plugin));
                return Ok(Exit::Plugin);
            }
        };
        let reference = StrategySource::Shipped(REFERENCE.to_owned());
        let reference = self
            .figures(&StrategySettings::new(reference))?
            .context(REFERENCE)?;
        let name = self.plugin.to_string();
        let text = match self.json {
            true => format!("{:#}\n", as_json(&name, &figures, &reference)),
            false => as_lines(&name, &figures, &reference),
        };
        // If nobody listens, nobody wants to know.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(Exit::Well)
    }

    fn config(&self) -> Result<String> {
        if let Some(config) = &self.config {
            return Ok(config.clone());
        }
        let declared = match &self.plugin {
            StrategySource::File(path) => Declared::beside(path)?,
            _ => Declared::default(),
        };
        Ok(declared.config().to_owned())
    }

    /// The inner error is why the proxy would not have it.
    fn figures(&self, settings: &StrategySettings) -> Result<Result<Figures>> {
        let Some(binary) = strategy::read(settings)? else {
            bail!("{} is no plugin: it is part of the proxy", settings.source);
        };
        // An engine for each: nothing is compiled already.
        let engine = Engine::with(CompilerSettings {
            child: Some(CompileSettings::default().time),
            cache: None,
        })?;
        Ok(measure(&engine, &binary, settings, &self.backends))
    }
}

fn as_lines(name: &str, figures: &Figures, reference: &Figures) -> String {
    let mut text = format!("{name}\n");
    let mut line = |key: &str, own: String, other: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:<24}{own:>14}{other:>14}");
    };
    line("", "this".into(), REFERENCE.into());
    let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
    line("size", kib(figures.size), kib(reference.size));
    line("compile", figures.compile_text(), reference.compile_text());
    line("start", figures.start_text(), reference.start_text());
    line("memory", kib(figures.memory), kib(reference.memory));
    let what = if figures.is_planner { "plan" } else { "pick" };
    for (own, other) in figures.calls.iter().zip(&reference.calls) {
        let of = format!("{what}, {} backends", own.backends);
        line(&of, nanoseconds(own.p50), nanoseconds(other.p50));
        line("  p99", nanoseconds(own.p99), nanoseconds(other.p99));
        if let Some(look_up) = own.look_up {
            line("  look-up in the plan", nanoseconds(look_up), "".into());
        }
    }
    text
}

impl Figures {
    fn compile_text(&self) -> String {
        format!("{:.1} ms", self.compile.as_secs_f64() * 1e3)
    }

    fn start_text(&self) -> String {
        format!("{:.1} us", self.start.as_secs_f64() * 1e6)
    }
}

fn nanoseconds(value: f64) -> String {
    format!("{value:.0} ns")
}

fn as_json(name: &str, figures: &Figures, reference: &Figures) -> Value {
    json!({ "plugin": name, "figures": of(figures), REFERENCE: of(reference) })
}

fn of(figures: &Figures) -> Value {
    let calls = figures.calls.iter().map(|calls| {
        json!({
            "backends": calls.backends,
            "p50-ns": calls.p50,
            "p99-ns": calls.p99,
            "look-up-ns": calls.look_up,
        })
    });
    json!({
        "size": figures.size,
        "planner": figures.is_planner,
        "compile-us": figures.compile.as_micros() as u64,
        "start-ns": figures.start.as_nanos() as u64,
        "memory": figures.memory,
        "calls": calls.collect::<Vec<_>>(),
    })
}
