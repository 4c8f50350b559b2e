//! An answer that is not passed on yet: a better one is looked for.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;

use super::Answer;
use super::attempt::Attempt;
use crate::timer::Alarm;
use crate::transport::Received;
use crate::worker::LocalPool;

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
        let mut body = answer.into_body();
        let (pool, member) = (Rc::clone(pool), attempt.picked().member);
        let worker = Rc::clone(attempt.worker());
        tokio::task::spawn_local(async move {
            let limit = Alarm::new();
            let is_read = limit.within(DRAIN_TIME, is_read(&mut body)).await;
            let connection = body.take_connection().filter(|_| is_read == Some(true));
            if let Some(connection) = connection {
                pool.keep(member, connection, worker.now_us());
            }
        });
    }
}

/// Reads to the end, unless that is too far.
async fn is_read(body: &mut Received) -> bool {
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
