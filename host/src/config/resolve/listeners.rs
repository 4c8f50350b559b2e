//! What `[[listeners]]` mean.

use std::collections::HashSet;
use std::net::SocketAddr;

use toml::Spanned;

use super::{count, set, size, time};
use crate::config::ListenerSettings;
use crate::config::file;
use crate::config::read::Report;

/// Every listener that has an address.
pub fn listeners(
    written: Vec<Spanned<file::Listener>>,
    report: &mut Report<'_>,
) -> Vec<ListenerSettings> {
    if written.is_empty() {
        report.missing_at_top("listeners", "at least one [[listeners]] is needed");
    }
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners = Vec::new();
    for entry in written {
        let span = entry.span();
        let mut entry = entry.into_inner();
        let Some(address) = entry.address.take() else {
            report.missing(&span, "address", "a listener needs an address");
            continue;
        };
        let at = address.span();
        let name_at = entry.name.as_ref().map_or(at.clone(), Spanned::span);
        let listener = listener(entry, address.into_inner().0);
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            report.mistake(&at, "another listener has this address");
        } else if !names.insert(listener.name.clone()) {
            report.mistake(&name_at, "another listener has this name");
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(entry: file::Listener, address: SocketAddr) -> ListenerSettings {
    let mut listener = ListenerSettings::new(address);
    set(&mut listener.name, entry.name.map(Spanned::into_inner));
    set(&mut listener.header_timeout, entry.header_timeout.map(time));
    set(&mut listener.keep_alive, entry.keep_alive.map(time));
    set(&mut listener.idle_timeout, entry.idle_timeout.map(time));
    set(
        &mut listener.max_request_line,
        entry.max_request_line.map(size),
    );
    set(
        &mut listener.max_header_size,
        entry.max_header_size.map(size),
    );
    set(&mut listener.max_headers, entry.max_headers.map(count));
    let body = entry.max_body_size.map(size);
    set(&mut listener.max_body_size, body.map(|size| size as u64));
    set(
        &mut listener.max_connections,
        entry.max_connections.map(count),
    );
    set(
        &mut listener.max_connections_per_client,
        entry.max_connections_per_client.map(count),
    );
    listener.trusted_proxies = entry.trusted_proxies.into_iter().map(|net| net.0).collect();
    listener
}
