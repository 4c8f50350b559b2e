//! A response on its way to the client, with everything that must be settled
//! when it ends: the attempt, the connection it came over, the client's clock,
//! the access log.

use std::rc::Rc;

use super::attempt::Attempt;
use super::body::{RequestBody, Upload};
use super::log::Record;
use crate::connection::Client;
use crate::strategy::Failure;
use crate::transport::Connection;
use crate::worker::LocalPool;

/// One request and its response, from the response head on.
pub struct Exchange {
    client: Rc<Client>,
    /// `None` once it has ended.
    open: Option<Open>,
    record: Option<Box<Record>>,
}

struct Open {
    attempt: Attempt,
    pool: Rc<LocalPool>,
    connection: Connection<RequestBody>,
    upload: Upload,
}

impl Exchange {
    /// The exchange of an attempt that was answered over `connection`.
    pub fn new(
        client: &Rc<Client>,
        pool: &Rc<LocalPool>,
        attempt: Attempt,
        connection: Connection<RequestBody>,
        upload: Upload,
        record: Option<Box<Record>>,
    ) -> Exchange {
        let open = Open {
            attempt,
            pool: Rc::clone(pool),
            connection,
            upload,
        };
        Exchange {
            client: Rc::clone(client),
            open: Some(open),
            record,
        }
    }

    /// `bytes` more are on their way to the client.
    pub fn progress(&mut self, bytes: usize) {
        self.client.watch.streaming();
        if let Some(record) = &mut self.record {
            record.add_bytes(bytes as u64);
        }
    }

    /// The response was read to its end.
    pub fn complete(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        open.attempt.complete();
        // A connection that still carries the request's body cannot carry the next request.
        if open.upload.is_complete() {
            open.pool
                .keep(open.attempt.picked().member, open.connection);
        }
        self.client.watch.idle();
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
        if let Some(record) = self.record.take() {
            record.write(&self.client);
        }
    }
}
