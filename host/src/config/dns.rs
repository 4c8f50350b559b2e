//! `[dns]`: how names of backends become addresses.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whom to ask, over UDP, and TCP where an answer is too long for that.
    /// Empty (default): whom `/etc/resolv.conf` names.
    pub servers: Vec<SocketAddr>,
    /// Domains in which names are looked for. Default: those of
    /// `/etc/resolv.conf`, or none where `servers` are written.
    pub search: Option<Vec<String>>,
    /// Which addresses are used. Default auto.
    pub family: Family,
    /// An answer holds at least so long, whatever its TTL. Default 1 s, at
    /// least 10 ms.
    pub min_ttl: Duration,
    /// An answer holds at most so long; never below `min_ttl`. Default 10 s.
    pub max_ttl: Duration,
    /// How long one attempt may take. Default 1 s.
    pub timeout: Duration,
    /// Attempts for one question. Default 2.
    pub attempts: NonZeroUsize,
}

impl Default for DnsSettings {
    /// The container engines' own servers tell 600 s for what they change at
    /// any moment, so an answer is not believed longer than HAProxy does.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: None,
            family: Family::Auto,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            attempts: const { NonZeroUsize::new(2).expect("2 is not 0") },
        }
    }
}

/// Which of a name's addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 where the name has such addresses, otherwise IPv6: a machine with
    /// one of each is one backend and not two.
    Auto,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// All of them.
    Both,
}

/// What becomes of the names in a pool's backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// Every address of a name is a backend.
    All,
    /// A name is one backend; the system looks it up for each connection.
    AtConnect,
}

/// What a backend's address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// As written: an IP address or a name.
    Written,
    /// The name of SRV records: an address without a port.
    Service,
    /// A name, which was told to lead here.
    Resolved(SocketAddr),
}
