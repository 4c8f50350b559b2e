//! Python, with componentize-py: the CPython interpreter and the program, as it is after
//! its first import.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Job, Recipe, has_file_ending, world};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| has_file_ending(folder, ".py"),
    compile,
    template: Template {
        simple: files!("examples/plugins/python":
            "README.md", "my_strategy.py", "plugin.toml", "requirements.txt",
            "tests/test_my_strategy.py",
        ),
        learning: files!("examples/plugins/python/shapes/learning":
            "my_strategy.py", "plugin.toml", "tests/componentize_py_types.py",
            "tests/test_my_strategy.py",
        ),
        planned: files!("examples/plugins/python/shapes/planned":
            "my_strategy.py", "plugin.toml", "tests/componentize_py_types.py",
            "tests/test_my_strategy.py", "tests/wit_world/__init__.py",
            "tests/wit_world/imports/__init__.py", "tests/wit_world/imports/types.py",
        ),
        common: &[],
        replaced: &[],
    },
};

const MISSING: Missing = Missing {
    what: "componentize-py, the compiler of Python,",
    install: "  in the project's folder:  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt\n  \
              for all projects:         pipx install componentize-py==0.25.1\n  \
              Python itself on Debian:  apt-get install python3-venv pipx",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let compiler = tools::find(&["componentize-py"], &environments(job)).ok_or(MISSING)?;
    let module = job.manifest.name.replace('-', "_");
    let folders = [job.folder.to_path_buf(), job.folder.join("src")];
    let there = |folder: &&PathBuf| {
        folder.join(format!("{module}.py")).is_file() || folder.join(&module).is_dir()
    };
    let folder = folders.iter().find(there);
    ensure!(
        folder.is_some(),
        "there is no {module}.py, which is to have the plugin's classes"
    );
    let wit = world::write(job, &["py"], |source, import| {
        source.contains("wit_world") && words(source).any(|word| word == import)
    })?;
    let made = job.scratch.join("component.wasm");
    tools::run(
        Command::new(compiler)
            .current_dir(job.folder)
            .args(["--quiet", "--world", world::NAME, "--wit-path"])
            .arg(wit)
            .args(["componentize", "--stub-wasi", &module, "--python-path"])
            .args(folder)
            .arg("--output")
            .arg(&made),
    )?;
    std::fs::read(&made).with_context(|| made.display().to_string())
}

/// Where programs of Python environments are: of the project's own, and of the one that
/// is active.
fn environments(job: &Job<'_>) -> Vec<PathBuf> {
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let own = job.folder.join(".venv");
    let environments = std::iter::once(own).chain(active);
    environments.map(|folder| folder.join("bin")).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}
