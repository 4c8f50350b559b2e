//! C++ with its standard library, without exceptions and run-time types.

use anyhow::Result;

use super::{Job, Recipe, bindings, clang, has_file_ending};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::Missing;

const ENDINGS: [&str; 2] = [".cpp", ".cc"];

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| ENDINGS.iter().any(|ending| has_file_ending(folder, ending)),
    compile,
    template: Template {
        simple: files!("examples/plugins/cpp":
            "Makefile", "README.md", "plugin.toml", "strategy.cpp", "strategy_test.cpp",
        ),
        learning: files!("examples/plugins/cpp/shapes/learning":
            "plugin.toml", "strategy.cpp", "strategy_test.cpp",
        ),
        planned: files!("examples/plugins/cpp/shapes/planned":
            "plugin.toml", "strategy.cpp", "strategy_test.cpp",
        ),
        common: &[(bindings::FOLDER, bindings::C)],
        replaced: &[("../../../wit/bindings/c", "bindings")],
    },
};

const MISSING: Missing = Missing {
    what: "clang++ with lld and C++'s library for WebAssembly",
    install: "  on Debian:  apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 \
              libc++-19-dev-wasm32 libc++abi-19-dev-wasm32\n  \
              elsewhere:  https://github.com/WebAssembly/wasi-sdk, its bin folder first in PATH",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let clang = clang::find("clang++").ok_or(MISSING)?;
    let flags = [
        "--target=wasm32-wasi",
        "-std=c++20",
        "-fno-exceptions",
        "-fno-rtti",
        "-mexec-model=reactor",
    ];
    clang::compile(job, &clang, &ENDINGS, &flags)
}
