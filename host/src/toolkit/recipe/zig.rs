//! Zig, freestanding: `zig` itself, or the one that PyPI has as `ziglang`.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Job, Recipe, bindings, has_file_ending};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| has_file_ending(folder, ".zig"),
    compile,
    template: Template {
        simple: files!("examples/plugins/zig":
            "README.md", "plugin.toml", "strategy.zig", "strategy_test.zig",
        ),
        learning: files!("examples/plugins/zig/shapes/learning":
            "plugin.toml", "strategy.zig", "strategy_test.zig",
        ),
        planned: files!("examples/plugins/zig/shapes/planned":
            "plugin.toml", "strategy.zig", "strategy_test.zig",
        ),
        common: &[(bindings::FOLDER, bindings::ZIG)],
        replaced: &[("../../../wit/bindings/zig", "bindings")],
    },
};

const MISSING: Missing = Missing {
    what: "Zig",
    install: "  with pip (in a virtual environment):  pip install ziglang==0.17.1\n  \
              elsewhere:                            https://ziglang.org/download",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let bindings = bindings::folder(job, bindings::ZIG)?;
    let module = job.scratch.join("core.wasm");
    let mut zig = compiler().ok_or(MISSING)?;
    zig.current_dir(job.folder)
        .arg("build-exe")
        .args(["-target", "wasm32-freestanding", "-fno-entry", "-rdynamic"])
        .args(["-O", "ReleaseFast", "-fno-strip", "--stack", "65536"])
        .args(["--dep", "anubis", "-Mroot=strategy.zig"])
        .arg(format!(
            "-Manubis={}",
            bindings.join("anubis.zig").display()
        ))
        .arg("--cache-dir")
        .arg(job.scratch.join("zig-cache"))
        .arg(format!("-femit-bin={}", module.display()));
    tools::run(&mut zig)?;
    std::fs::read(&module).with_context(|| module.display().to_string())
}

fn compiler() -> Option<Command> {
    if let Some(zig) = tools::find(&["zig", "python-zig"], &[]) {
        return Some(Command::new(zig));
    }
    let mut zig = Command::new(tools::find(&["python3"], &[])?);
    zig.args(["-m", "ziglang"]);
    let known = Command::new(zig.get_program())
        .args(["-c", "import ziglang"])
        .output();
    known.is_ok_and(|out| out.status.success()).then_some(zig)
}
