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
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Rust];

    /// As it is written in manifests, on the command line, and the name of its folder
    /// in `examples/plugins`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
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
        }
    }
}
