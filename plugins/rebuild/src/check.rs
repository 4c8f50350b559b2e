//! Whether the committed components belong to the sources.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::manifest::{self, Entry, Manifest};

const ADVICE: &str = "run `cargo run -p rebuild-plugins` and commit plugins/components";

/// Compares the committed components and their manifest with those just built.
///
/// # Errors
///
/// Names everything that disagrees. Bytes that differ are a mistake only where
/// the same toolchain built both.
pub fn compare(committed: &Path, built: &Manifest) -> Result<()> {
    let manifest = Manifest::read(committed)?;
    let mut wrong = Vec::new();
    for file in manifest.others(committed)? {
        wrong.push(format!("{file}: not in the manifest"));
    }
    for entry in &manifest.components {
        if built.entry(&entry.name).is_none() {
            wrong.push(format!("{}: it has no sources any more", entry.name));
        }
        let bytes =
            std::fs::read(committed.join(&entry.file)).with_context(|| entry.file.clone())?;
        if manifest::sha256(&bytes) != entry.sha256 {
            wrong.push(format!(
                "{}: the file is not the one in the manifest",
                entry.name
            ));
        }
    }
    for entry in &built.components {
        wrong.extend(disagreement(manifest.entry(&entry.name), entry));
    }
    if wrong.is_empty() {
        println!("sources, manifest and components agree");
        return Ok(());
    }
    bail!("{}\n{ADVICE}", wrong.join("\n"))
}

/// What is wrong between a committed component and the one just built.
fn disagreement(committed: Option<&Entry>, built: &Entry) -> Option<String> {
    let name = &built.name;
    let Some(committed) = committed else {
        return Some(format!("{name}: not committed"));
    };
    if committed.sources != built.sources {
        return Some(format!(
            "{name}: the sources have changed since it was built"
        ));
    }
    if (&committed.imports, &committed.exports) != (&built.imports, &built.exports) {
        return Some(format!(
            "{name}: imports or exports other than in the manifest"
        ));
    }
    if committed.sha256 == built.sha256 {
        return None;
    }
    if committed.toolchain == built.toolchain {
        return Some(format!(
            "{name}: the same sources and toolchain gave other bytes"
        ));
    }
    println!(
        "  {name}: other bytes, by another toolchain ({})",
        committed.toolchain
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            name: "random".into(),
            file: "random.wasm".into(),
            size: 3,
            sha256: "aa".into(),
            sources: "bb".into(),
            toolchain: "rustc 1".into(),
            imports: vec![],
            exports: vec!["anubis:lb/strategy@0.1.0".into()],
        }
    }

    fn message(committed: Option<Entry>) -> String {
        disagreement(committed.as_ref(), &entry()).unwrap_or_default()
    }

    #[test]
    fn the_same_is_right() {
        assert_eq!(message(Some(entry())), "");
    }

    #[test]
    fn other_bytes_are_wrong_only_of_the_same_toolchain() {
        let other = Entry {
            sha256: "cc".into(),
            ..entry()
        };
        assert!(message(Some(other)).contains("gave other bytes"));
        let other = Entry {
            sha256: "cc".into(),
            toolchain: "rustc 2".into(),
            ..entry()
        };
        assert_eq!(message(Some(other)), "");
    }

    #[test]
    fn other_sources_are_wrong_whatever_the_toolchain() {
        let other = Entry {
            sources: "cc".into(),
            toolchain: "rustc 2".into(),
            ..entry()
        };
        assert!(message(Some(other)).contains("sources have changed"));
        assert!(message(None).contains("not committed"));
    }

    #[test]
    fn another_world_is_wrong() {
        let other = Entry {
            imports: vec!["anubis:lb/log@0.1.0".into()],
            ..entry()
        };
        assert!(message(Some(other)).contains("imports or exports"));
    }

    #[test]
    fn a_committed_file_that_is_not_the_manifests_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = Manifest {
            components: vec![entry()],
        };
        manifest.write(directory.path()).unwrap();
        std::fs::write(directory.path().join("random.wasm"), "abc").unwrap();
        std::fs::write(directory.path().join("stray.wasm"), "abc").unwrap();
        let error = compare(directory.path(), &manifest)
            .unwrap_err()
            .to_string();
        assert!(error.contains("random: the file is not the one"), "{error}");
        assert!(error.contains("stray.wasm: not in the manifest"), "{error}");
    }
}
