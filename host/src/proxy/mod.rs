//! The request path: route, pick, attempt, respond; the outcome is observed
//! when the response ends (`exchange.rs`, `attempt.rs`).

mod admission;
mod attempt;
mod body;
mod error;
mod exchange;
pub(crate) mod headers;
mod hedge;
mod held;
mod key;
mod load_report;
mod record;
mod request;
mod retry;
mod sticky;
mod upgrade;
mod visit;

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

pub use body::ResponseBody;
pub use headers::Forwarding;
#[cfg(any(test, fuzzing))]
pub use request::target_of;

use admission::Admission;
use attempt::Attempt;
use error::Refusal;
use exchange::Exchange;
use held::Held;
use record::Record;
use request::Outgoing;
use retry::{Clock, Course, Next};
use sticky::Session;

use crate::connection::Client;
use crate::strategy::Inbound;
use crate::telemetry::metrics::Refused;
use crate::timer::Alarm;
use crate::transport::{Cause, Received, Reuse, SendError, spare};
use crate::worker::LocalPool;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Answers one request. Every way out is a response: errors are answered here
/// and go no further.
///
/// The request is taken apart before the future is made, which thus need not carry it.
pub fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let json = error::wants_json(request.headers());
    let mut record = Record::begin(&client.worker, &request);
    let mut accepted = Outgoing::accept(request, &client);
    async move {
        let result = match &mut accepted {
            Ok(outgoing) => {
                let result = forward(&client, outgoing, &mut record).await;
                spare::give(std::mem::take(&mut outgoing.head.headers));
                result
            }
            Err(refusal) => Err(*refusal),
        };
        Ok(answer(&client, result, record, json))
    }
}

/// What the client gets.
fn answer(
    client: &Client,
    result: Result<Response<ResponseBody>, Refusal>,
    record: Record,
    json: bool,
) -> Response<ResponseBody> {
    let mut response = result.unwrap_or_else(|refusal| {
        let refusal = match client.watch.has_too_large_a_body() {
            true => refusal.for_too_large_a_body(),
            false => refusal,
        };
        client.watch.idle(Instant::now());
        let response = refusal.into_response(json);
        record.refused(refusal, &response, client);
        response
    });
    if (client.worker.is_draining() || client.watch.ends_with_response())
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    client.counts.answered(response.status());
    response
}

/// Finds the request's pool and has one of its backends answer.
async fn forward(
    client: &Rc<Client>,
    outgoing: &mut Outgoing,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let worker = &client.worker;
    let generation = worker.generation();
    let pool = generation
        .route(outgoing.host(), outgoing.path())
        .ok_or(Refusal::new(StatusCode::NOT_FOUND))?;
    let key = key::of(&pool.settings().hash_key, &outgoing.head).unwrap_or_else(|| worker.random());
    let mut now_us = worker.now_us();
    record.routed(worker, pool, now_us);
    keep_to_rate(pool, &outgoing.head, now_us)?;
    load_report::ask(pool, &mut outgoing.head.headers);
    outgoing.session = Session::take(pool, &mut outgoing.head.headers);
    let buffer = pool.settings().retry.replay_buffer;
    if buffer > 0 {
        outgoing.keep_body(buffer).await?;
        // That may have taken its time.
        now_us = worker.now_us();
    }
    let mut admission = Admission::to(pool, client, key, now_us);
    let answer = attempts(client, outgoing, &mut admission, record).await;
    answer.map_err(|refusal| refusal.retry_after(pool.settings().retry_after))
}

/// Refuses who sends faster than the pool allows.
fn keep_to_rate(pool: &LocalPool, head: &Inbound, now_us: u64) -> Result<(), Refusal> {
    let Some(settings) = &pool.settings().rate_limit else {
        return Ok(());
    };
    // Who lacks what requests are told apart by is not counted with all who do.
    let Some(key) = key::of_client(&settings.key, head) else {
        return Ok(());
    };
    pool.limiter().admit(key, settings, now_us).map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS)
            .because(Refused::Rate)
            .retry_after(wait)
    })
}

