//! The words of a configuration: addresses, hosts, paths, strategies and keys,
//! from their text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::mistakes::suggestion;
use super::values::FromText;
use super::{HashKey, HostHeader, HostPattern, StrategySource};

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

/// A server of names: an IP address and a port, 53 when none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl FromText for NameServer {
    const EXPECTED: &'static str =
        "a name server's IP address such as \"10.0.0.2\" or \"127.0.0.1:5353\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        match text.parse::<SocketAddr>().or_else(|_| alone()) {
            Ok(address) if address.port() != 0 => Ok(Self(address)),
            _ => Err(format!("`{text}`: expected {}", Self::EXPECTED)),
        }
    }
}

/// A name for a name server, as it is written but for upper case (RFC 1035
/// section 2.3.4 limits its length). `_` is what SRV records begin with and
/// what container engines allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(pub String);

impl FromText for DnsName {
    const EXPECTED: &'static str = "a DNS name such as \"_http._tcp.app.internal\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=63).contains(&part.len()) && part.bytes().all(known)
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        match name.len() <= 253 && name.split('.').all(part) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(format!("`{text}`: expected {}", Self::EXPECTED)),
        }
    }
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

/// A token (RFC 6265 section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(pub String);

impl FromText for CookieName {
    const EXPECTED: &'static str = "the name of a cookie such as \"backend\"";

    fn from_text(text: &str) -> Result<Self, String> {
        // The same characters as in a field's name, but cookies' names heed case.
        HeaderName::from_str(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| format!("`{text}` cannot be the name of a cookie"))
    }
}

/// The `Path` of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookiePath(pub String);

impl FromText for CookiePath {
    const EXPECTED: &'static str = "a path such as \"/\" or \"/shop\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with('/') || !printable || text.contains(';') {
            return Err(format!("`{text}`: expected {}", Self::EXPECTED));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The `Domain` of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieDomain(pub String);

impl FromText for CookieDomain {
    const EXPECTED: &'static str = "a domain such as \"example.com\"";

    fn from_text(text: &str) -> Result<Self, String> {
        // A dot in front means nothing (RFC 6265 section 4.1.2.3).
        let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.bytes().all(fits)
        };
        if !name.split('.').all(is_label) {
            return Err(format!("`{text}`: expected {}", Self::EXPECTED));
        }
        Ok(Self(name))
    }
}

impl FromText for HeaderName {
    const EXPECTED: &'static str = "the name of a header such as \"X-Backend\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_str(text).map_err(|_| format!("`{text}` cannot be the name of a header"))
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

/// As on the command line.
impl FromStr for StrategySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text)
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

/// The `Host` of a request: a host, with a port where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(pub HeaderValue);

impl FromText for Host {
    const EXPECTED: &'static str = "a host such as \"app.internal\" or \"app.internal:8080\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Authority::from_str(text)
            .ok()
            .filter(|authority| !authority.as_str().contains('@'))
            .and_then(|_| HeaderValue::from_str(text).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

/// The method of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckMethod(pub Method);

impl FromText for CheckMethod {
    const EXPECTED: &'static str = "a method such as \"GET\", \"HEAD\" or \"OPTIONS\"";

    fn from_text(text: &str) -> Result<Self, String> {
        // Methods are case-sensitive (RFC 9110 section 9.1): `get` is a slip.
        let upper = text.bytes().all(|byte| !byte.is_ascii_lowercase());
        Method::from_str(text)
            .ok()
            .filter(|method| upper && *method != Method::CONNECT)
            .map(Self)
            .ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

/// The path of a health check, with a query where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPath(pub String);

impl FromText for CheckPath {
    const EXPECTED: &'static str = "a path such as \"/healthz\" or \"/status?full=1\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with('/') || !printable || text.contains('#') {
            return Err(format!("`{text}`: expected {}", Self::EXPECTED));
        }
        PathAndQuery::from_str(text)
            .map(|path| Self(path.as_str().to_owned()))
            .map_err(|_| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

/// Statuses: one (`204` or `"204"`), a class (`"2xx"`) or a range (`"200-299"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRange(pub RangeInclusive<u16>);

impl FromText for StatusRange {
    const EXPECTED: &'static str =
        "a status from 100 to 599, or several such as \"200-299\" or \"2xx\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let status = |text: &str| {
            let number = text.trim().parse().ok();
            number.filter(|number| (100..=599).contains(number))
        };
        let range = match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => status(&format!("{class}00")).map(|first| first..=first + 99),
            (None, Some((first, last))) => status(first)
                .zip(status(last))
                .map(|(first, last)| first..=last),
            (None, None) => status(text).map(|one| one..=one),
        };
        range
            .filter(|range| !range.is_empty())
            .map(Self)
            .ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;

        impl Visitor<'_> for StatusVisitor {
            type Value = StatusRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(StatusRange::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StatusRange, E> {
                StatusRange::from_text(text).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<StatusRange, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<StatusRange, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(StatusVisitor)
    }
}
