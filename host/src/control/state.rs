//! The state file: overrides that outlive the process.
//!
//! JSON beside a folder with the uploaded plugins, each named by its SHA-256.
//! Both belong to the user that the proxy runs as and to nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::overrides::Overrides;
use crate::config::StrategySource;
use crate::plugin::{Binary, Digest};

mod format;

/// Where overrides are kept.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> StateFile {
        StateFile { path }
    }

    /// What was saved last; nothing where there is no file. A file that cannot
    /// be understood is put aside and said to be: a proxy that starts with its
    /// configuration alone is better than one that does not start.
    pub fn load(&self) -> Overrides {
        match self.try_load() {
            Ok(overrides) => overrides,
            Err(error) => {
                let aside = self.path.with_added_extension("bad");
                let kept = fs::rename(&self.path, &aside).is_ok();
                tracing::error!(
                    state_file = %self.path.display(),
                    kept_as = kept.then(|| aside.display().to_string()),
                    error = format!("{error:#}"),
                    "state file not understood, starting with the configuration alone"
                );
                Overrides::default()
            }
        }
    }

    /// Saves `overrides`; says in the log when that fails, because what was
    /// changed is in force all the same.
    pub fn save(&self, overrides: &Overrides) {
        if let Err(error) = self.try_save(overrides) {
            tracing::error!(
                state_file = %self.path.display(),
                error = format!("{error:#}"),
                "changes at run time are in force, but not saved"
            );
        }
    }

    fn try_load(&self) -> Result<Overrides> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Overrides::default());
            }
            Err(error) => return Err(error).context("cannot be read"),
        };
        let written: format::State = serde_json::from_slice(&text)?;
        written.into_overrides(|name, digest| self.read_binary(name, digest))
    }

    fn read_binary(&self, name: &str, digest: Digest) -> Result<Binary> {
        let path = self.binary_path(digest);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let binary = Binary::new(name, bytes);
        ensure!(
            binary.digest() == digest,
            "{} is not what was saved there",
            path.display()
        );
        Ok(binary)
    }

    fn try_save(&self, overrides: &Overrides) -> Result<()> {
        let mut wanted = BTreeSet::new();
        for pool in overrides.pools.values() {
            if let Some(strategy) = &pool.strategy
                && let StrategySource::Given(binary) = &strategy.source
            {
                self.write_binary(binary)?;
                wanted.insert(self.binary_path(binary.digest()));
            }
        }
        let state = serde_json::to_vec_pretty(&format::State::from(overrides))?;
        write_whole(&self.path, &state)?;
        self.remove_all_but(&wanted);
        Ok(())
    }

    fn write_binary(&self, binary: &Binary) -> Result<()> {
        let path = self.binary_path(binary.digest());
        if path.exists() {
            return Ok(());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.folder())
            .with_context(|| self.folder().display().to_string())?;
        write_whole(&path, binary.bytes())
    }

    /// Plugins that no override names any more.
    fn remove_all_but(&self, wanted: &BTreeSet<PathBuf>) {
        let Ok(entries) = fs::read_dir(self.folder()) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|end| end == "wasm") && !wanted.contains(&path) {
                // Left over, it does no harm.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.path.with_added_extension("plugins")
    }

    fn binary_path(&self, digest: Digest) -> PathBuf {
        self.folder().join(format!("{digest}.wasm"))
    }
}

/// Writes aside, then renames: whoever reads sees the old file or the new one.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let aside = path.with_added_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .with_context(|| aside.display().to_string())?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| aside.display().to_string())?;
    fs::rename(&aside, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::overrides::{Asked, StrategyOverride};
    use super::*;
    use crate::config::{BackendSettings, BackendState};

    fn overrides(bytes: &'static [u8]) -> Overrides {
        let mut overrides = Overrides::default();
        let pool = overrides.of("web");
        pool.strategy = Some(StrategyOverride {
            instead_of: Asked {
                source: "./mine.wasm".into(),
                config: "{}".into(),
                digest: Some(Digest::of(b"mine")),
            },
            source: StrategySource::Given(Binary::new("yours.wasm", bytes)),
            config: "text".into(),
        });
        let mut backend = BackendSettings::new("a:1".parse().expect("an address"));
        backend.labels.insert("version".into(), "2".into());
        backend.zone = Some("eu-1".into());
        let changed = BackendSettings {
            state: BackendState::Drain,
            ..backend.clone()
        };
        pool.set_backend("a:1", Some(&backend), Some(changed));
        pool.set_backend("b", Some(&backend), None);
        pool.set_backend("c", None, Some(backend));
        overrides.of("api").strategy = Some(StrategyOverride {
            instead_of: Asked {
                source: "fallback".into(),
                config: String::new(),
                digest: None,
            },
            source: StrategySource::Shipped("least-time".into()),
            config: String::new(),
        });
        overrides
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path().join("state.json"));
        assert_eq!(file.load(), Overrides::default(), "there is no file yet");
        file.save(&overrides(b"one"));
        assert_eq!(file.load(), overrides(b"one"));
        let mode = fs::metadata(&file.path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        file.save(&overrides(b"two"));
        assert_eq!(file.load(), overrides(b"two"));
        let plugins = fs::read_dir(file.folder()).expect("a folder").count();
        assert_eq!(plugins, 1, "the first one is needed no more");
    }

    #[test]
    fn what_cannot_be_understood_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path().join("state.json"));
        for nonsense in ["", "{", "{\"version\": 99, \"pools\": {}}", "[]"] {
            fs::write(&file.path, nonsense).expect("written");
            assert_eq!(file.load(), Overrides::default(), "{nonsense}");
            assert!(!file.path.exists(), "{nonsense}");
        }
    }

    #[test]
    fn a_plugin_that_was_tampered_with_is_not_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path().join("state.json"));
        file.save(&overrides(b"one"));
        fs::write(file.binary_path(Digest::of(b"one")), b"other").expect("written");
        assert_eq!(file.load(), Overrides::default());
    }
}
