//! Lists the shipped components for `src/plugin/shipped.rs`, and what their authors
//! declare of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=ANUBIS_COMPONENTS_DIR");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let directory = match env::var_os("ANUBIS_COMPONENTS_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => manifest.join("../plugins/components"),
    };
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut table = String::from("static SHIPPED: &[(&str, &[u8], &str)] = &[\n");
    for file in components(&directory)? {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let declared = manifest.join("../plugins").join(&*name).join("plugin.toml");
        let declared = match fs::canonicalize(declared) {
            Ok(path) => {
                println!("cargo::rerun-if-changed={}", path.display());
                format!("include_str!({:?})", path.display().to_string())
            }
            Err(_) => "\"\"".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "    ({name:?}, include_bytes!({:?}), {declared}),",
            file.display().to_string()
        );
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    write_if_changed(&out.join("shipped.rs"), &table)
}

/// The `.wasm` files of a directory, sorted; none when it does not exist.
fn components(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(fs::canonicalize(directory)?)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Keeps the file's time when nothing changed, so that nothing is rebuilt.
fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text)
}
