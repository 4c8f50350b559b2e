//! What is asked of the name servers, and what they can answer.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::Authority;

use crate::config::{BackendSettings, PoolSettings, Resolve, Settings, Target};

/// Something to ask the name servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// The addresses of this name.
    Host(String),
    /// The SRV records of this name (RFC 2782), and the addresses of what they name.
    Service(String),
}

/// What is known of a [`Question`]: sorted, nothing twice, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    Endpoints(Vec<Endpoint>),
}

/// One address of one target of SRV records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Lower numbers first.
    pub priority: u16,
    pub address: SocketAddr,
    /// The target's name, without the dot at its end.
    pub host: String,
    /// Its share among those of its priority; never 0.
    pub weight: u16,
}

/// The last good answer to each question that has one.
pub type Answers = BTreeMap<Question, Arc<Answer>>;

/// Everything to ask for `settings`, each with the backends that it is asked for.
pub type Wanted = BTreeMap<Question, String>;

/// What has to be asked for `settings`, whose names have not been replaced yet.
pub fn wanted(settings: &Settings) -> Wanted {
    let mut wanted = Wanted::new();
    for pool in &settings.pools {
        for backend in &pool.backends {
            let Some(question) = Question::about(backend, pool) else {
                continue;
            };
            let asked_for: &mut String = wanted.entry(question).or_default();
            if !asked_for.is_empty() {
                asked_for.push_str(", ");
            }
            asked_for.push_str(&format!("{}/{}", pool.name, backend.name));
        }
    }
    wanted
}

impl Question {
    /// What has to be asked to know where `backend` is; nothing where its address
    /// says so, or the system is to find out at each connection.
    pub fn about(backend: &BackendSettings, pool: &PoolSettings) -> Option<Question> {
        match backend.target {
            Target::Service => Some(Question::Service(backend.address.as_str().to_lowercase())),
            Target::Written if pool.resolve == Resolve::All && is_name(&backend.address) => {
                Some(Question::Host(backend.address.host().to_lowercase()))
            }
            Target::Written | Target::Resolved(_) => None,
        }
    }
}

/// It is to be asked for. `localhost` is not: it is this machine (RFC 6761
/// section 6.3), and a server that listens there at one of its two addresses is
/// found at each connection.
fn is_name(address: &Authority) -> bool {
    let host = address.host().to_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let last = host.rsplit('.').next().unwrap_or(host);
    // No domain is called by a number: `127.1` and `0x7f000001` are addresses to
    // the system, in a notation of old.
    let numeric = last.starts_with(|first: char| first.is_ascii_digit());
    !(host.starts_with('[') || numeric || last == "localhost")
}

impl Answer {
    /// How many addresses.
    pub fn len(&self) -> usize {
        match self {
            Answer::Addresses(addresses) => addresses.len(),
            Answer::Endpoints(endpoints) => endpoints.len(),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Host(name) => f.write_str(name),
            Question::Service(name) => write!(f, "srv {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_this_machine_are_not_asked_for() {
        let asked = |address: &str| is_name(&address.parse().expect("an authority"));
        for address in [
            "127.0.0.1:80",
            "[::1]:80",
            "127.1:80",
            "0x7f000001:80",
            "localhost:80",
            "LocalHost.:80",
            "web.localhost:80",
        ] {
            assert!(!asked(address), "{address}");
        }
        for name in ["web:80", "my_app:80", "app.internal.:8080", "3com.com:80"] {
            assert!(asked(name), "{name}");
        }
    }
}
