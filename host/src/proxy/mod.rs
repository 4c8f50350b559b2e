//! The request path: route, pick, attempt, respond; the outcome is observed
//! when the response ends (`exchange.rs`, `attempt.rs`).

mod attempt;
mod body;
mod error;
mod exchange;
mod headers;
mod key;
mod log;
mod request;
mod upgrade;

use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

pub use body::{RequestBody, ResponseBody};
pub use headers::Forwarding;

use attempt::Attempt;
use body::Upload;
use error::{Refusal, Retry};
use exchange::Exchange;
use log::Record;
use request::Outgoing;

use crate::connection::Client;
use crate::transport::{Cause, Connection, Reuse, SendError};
use crate::worker::{Choice, LocalPool};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Answers one request. Every way out is a response: errors are answered here
/// and go no further.
pub async fn handle(client: Rc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    client.watch.handling();
    let json = error::wants_json(request.headers());
    let mut record = Record::begin(&client.worker, &request);
    let result = match Outgoing::accept(request, &client) {
        Ok(outgoing) => forward(&client, outgoing, &mut record).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = result.unwrap_or_else(|refusal| {
        client.watch.idle();
        let response = refusal.into_response(json);
        if let Some(record) = record.take() {
            record.refused(&response, &client);
        }
        response
    });
    if (client.worker.is_draining() || client.watch.ends_with_response())
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

/// Sends the request to one backend after another until one answers, none is
/// left, or trying again would not be safe.
async fn forward(
    client: &Rc<Client>,
    mut outgoing: Outgoing,
    record: &mut Option<Box<Record>>,
) -> Result<Response<ResponseBody>, Refusal> {
    let worker = &client.worker;
    let generation = worker.generation();
    let pool = generation
        .route(outgoing.host(), outgoing.path())
        .ok_or(Refusal::new(StatusCode::NOT_FOUND))?;
    let key = key::of(&pool.settings().hash_key, &outgoing.head).unwrap_or_else(|| worker.random());
    let mut tried = Vec::new();
    let mut last = None;
    while tried.len() < pool.settings().tries.get() && outgoing.can_be_sent() {
        let picked = match pool.pick(worker, &mut outgoing.head, key, &tried) {
            Choice::Backend(picked) => picked,
            Choice::Reject(status) => return Err(Refusal::new(status)),
            Choice::Nobody => return Err(nobody_left(last)),
        };
        let Some(request) = outgoing.take(pool.host_header(picked.member, outgoing.has_host()))
        else {
            break;
        };
        let mut attempt = Attempt::begin(worker, pool, picked, tried.len() as u32);
        if let Some(record) = record {
            record.picked(pool, &picked);
        }
        match send(pool, client, &mut outgoing, request, &mut attempt).await {
            Ok(answer) => return respond(client, pool, outgoing, attempt, answer, record),
            Err(cause) if cause.retry() == Retry::Never => return Err(cause.refusal()),
            Err(cause) => last = Some(cause),
        }
        tried.push(picked.member);
    }
    Err(match last {
        Some(cause) if tried.len() < pool.size() => cause.refusal(),
        last => nobody_left(last),
    })
}

/// A response head, the connection it came over, and how far the request's
/// body is.
struct Answer {
    response: Response<Incoming>,
    connection: Connection<RequestBody>,
    upload: Upload,
}

/// One attempt, which a kept connection that had been closed does not use up.
async fn send(
    pool: &LocalPool,
    client: &Client,
    outgoing: &mut Outgoing,
    mut request: Request<RequestBody>,
    attempt: &mut Attempt,
) -> Result<Answer, Cause> {
    let member = attempt.picked().member;
    let mut reuse = Reuse::Allowed;
    loop {
        request
            .body_mut()
            .answered_within(pool.limits.response_timeout);
        let upload = request.body().upload();
        attempt.sends(upload.clone());
        let SendError { mut cause, unsent } = match pool
            .upstream(member)
            .send(request, &pool.limits, &client.watch, reuse)
            .await
        {
            Ok((response, connection)) => {
                attempt.answered(response.status());
                pool.attempt_answered(member);
                return Ok(Answer {
                    response,
                    connection,
                    upload,
                });
            }
            Err(error) => error,
        };
        outgoing.give_back(unsent);
        if matches!(cause, Cause::ResponseTimeout) && upload.waits_for_client() {
            cause = Cause::RequestTimeout;
        }
        if cause.retry() == Retry::FreshConnection
            && reuse == Reuse::Allowed
            && let Some(again) = outgoing.take(pool.host_header(member, outgoing.has_host()))
        {
            reuse = Reuse::Forbidden;
            request = again;
            continue;
        }
        pool.attempt_failed(member, &cause);
        attempt.failed(cause.failure());
        return Err(cause);
    }
}

/// Nobody is eligible (any more). Where backends were asked and none could be
/// reached, the whole pool is down.
fn nobody_left(last: Option<Cause>) -> Refusal {
    match last {
        None | Some(Cause::Connect(_)) => Refusal::unavailable(),
        Some(cause) => cause.refusal(),
    }
}

/// Turns the backend's answer into the client's.
fn respond(
    client: &Rc<Client>,
    pool: &Rc<LocalPool>,
    outgoing: Outgoing,
    attempt: Attempt,
    answer: Answer,
    record: &mut Option<Box<Record>>,
) -> Result<Response<ResponseBody>, Refusal> {
    let Answer {
        response,
        connection,
        upload,
    } = answer;
    if let Some(record) = record {
        record.answered(response.status(), attempt.latency_us());
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::switch(client, pool, outgoing.upgrade, attempt, response, record);
    }
    let (mut parts, incoming) = response.into_parts();
    let trustworthy = !headers::drop_false_length(&mut parts.headers);
    let connection = Some(connection).filter(|_| trustworthy);
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::add_via(&mut parts.headers);
    // The backend's version ends here, as its connection does.
    parts.version = Version::HTTP_11;
    client.watch.waits_for_client();
    let exchange = Exchange::new(client, pool, attempt, connection, upload, record.take());
    Ok(Response::from_parts(
        parts,
        ResponseBody::Upstream { incoming, exchange },
    ))
}
