//! The languages that there are recipes for.

use std::path::Path;

use serde::Deserialize;

use super::recipe::{self, Recipe};

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Language {
    /// With the crate in `plugins/sdk`.
    Rust,
    /// Freestanding: clang and nothing else.
    C,
    /// C++ with its standard library.
    Cpp,
    /// Freestanding.
    Zig,
    /// The ordinary Go.
    Go,
    /// TypeScript's cousin that compiles ahead of time.
    AssemblyScript,
    /// Interpreted by QuickJS.
    JavaScript,
    /// Turned into JavaScript.
    TypeScript,
    /// Interpreted by CPython.
    Python,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rust,
        Self::C,
        Self::Cpp,
        Self::Zig,
        Self::Go,
        Self::AssemblyScript,
        Self::JavaScript,
        Self::TypeScript,
        Self::Python,
    ];

    /// As it is written in manifests, on the command line, and the name of its folder
    /// in `examples/plugins`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Zig => "zig",
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }

    /// The language of the project in `folder`, by its files.
    pub fn of(folder: &Path) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|language| (language.recipe().recognise)(folder))
    }

    /// How it is compiled.
    pub(super) fn recipe(self) -> &'static Recipe {
        match self {
            Self::Rust => &recipe::rust::RECIPE,
            Self::C => &recipe::c::RECIPE,
            Self::Cpp => &recipe::cpp::RECIPE,
            Self::Zig => &recipe::zig::RECIPE,
            Self::Go => &recipe::go::RECIPE,
            Self::AssemblyScript => &recipe::assemblyscript::RECIPE,
            Self::JavaScript => &recipe::javascript::RECIPE,
            Self::TypeScript => &recipe::typescript::RECIPE,
            Self::Python => &recipe::python::RECIPE,
        }
    }
}
