//! Builds the shipped strategies from source.
//!
//! `cargo run -p rebuild-plugins` writes `plugins/components/*.wasm` and their
//! manifest; with `--check` it writes neither, but fails where they do not
//! belong to the sources.

mod check;
mod compile;
mod component;
mod manifest;
mod plugin;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use compile::Compiler;
use guest_toolchain::{Choice, Toolchain};
use manifest::{Entry, Manifest};
use plugin::Plugin;

/// Builds the shipped strategies (plugins/*) into components.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Change nothing; fail where sources, manifest and components disagree.
    #[arg(long)]
    check: bool,
    /// Leave what was built in this directory [default: plugins/components, or
    /// with --check nowhere].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What to build with.
    #[arg(long, value_enum, default_value_t)]
    toolchain: Choice,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let root = workspace_root()?;
    let committed = root.join("plugins/components");
    let plugins = plugin::find(&root)?;
    let toolchain = Toolchain::choose(arguments.toolchain)?;
    println!(
        "building {} plugins with {}",
        plugins.len(),
        toolchain.identity()
    );

    let build = |out: &Path| build_all(&root, &toolchain, &plugins, out);
    match (arguments.check, &arguments.out) {
        (true, Some(out)) => check::compare(&committed, &build(out)?),
        (true, None) => {
            let scratch = tempfile::tempdir().context("making a temporary directory")?;
            check::compare(&committed, &build(scratch.path())?)
        }
        (false, Some(out)) => build(out).map(drop),
        (false, None) => build(&committed)?.remove_others(&committed),
    }
}

/// Builds all plugins into `out` and writes the manifest beside them.
fn build_all(
    root: &Path,
    toolchain: &Toolchain,
    plugins: &[Plugin],
    out: &Path,
) -> Result<Manifest> {
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let compiler = Compiler::new(root, toolchain);
    let mut components = Vec::new();
    for plugin in plugins {
        let core = compiler.compile(plugin)?;
        let component = component::encode(plugin, &core)?;
        let file = out.join(plugin.file_name());
        std::fs::write(&file, &component.bytes)
            .with_context(|| format!("writing {}", file.display()))?;
        println!("  {:<20} {:>6} bytes", plugin.name, component.bytes.len());
        components.push(Entry::new(plugin, &component, toolchain));
    }
    let manifest = Manifest { components };
    manifest.write(out)?;
    Ok(manifest)
}

fn workspace_root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own
        .ancestors()
        .nth(2)
        .context("plugins/rebuild is two directories deep")?;
    std::fs::canonicalize(root).with_context(|| format!("finding {}", root.display()))
}
