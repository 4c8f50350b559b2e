//! `anubis plugin new`: a project that builds at once.
//!
//! The files are those of `examples/plugins`, so that what is shown and what is made
//! cannot drift apart; a shape other than simple is the simple one with some files in
//! the place of others. What every project has alike comes from its one place in the
//! repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::encode::WIT;
use super::language::Language;
use super::manifest::{Shape, check_name};

/// What the examples are called, and their packages and modules where a hyphen may not
/// be; a new project has its own name there.
const EXAMPLE: &str = "my-strategy";
const EXAMPLE_SNAKE: &str = "my_strategy";

const IGNORED: &str = "/build/\n/target/\n/node_modules/\n/.venv/\n__pycache__/\n";

/// One file of a project: its path in it, and what it says.
pub type File = (&'static str, &'static str);

/// The files of one language's projects.
pub struct Template {
    /// Of a project of the simple shape.
    pub simple: &'static [File],
    /// What is different where it learns.
    pub learning: &'static [File],
    /// What is different where it plans.
    pub planned: &'static [File],
    /// What the files of all shapes build on, such as bindings: folders of the project
    /// with their files.
    pub common: &'static [(&'static str, &'static [File])],
    /// Words that are other ones outside the repository.
    pub replaced: &'static [(&'static str, &'static str)],
}

/// The files of a folder of the repository, by their paths there.
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$((
            $path,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $folder, "/", $path)),
        )),*]
    };
}
pub(super) use files;

/// Writes a project for a plugin that is called `name` into `folder`, which must not
/// be there or be empty.
///
/// # Errors
/// Where the name or the folder will not do, the language has no template of that
/// shape, or the files cannot be written. What was written by then stays.
pub fn write(folder: &Path, name: &str, language: Language, shape: Shape) -> Result<()> {
    check_name(name)?;
    let files = files_of(language, shape)?;
    ensure!(
        is_empty(folder),
        "{} is there already, and not empty",
        folder.display()
    );
    let snake = name.replace('-', "_");
    let template = &language.recipe().template;
    for (path, text) in files {
        let mut text = text.to_owned();
        for (here, there) in template.replaced {
            text = text.replace(here, there);
        }
        let text = text.replace(EXAMPLE, name).replace(EXAMPLE_SNAKE, &snake);
        let file = folder.join(path.replace(EXAMPLE_SNAKE, &snake));
        write_file(&file, &text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Every file of such a project by its path there; later ones take the place of
/// earlier ones.
fn files_of(language: Language, shape: Shape) -> Result<BTreeMap<String, &'static str>> {
    let template = &language.recipe().template;
    let different = match shape {
        Shape::Simple | Shape::Configured => &[],
        Shape::Learning => template.learning,
        Shape::Planned => template.planned,
    };
    ensure!(
        shape == Shape::Simple || !different.is_empty(),
        "there is no template of the shape {} in {}",
        shape.as_str(),
        language.as_str()
    );
    let everywhere: &[File] = &[("wit/lb.wit", WIT), (".gitignore", IGNORED)];
    let mut files = BTreeMap::new();
    for layer in [everywhere, template.simple, different] {
        files.extend(layer.iter().map(|(path, text)| ((*path).to_owned(), *text)));
    }
    for (folder, common) in template.common {
        files.extend(
            common
                .iter()
                .map(|(path, text)| (format!("{folder}/{path}"), *text)),
        );
    }
    Ok(files)
}

fn is_empty(folder: &Path) -> bool {
    match folder.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn write_file(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolkit::Project;

    #[test]
    fn every_template_is_a_project_of_its_language_shape_and_name() {
        for language in Language::ALL {
            for shape in [Shape::Simple, Shape::Learning, Shape::Planned] {
                let parent = tempfile::tempdir().unwrap();
                let folder = parent.path().join("canary-by-day");
                if write(&folder, "canary-by-day", language, shape).is_err() {
                    // TODO: until every language has all three.
                    continue;
                }
                let project = Project::open(&folder).unwrap();
                assert_eq!(project.manifest().name, "canary-by-day");
                assert_eq!(project.manifest().shape, shape, "{language:?}");
                assert_eq!(project.language(), language);
                assert_eq!(Language::of(&folder), Some(language), "by its files");
                for (path, text) in written(&folder) {
                    for example in [EXAMPLE, EXAMPLE_SNAKE] {
                        assert!(!text.contains(example), "{language:?}: {path}");
                        assert!(!path.contains(example), "{language:?}: {path}");
                    }
                }
            }
        }
    }

    /// A file that was added to an example and not to its template would be missed
    /// by whoever makes a project.
    #[test]
    fn every_file_of_an_example_is_in_its_template() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins");
        for language in Language::ALL {
            let folder = examples.join(language.as_str());
            let template = &language.recipe().template;
            for (path, _) in written(&folder) {
                let known = match path.strip_prefix("shapes/") {
                    None => template.simple.iter().any(|(known, _)| *known == path),
                    Some(path) => [
                        ("learning/", template.learning),
                        ("planned/", template.planned),
                    ]
                    .into_iter()
                    .any(|(shape, files)| {
                        path.strip_prefix(shape)
                            .is_some_and(|path| files.iter().any(|(known, _)| *known == path))
                    }),
                };
                assert!(known, "{language:?}: {path}");
            }
        }
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine");
        std::fs::write(&file, "text").unwrap();
        let error = write(folder.path(), "mine", Language::Rust, Shape::Simple).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(written(folder.path()).len(), 1);
        assert!(write(folder.path(), "../mine", Language::Rust, Shape::Simple).is_err());
    }

    /// The files below a folder that no tool leaves there.
    fn written(folder: &Path) -> BTreeMap<String, String> {
        const LEFT_BY_TOOLS: [&str; 6] = [
            "build",
            "target",
            "node_modules",
            ".venv",
            "__pycache__",
            ".zig-cache",
        ];
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(current) = folders.pop() {
            for entry in current.read_dir().unwrap().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    if !LEFT_BY_TOOLS.contains(&&*name) {
                        folders.push(path);
                    }
                } else if !name.ends_with(".wasm") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let path = path.strip_prefix(folder).unwrap();
                    files.insert(path.display().to_string(), text);
                }
            }
        }
        files
    }
}
