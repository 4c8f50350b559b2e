//! How plugins are compiled, one file a language.

pub mod assemblyscript;
mod bindings;
pub mod c;
mod clang;
pub mod cpp;
pub mod go;
pub mod javascript;
pub mod python;
pub mod rust;
pub mod typescript;
mod world;
pub mod zig;

use std::path::Path;

use anyhow::Result;

use super::manifest::Manifest;
use super::template::Template;

/// How one language is compiled.
pub struct Recipe {
    /// Whether a folder's files look like a project of this language.
    pub recognise: fn(&Path) -> bool,
    /// Sources to a core module or a component. The same sources give the same bytes
    /// in any folder, but for JavaScript, TypeScript and Python: their interpreters draw
    /// random numbers while they are started, which is part of the build.
    pub compile: fn(&Job<'_>) -> Result<Vec<u8>>,
    /// What a new project begins with.
    pub template: Template,
}

/// What a recipe is to compile.
pub struct Job<'a> {
    /// Where the sources are: an absolute path.
    pub folder: &'a Path,
    /// Where anything may be left: an absolute path, in a folder that is there.
    pub scratch: &'a Path,
    /// What the project says of itself.
    pub manifest: &'a Manifest,
}

/// Whether a file whose name ends with `suffix` is in `folder` itself.
pub fn has_file_ending(folder: &Path, suffix: &str) -> bool {
    let Ok(entries) = folder.read_dir() else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().ends_with(suffix))
}
