//! `anubis plugin inspect`: what a plugin is, and whether the proxy would take it.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Exit, say};
use crate::config::{CompileSettings, StrategySettings, StrategySource};
use crate::plugin::{Binary, CompilerSettings, Engine, Report, Role};
use crate::strategy;

/// Say what a plugin is, what it may do, and whether the proxy would take it
///
/// It is looked at and compiled as the proxy does it, and none of its code runs;
/// whether it behaves is what `anubis check` and the proxy find out in a rehearsal.
/// What it imports is all that it can do besides computing.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Inspect {
    /// The path of a .wasm, or a shipped strategy's name
    #[arg(value_name = "PATH|NAME")]
    plugin: StrategySource,

    /// One JSON object instead of lines for people
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  anubis plugin inspect ./mine.wasm
  anubis plugin inspect least-time --json

Exit codes:
  0 the proxy would take it   3 it would be refused   1 it could not be looked at";

impl Inspect {
    pub(in crate::cli) fn execute(&self) -> Exit {
        match self.read().and_then(|binary| show(&binary, self.json)) {
            Ok(exit) => exit,
            Err(error) => {
                say(format_args!("{error:#}"));
                Exit::Failed
            }
        }
    }

    fn read(&self) -> anyhow::Result<Binary> {
        let settings = StrategySettings::new(self.plugin.clone());
        let Some(binary) = strategy::read(&settings)? else {
            anyhow::bail!("{} is no plugin: it is part of the proxy", self.plugin);
        };
        Ok(binary)
    }
}

/// Looks at a plugin, and says on standard output what it is.
pub(super) fn show(binary: &Binary, json: bool) -> anyhow::Result<Exit> {
    let engine = Engine::with(CompilerSettings {
        child: Some(CompileSettings::default().time),
        cache: None,
    })?;
    let report = Report::of(&engine, binary);
    let text = match json {
        true => format!("{:#}\n", as_json(binary, &report)),
        false => as_lines(binary, &report),
    };
    // If nobody listens, nobody wants to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(match report.verdict {
        Ok(_) => Exit::Well,
        Err(_) => Exit::Plugin,
    })
}

fn as_lines(binary: &Binary, report: &Report) -> String {
    let mut text = format!("{}\n", binary.name());
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:<10}{value}");
    };
    line("sha256", &report.digest.to_string());
    line("size", &format!("{} bytes", report.size));
    if let Some(found) = &report.found {
        let (code, functions) = (found.code, found.functions);
        line("code", &format!("{code} bytes in {functions} functions"));
        line("memory", &format!("{} bytes to begin with", found.memory));
        line("made by", &listed(&found.producers, "it does not say"));
    }
    match &report.verdict {
        Ok(role) => {
            line("contract", &role.contract);
            line("world", &format!("{}: {}", role.world, explained(role)));
            line("exports", &role.exports.join(", "));
            line(
                "imports",
                &listed(&role.imports, "nothing: it only computes"),
            );
        }
        Err(why) => line("refused", why),
    }
    text
}

fn listed(names: &[String], none: &str) -> String {
    match names {
        [] => none.to_owned(),
        names => names.join(", "),
    }
}

fn explained(role: &Role) -> &'static str {
    match role.world {
        "simple" => "asked for every request",
        "configured" => "asked for every request, takes a configuration",
        "learning" => "asked for every request, learns from what becomes of it",
        _ => "makes plans, from which the proxy routes",
    }
}

fn as_json(binary: &Binary, report: &Report) -> Value {
    let found = report.found.as_ref();
    let role = report.verdict.as_ref().ok();
    json!({
        "plugin": &**binary.name(),
        "sha256": report.digest.to_string(),
        "size": report.size,
        "functions": found.map(|found| found.functions),
        "code": found.map(|found| found.code),
        "memory": found.map(|found| found.memory),
        "producers": found.map(|found| &found.producers),
        "contract": role.map(|role| &role.contract),
        "world": role.map(|role| role.world),
        "exports": role.map(|role| &role.exports),
        "imports": role.map(|role| &role.imports),
        "refused": report.verdict.as_ref().err(),
    })
}
