//! JavaScript, with componentize-qjs: the QuickJS interpreter and the program, as it is
//! after its first run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Job, Recipe, has_file_ending, world};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| {
        let is_there = |file: &str| folder.join(file).exists();
        // Those two are of other languages.
        has_file_ending(folder, ".js") && !is_there("tsconfig.json") && !is_there("asconfig.json")
    },
    compile: |job| component(job, job.folder),
    template: Template {
        simple: files!("examples/plugins/javascript":
            "README.md", "my_strategy.js", "package-lock.json", "package.json", "plugin.toml",
            "test/my_strategy.test.js",
        ),
        learning: files!("examples/plugins/javascript/shapes/learning":
            "my_strategy.js", "plugin.toml", "test/my_strategy.test.js",
        ),
        planned: files!("examples/plugins/javascript/shapes/planned":
            "my_strategy.js", "plugin.toml", "test/my_strategy.test.js",
        ),
        common: &[],
        replaced: &[],
    },
};

const MISSING: Missing = Missing {
    what: "componentize-qjs, the compiler of JavaScript,",
    install: "  in the project's folder:  npm install\n  \
              for all projects:         npm install --global componentize-qjs@0.4.5\n  \
              npm itself on Debian:     apt-get install nodejs npm",
};

/// The component of the module that is called as the plugin, which is in `folder` or in
/// `folder/src`, with what it imports from there.
pub(super) fn component(job: &Job<'_>, folder: &Path) -> Result<Vec<u8>> {
    let compiler = find(job, "componentize-qjs").ok_or(MISSING)?;
    let module = format!("{}.js", job.manifest.name.replace('-', "_"));
    let candidates = [folder.join(&module), folder.join("src").join(&module)];
    let source = candidates.iter().find(|file| file.is_file());
    ensure!(
        source.is_some(),
        "there is no {module}, which is to export what the plugin does"
    );
    let wit = world::write(job, &["js", "mjs", "ts"], |source, import| {
        source.contains(&format!("anubis:lb/{import}"))
    })?;
    let made = job.scratch.join("component.wasm");
    tools::run(
        Command::new(compiler)
            .current_dir(folder)
            .args(["--sync", "--stub-wasi", "--world", world::NAME, "--wit"])
            .arg(wit)
            .arg("--js")
            .args(source)
            .arg("--module-root")
            .arg(folder)
            .arg("--output")
            .arg(&made),
    )?;
    std::fs::read(&made).with_context(|| made.display().to_string())
}

/// A program of the project's packages, or else of the machine.
pub(super) fn find(job: &Job<'_>, program: &str) -> Option<PathBuf> {
    tools::find(&[program], &[job.folder.join("node_modules/.bin")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_projects_are_told_from_their_kin() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let recognised = || (RECIPE.recognise)(folder.path());
        add("package.json");
        assert!(!recognised());
        add("mine.js");
        assert!(recognised());
        add("tsconfig.json");
        assert!(!recognised());
    }
}
