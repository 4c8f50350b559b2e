//! Sources to core modules, in a way that gives the same bytes anywhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::plugin::Plugin;
use crate::toolchain::{TARGET, Toolchain};

/// The release profile of the plugins. Cargo takes profiles only from the root
/// manifest, where they would be the proxy's too.
const PROFILE: [&str; 7] = [
    "profile.release.opt-level=3",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"symbols\"",
    "profile.release.debug=false",
    "profile.release.overflow-checks=false",
];

/// Everything that is the same for all plugins and decides on their bytes, as
/// part of the digest of their sources.
pub fn settings() -> String {
    PROFILE.join("\n")
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
        for setting in PROFILE {
            cargo.args(["--config", setting]);
        }
        cargo.args(self.toolchain.cargo_arguments());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags());
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

    /// No path of this machine goes into a component.
    fn flags(&self) -> OsString {
        let mut remapped = vec![(self.root.to_path_buf(), "/anubis")];
        remapped.extend(cargo_home().map(|home| (home, "/cargo")));
        remapped.extend(self.toolchain.remapped());
        let mut flags = OsString::new();
        for (position, (path, name)) in remapped.iter().enumerate() {
            if position > 0 {
                flags.push("\x1f");
            }
            flags.push("--remap-path-prefix=");
            flags.push(path);
            flags.push("=");
            flags.push(name);
        }
        flags
    }
}

fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}
