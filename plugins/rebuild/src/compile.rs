//! Sources to core modules, in a way that gives the same bytes anywhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use guest_toolchain::{TARGET, Toolchain};

use crate::plugin::Plugin;

/// Everything that is the same for all plugins and decides on their bytes, as
/// part of the digest of their sources.
pub fn settings() -> String {
    profile().join("\n")
}

/// Names are left out of the shipped components: nobody has to debug them.
fn profile() -> [String; 7] {
    guest_toolchain::profile("symbols")
}

/// Compiles plugins.
#[derive(Debug)]
pub struct Compiler<'a> {
    root: &'a Path,
    toolchain: &'a Toolchain,
    target_directory: PathBuf,
}

impl<'a> Compiler<'a> {
    /// A compiler with its own target directory, apart from the proxy's.
    pub fn new(root: &'a Path, toolchain: &'a Toolchain) -> Self {
        let base = match toolchain {
            Toolchain::Prebuilt { .. } => "target/plugins",
            Toolchain::Debian { .. } => "target/plugins-debian",
        };
        Self {
            root,
            toolchain,
            target_directory: root.join(base),
        }
    }

    /// The plugin's core module.
    pub fn compile(&self, plugin: &Plugin) -> Result<Vec<u8>> {
        let mut cargo = self.toolchain.cargo();
        cargo
            .current_dir(self.root)
            .args(["rustc", "--quiet", "--locked", "--release", "--lib"]);
        cargo.args([
            "--package",
            &plugin.package,
            "--crate-type",
            "cdylib",
            "--target",
            TARGET,
        ]);
        cargo.arg("--target-dir").arg(&self.target_directory);
        for setting in profile() {
            cargo.args(["--config", &setting]);
        }
        cargo.args(self.toolchain.cargo_arguments());
        cargo.env(
            "CARGO_ENCODED_RUSTFLAGS",
            self.toolchain.flags(self.root, "/anubis"),
        );
        let status = cargo
            .status()
            .with_context(|| format!("running {:?}", cargo.get_program()))?;
        if !status.success() {
            bail!("plugin {}: it does not compile", plugin.name);
        }
        let file = format!("{TARGET}/release/{}.wasm", plugin.library);
        let file = self.target_directory.join(file);
        std::fs::read(&file).with_context(|| format!("plugin {}: {}", plugin.name, file.display()))
    }
}
