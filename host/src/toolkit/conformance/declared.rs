//! What a plugin's author declares of it in `plugin.toml`: the configuration to test it
//! with, and which properties it lacks by nature.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::plugin::shipped;
use crate::toolkit::manifest::{FILE, Manifest, TestSettings};

use super::property;

/// What is declared, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared(TestSettings);

impl Declared {
    /// From the manifest at `path`.
    ///
    /// # Errors
    /// When it cannot be read or says something that is not understood; the message
    /// names the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        Self::checked(manifest.test).with_context(|| path.display().to_string())
    }

    /// From the manifest in the folder of `plugin`; nothing is declared where there is
    /// none.
    ///
    /// # Errors
    /// As [`Declared::read`].
    pub fn beside(plugin: &Path) -> Result<Self> {
        let Some(manifest) = Manifest::beside(plugin)? else {
            return Ok(Self::default());
        };
        let place = || plugin.with_file_name(FILE).display().to_string();
        Self::checked(manifest.test).with_context(place)
    }

    /// From the manifest of a shipped strategy.
    ///
    /// # Errors
    /// As [`Declared::read`]: never, as a test of all of them shows.
    pub fn of_shipped(name: &str) -> Result<Self> {
        let place = || format!("the {FILE} of {name}");
        let Some(text) = shipped::manifest(name).filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        let manifest = Manifest::parse(text).with_context(place)?;
        Self::checked(manifest.test).with_context(place)
    }

    /// What these settings declare.
    ///
    /// # Errors
    /// When a property is unknown, or is one that no plugin may lack.
    pub fn checked(settings: TestSettings) -> Result<Self> {
        for name in settings.lacks.keys() {
            may_lack(name).with_context(|| format!("test.lacks.{name}"))?;
        }
        Ok(Self(settings))
    }

    /// The configuration to test with.
    pub fn config(&self) -> &str {
        &self.0.config
    }

    /// Why the plugin lacks a property, if it does.
    pub fn lacks(&self, property: &str) -> Option<&str> {
        self.0.lacks.get(property).map(String::as_str)
    }
}

fn may_lack(name: &str) -> Result<()> {
    let known = property::ALL.iter().find(|property| property.name == name);
    match known {
        Some(property) if property.may_lack => Ok(()),
        Some(_) => bail!("no plugin may lack it: the proxy relies on it"),
        None => bail!("there is no such property; did you mean {}?", nearest(name)),
    }
}

fn nearest(name: &str) -> &'static str {
    let names = property::ALL.iter().map(|property| property.name);
    let likeness = |known: &&str| strsim::jaro(known, name);
    names
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Result<Declared> {
        Declared::checked(Manifest::parse(&format!("name = \"mine\"\n{text}"))?.test)
    }

    #[test]
    fn what_is_lacking_has_its_reason() {
        let text = "[test]\nconfig = \"a=1\"\n[test.lacks]\nproportional = \"it is near\"\n";
        let declared = declared(text).unwrap();
        assert_eq!(declared.config(), "a=1");
        assert_eq!(declared.lacks("proportional"), Some("it is near"));
        assert_eq!(declared.lacks("in-range"), None);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, said) in [
            ("[test.lacks]\nproportionel = \"x\"", "mean proportional?"),
            ("[test.lacks]\nin-range = \"x\"", "test.lacks.in-range"),
            ("[test]\nconfg = \"x\"", "confg"),
        ] {
            let error = format!("{:#}", declared(text).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn every_shipped_declaration_is_understood() {
        for name in shipped::names() {
            Declared::of_shipped(name).unwrap();
        }
        let first_fit = Declared::of_shipped("first-fit").unwrap();
        assert!(first_fit.lacks("proportional").is_some());
    }

    #[test]
    fn a_manifest_is_found_beside_the_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("mine.wasm");
        assert_eq!(Declared::beside(&plugin).unwrap(), Declared::default());
        let manifest = folder.path().join(FILE);
        std::fs::write(&manifest, "name = 'mine'\n[test]\nconfig = 'b'").unwrap();
        assert_eq!(Declared::beside(&plugin).unwrap().config(), "b");
        std::fs::write(&manifest, "name = 'mine'\n[test.lacks]\nx = 'y'").unwrap();
        let error = format!("{:#}", Declared::beside(&plugin).unwrap_err());
        assert!(error.contains(FILE), "{error}");
    }
}
