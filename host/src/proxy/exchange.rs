//! A response on its way to the client, with everything that must be settled
//! when it ends: the attempt, the connection it came over, the client's clock,
//! the record.

use std::rc::Rc;
use std::time::Instant;

use super::attempt::Attempt;
use super::record::Record;
use crate::connection::Client;
use crate::strategy::Failure;
use crate::transport::Connection;
use crate::worker::LocalPool;

/// One request and its response, from the response head on.
pub struct Exchange {
    client: Rc<Client>,
    /// `None` once it has ended.
    open: Option<Open>,
    record: Record,
}

struct Open {
    attempt: Attempt,
    pool: Rc<LocalPool>,
    /// The backend has the next move.
    waits_for_backend: bool,
    /// When the head came, for as long as nothing had to be waited for since.
    now: Option<Instant>,
}

impl Exchange {
    /// The exchange of an attempt that was answered.
    pub fn new(
        client: &Rc<Client>,
        pool: &Rc<LocalPool>,
        attempt: Attempt,
        record: Record,
    ) -> Exchange {
        let open = Open {
            now: attempt.answered_at(),
            attempt,
            pool: Rc::clone(pool),
            waits_for_backend: false,
        };
        Exchange {
            client: Rc::clone(client),
            open: Some(open),
            record,
        }
    }

    /// `bytes` more are on their way to the client; `is_last`: the end comes at once.
    pub fn progress(&mut self, bytes: usize, is_last: bool) {
        if !is_last {
            self.client.watch.waits_for_client();
        }
        if let Some(open) = &mut self.open {
            open.waits_for_backend = false;
            open.now = open.now.filter(|_| is_last);
        }
        self.record.add_bytes(bytes as u64);
    }

    /// The client has all there was and waits for more.
    pub fn waits_for_backend(&mut self) {
        if let Some(open) = self.open.as_mut().filter(|open| !open.waits_for_backend) {
            open.waits_for_backend = true;
            open.now = None;
            self.client
                .watch
                .streaming(open.pool.settings().idle_timeout);
        }
    }

    /// The response was read to its end; `connection`: another request may follow on it.
    pub fn complete(&mut self, connection: Option<Connection>) {
        let Some(open) = &mut self.open else {
            return;
        };
        // A clock that was just read is not read again.
        let now = open.now.unwrap_or_else(Instant::now);
        self.record.ended(now);
        open.attempt.complete();
        if let Some(connection) = connection {
            let now_us = self.client.worker.us_at(now);
            open.pool
                .keep(open.attempt.picked().member, connection, now_us);
        }
        // Where it is: it is too large to be moved for that.
        self.open = None;
        self.client.watch.idle(now);
    }

    /// The backend's response broke off.
    pub fn broke_off(&mut self) {
        if let Some(open) = &mut self.open {
            open.attempt.failed(Some(Failure::Reset));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(open) = &mut self.open
            && open.waits_for_backend
            && self.client.watch.has_stalled()
        {
            open.attempt.failed(Some(Failure::Timeout));
        }
        self.record.take().finish(&self.client);
    }
}
