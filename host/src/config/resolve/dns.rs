//! What `[dns]` means.

use std::num::NonZeroUsize;

use toml::Spanned;

use super::{count, set, time};
use crate::config::file;
use crate::config::read::Report;
use crate::config::{DnsSettings, Family};

/// How names of backends become addresses.
pub fn dns(written: file::Dns, report: &mut Report<'_>) -> DnsSettings {
    let mut dns = DnsSettings::default();
    let servers = written.servers.into_iter();
    dns.servers = servers.map(|server| server.0.0).collect();
    dns.search = written
        .search
        .map(|domains| domains.into_iter().map(|domain| domain.0.0).collect());
    set(
        &mut dns.family,
        written.family.map(|family| match family {
            file::Family::Auto => Family::Auto,
            file::Family::Ipv4 => Family::Ipv4,
            file::Family::Ipv6 => Family::Ipv6,
            file::Family::Both => Family::Both,
        }),
    );
    set(&mut dns.min_ttl, written.min_ttl.map(time));
    // A written floor lifts the default ceiling.
    dns.max_ttl = dns.max_ttl.max(dns.min_ttl);
    if let Some(max_ttl) = written.max_ttl {
        let at = Spanned::span(&max_ttl);
        dns.max_ttl = time(max_ttl.into_inner());
        if dns.max_ttl < dns.min_ttl {
            report.mistake(&at, "is less than `min-ttl`");
        }
    }
    set(&mut dns.timeout, written.timeout.map(time));
    let attempts = written.attempts.map(count).and_then(NonZeroUsize::new);
    set(&mut dns.attempts, attempts);
    dns
}
