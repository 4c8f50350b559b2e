//! `manifest.toml`: what each committed component was built from, and by what.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::component::Component;
use crate::plugin::{self, Plugin};
use guest_toolchain::Toolchain;

/// All components, by name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(rename = "component")]
    pub components: Vec<Entry>,
}

/// One component.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What the configuration calls it.
    pub name: String,
    /// Its file, in the manifest's directory.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of what it is made from.
    pub sources: String,
    /// What it was built with.
    pub toolchain: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

const FILE: &str = "manifest.toml";
const HEADER: &str = "# Written by `cargo run -p rebuild-plugins`; do not edit.\n\n";

impl Entry {
    /// The entry of what was just built.
    pub fn new(plugin: &Plugin, component: &Component, toolchain: &Toolchain) -> Self {
        Self {
            name: plugin.name.clone(),
            file: plugin.file_name(),
            size: component.bytes.len() as u64,
            sha256: sha256(&component.bytes),
            sources: plugin.sources.clone(),
            toolchain: toolchain.identity(),
            imports: component.imports.clone(),
            exports: component.exports.clone(),
        }
    }
}

impl Manifest {
    /// Reads the manifest of a directory of components.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let context = || path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(context)?;
        toml::from_str(&text).with_context(context)
    }

    /// Writes it into the directory of its components.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let text = toml::to_string_pretty(self).context("writing the manifest")?;
        std::fs::write(&path, format!("{HEADER}{text}")).with_context(|| path.display().to_string())
    }

    /// The entry of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.components.iter().find(|entry| entry.name == name)
    }

    /// Components in the directory that the manifest does not know.
    pub fn others(&self, directory: &Path) -> Result<Vec<String>> {
        let mut others = Vec::new();
        for entry in directory
            .read_dir()
            .with_context(|| directory.display().to_string())?
        {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".wasm") && self.components.iter().all(|entry| entry.file != name) {
                others.push(name);
            }
        }
        Ok(others)
    }

    /// Removes the components of plugins that are no more.
    pub fn remove_others(&self, directory: &Path) -> Result<()> {
        for other in self.others(directory)? {
            std::fs::remove_file(directory.join(&other))
                .with_context(|| format!("removing {other}"))?;
            println!("  {other} removed: it has no sources any more");
        }
        Ok(())
    }
}

/// The SHA-256 of a component's bytes, as the manifest writes it.
pub fn sha256(bytes: &[u8]) -> String {
    plugin::hex(&Sha256::digest(bytes))
}
