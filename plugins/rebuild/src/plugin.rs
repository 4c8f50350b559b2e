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
    /// SHA-256 over its sources (not its tests), the sdk's, the contract, the locked versions
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
        if !["sdk", "rebuild", "toolchain"].contains(&name.as_str())
            && entry.path().join("Cargo.toml").exists()
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
    let sdk = root.join("plugins/sdk");
    let mut sources = crate_sources(&root.join("plugins").join(name))?;
    sources.append(&mut crate_sources(&sdk)?);
    sources.append(&mut files(&root.join("wit"))?);
    let mut hash = Sha256::new();
    for file in sources {
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

/// What is compiled of a crate.
fn crate_sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = files(&directory.join("src"))?;
    sources.push(directory.join("Cargo.toml"));
    Ok(sources)
}

/// The Rust and WIT files under a directory, without the tests.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let is_source = path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "wit");
        if path.is_dir() {
            found.append(&mut files(&path)?);
        } else if is_source && path.file_name().is_some_and(|name| name != "tests.rs") {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of one plugin and the sdk.
    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                "plugins/one/Cargo.toml",
                "[package]\nname = 'one'\n[lib]\nname = 'one'\n[dependencies]\na = '1'\n",
            ),
            ("plugins/one/src/lib.rs", "// one"),
            ("plugins/one/src/tests.rs", "// tests"),
            ("plugins/sdk/Cargo.toml", "[package]\nname = 'sdk'\n"),
            ("plugins/sdk/src/lib.rs", "// sdk"),
            ("wit/lb.wit", "package a:b;"),
            (
                "Cargo.lock",
                "[[package]]\nname = 'a'\nversion = '1.0.0'\nsource = 'r'\ndependencies = ['b']\n\
                 [[package]]\nname = 'b'\nversion = '1.0.0'\nsource = 'r'\n\
                 [[package]]\nname = 'c'\nversion = '1.0.0'\nsource = 'r'\n",
            ),
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn sources(root: &tempfile::TempDir) -> String {
        find(root.path()).unwrap().remove(0).sources
    }

    #[test]
    fn whatever_the_component_is_made_of_changes_the_digest_and_nothing_else_does() {
        let root = workspace();
        let mut before = sources(&root);
        let mut edit = |file: &str, from: &str, to: &str| {
            let path = root.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let after = sources(&root);
            let is_other = after != before;
            before = after;
            is_other
        };
        assert!(edit("plugins/one/src/lib.rs", "one", "two"));
        assert!(edit("plugins/sdk/src/lib.rs", "sdk", "kit"));
        assert!(edit("wit/lb.wit", "a:b", "a:c"));
        assert!(edit("plugins/one/Cargo.toml", "a = '1'", "a = '1.0'"));
        assert!(edit(
            "Cargo.lock",
            "'b'\nversion = '1.0.0'",
            "'b'\nversion = '1.0.1'"
        ));
        assert!(!edit(
            "Cargo.lock",
            "'c'\nversion = '1.0.0'",
            "'c'\nversion = '1.0.1'"
        ));
        assert!(!edit("plugins/one/src/tests.rs", "tests", "more tests"));
    }
}
