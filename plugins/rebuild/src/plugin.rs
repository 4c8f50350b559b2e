//! One plugin's crate: where it is, what it may import, and the digest of
//! everything that its component is made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use toml::Table;

use crate::compile;

/// A crate under `plugins/` that becomes a component.
#[derive(Debug)]
pub struct Plugin {
    /// What the configuration calls it, and its directory.
    pub name: String,
    /// The cargo package.
    pub package: String,
    /// The library's name: what cargo calls the built file.
    pub library: String,
    /// The interfaces of `anubis:lb` that it may import, by
    /// `[package.metadata.anubis] imports`.
    pub imports: Vec<String>,
    /// SHA-256 over its sources, the sdk's, the contract, the locked versions
    /// of what is compiled in, and the compiler's settings.
    pub sources: String,
}

impl Plugin {
    /// The component's file.
    pub fn file_name(&self) -> String {
        format!("{}.wasm", self.name)
    }

    fn read(root: &Path, lock: &Table, name: &str) -> Result<Self> {
        let directory = root.join("plugins").join(name);
        let manifest = read_toml(&directory.join("Cargo.toml"))?;
        let text = |table: &str, key: &str| manifest.get(table)?.get(key)?.as_str();
        let package = text("package", "name")
            .context("no package.name")?
            .to_string();
        let library = text("lib", "name").context("no lib.name")?.to_string();
        Ok(Self {
            name: name.to_string(),
            package,
            library,
            imports: allowed_imports(&manifest),
            sources: digest(root, lock, name, &manifest)?,
        })
    }
}

/// All plugins, by name.
pub fn find(root: &Path) -> Result<Vec<Plugin>> {
    let directory = root.join("plugins");
    let lock = read_toml(&root.join("Cargo.lock"))?;
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["sdk", "rebuild"].contains(&name.as_str()) && entry.path().join("Cargo.toml").exists()
        {
            names.insert(name);
        }
    }
    if names.is_empty() {
        bail!("no plugin in {}", directory.display());
    }
    let read =
        |name: &String| Plugin::read(root, &lock, name).with_context(|| format!("plugin {name}"));
    names.iter().map(read).collect()
}

fn allowed_imports(manifest: &Table) -> Vec<String> {
    let imports = || {
        manifest
            .get("package")?
            .get("metadata")?
            .get("anubis")?
            .get("imports")?
            .as_array()
    };
    imports()
        .into_iter()
        .flatten()
        .filter_map(|import| import.as_str())
        .map(str::to_string)
        .collect()
}

fn digest(root: &Path, lock: &Table, name: &str, manifest: &Table) -> Result<String> {
    let plugin = root.join("plugins").join(name);
    let sdk = root.join("plugins/sdk");
    let mut hash = Sha256::new();
    for file in files(&plugin)?
        .into_iter()
        .chain(files(&sdk)?)
        .chain(files(&root.join("wit"))?)
    {
        let path = file.strip_prefix(root).unwrap_or(&file);
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        hash.update(format!("{}\0{}\0", path.display(), bytes.len()));
        hash.update(bytes);
    }
    let mut dependencies = dependencies(manifest);
    dependencies.append(&mut self::dependencies(&read_toml(
        &sdk.join("Cargo.toml"),
    )?));
    for locked in locked(lock, dependencies) {
        hash.update(locked);
    }
    hash.update(compile::settings());
    Ok(hex(&hash.finalize()))
}

/// What git would commit of a directory of sources: the manifest, Rust and WIT.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut files(&path)?);
        } else if path
            .extension()
            .is_some_and(|kind| ["rs", "toml", "wit"].iter().any(|k| kind == *k))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The names of what a crate compiles in, on any target; not what only its
/// tests use.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let names = |table: Option<&toml::Value>| -> Vec<String> {
        table
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(Table::keys)
            .cloned()
            .collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let by_target = targets.into_iter().flat_map(Table::values);
    let by_target = by_target.flat_map(|target| names(target.get("dependencies")));
    by_target
        .chain(names(manifest.get("dependencies")))
        .collect()
}

/// The locked name, version and checksum of these packages and of all they
/// depend on.
fn locked(lock: &Table, names: BTreeSet<String>) -> BTreeSet<String> {
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages: Vec<&Table> = packages
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table)
        .collect();
    let text = |package: &Table, key: &str| -> String {
        package
            .get(key)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .to_string()
    };
    let mut found = BTreeSet::new();
    let mut wanted: Vec<String> = names.into_iter().collect();
    while let Some(name) = wanted.pop() {
        let mut parts = name.split(' ');
        let (name, version) = (parts.next().unwrap_or_default(), parts.next());
        let is_wanted = |package: &&&Table| {
            let from_registry = package.contains_key("source");
            let is_version = version.is_none_or(|version| text(package, "version") == version);
            from_registry && text(package, "name") == name && is_version
        };
        for package in packages.iter().filter(is_wanted) {
            let key = format!(
                "{name} {} {}\n",
                text(package, "version"),
                text(package, "checksum")
            );
            if found.insert(key) {
                let next = package.get("dependencies").and_then(toml::Value::as_array);
                let next = next.into_iter().flatten().filter_map(toml::Value::as_str);
                wanted.extend(next.map(str::to_string));
            }
        }
    }
    found
}

fn read_toml(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
