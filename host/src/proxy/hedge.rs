//! Two attempts at once: where the first is slow to answer, another backend is
//! asked as well. The first response head wins; the other attempt is cancelled.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::admission::Admission;
use super::attempt::Attempt;
use super::record::Record;
use super::request::Outgoing;
use super::retry::{Course, has_tries, may_repeat};
use super::{Answer, send};
use crate::connection::Client;
use crate::telemetry::metrics::RetryReason;
use crate::timer::Alarm;
use crate::transport::Cause;
use crate::worker::LocalPool;

/// The pool hedges, and the request may be sent twice.
#[inline]
pub fn is_wanted(pool: &LocalPool, outgoing: &Outgoing) -> bool {
    !pool.settings().retry.hedge_after.is_zero() && outgoing.is_replayable()
}

/// Sends the request as the attempt that has begun. Without an answer after
/// `hedge-after` a second attempt is made at another backend, if there is one
/// that has room and the pool bears it. Afterwards `attempt` is the one whose
/// result this is.
pub async fn send_hedged(
    client: &Rc<Client>,
    outgoing: &mut Outgoing,
    attempt: &mut Attempt,
    admission: &mut Admission,
    course: &mut Course,
    record: &mut Record,
) -> Result<Answer, Cause> {
    let pool = Rc::clone(admission.pool());
    let tried = [course.tried(), &[attempt.picked().member]].concat();
    let mut twin = outgoing.twin();
    let (mut other, result, hedge_won) = {
        let mut first = Box::pin(send(&pool, client.watch.alarm(), outgoing, attempt));
        // The watch's alarm is the first attempt's: this is the second's.
        let alarm = Alarm::new();
        let after = pool.settings().retry.hedge_after;
        if let Some(result) = alarm.within(after, &mut first).await {
            return result;
        }
        let Some(mut hedge) = begin(client, &pool, &mut twin, admission, &tried) else {
            return first.await;
        };
        record.picked(&pool, hedge.picked());
        let mut second = Box::pin(send(&pool, &alarm, &mut twin, &mut hedge));
        let (hedge_won, result) = first_answer(first.as_mut(), second.as_mut()).await;
        drop(second);
        (hedge, result, hedge_won)
    };
    if hedge_won {
        // What the first attempt had set says nothing any more.
        client.watch.handling();
        std::mem::swap(attempt, &mut other);
        pool.counts.hedges_won.add(u64::from(result.is_ok()));
    }
    other.cancelled();
    course.has_tried(other.picked().member);
    result
}

/// The second attempt, ready to be sent.
fn begin(
    client: &Rc<Client>,
    pool: &Rc<LocalPool>,
    twin: &mut Outgoing,
    admission: &mut Admission,
    tried: &[usize],
) -> Option<Attempt> {
    let now_us = client.worker.now_us();
    let may = twin.can_be_sent()
        && has_tries(pool, tried.len(), tried, now_us)
        && may_repeat(pool, RetryReason::Timeout, now_us).is_ok();
    let claim = may.then(|| admission.claim_at_once(twin, tried))?.ok()?;
    pool.counts.hedges.add(1);
    let number = tried.len() as u32;
    Some(Attempt::begin(&client.worker, claim, number))
}

/// The first of the two that is answered, or the last to fail; with true if that
/// is the second.
async fn first_answer<A>(
    mut first: Pin<&mut A>,
    mut second: Pin<&mut impl Future<Output = Result<Answer, Cause>>>,
) -> (bool, Result<Answer, Cause>)
where
    A: Future<Output = Result<Answer, Cause>>,
{
    let (mut first_failed, mut second_failed) = (false, false);
    std::future::poll_fn(|cx| {
        if !first_failed && let Poll::Ready(result) = first.as_mut().poll(cx) {
            if result.is_ok() || second_failed {
                return Poll::Ready((false, result));
            }
            first_failed = true;
        }
        if !second_failed && let Poll::Ready(result) = second.as_mut().poll(cx) {
            if result.is_ok() || first_failed {
                return Poll::Ready((true, result));
            }
            second_failed = true;
        }
        Poll::Pending
    })
    .await
}
