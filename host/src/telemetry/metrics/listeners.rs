//! What is counted for each listener.

use std::fmt;
use std::ops::Deref;

use http::StatusCode;

use super::sheet::{Label, Sheet};
use super::{Code, Counter, Ended, Gauge, Own};
use crate::generation::{Generation, Listening};

/// One worker's counts of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    pub connections: Counter,
    open: Gauge,
    requests: [Counter; Code::COUNT],
    ended: [Counter; Ended::COUNT],
    pub accept_failures: Counter,
    pub held: Counter,
}

impl ListenerCounts {
    /// A request was answered, by a backend or by the proxy itself.
    pub fn answered(&self, status: StatusCode) {
        self.requests[Code::of(status) as usize].add(1);
    }

    /// The proxy ends a connection.
    pub fn ended(&self, why: Ended) {
        self.ended[why as usize].add(1);
    }
}

/// A connection of a listener, counted as open until it is dropped.
#[derive(Debug)]
pub struct Connected(Own<ListenerCounts>);

impl Connected {
    /// Counts a connection.
    pub fn begin(counts: Own<ListenerCounts>) -> Connected {
        counts.connections.add(1);
        counts.open.up();
        Connected(counts)
    }
}

impl Deref for Connected {
    type Target = ListenerCounts;

    fn deref(&self) -> &ListenerCounts {
        &self.0
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.open.down();
    }
}

/// Writes what all workers counted for the listeners of `generation`.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let listeners = || generation.listeners.iter();
    let sums = |count: fn(&ListenerCounts) -> u64| {
        listeners().map(move |one| ([label(one)], one.bound.counts.sum(count)))
    };
    sheet.counter(
        "anubis_listener_connections_total",
        "Connections accepted.",
        sums(|counts| counts.connections.get()),
    )?;
    sheet.gauge(
        "anubis_listener_connections_open",
        "Connections open now, tunnels included.",
        sums(|counts| counts.open.get()),
    )?;
    sheet.counter(
        "anubis_listener_connections_ended_total",
        "Connections that the proxy ended, by why.",
        listeners().flat_map(|one| {
            Ended::ALL.iter().map(move |&why| {
                let count = one
                    .bound
                    .counts
                    .sum(|counts| counts.ended[why as usize].get());
                ([label(one), ("reason", why.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_listener_requests_total",
        "Requests answered, by a backend or by the proxy itself, by class of status.",
        listeners().flat_map(|one| {
            Code::ALL.iter().map(move |&code| {
                let count = one
                    .bound
                    .counts
                    .sum(|counts| counts.requests[code as usize].get());
                ([label(one), ("code", code.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_listener_accept_failures_total",
        "Times that no connection could be accepted for want of descriptors or memory.",
        sums(|counts| counts.accept_failures.get()),
    )?;
    sheet.counter(
        "anubis_listener_accepts_held_total",
        "Times that accepting waited because there were as many connections as there may be.",
        sums(|counts| counts.held.get()),
    )
}

fn label(one: &Listening) -> Label<'_> {
    ("listener", &one.settings.name)
}
