//! Programs of others that a recipe needs: finding them, running them, and what to
//! install where there is none.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// There is no compiler for a language here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What was looked for.
    pub what: &'static str,
    /// How to get it, a line each: on Debian and elsewhere.
    pub install: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, install } = self;
        write!(f, "{what} is not installed here. Install it:\n{install}")
    }
}

impl std::error::Error for Missing {}

/// The first of `programs` that is in one of `folders`, or else in one of `PATH`.
pub fn find(programs: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .collect();
    let candidates = programs
        .iter()
        .flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    candidates.into_iter().find(|file| is_program(file))
}

/// Runs `command`; what it says goes to standard error, unless it is read here.
///
/// # Errors
/// Where it cannot be run, or does not end well.
pub fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let name = program_of(command);
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("running {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}): what it says is above");
    }
    Ok(())
}

/// What `command` prints. What it says of mistakes goes to standard error.
///
/// # Errors
/// As [`run`].
pub fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let name = program_of(command);
    let output = command
        .output()
        .with_context(|| format!("running {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): what it says is above", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("what {name} prints"))
}

fn program_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_they_are() {
        assert!(find(&["no-such-compiler", "sh"], &[]).is_some());
        assert_eq!(find(&["no-such-compiler"], &[]), None);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sh"), "not to be run").unwrap();
        let own = [folder.path().to_path_buf()];
        assert!(find(&["sh"], &own).is_some_and(|file| !file.starts_with(folder.path())));
    }

    #[test]
    fn a_program_that_fails_is_named() {
        let error = run(&mut Command::new("false")).unwrap_err();
        assert!(error.to_string().starts_with("false failed"), "{error}");
        let error = run(&mut Command::new("/no/such/compiler")).unwrap_err();
        assert!(
            format!("{error:#}").contains("running compiler: "),
            "{error:#}"
        );
        assert_eq!(output(Command::new("echo").arg("a")).unwrap(), "a\n");
        assert!(output(&mut Command::new("false")).is_err());
    }
}
