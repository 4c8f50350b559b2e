//! Values as they are written: text and numbers that must mean something.
//!
//! Each type knows what it expects, so that a mistake says both what was found
//! and what belongs there. The command line reads its arguments with the same
//! [`FromText`].

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::mistakes::suggestion;
use super::{HashKey, HostHeader, HostPattern, StrategySource};

/// Longest time that can be written: far beyond use, far below overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Something written as text, in a file or on the command line.
pub trait FromText: Sized {
    /// What belongs there, completing "expected ...".
    const EXPECTED: &'static str;

    /// Reads `text`; the error says what is wrong with it.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A TOML string that is read by [`FromText`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::from_text(text).map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A whole number from `MIN` to `MAX`, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for WholeVisitor<MIN, MAX> {
            type Value = Whole<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(out_of_range(number, MIN, MAX)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                if (MIN..=MAX).contains(&number) {
                    Ok(Whole(number))
                } else {
                    Err(out_of_range(number, MIN, MAX))
                }
            }
        }

        deserializer.deserialize_u64(WholeVisitor)
    }
}

fn out_of_range<E: Error>(number: impl fmt::Display, min: u64, max: u64) -> E {
    E::custom(format_args!("{number} is out of range: {min} to {max}"))
}

/// A time such as `"250ms"`, at least `MIN_MS` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time<const MIN_MS: u64>(pub Duration);

impl<const MIN_MS: u64> FromText for Time<MIN_MS> {
    const EXPECTED: &'static str = "a time with its unit such as \"250ms\", \"30s\" or \"1h\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text)
            .map_err(|error| format!("`{text}`: {error}; expected {}", Self::EXPECTED))?;
        if time < Duration::from_millis(MIN_MS) {
            return Err(format!("`{text}` is too short: at least {MIN_MS}ms"));
        }
        if time > LONGEST {
            return Err(format!("`{text}` is too long: at most 365days"));
        }
        Ok(Self(time))
    }
}

/// An amount of memory such as `"64MiB"`, from 64 KiB (one page of a plugin's
/// memory) to 4 GiB (all that 32 bits can address).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromText for Size {
    const EXPECTED: &'static str = "a size with its unit such as \"512KiB\", \"64MiB\" or \"1GiB\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim_start() {
            "B" => 1,
            "kB" | "KB" => 1000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return Err(format!("`{text}`: expected {}", Self::EXPECTED)),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{text}`: expected {}", Self::EXPECTED))?;
        match number.checked_mul(unit) {
            Some(bytes @ 0x1_0000..=0x1_0000_0000) => usize::try_from(bytes)
                .map(Self)
                .map_err(|_| format!("`{text}` is more than this machine can address")),
            _ => Err(format!("`{text}` is out of range: 64KiB to 4GiB")),
        }
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str =
        "an IP address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

impl FromText for IpNet {
    const EXPECTED: &'static str =
        "a network such as \"10.0.0.0/8\" or an address such as \"10.0.0.1\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

/// Where a backend listens: a host and a port (80 when none is written).
impl FromText for Authority {
    const EXPECTED: &'static str =
        "a backend's address such as \"http://127.0.0.1:9001\" or \"app:8080\"";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err(format!("`{text}`: https to a backend is not supported"));
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(format!(
                "`{text}`: a backend has no path, requests keep their own"
            ));
        }
        if address.contains('@') {
            return Err(format!("`{text}`: a backend's address has no user"));
        }
        with_port(address).ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

/// `host:port` from `host` or `host:port`; nothing when either is malformed.
fn with_port(address: &str) -> Option<Authority> {
    let authority = Authority::from_str(address).ok()?;
    let host = authority.host();
    let port = match authority.as_str()[host.len()..].strip_prefix(':') {
        None => 80,
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0)?,
    };
    if host.is_empty() {
        return None;
    }
    Authority::from_str(&format!("{host}:{port}")).ok()
}

impl FromText for HostPattern {
    const EXPECTED: &'static str =
        "a host name without port such as \"www.example.com\" or \"*.example.com\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if host == "*" {
            return Ok(Self::Any);
        }
        let (name, below) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host.as_str(), false),
        };
        let authority = Authority::from_str(name).ok();
        if name.contains('*') || authority.is_none_or(|a| a.host() != name) {
            return Err(format!("`{text}`: expected {}", Self::EXPECTED));
        }
        Ok(if below {
            Self::Below(name.to_owned())
        } else {
            Self::Exact(host)
        })
    }
}

/// A route's path prefix: begins with `/`, held without a `/` at its end
/// (but for `/` itself), because whole segments match either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(pub String);

impl FromText for PathPrefix {
    const EXPECTED: &'static str = "a path prefix such as \"/api\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with('/') || !printable || text.contains(['?', '#', '*']) {
            return Err(format!(
                "`{text}`: expected {} (no query, no wildcard, other characters percent-encoded)",
                Self::EXPECTED
            ));
        }
        let trimmed = text.trim_end_matches('/');
        Ok(Self(
            if trimmed.is_empty() { "/" } else { trimmed }.to_owned(),
        ))
    }
}

impl FromText for StrategySource {
    const EXPECTED: &'static str =
        "the name of a shipped strategy, the path of a .wasm, or \"fallback\"";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('/') || text.ends_with(".wasm") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        if text == "fallback" {
            return Ok(Self::Fallback);
        }
        if super::shipped_strategies().any(|name| name == text) {
            return Ok(Self::Shipped(text.to_owned()));
        }
        let known = super::shipped_strategies().chain(["fallback"]);
        Err(format!(
            "no shipped strategy is called `{text}`{}",
            suggestion(text, known)
        ))
    }
}

impl FromText for HashKey {
    const EXPECTED: &'static str =
        "\"client-address\", \"header:NAME\", \"cookie:NAME\", \"path\" or \"query:NAME\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected {}", Self::EXPECTED);
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name).filter(|name| !name.is_empty())),
            None => (text, None),
        };
        match (kind, name) {
            ("client-address", None) if text == kind => Ok(Self::ClientAddress),
            ("path", None) if text == kind => Ok(Self::Path),
            ("header", Some(name)) => HeaderName::from_str(name)
                .map(Self::Header)
                .map_err(|_| format!("`{name}` cannot be the name of a header")),
            ("cookie", Some(name)) => HeaderName::from_str(name)
                .map(|_| Self::Cookie(name.to_owned()))
                .map_err(|_| format!("`{name}` cannot be the name of a cookie")),
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl FromText for HostHeader {
    const EXPECTED: &'static str = "\"keep\", \"backend\" or a host such as \"app.internal\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "backend" => Ok(Self::Backend),
            _ => Authority::from_str(text)
                .ok()
                .filter(|authority| !authority.as_str().contains('@'))
                .and_then(|_| HeaderValue::from_str(text).ok())
                .map(Self::Fixed)
                .ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED)),
        }
    }
}
