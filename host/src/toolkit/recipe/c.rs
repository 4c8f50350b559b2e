//! C, freestanding: neither a C library nor anything else is needed besides clang.

use anyhow::Result;

use super::{Job, Recipe, bindings, clang, has_file_ending};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::Missing;

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| has_file_ending(folder, ".c"),
    compile,
    template: Template {
        simple: files!("examples/plugins/c":
            "Makefile", "README.md", "plugin.toml", "strategy.c", "strategy_test.c",
        ),
        learning: files!("examples/plugins/c/shapes/learning":
            "plugin.toml", "strategy.c", "strategy_test.c",
        ),
        planned: files!("examples/plugins/c/shapes/planned":
            "plugin.toml", "strategy.c", "strategy_test.c",
        ),
        common: &[(bindings::FOLDER, bindings::C)],
        replaced: &[("../../../wit/bindings/c", "bindings")],
    },
};

const MISSING: Missing = Missing {
    what: "clang with lld, which compile C to WebAssembly,",
    install: "  on Debian:  apt-get install clang-19 lld-19\n  \
              on macOS:   brew install llvm lld\n  \
              elsewhere:  https://releases.llvm.org, version 14 or later",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let clang = clang::find("clang").ok_or(MISSING)?;
    let flags = [
        "--target=wasm32",
        "-ffreestanding",
        "-nostdlib",
        "-Wl,--no-entry",
    ];
    clang::compile(job, &clang, &[".c"], &flags)
}
