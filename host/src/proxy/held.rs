//! An answer that is not passed on yet: a better one is looked for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Answer;
use super::attempt::Attempt;
use super::headers;
use crate::timer::Alarm;
use crate::transport::Connection;
use crate::worker::LocalPool;

use super::body::RequestBody;

/// A body that nobody wants is read to its end, so that its connection can be
/// kept, if it has no more than so many bytes and takes no longer.
const DRAINED: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// An answer that its request is retried after, passed on if nothing better comes.
pub struct Held {
    pub attempt: Attempt,
    pub answer: Answer,
}

impl Held {
    /// There is a later answer: the attempt ends, the rest of this one is read or
    /// its connection closed.
    pub fn discard(self, pool: &Rc<LocalPool>) {
        let Held {
            mut attempt,
            answer,
        } = self;
        attempt.complete();
        let Answer {
            response,
            connection,
        } = answer;
        // As where it is passed on: nothing may follow on such a connection.
        let (mut parts, body) = response.into_parts();
        let trustworthy = !headers::drop_false_length(&mut parts.headers);
        if !trustworthy || !attempt.upload().is_complete() {
            return;
        }
        let (pool, member) = (Rc::clone(pool), attempt.picked().member);
        tokio::task::spawn_local(async move {
            let limit = Alarm::new();
            if limit.within(DRAIN_TIME, is_read(body)).await == Some(true) {
                keep(&pool, member, connection);
            }
        });
    }
}

fn keep(pool: &LocalPool, member: usize, connection: Connection<RequestBody>) {
    pool.keep(member, connection, Instant::now());
}

/// Reads to the end, unless that is too far.
async fn is_read(mut body: Incoming) -> bool {
    let mut left = DRAINED;
    while let Some(frame) = body.frame().await {
        let length = match &frame {
            Ok(frame) => frame.data_ref().map_or(0, bytes::Bytes::len),
            Err(_) => return false,
        };
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}
