//! The secret that opens the admin API: read from a file, kept as a digest.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::secret;

/// The shortest secret that is taken: 16 characters of hexadecimal digits are
/// 64 bits, more than can be tried over a network.
const SHORTEST: usize = 16;
/// The longest, which is what a header may well hold.
const LONGEST: usize = 1024;

/// A bearer token. Only its SHA-256 is kept: tokens are compared by digest, so
/// that the time it takes says nothing of the secret, and no log can show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads the file at `path`; white space around the token is no part of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others than its owner and group may read
    /// it, or what it holds is no token.
    pub fn read(path: &Path) -> Result<Token> {
        Self::read_file(path).with_context(|| path.display().to_string())
    }

    fn read_file(path: &Path) -> Result<Token> {
        Self::from_text(secret::text_of(path, LONGEST)?.trim())
    }

    /// The token that is written as `text`.
    ///
    /// # Errors
    ///
    /// When it has fewer than 16 or more than 1024 characters, or any that
    /// cannot stand in a header.
    pub fn from_text(text: &str) -> Result<Token> {
        ensure!(
            (SHORTEST..=LONGEST).contains(&text.len()),
            "a token has {SHORTEST} to {LONGEST} characters"
        );
        ensure!(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "a token has only printable ASCII characters and no spaces"
        );
        Ok(Self(Sha256::digest(text).into()))
    }

    /// Whether `presented` is this token.
    pub fn is(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0 == presented
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn file(folder: &Path, content: &str, mode: u32) -> PathBuf {
        let path = folder.join("token");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = Token::read(&file(folder.path(), &format!("{SECRET}\n"), 0o600));
        let token = token.expect("a token");
        assert!(token.is(SECRET.as_bytes()));
        for other in [
            "",
            "0123456789abcdeF",
            "0123456789abcdef0",
            "0123456789abcde",
        ] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn a_file_that_everybody_may_read_is_refused_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o644, 0o602, 0o601] {
            let path = file(folder.path(), SECRET, mode);
            let error = format!("{:#}", Token::read(&path).expect_err("refused"));
            assert!(error.contains("token: everybody may"), "{error}");
        }
        let path = file(folder.path(), SECRET, 0o640);
        assert!(Token::read(&path).is_ok(), "the group may");
    }

    #[test]
    fn what_is_too_short_too_long_or_no_text_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        for text in [
            "",
            "short",
            "with a space in it",
            "with\u{7f}control-character",
            &long,
        ] {
            assert!(Token::from_text(text).is_err(), "{text}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), &long, 0o600);
        assert!(Token::read(&path).is_err());
        assert!(Token::read(folder.path()).is_err(), "a folder");
        assert!(Token::read(&folder.path().join("none")).is_err(), "nothing");
    }
}
