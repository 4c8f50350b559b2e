//! What is built: the templates in all their shapes, and the examples.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use tempfile::TempDir;

use anubis::toolkit::{Language, Manifest, Shape};
use anubis_tests::proxy::program;

/// What `anubis plugin build` ends with where there is no compiler.
const NO_COMPILER: i32 = 5;

/// CPU time of a call. A pool gives 10 ms, which is enough for every one of these; but
/// here the host is not optimised, and the machine runs as many trials as it has cores.
pub const DEADLINE: &str = "200ms";

/// Something that can be built.
pub enum Project {
    /// What `anubis plugin new` makes.
    Template(Language, Shape),
    /// A folder of `examples/plugins` that is no template.
    Example(PathBuf),
}

/// A built plugin.
pub struct Component {
    /// What is told of it.
    pub name: String,
    /// Beside its manifest.
    pub file: PathBuf,
    /// What `configure` is given in traffic.
    pub config: String,
    /// What was said of it when it was built, as by `anubis plugin inspect`.
    told: String,
}

/// Where things are built, and with what.
pub struct Workshop {
    folder: TempDir,
    path: OsString,
}

impl Project {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let shapes = [Shape::Simple, Shape::Learning, Shape::Planned];
        let mut all: Vec<Self> = Language::ALL
            .into_iter()
            .flat_map(|language| shapes.map(|shape| Self::Template(language, shape)))
            .collect();
        let mut examples: Vec<PathBuf> = examples()
            .read_dir()
            .expect("the examples are part of the repository")
            .flatten()
            .map(|entry| entry.path())
            .filter(|folder| folder.join("plugin.toml").exists() && !is_template(folder))
            .collect();
        examples.sort();
        all.extend(examples.into_iter().map(Self::Example));
        all
    }

    /// The interpreters draw random numbers while they are built in, and keep them.
    pub fn can_be_reproduced(&self) -> bool {
        use Language::{JavaScript, Python, TypeScript};
        let is_interpreted = |language| matches!(language, JavaScript | Python | TypeScript);
        // One shape of each language stands for all.
        matches!(self, Self::Template(language, Shape::Simple) if !is_interpreted(*language))
    }

    /// Such as `python::learning`, or `canary`.
    pub fn name(&self) -> String {
        match self {
            Self::Template(language, shape) => format!("{}::{}", language.as_str(), shape.as_str()),
            Self::Example(folder) => file_name(folder),
        }
    }
}

impl Workshop {
    /// With the compilers of `tests/languages/install`, and those of the machine.
    pub fn open() -> Self {
        let installed = root().join("target/languages");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [
            installed.join("py/bin"),
            installed.join("node_modules/.bin"),
        ];
        let folders = folders.into_iter().chain(std::env::split_paths(&path));
        Self {
            folder: tempfile::tempdir().expect("the temporary folder is writable"),
            path: std::env::join_paths(folders).expect("no colon is in these paths"),
        }
    }

    /// Builds `project`; `None` where its language has no compiler here.
    pub fn build(&self, project: &Project) -> Result<Option<Component>, Failed> {
        let name = project.name();
        let folder = self.folder.path().join(name.replace("::", "-"));
        match project {
            Project::Template(language, shape) => {
                self.new_project(&folder, *language, *shape)?;
            }
            Project::Example(example) => copy(example, &folder, &mut |text| {
                ["plugins/sdk", "wit/bindings"]
                    .iter()
                    .fold(text, |text, shared| {
                        let there = root().join(shared).display().to_string();
                        text.replace(&format!("../../../{shared}"), &there)
                    })
            })?,
        }
        let manifest = Manifest::read(&folder.join("plugin.toml"))?;
        let output = self.run("build", &[folder.as_os_str()])?;
        if output.status.code() == Some(NO_COMPILER) {
            return Ok(None);
        }
        let told = succeeded(&output)?;
        eprintln!("{name}: built\n{told}");
        Ok(Some(Component {
            name,
            file: folder.join(format!("{}.wasm", manifest.name)),
            config: manifest.test.config,
            told,
        }))
    }

    fn new_project(&self, folder: &Path, language: Language, shape: Shape) -> Result<(), Failed> {
        let (language, shape) = (language.as_str(), shape.as_str());
        let name = format!("{language}-{shape}");
        let arguments = [&*name, "--language", language, "--shape", shape, "--folder"];
        let mut arguments = arguments.map(OsString::from).to_vec();
        arguments.push(folder.as_os_str().to_owned());
        let arguments: Vec<_> = arguments.iter().map(|argument| &**argument).collect();
        succeeded(&self.run("new", &arguments)?).map(drop)
    }

    /// It is a plugin with no more permissions than the contract has.
    pub fn permissions(&self, component: &Component) -> Result<(), Failed> {
        match component.told.contains("wasi:") || !component.told.contains("  imports ") {
            true => Err(component.told.as_str().into()),
            false => Ok(()),
        }
    }

    /// Made again in another folder it is the same, byte for byte.
    pub fn is_reproducible(&self, component: &Component) -> Result<(), Failed> {
        let folder = component.file.parent().expect("it is in a folder");
        let elsewhere = folder.with_extension("again");
        copy(folder, &elsewhere, &mut |text| text)?;
        let file = elsewhere.join(component.file.file_name().expect("it is a file"));
        std::fs::remove_file(&file)?;
        succeeded(&self.run("build", &[elsewhere.as_os_str()])?)?;
        match std::fs::read(&component.file)? == std::fs::read(&file)? {
            true => Ok(()),
            false => Err(format!("{} is another one", file.display()).into()),
        }
    }

    /// It behaves as its manifest says.
    pub fn conformance(&self, component: &Component) -> Result<(), Failed> {
        let times = ["--deadline", DEADLINE, "--time", "20s"].map(OsStr::new);
        let arguments = [&[component.file.as_os_str()][..], &times].concat();
        let told = succeeded(&self.run("test", &arguments)?)?;
        eprintln!("{}:\n{told}", component.name);
        Ok(())
    }

    /// Where compiled components are kept between trials.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn run(&self, command: &str, arguments: &[&OsStr]) -> Result<Output, Failed> {
        let mut anubis = Command::new(program());
        anubis.args(["plugin", command]).args(arguments);
        anubis.env("PATH", &self.path);
        Ok(anubis.output()?)
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("it is in the repository").to_owned()
}

fn examples() -> PathBuf {
    root().join("examples/plugins")
}

fn is_template(folder: &Path) -> bool {
    let name = file_name(folder);
    Language::ALL
        .iter()
        .any(|language| language.as_str() == name)
}

fn file_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What a command printed, if it ended well.
fn succeeded(output: &Output) -> Result<String, Failed> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        )
        .into()),
    }
}

/// Copies an example, so that nothing is left in the repository.
fn copy(from: &Path, to: &Path, change: &mut impl FnMut(String) -> String) -> std::io::Result<()> {
    const LEFT_BY_TOOLS: [&str; 4] = ["build", "target", "node_modules", ".venv"];
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()?.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            if !LEFT_BY_TOOLS.contains(&&*file_name(&from)) {
                copy(&from, &to, change)?;
            }
        } else {
            match std::fs::read_to_string(&from) {
                Ok(text) => std::fs::write(to, change(text))?,
                Err(_no_text) => std::fs::copy(&from, &to).map(drop)?,
            }
        }
    }
    Ok(())
}
