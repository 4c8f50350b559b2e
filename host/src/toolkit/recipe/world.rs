//! The contract for compilers that make whole components: they are told the world
//! beforehand, so it is made of the project's shape and of what its sources mention.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Job;
use crate::toolkit::encode::WIT;
use crate::toolkit::manifest::Shape;

/// What the world is called.
pub const NAME: &str = "plugin";

/// Interfaces that a plugin may import. What it does not import it may not do.
const IMPORTS: [&str; 4] = ["log", "inbound", "members", "shared"];

/// Writes the contract with the world that `job` needs into its scratch folder, and
/// returns that file. `mentions` says whether a source file's text uses an interface.
///
/// # Errors
/// Where sources cannot be read or the file not be written.
pub fn write(job: &Job<'_>, endings: &[&str], mentions: fn(&str, &str) -> bool) -> Result<PathBuf> {
    let sources = sources(job.folder, endings)
        .with_context(|| format!("reading the sources in {}", job.folder.display()))?;
    let used = |import: &&str| sources.iter().any(|source| mentions(source, import));
    let imports: Vec<&str> = IMPORTS.into_iter().filter(used).collect();
    let file = job.scratch.join("lb.wit");
    let text = format!("{WIT}\n{}", world(job.manifest.shape, &imports));
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn world(shape: Shape, imports: &[&str]) -> String {
    let exports: &[&str] = match shape {
        Shape::Simple => &["strategy"],
        Shape::Configured => &["config", "strategy"],
        Shape::Learning => &["config", "strategy", "feedback", "state"],
        Shape::Planned => &["config", "planner"],
    };
    let line = |kind: &str, name: &&str| format!("  {kind} {name};\n");
    let imports = imports.iter().map(|name| line("import", name));
    let exports = exports.iter().map(|name| line("export", name));
    let lines: String = imports.chain(exports).collect();
    format!("world {NAME} {{\n{lines}}}\n")
}

/// The texts of the sources that may be part of the plugin: those in the project's
/// folder and in its `src`.
fn sources(folder: &Path, endings: &[&str]) -> std::io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for folder in [folder.to_path_buf(), folder.join("src")] {
        if !folder.is_dir() {
            continue;
        }
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let ending = path.extension().unwrap_or_default().to_string_lossy();
            if endings.contains(&&*ending) && path.is_file() {
                texts.push(fs::read_to_string(path)?);
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_parser::Resolve;

    #[test]
    fn the_world_of_each_shape_is_of_the_contract() {
        for shape in [
            Shape::Simple,
            Shape::Configured,
            Shape::Learning,
            Shape::Planned,
        ] {
            let mut resolve = Resolve::default();
            let text = format!("{WIT}\n{}", world(shape, &IMPORTS));
            let package = resolve.push_str("lb.wit", &text).unwrap();
            let exports = |name: &str| {
                let world = resolve.select_world(&[package], Some(name)).unwrap();
                let exports = resolve.worlds[world].exports.keys();
                exports
                    .map(|key| resolve.name_world_key(key))
                    .collect::<Vec<_>>()
            };
            assert_eq!(exports(NAME), exports(shape.as_str()));
        }
    }

    #[test]
    fn only_what_is_mentioned_is_imported() {
        let folder = tempfile::tempdir().unwrap();
        let write_source = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        write_source("a.js", "import anubis:lb/inbound").unwrap();
        write_source("a.md", "anubis:lb/members").unwrap();
        let manifest = crate::toolkit::Manifest::parse("name = \"a\"").unwrap();
        let job = Job {
            folder: folder.path(),
            scratch: folder.path(),
            manifest: &manifest,
        };
        let mentions = |source: &str, name: &str| source.contains(&format!("anubis:lb/{name}"));
        let file = write(&job, &["js"], mentions).unwrap();
        let text = fs::read_to_string(file).unwrap();
        let (_, world) = text.split_once("world plugin").unwrap();
        assert!(world.contains("import inbound;"), "{world}");
        assert!(!world.contains("members"), "{world}");
    }
}
