//! What is counted for each listener.

use std::ops::Deref;

use http::StatusCode;

use super::{Code, Counter, Ended, Gauge, Own};

/// One worker's counts of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    pub connections: Counter,
    open: Gauge,
    requests: [Counter; Code::COUNT],
    ended: [Counter; Ended::COUNT],
    pub accept_failures: Counter,
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
