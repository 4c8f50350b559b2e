//! Which compiler builds plugins that are written in Rust, and with which settings:
//! for the shipped ones (`plugins/rebuild`) and for anybody's (`anubis plugin build`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The one target.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The release profile of plugins, as `cargo --config` takes it. Given there, because
/// cargo takes profiles only from the root manifest of a workspace.
///
/// `strip` is what is left out: `symbols`, or `debuginfo` where a backtrace is to have
/// the names of functions.
pub fn profile(strip: &str) -> [String; 7] {
    [
        "profile.release.opt-level=3".into(),
        "profile.release.lto=\"fat\"".into(),
        "profile.release.codegen-units=1".into(),
        "profile.release.panic=\"abort\"".into(),
        format!("profile.release.strip=\"{strip}\""),
        "profile.release.debug=false".into(),
        "profile.release.overflow-checks=false".into(),
    ]
}

/// Which toolchain the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// The first of the others that there is.
    #[default]
    Auto,
    /// The active toolchain, with a prebuilt standard library for the target
    /// (`rustup target add wasm32-unknown-unknown`, which is tried).
    Prebuilt,
    /// Debian's rustc-web, which builds the standard library from source.
    Debian,
}

/// A toolchain that was found here.
#[derive(Debug)]
pub enum Toolchain {
    /// `cargo` and `rustc` as found, with a standard library for the target.
    Prebuilt { version: String },
    /// Debian's packages, with the standard library's sources.
    Debian {
        version: String,
        sources: PathBuf,
        linker: PathBuf,
    },
}

/// What to install where there is none.
pub const MISSING: &str = "no toolchain for wasm32-unknown-unknown. Install one of:\n\
    - with rustup:  rustup target add wasm32-unknown-unknown\n\
    - on Debian:    apt-get install rustc-web cargo-web rust-web-src lld-19";

impl Toolchain {
    /// Finds one.
    ///
    /// # Errors
    ///
    /// Where there is none; the message says what to install.
    pub fn choose(choice: Choice) -> Result<Self> {
        let found = match choice {
            Choice::Auto => prebuilt().or_else(debian),
            Choice::Prebuilt => prebuilt(),
            Choice::Debian => debian(),
        };
        match found {
            Some(toolchain) => Ok(toolchain),
            None => bail!(MISSING),
        }
    }

    /// The compiler's version and where its standard library comes from: two
    /// builds of the same sources with the same identity have the same bytes.
    pub fn identity(&self) -> String {
        match self {
            Self::Prebuilt { version } => format!("{version}, prebuilt std"),
            Self::Debian {
                version, linker, ..
            } => {
                format!("{version}, {}, std built from source", linker.display())
            }
        }
    }

    /// Cargo, set up for this toolchain and nothing else that the environment
    /// may ask for.
    pub fn cargo(&self) -> Command {
        let mut cargo = match self {
            Self::Prebuilt { .. } => Command::new("cargo"),
            Self::Debian { .. } => Command::new("/usr/bin/cargo"),
        };
        for (name, _) in std::env::vars_os() {
            if is_build_setting(&name.to_string_lossy()) {
                cargo.env_remove(name);
            }
        }
        if let Self::Debian { linker, .. } = self {
            cargo.env("RUSTC", "/usr/bin/rustc");
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo
    }

    /// What cargo must be told beyond its subcommand.
    pub fn cargo_arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Prebuilt { .. } => &[],
            Self::Debian { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }

    /// What keeps paths of this machine out of the component, as the value of
    /// `CARGO_ENCODED_RUSTFLAGS`; `sources` are called `name` in it.
    pub fn flags(&self, sources: &Path, name: &'static str) -> OsString {
        let mut remapped = vec![(sources.to_path_buf(), name)];
        remapped.extend(cargo_home().map(|home| (home, "/cargo")));
        remapped.extend(self.remapped());
        let mut flags = OsString::new();
        for (position, (path, name)) in remapped.iter().enumerate() {
            if position > 0 {
                flags.push("\x1f");
            }
            flags.push("--remap-path-prefix=");
            flags.push(path);
            flags.push("=");
            flags.push(name);
        }
        flags
    }

    /// Directories that may end up in the compiled code as the place of a
    /// panic, and what to call each instead.
    fn remapped(&self) -> Vec<(PathBuf, &'static str)> {
        match self {
            Self::Prebuilt { .. } => Vec::new(),
            Self::Debian { sources, .. } => vec![(sources.clone(), "/rust")],
        }
    }
}

/// Settings of the environment that would change what is built.
fn is_build_setting(name: &str) -> bool {
    let of_cargo = [
        "CARGO_PROFILE_",
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
    ];
    let exact = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ];
    of_cargo.iter().any(|prefix| name.starts_with(prefix)) || exact.contains(&name)
}

fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

fn prebuilt() -> Option<Toolchain> {
    if !has_target() {
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", TARGET]);
        let added = rustup.status().is_ok_and(|status| status.success());
        if !added || !has_target() {
            return None;
        }
    }
    Some(Toolchain::Prebuilt {
        version: output("rustc", &["--version"])?,
    })
}

/// Whether the active compiler has a standard library for the target.
fn has_target() -> bool {
    let Some(directory) = output("rustc", &["--print", "target-libdir", "--target", TARGET]) else {
        return false;
    };
    let Ok(entries) = Path::new(&directory).read_dir() else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn debian() -> Option<Toolchain> {
    let version = output("/usr/bin/rustc", &["--version"])?;
    output("/usr/bin/cargo", &["--version"])?;
    let sysroot = PathBuf::from(output("/usr/bin/rustc", &["--print", "sysroot"])?);
    let sources = sysroot.join("lib/rustlib/src/rust").canonicalize().ok()?;
    if !sources.join("library/std").exists() {
        return None;
    }
    let linkers = [
        "/usr/bin/wasm-ld-22",
        "/usr/bin/wasm-ld-19",
        "/usr/bin/wasm-ld",
    ];
    let linker = linkers
        .into_iter()
        .map(PathBuf::from)
        .find(|linker| linker.exists())?;
    Some(Toolchain::Debian {
        version,
        sources,
        linker,
    })
}

/// The first line a command prints; `None` where it cannot be run or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_string())
}
