//! `plugin.toml`: what a plugin's project says of itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::language::Language;

/// The manifest's name in a project's folder.
pub const FILE: &str = "plugin.toml";

/// Longest name of a plugin, in characters.
const MAX_NAME: usize = 64;

/// A project's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// What the component is called: `NAME.wasm`. Lower-case letters, digits and
    /// hyphens.
    pub name: String,
    /// What it is written in; where it is not said, the files tell.
    pub language: Option<Language>,
    /// What it exports. Compilers that make whole components need to know it.
    #[serde(default)]
    pub shape: Shape,
    /// For `anubis plugin test` and `anubis plugin bench`.
    #[serde(default)]
    pub test: TestSettings,
}

/// What a plugin exports of the contract: the world of `wit/lb.wit` by that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Asked for every request; imports nothing.
    #[default]
    Simple,
    /// Asked for every request; takes a configuration.
    Configured,
    /// Asked for every request; learns from what becomes of it.
    Learning,
    /// Makes plans, from which the proxy routes.
    Planned,
}

/// How the plugin is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TestSettings {
    /// The text that `configure` is given; empty unless said.
    #[serde(default)]
    pub config: String,
    /// Properties that the strategy by its nature lacks, each with the reason.
    #[serde(default)]
    pub lacks: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(place)?;
        Self::parse(&text).with_context(place)
    }

    /// The manifest in the folder of `file`, if there is one.
    ///
    /// # Errors
    /// As [`Manifest::read`], for one that is there.
    pub fn beside(file: &Path) -> Result<Option<Self>> {
        let path = file.with_file_name(FILE);
        match path.exists() {
            true => Self::read(&path).map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        check_name(&manifest.name).context("name")?;
        Ok(manifest)
    }
}

impl Shape {
    /// As it is written in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Configured => "configured",
            Self::Learning => "learning",
            Self::Planned => "planned",
        }
    }
}

/// Whether a plugin may be called that: it is the name of a file, of packages in
/// several languages, and part of their identifiers.
///
/// # Errors
/// Says what is allowed.
pub fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(allowed)
            && !name.ends_with('-')
            && !name.contains("--")
            && name.len() <= MAX_NAME,
        "`{}` is no name for a plugin: lower-case letters, digits and single hyphens, a letter \
         first, at most {MAX_NAME}",
        name.escape_debug()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_says_what_it_says_and_has_defaults_for_the_rest() {
        let manifest = Manifest::parse("name = \"mine\"").unwrap();
        assert_eq!(manifest.shape, Shape::Simple);
        assert_eq!(manifest.language, None);
        assert_eq!(manifest.test, TestSettings::default());
        let manifest = Manifest::parse(
            "name = \"mine\"\nlanguage = \"rust\"\nshape = \"learning\"\n\
             [test]\nconfig = '{}'\nlacks.proportional = \"it takes the first\"\n",
        )
        .unwrap();
        assert_eq!(manifest.shape.as_str(), "learning");
        assert_eq!(manifest.language, Some(Language::Rust));
        assert_eq!(manifest.test.config, "{}");
        assert_eq!(manifest.test.lacks["proportional"], "it takes the first");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("", "name"),
            ("name = 1", "string"),
            ("name = \"Mine\"", "no name for a plugin"),
            ("name = \"../mine\"", "no name for a plugin"),
            ("name = \"mine\"\nshapes = 1", "shapes"),
            ("name = \"mine\"\nshape = \"round\"", "round"),
            ("name = \"mine\"\nlanguage = \"cobol\"", "cobol"),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{text}: {error:#}");
        }
    }
}
