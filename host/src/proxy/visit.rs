//! A request at its pool: in flight from its route to the end of its response,
//! and counted once, however it ends.

use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;

use crate::telemetry::metrics::Refused;
use crate::worker::{LocalPool, Worker};

/// A request that was routed. Dropping it without an answer means that the
/// client left.
pub struct Visit {
    worker: Rc<Worker>,
    pool: Rc<LocalPool>,
    began_us: u64,
    status: Option<StatusCode>,
    /// It is counted.
    ended: bool,
}

impl Visit {
    /// A request comes to `pool`.
    pub fn begin(worker: &Rc<Worker>, pool: &Rc<LocalPool>, now_us: u64) -> Visit {
        pool.counts.began();
        Visit {
            worker: Rc::clone(worker),
            pool: Rc::clone(pool),
            began_us: now_us,
            status: None,
            ended: false,
        }
    }

    /// A backend answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The proxy answers itself.
    pub fn refused(&mut self, status: StatusCode, why: Option<Refused>) {
        self.status = Some(status);
        if let Some(why) = why {
            self.pool.counts.refused(why);
        }
    }

    /// `bytes` more are on their way to the client.
    pub fn sent(&self, bytes: u64) {
        self.pool.counts.sent.add(bytes);
    }

    /// The response was read to its end.
    pub fn ended(&mut self, at: Instant) {
        self.end(self.worker.us_at(at));
    }

    fn end(&mut self, now_us: u64) {
        let us = now_us.saturating_sub(self.began_us);
        self.pool.counts.ended(self.status, us);
        self.ended = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.ended {
            self.end(self.worker.now_us());
        }
    }
}
