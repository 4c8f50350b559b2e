//! What the access log will say of a request, gathered on its way. Nothing is
//! gathered while the access log is off.

use std::rc::Rc;
use std::time::Instant;

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::body::ResponseBody;
use crate::connection::Client;
use crate::telemetry::access::{AccessLog, Entry};
use crate::worker::{LocalPool, Picked, Worker};

/// One request's entry in the making.
pub struct Record {
    log: AccessLog,
    began: Instant,
    entry: Entry,
}

impl Record {
    /// The record of a request that has just arrived; `None` with the log off.
    pub fn begin(worker: &Worker, request: &Request<Incoming>) -> Option<Box<Record>> {
        let log = worker.access.clone()?;
        let text = |name: HeaderName| {
            request
                .headers()
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let entry = Entry {
            time: std::time::SystemTime::now(),
            method: request.method().clone(),
            target: request.uri().to_string(),
            version: request.version(),
            host: text(HOST),
            user_agent: text(USER_AGENT),
            referer: text(REFERER),
            ..Entry::default()
        };
        Some(Box::new(Record {
            log,
            began: Instant::now(),
            entry,
        }))
    }

    /// An attempt begins at the backend that was picked.
    pub fn picked(&mut self, pool: &LocalPool, picked: &Picked) {
        self.entry.attempts += 1;
        self.entry.pool = Some(pool.settings().name.clone());
        self.entry.backend = Some(pool.backend_name(picked.member).to_owned());
        self.entry.strategy = Some(pool.strategy_name().to_owned());
        self.entry.fallback = picked.fallback;
    }

    /// The response head came.
    pub fn answered(&mut self, status: StatusCode, latency_us: Option<u64>) {
        self.entry.status = status;
        self.entry.upstream_latency = latency_us.map(std::time::Duration::from_micros);
    }

    /// More of the response body went to the client.
    pub fn add_bytes(&mut self, bytes: u64) {
        self.entry.bytes += bytes;
    }

    /// The proxy answered by itself.
    pub fn refused(mut self: Box<Self>, answer: &Response<ResponseBody>, client: &Rc<Client>) {
        self.entry.status = answer.status();
        self.entry.bytes = answer.body().size_hint().lower();
        self.write(client);
    }

    /// The response has ended.
    pub fn write(mut self: Box<Self>, client: &Rc<Client>) {
        self.entry.client = Some(client.address.ip());
        self.entry.duration = self.began.elapsed();
        self.log.write(self.entry);
    }
}
