//! TypeScript: checked and turned into JavaScript by its own compiler, then as that.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Job, Recipe, has_file_ending, javascript};
use crate::toolkit::template::{Template, files};
use crate::toolkit::tools::{self, Missing};

pub const RECIPE: Recipe = Recipe {
    recognise: |folder| {
        // AssemblyScript, which looks alike, has its own configuration.
        has_file_ending(folder, "tsconfig.json") && !folder.join("asconfig.json").exists()
    },
    compile,
    template: Template {
        simple: files!("examples/plugins/typescript":
            "README.md", "my_strategy.ts", "package-lock.json", "package.json", "plugin.toml",
            "test/my_strategy.test.js", "tsconfig.json",
        ),
        learning: files!("examples/plugins/typescript/shapes/learning":
            "my_strategy.ts", "plugin.toml", "test/my_strategy.test.js",
        ),
        planned: files!("examples/plugins/typescript/shapes/planned":
            "my_strategy.ts", "plugin.toml", "test/my_strategy.test.js",
        ),
        common: &[("types", files!("wit/bindings/typescript": "anubis.d.ts"))],
        replaced: &[("../../../wit/bindings/typescript", "types")],
    },
};

const MISSING: Missing = Missing {
    what: "tsc, the compiler of TypeScript,",
    install: "  in the project's folder:  npm install\n  \
              for all projects:         npm install --global typescript@7.0.2 componentize-qjs@0.4.5\n  \
              npm itself on Debian:     apt-get install nodejs npm",
};

fn compile(job: &Job<'_>) -> Result<Vec<u8>> {
    let compiler = javascript::find(job, "tsc").ok_or(MISSING)?;
    let scripts = job.scratch.join("js");
    if scripts.exists() {
        std::fs::remove_dir_all(&scripts)
            .with_context(|| format!("emptying {}", scripts.display()))?;
    }
    tools::run(
        Command::new(compiler)
            .current_dir(job.folder)
            .args(["--project", ".", "--noEmit", "false", "--outDir"])
            .arg(&scripts),
    )?;
    javascript::component(job, &scripts)
}
