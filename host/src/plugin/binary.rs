//! The bytes of a plugin, and what they are known by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a plugin's bytes: its version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 digits, enough to tell versions apart in a log line.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// From 64 hexadecimal digits.
impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() {
            return Err(());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or(());
            // Two digits of 16 make a byte.
            *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
        }
        Ok(Self(digest))
    }
}

/// A plugin's bytes with the name that people know them by. Cheap to clone.
/// Equal when name and bytes are.
#[derive(Clone)]
pub struct Binary {
    name: Arc<str>,
    bytes: Bytes,
    digest: Digest,
}

impl Binary {
    /// `bytes` under `name`: a shipped strategy's, a path, or what whoever
    /// handed them over calls them.
    pub fn new(name: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            name: name.into(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// For people; says nothing of what is in it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is in it, unchecked.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its version.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.name == other.name
    }
}

impl Eq for Binary {}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert!(text.starts_with("ba7816bf8f01"), "{text}");
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.short(), &text[..12]);
        assert!("ba78".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
        assert!("ä".repeat(32).parse::<Digest>().is_err());
    }
}
