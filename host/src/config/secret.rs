//! Secrets: read from files that not everybody may read, and never shown.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The shortest secret to sign with: who has seen a signature can try secrets at
/// home, and 32 hexadecimal digits are 128 bits.
const SHORTEST: usize = 32;
/// The longest.
const LONGEST: usize = 1024;

/// What tokens are signed with. No log can show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads the file at `path`; white space around the secret is no part of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others than its owner and group may read
    /// it, or it holds fewer than 32 or more than 1024 bytes.
    pub fn read(path: &Path) -> Result<Secret> {
        let about = || path.display().to_string();
        let text = text_of(path, LONGEST).with_context(about)?;
        let secret = text.trim();
        ensure!(
            (SHORTEST..=LONGEST).contains(&secret.len()),
            "{}: a secret has {SHORTEST} to {LONGEST} bytes",
            about()
        );
        Ok(Secret(secret.as_bytes().to_vec()))
    }

    /// The bytes to sign with.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text of a file with a secret in it, of which at most `longest` bytes and
/// a few more are read.
///
/// # Errors
///
/// When it cannot be read, is no text, or others than its owner and group may read it.
pub fn text_of(path: &Path, longest: usize) -> Result<String> {
    let file = File::open(path).context("cannot be opened")?;
    let about = file.metadata().context("cannot be read")?;
    ensure!(about.is_file(), "is not a file");
    ensure!(
        about.permissions().mode() & 0o007 == 0,
        "everybody may read or write it; its mode should be 0600"
    );
    let mut text = String::new();
    // Room for a line's end.
    file.take(longest as u64 + 2)
        .read_to_string(&mut text)
        .context("cannot be read")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(content: &str, mode: u32) -> Result<Secret> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        Secret::read(&path)
    }

    #[test]
    fn a_secret_is_what_the_file_holds_and_is_not_shown() {
        let text = "0123456789abcdef0123456789abcdef";
        let secret = read(&format!("{text}\n"), 0o600).expect("a secret");
        assert_eq!(secret.bytes(), text.as_bytes());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn what_is_short_long_or_open_to_everybody_is_refused() {
        let whole = "x".repeat(SHORTEST);
        for (content, mode) in [
            ("", 0o600),
            (&whole[1..], 0o600),
            (&"x".repeat(LONGEST + 1), 0o600),
            (&whole, 0o644),
        ] {
            let error = read(content, mode).expect_err("refused");
            assert!(format!("{error:#}").contains("secret: "), "{error:#}");
        }
        assert!(read(&"x".repeat(LONGEST), 0o640).is_ok());
    }
}
