//! What is told of a request, gathered on its way: counted for its pool, and
//! written to the access log where that is on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::body::ResponseBody;
use super::error::Refusal;
use super::visit::Visit;
use crate::connection::Client;
use crate::telemetry::access::Entry;
use crate::worker::{LocalPool, Picked, Worker};

/// One request's record in the making. The default one tells nothing.
#[derive(Default)]
pub struct Record {
    /// From its route on.
    visit: Option<Visit>,
    /// `None` with the access log off.
    line: Option<Box<Line>>,
}

impl Record {
    /// The record of a request that has just arrived.
    pub fn begin(worker: &Worker, request: &Request<Incoming>) -> Record {
        let line = || Box::new(Line::begin(request));
        Record {
            visit: None,
            line: worker.access.is_some().then(line),
        }
    }

    /// The request goes to this pool.
    pub fn routed(&mut self, worker: &Rc<Worker>, pool: &Rc<LocalPool>, now_us: u64) {
        self.visit = Some(Visit::begin(worker, pool, now_us));
        if let Some(line) = &mut self.line {
            line.entry.pool = Some(pool.name().to_owned());
        }
    }

    /// An attempt begins at the backend that was picked.
    pub fn picked(&mut self, pool: &LocalPool, picked: &Picked) {
        if let Some(line) = &mut self.line {
            line.entry.attempts += 1;
            line.picked(pool, picked);
        }
    }

    /// The answer is that of this attempt, which need not be the last.
    pub fn answered_by(&mut self, pool: &LocalPool, picked: &Picked) {
        if let Some(line) = self.line.as_mut().filter(|line| line.entry.attempts > 1) {
            line.picked(pool, picked);
        }
    }

    /// It waited so long for a backend.
    pub fn waited(&mut self, time: Duration) {
        if let Some(line) = &mut self.line {
            line.entry.queued += time;
        }
    }

    /// The response head came.
    pub fn answered(&mut self, status: StatusCode, latency_us: Option<u64>) {
        if let Some(visit) = &mut self.visit {
            visit.answered(status);
        }
        if let Some(line) = &mut self.line {
            line.answered(status, latency_us);
        }
    }

    /// More of the response body went to the client.
    pub fn add_bytes(&mut self, bytes: u64) {
        if let Some(visit) = &self.visit {
            visit.sent(bytes);
        }
        if let Some(line) = &mut self.line {
            line.entry.bytes += bytes;
        }
    }

    /// The response was read to its end.
    pub fn ended(&mut self, at: Instant) {
        if let Some(visit) = &mut self.visit {
            visit.ended(at);
        }
    }

    /// The proxy answered by itself.
    pub fn refused(mut self, refusal: Refusal, answer: &Response<ResponseBody>, client: &Client) {
        if let Some(visit) = &mut self.visit {
            visit.refused(refusal.status, refusal.why);
        }
        if let Some(line) = &mut self.line {
            line.entry.status = refusal.status;
            line.entry.bytes = answer.body().size_hint().lower();
        }
        self.finish(client);
    }

    /// The response is over.
    pub fn finish(self, client: &Client) {
        if let Some(line) = self.line {
            line.write(client);
        }
    }

    /// What was gathered so far, for whoever carries the response; nothing is
    /// left to be told here.
    pub fn take(&mut self) -> Record {
        std::mem::take(self)
    }
}

/// A line of the access log.
struct Line {
    began: Instant,
    entry: Entry,
}

impl Line {
    fn begin(request: &Request<Incoming>) -> Line {
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
        Line {
            began: Instant::now(),
            entry,
        }
    }

    fn picked(&mut self, pool: &LocalPool, picked: &Picked) {
        self.entry.backend = Some(pool.backend_name(picked.member).to_owned());
        self.entry.strategy = Some(pool.strategy_name().to_owned());
        self.entry.fallback = picked.fallback;
    }

    fn answered(&mut self, status: StatusCode, latency_us: Option<u64>) {
        self.entry.status = status;
        self.entry.upstream_latency = latency_us.map(Duration::from_micros);
    }

    fn write(mut self, client: &Client) {
        self.entry.client = Some(client.address.ip());
        self.entry.duration = self.began.elapsed();
        if let Some(log) = &client.worker.access {
            log.write(self.entry);
        }
    }
}
