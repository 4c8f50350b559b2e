//! A folder with a plugin's sources, and what is built from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::encode;
use super::language::Language;
use super::manifest::{FILE, Manifest, Shape, TestSettings, check_name};
use super::recipe::Job;

/// Where a recipe may leave what it needs no more, in the project's folder.
const SCRATCH: &str = "build";

/// A plugin's project.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    manifest: Manifest,
    language: Language,
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The component's file.
    pub file: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Project {
    /// The project in `folder`: what its `plugin.toml` says, and for what it does not
    /// say, what the files tell. A folder without one is taken for a plugin of the
    /// simple shape that is called as the folder.
    ///
    /// # Errors
    /// Names the folder or the manifest, and what is wrong.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = std::fs::canonicalize(folder)
            .with_context(|| format!("{}: no such project", folder.display()))?;
        let manifest = match folder.join(FILE) {
            file if file.exists() => Manifest::read(&file)?,
            _ => undeclared(&folder)?,
        };
        let language = manifest
            .language
            .or_else(|| Language::of(&folder))
            .ok_or_else(|| unrecognised(&folder))?;
        Ok(Self {
            folder,
            manifest,
            language,
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is written in.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Compiles it with its language's compiler and writes the component: to `output`,
    /// or else into the project's folder.
    ///
    /// # Errors
    /// What the compiler does not take (which it says itself), what is no component of
    /// the contract, and [`Missing`](super::Missing) where there is no compiler.
    pub fn build(&self, output: Option<&Path>) -> Result<Built> {
        let scratch = self.folder.join(SCRATCH);
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("making {}", scratch.display()))?;
        let job = Job {
            folder: &self.folder,
            scratch: &scratch,
            manifest: &self.manifest,
        };
        let compiled = (self.language.recipe().compile)(&job)?;
        let bytes = encode::component(&compiled)?;
        let file = match output {
            Some(file) => file.to_path_buf(),
            None => self.folder.join(format!("{}.wasm", self.manifest.name)),
        };
        replace(&file, &bytes).with_context(|| format!("writing {}", file.display()))?;
        Ok(Built { file, bytes })
    }
}

/// Whoever watches the file sees the old or the new one, and nothing between.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = file.with_extension("wasm.new");
    std::fs::write(&aside, bytes)?;
    std::fs::rename(&aside, file)
}

fn undeclared(folder: &Path) -> Result<Manifest> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase().replace('_', "-");
    check_name(&name).with_context(|| format!("{} has no {FILE}", folder.display()))?;
    Ok(Manifest {
        name,
        language: None,
        shape: Shape::default(),
        test: TestSettings::default(),
    })
}

fn unrecognised(folder: &Path) -> anyhow::Error {
    let known: Vec<&str> = Language::ALL.iter().map(|known| known.as_str()).collect();
    anyhow!(
        "{}: no language is recognised by its files; say `language` in {FILE}, one of {}",
        folder.display(),
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_what_its_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "name = \"mine\"\nlanguage = \"rust\"").unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.manifest().name, "mine");
        assert_eq!(project.language(), Language::Rust);
    }

    #[test]
    fn a_project_without_a_manifest_is_told_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("My_Strategy");
        std::fs::create_dir(&folder).unwrap();
        let error = Project::open(&folder).unwrap_err();
        assert!(
            error.to_string().contains("no language is recognised"),
            "{error}"
        );
        std::fs::write(folder.join("Cargo.toml"), "").unwrap();
        let project = Project::open(&folder).unwrap();
        assert_eq!(project.language(), Language::Rust);
        assert_eq!(project.manifest().name, "my-strategy");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Project::open(Path::new("/no/such/folder")).unwrap_err();
        assert!(format!("{error:#}").starts_with("/no/such/folder: no such project"));
    }
}
