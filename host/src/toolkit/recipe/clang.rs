//! What C and C++ have alike: clang with its linker for WebAssembly.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Job, bindings};
use crate::toolkit::tools;

/// Versions that are looked for by name, the newest first. What they must know is
/// `export_name` and `import_module`, which clang does since 11.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=22;

/// What every step is given beside the language's flags, of which each step has use for
/// some.
const FLAGS: [&str; 1] = ["-Qunused-arguments"];

const COMPILE: [&str; 5] = [
    "-c",
    "-O2",
    "-Wall",
    "-mbulk-memory",
    "-mnontrapping-fptoint",
];

/// Without `-O`, at which clang runs whatever `wasm-opt` is in `PATH`: that would take the
/// names of functions, and what is built would depend on the machine. Nothing is stripped:
/// of the names a backtrace is made, and the linker has one flag for them and for what only
/// a debugger reads, which is dropped afterwards.
const LINK: [&str; 1] = ["-Wl,-z,stack-size=65536"];

/// The compiler called `program` (`clang` or `clang++`): with a version in its name that
/// has its linker beside it, or the plain one.
pub fn find(program: &str) -> Option<PathBuf> {
    let versioned = VERSIONS.rev().find_map(|version| {
        tools::find(&[&format!("wasm-ld-{version}")], &[])?;
        tools::find(&[&format!("{program}-{version}")], &[])
    });
    versioned.or_else(|| {
        tools::find(&["wasm-ld"], &[])?;
        tools::find(&[program], &[])
    })
}

/// Compiles and links every source of the project that ends with one of `endings`, but
/// for its tests (`NAME_test.c`).
pub fn compile(
    job: &Job<'_>,
    compiler: &Path,
    endings: &[&str],
    flags: &[&str],
) -> Result<Vec<u8>> {
    let sources = sources(job.folder, endings)?;
    let include = bindings::folder(job, bindings::C)?;
    let step = || {
        let mut clang = Command::new(compiler);
        clang.current_dir(job.folder).args(FLAGS).args(flags);
        clang
    };
    let mut objects = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let object = job.scratch.join(format!("{index}.o"));
        let mut clang = step();
        clang
            .args(COMPILE)
            .arg(prefix_map(job.folder, "/plugin"))
            .arg("-I")
            .arg(&include)
            .arg(source)
            .arg("-o")
            .arg(&object);
        tools::run(&mut clang)?;
        objects.push(object);
    }
    let module = job.scratch.join("core.wasm");
    let mut clang = step();
    clang.args(LINK).args(objects).arg("-o").arg(&module);
    tools::run(&mut clang)?;
    std::fs::read(&module).with_context(|| module.display().to_string())
}

/// No path of this machine gets into what is built.
fn prefix_map(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("-ffile-prefix-map=");
    flag.push(from);
    flag.push(format!("={to}"));
    flag
}

/// In the order of their names, so that the linker meets them so everywhere.
fn sources(folder: &Path, endings: &[&str]) -> Result<Vec<String>> {
    let entries = folder
        .read_dir()
        .with_context(|| folder.display().to_string())?;
    let mut sources: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_source(name, endings))
        .collect();
    sources.sort();
    ensure!(
        !sources.is_empty(),
        "no source is in the project's folder: no file ends with {}",
        endings.join(" or ")
    );
    Ok(sources)
}

fn is_source(name: &str, endings: &[&str]) -> bool {
    let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| !stem.ends_with("_test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_taken_in_order_and_tests_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let error = sources(folder.path(), &[".c"]).unwrap_err();
        assert!(error.to_string().contains("ends with .c"), "{error}");
        for name in ["b.c", "a.c", "a_test.c", "a.h", "a.cc"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(sources(folder.path(), &[".c"]).unwrap(), ["a.c", "b.c"]);
    }
}