/// Sends the request to one backend after another until one gives an answer that
/// is good enough, none is left, or trying again would not be safe.
async fn attempts(
    client: &Rc<Client>,
    outgoing: &mut Outgoing,
    admission: &mut Admission,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let clock = Clock::start(admission.pool().settings().retry.total_timeout);
    let mut course = Course::begin(client);
    let mut held: Option<Box<Held>> = None;
    let refusal = loop {
        let claim = match &held {
            Some(_) => Some(admission.claim_at_once(outgoing, course.tried())),
            None => {
                // Pinned where it is made, here and below: it is too large to be moved.
                let claim = pin!(admission.claim(outgoing, course.tried(), record));
                clock.within(claim).await
            }
        };
        let claim = match claim {
            Some(Ok(claim)) => claim,
            Some(Err(refusal)) => break course.nobody_left(refusal),
            None => break course.out_of_time(),
        };
        let pool = Rc::clone(admission.pool());
        let picked = claim.picked;
        if !outgoing.can_be_sent() {
            break course.refusal(&pool);
        }
        let number = course.goes_on(&pool);
        let mut attempt = Attempt::begin(&client.worker, claim, number);
        record.picked(&pool, &picked);
        let sent = match hedge::is_wanted(&pool, outgoing) {
            false => {
                let alarm = client.watch.alarm();
                let sending = pin!(send(&pool, alarm, outgoing, &mut attempt));
                clock.within(sending).await
            }
            true => {
                let sending = Box::pin(hedge::send_hedged(
                    client,
                    outgoing,
                    &mut attempt,
                    admission,
                    &mut course,
                    record,
                ));
                clock.within(sending).await
            }
        };
        let sent = sent.unwrap_or_else(|| Err(course.overdue(&mut attempt)));
        let picked = *attempt.picked();
        let next = match sent {
            Ok(answer) => {
                let status = answer.status();
                let next = course.after_answer(&pool, &picked, status, outgoing);
                if let Some(older) = held.take() {
                    older.discard(&pool);
                }
                if next == Next::GiveUp {
                    return respond(client, admission, outgoing, attempt, answer, record);
                }
                attempt.waits_for_another();
                held = Some(Box::new(Held { attempt, answer }));
                next
            }
            Err(cause) => course.after_failure(&pool, &picked, cause, outgoing),
        };
        match next {
            Next::Again(pause) if clock.pauses(client, pause).await => {}
            Next::Again(_) | Next::GiveUp => break course.refusal(&pool),
        }
    };
    let Some(held) = held else {
        return Err(refusal);
    };
    let Held { attempt, answer } = *held;
    respond(client, admission, outgoing, attempt, answer, record)
}

/// A backend's answer, whose body has the connection that it comes over.
type Answer = Response<Received>;

/// One attempt, timed with `alarm`, which a kept connection that had been closed does not use up.
async fn send(
    pool: &LocalPool,
    alarm: &Alarm,
    outgoing: &mut Outgoing,
    attempt: &mut Attempt,
) -> Result<Answer, Cause> {
    let (member, picked_at) = (attempt.picked().member, attempt.picked().at_us);
    let mut reuse = Reuse::Allowed;
    let mut cause = loop {
        let connection = match pool.connection(member, alarm, reuse, picked_at).await {
            Ok(connection) => connection,
            Err(cause) => break cause,
        };
        let Some(mut body) = outgoing.take_body() else {
            break Cause::StaleConnection;
        };
        body.answered_within(pool.limits.response_timeout);
        attempt.sends(body.upload());
        let head = outgoing.head(pool.host_header(member, outgoing.has_host()));
        // No time has passed since the pick if there was a connection.
        let now = match connection.is_reused() {
            true => attempt.worker().instant_at(picked_at),
            false => Instant::now(),
        };
        let sending = pin!(connection.send(&head, body));
        let sent = alarm.within_from(now, pool.limits.response_timeout, sending);
        let SendError { cause, unsent } = match sent.await {
            Some(Ok(mut answer)) => {
                // Before the sample, with which the workers take it up.
                load_report::note(pool, member, answer.headers_mut(), || attempt.now_us());
                attempt.answered(answer.status());
                pool.attempt_answered(member);
                return Ok(answer);
            }
            Some(Err(error)) => error,
            None => break Cause::ResponseTimeout,
        };
        if unsent.is_none() {
            reuse = Reuse::Forbidden;
        }
        outgoing.give_back(unsent);
        if !matches!(cause, Cause::StaleConnection) || !outgoing.can_be_sent() {
            break cause;
        }
    };
    if matches!(cause, Cause::ResponseTimeout) && attempt.upload().waits_for_client() {
        cause = Cause::RequestTimeout;
    }
    pool.attempt_failed(member, &cause);
    attempt.failed(cause.failure());
    Err(cause)
}

/// Turns the backend's answer into the client's.
fn respond(
    client: &Rc<Client>,
    admission: &mut Admission,
    outgoing: &mut Outgoing,
    mut attempt: Attempt,
    mut response: Answer,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    attempt.holds(admission.take_slot());
    let pool = admission.pool();
    record.answered_by(pool, attempt.picked());
    if let Some(session) = &outgoing.session {
        session.mark(pool, attempt.picked(), response.headers_mut());
    }
    record.answered(response.status(), attempt.latency_us());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::switch(
            client,
            pool,
            outgoing.upgrade.take(),
            attempt,
            response,
            record,
        );
    }
    headers::strip_hop_by_hop(response.headers_mut());
    headers::add_via(response.headers_mut());
    // The backend's version ends here, as its connection does.
    *response.version_mut() = Version::HTTP_11;
    let exchange = Exchange::new(client, pool, attempt, record.take());
    Ok(response.map(|received| ResponseBody::upstream(received, exchange)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The future that `call` makes, in bytes.
    fn size_of_future<A, B, F: Future>(_call: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper moves it to where it stays, with every request: 28,000 bytes of it were a
    /// tenth of the proxy's time. An `async fn` that takes a request, or a future that it
    /// waits for, by value has room for it twice.
    #[test]
    fn what_hyper_moves_with_every_request_is_small() {
        let size = size_of_future(handle);
        println!("handle {size}");
        assert!(size <= 2_560, "{size} bytes");
    }
}
