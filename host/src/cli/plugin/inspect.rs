//! `anubis plugin inspect`: what a plugin is, and whether the proxy would take it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Exit, say};
use crate::config::{CompileSettings, StrategySettings, StrategySource};
use crate::plugin::{Binary, CompilerSettings, Engine, Report, Role};
use crate::strategy;
use crate::toolkit::wasi;

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
    let advice = without_wasi(binary, &report);
    let text = match json {
        true => format!("{:#}\n", as_json(binary, &report, advice.as_deref())),
        false => as_lines(binary, &report, advice.as_deref()),
    };
    // If nobody listens, nobody wants to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(match report.verdict {
        Ok(_) => Exit::Well,
        Err(_) => Exit::Plugin,
    })
}

/// What its author can do where WASI is what keeps it out.
fn without_wasi(binary: &Binary, report: &Report) -> Option<String> {
    let is_about_wasi = report
        .verdict
        .as_ref()
        .is_err_and(|why| why.contains("WASI"));
    let producers = report.found.as_ref().map(|found| &found.producers[..]);
    let file = Path::new(&**binary.name());
    is_about_wasi.then(|| wasi::advice(file, producers.unwrap_or_default()))?
}

fn names(named: bool) -> &'static str {
    match named {
        true => "of its functions are there: a fault says where it happened",
        false => "of functions are not there: a fault cannot say where it happened",
    }
}

/// What a plugin that imports this interface of the contract may do.
fn permission(interface: &str) -> &'static str {
    match interface {
        "log" => "may write to the proxy's log, so many lines a second",
        "inbound" => "may read the head of the request that it decides about, and who sent it",
        "members" => "may read names, addresses, zones and labels of the pool's backends",
        "shared" => "may count in numbers that it shares with its other instances",
        _ => "",
    }
}

fn as_lines(binary: &Binary, report: &Report, advice: Option<&str>) -> String {
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
        line("names", names(found.named));
    }
    match &report.verdict {
        Ok(role) => {
            line("contract", &role.contract);
            line("shape", &format!("{}: {}", role.shape, explained(role)));
            line("exports", &role.exports.join(", "));
            if role.imports.is_empty() {
                line("imports", "nothing: it only computes");
            }
            for import in &role.imports {
                line("imports", &format!("{import}: {}", permission(import)));
            }
        }
        Err(why) => {
            line("refused", why);
            if let Some(advice) = advice {
                line("instead", advice);
            }
        }
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
    match role.shape {
        "simple" => "asked for every request",
        "configured" => "asked for every request, takes a configuration",
        "learning" => "asked for every request, learns from what becomes of it",
        _ => "makes plans, from which the proxy routes",
    }
}

fn as_json(binary: &Binary, report: &Report, advice: Option<&str>) -> Value {
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
        "names": found.map(|found| found.named),
        "contract": role.map(|role| &role.contract),
        "shape": role.map(|role| role.shape),
        "exports": role.map(|role| &role.exports),
        "imports": role.map(|role| &role.imports),
        "refused": report.verdict.as_ref().err(),
        "instead": advice,
    })
}
