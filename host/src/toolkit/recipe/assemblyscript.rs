//! AssemblyScript, with the asc of the project's own packages or of `PATH`.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Job, Recipe};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| folder.join(EXPORTS).exists() && folder.join("abi.ts").exists(),
    compile,
    template: Template {
        simple: files!("examples/plugins/assemblyscript":
            "README.md", "abi.ts", "exports.ts", "package.json", "plugin.toml", "strategy.ts",
        ),
        learning: files!("examples/plugins/assemblyscript/shapes/learning":
            "exports.ts", "plugin.toml", "strategy.ts",
        ),
        planned: files!("examples/plugins/assemblyscript/shapes/planned":
            "exports.ts", "plugin.toml", "strategy.ts",
        ),
        common: &[],
        replaced: &[],
    },
};

/// What is compiled; the rest is imported from there.
const EXPORTS: &str = "exports.ts";

/// Renames exports to the contract's names, which the language cannot write.
const NAMES: &str = include_str!("assemblyscript-exports.mjs");

const MISSING: Missing = Missing {
    what: "AssemblyScript",
    install: "  in the project's folder:  npm install\n  \
              which needs Node.js, on Debian:  apt-get install nodejs npm\n  \
              elsewhere:  https://nodejs.org",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let own = job.folder.join("node_modules/.bin");
    let asc = tools::find(&["asc"], &[own]).ok_or(MISSING)?;
    tools::find(&["node"], &[]).ok_or(MISSING)?;
    let names = job.scratch.join("exports.mjs");
    std::fs::write(&names, NAMES).with_context(|| names.display().to_string())?;
    let module = job.scratch.join("core.wasm");
    let mut asc = Command::new(asc);
    asc.current_dir(job.folder)
        .arg(EXPORTS)
        .args(["-O3", "--noAssert", "--debug", "--runtime", "incremental"])
        .args(["--use", "abort=abi/abort", "--transform"])
        .arg(&names)
        .arg("--outFile")
        .arg(&module);
    tools::run(&mut asc)?;
    std::fs::read(&module).with_context(|| module.display().to_string())
}
