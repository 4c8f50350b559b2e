//! Rust, with a compiler that has the target `wasm32-unknown-unknown` or can build a
//! standard library for it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use guest_toolchain::{Choice, TARGET, Toolchain, profile};
use serde_json::Value;

use super::{Job, Recipe};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| folder.join("Cargo.toml").exists(),
    compile,
    template: Template {
        simple: files!("examples/plugins/rust":
            "Cargo.lock", "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs", "src/tests.rs",
        ),
        learning: files!("examples/plugins/rust/shapes/learning":
            "plugin.toml", "src/lib.rs", "src/tests.rs",
        ),
        planned: files!("examples/plugins/rust/shapes/planned":
            "plugin.toml", "src/lib.rs", "src/tests.rs",
        ),
        // The crate is not published: a project gets its sources.
        common: &[(
            "anubis-strategy",
            files!("plugins/sdk":
                "Cargo.toml", "src/draw.rs", "src/export.rs", "src/glue.rs", "src/identity.rs",
                "src/imports.rs", "src/latency.rs", "src/lib.rs", "src/load.rs", "src/options/json.rs",
                "src/options/mod.rs", "src/random.rs", "src/rendezvous.rs", "src/rotation.rs",
                "src/strategy.rs", "src/testing.rs", "src/types.rs",
            ),
        )],
        replaced: &[
            ("../../../plugins/sdk", "anubis-strategy"),
            ("\"../../wit\"", "\"../wit\""),
            ("rust-version.workspace = true\n", ""),
            (
                "version.workspace = true",
                concat!("version = \"", env!("CARGO_PKG_VERSION"), "\""),
            ),
            ("edition.workspace = true", "edition = \"2024\""),
            ("license.workspace = true\n", ""),
            ("publish.workspace = true", "publish = false"),
            ("wit-bindgen = { workspace = true }", WIT_BINDGEN),
            ("[dev-dependencies]\nproptest = { workspace = true }\n", ""),
        ],
    },
};

/// As in the workspace.
const WIT_BINDGEN: &str = "wit-bindgen = { version = \"=0.61.1\", default-features = false, \
                           features = [\"macros\", \"realloc\"] }";

const MISSING: Missing = Missing {
    what: "a Rust compiler for WebAssembly",
    install: "  with rustup (https://rustup.rs):  rustup target add wasm32-unknown-unknown\n  \
              on Debian:                        apt-get install rustc-web cargo-web rust-web-src lld-19",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let toolchain = Toolchain::choose(Choice::Auto).map_err(|_| MISSING)?;
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(job.folder)
        .args(["rustc", "--release", "--lib", "--crate-type", "cdylib"])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(job.scratch)
        .args(toolchain.cargo_arguments())
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            toolchain.flags(job.folder, "/plugin"),
        );
    for setting in profile("debuginfo") {
        cargo.args(["--config", &setting]);
    }
    let messages = tools::output(&mut cargo)?;
    let module = artifact(&messages).context("cargo made no .wasm of the library")?;
    std::fs::read(&module).with_context(|| module.display().to_string())
}

/// The module that cargo says it made last: that of the project itself.
fn artifact(messages: &str) -> Option<PathBuf> {
    let made = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        let names = message.get("filenames")?.as_array()?;
        let mut names = names.iter().filter_map(Value::as_str);
        names
            .find(|name| name.ends_with(".wasm"))
            .map(PathBuf::from)
    };
    messages.lines().filter_map(made).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_are_those_of_the_workspace() {
        let workspace = include_str!("../../../../Cargo.toml");
        assert!(workspace.lines().any(|line| line == WIT_BINDGEN));
    }

    #[test]
    fn the_module_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/a/libdep.rlib"]}
{"reason":"compiler-artifact","filenames":["/a/my_strategy.wasm"]}
not json
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            artifact(messages),
            Some(PathBuf::from("/a/my_strategy.wasm"))
        );
        assert_eq!(artifact(""), None);
    }
}
