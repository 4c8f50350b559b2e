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

/// The most secrets in a file.
const MOST: usize = 4;

/// What tokens are signed with. No log can show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<Vec<u8>>);

impl Secret {
    /// Reads the file at `path`: a secret in each line, white space around it is no
    /// part of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others than its owner and group may read it, it
    /// holds none or more than four, or one has fewer than 32 or more than 1024 bytes.
    pub fn read(path: &Path) -> Result<Secret> {
        let about = || path.display().to_string();
        let text = text_of(path, MOST * (LONGEST + 2)).with_context(about)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
        ensure!(
            (1..=MOST).contains(&secrets.len()),
            "{}: a secret is needed, and at most {MOST}, each in a line",
            about()
        );
        for secret in &secrets {
            ensure!(
                (SHORTEST..=LONGEST).contains(&secret.len()),
                "{}: a secret has {SHORTEST} to {LONGEST} bytes",
                about()
            );
        }
        Ok(Secret(secrets))
    }

    /// The bytes to sign with first, then those that were signed with before.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
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
        assert_eq!(secret.all().collect::<Vec<_>>(), [text.as_bytes()]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn each_line_is_a_secret() {
        let [new, old] = ["n", "o"].map(|letter| letter.repeat(SHORTEST));
        let secret = read(&format!("{new}\n\n  {old} \r\n"), 0o600).expect("secrets");
        let all: Vec<&[u8]> = secret.all().collect();
        assert_eq!(all, [new.as_bytes(), old.as_bytes()]);
        let many = format!("{new}\n").repeat(MOST + 1);
        assert!(read(&many, 0o600).is_err());
        assert!(read(&format!("{new}\nshort\n"), 0o600).is_err());
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
