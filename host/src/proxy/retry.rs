//! Whether a request is tried again after an attempt, and when.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::attempt::{Attempt, is_of_gateway};
use super::error::Refusal;
use super::request::Outgoing;
use crate::connection::Client;
use crate::strategy::Failure;
use crate::telemetry::metrics::{Refused, RetryDenied, RetryReason};
use crate::timer::{Alarm, Within};
use crate::transport::Cause;
use crate::worker::{LocalPool, Picked};

/// No pause is longer than so many times `retry-backoff`, as in Envoy.
const LONGEST_PAUSE: u32 = 10;

/// What comes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one at another backend, after this pause.
    Again(Duration),
    /// Nothing: what there is goes to the client.
    GiveUp,
}

/// One request's attempts so far.
pub struct Course {
    client: Rc<Client>,
    /// Whom it has been sent to, as indices into the pool's members.
    tried: Vec<usize>,
    /// How many of those were trials: for the backend's sake, not the request's.
    trials: usize,
    /// Of the last attempt, if there was no answer.
    cause: Option<Cause>,
    /// Why there is another, until it begins.
    reason: Option<RetryReason>,
    /// It ended because no backend of the pool answers.
    all_failed: bool,
}

impl Course {
    /// A request of which nothing was sent yet.
    pub fn begin(client: &Rc<Client>) -> Course {
        Course {
            client: Rc::clone(client),
            tried: Vec::new(),
            trials: 0,
            cause: None,
            reason: None,
            all_failed: false,
        }
    }

    /// Whom it has been sent to.
    pub fn tried(&self) -> &[usize] {
        &self.tried
    }

    /// Goes on with the next attempt, whose number (0, 1, ...) this is.
    pub fn goes_on(&mut self, pool: &LocalPool) -> u32 {
        if let Some(reason) = self.reason.take() {
            pool.counts.retried(reason);
        }
        self.tried.len() as u32
    }

    /// It has been sent to this member.
    pub fn has_tried(&mut self, member: usize) {
        self.tried.push(member);
    }

    /// The time is over in the middle of `attempt`.
    pub fn overdue(&self, attempt: &mut Attempt) -> Cause {
        // The attempt had the connection's alarm, which is to say nothing now.
        self.client.watch.handling();
        if attempt.upload().waits_for_client() {
            attempt.failed(None);
            return Cause::RequestTimeout;
        }
        // A later attempt had what the first one left: that blames nobody.
        let blamed = self.tried.is_empty();
        attempt.failed(blamed.then_some(Failure::Timeout));
        Cause::TotalTimeout
    }

    /// What comes after an answer with this status.
    pub fn after_answer(
        &mut self,
        pool: &LocalPool,
        picked: &Picked,
        status: StatusCode,
        outgoing: &Outgoing,
    ) -> Next {
        if picked.trial && is_of_gateway(status) {
            return self.after_trial(pool, picked.member, None, outgoing);
        }
        if !pool.settings().retry.on.has(status) {
            return Next::GiveUp;
        }
        self.has_tried(picked.member);
        self.after(pool, RetryReason::Status, outgoing)
    }

    /// What comes after an attempt without an answer.
    pub fn after_failure(
        &mut self,
        pool: &LocalPool,
        picked: &Picked,
        cause: Cause,
        outgoing: &Outgoing,
    ) -> Next {
        if picked.trial && cause.failure().is_some() {
            return self.after_trial(pool, picked.member, Some(cause), outgoing);
        }
        self.has_tried(picked.member);
        let reason = cause.reason();
        self.cause = Some(cause);
        match reason {
            Some(RetryReason::Timeout) if !pool.settings().retry.on.timeout => Next::GiveUp,
            Some(reason) => self.after(pool, reason, outgoing),
            None => Next::GiveUp,
        }
    }

    /// What comes after the trial of `member`, an ejected backend that is still
    /// ill. Without it the request would have gone to a better one: that one has
    /// its turn now, whatever the pool retries.
    fn after_trial(
        &mut self,
        pool: &LocalPool,
        member: usize,
        cause: Option<Cause>,
        outgoing: &Outgoing,
    ) -> Next {
        self.has_tried(member);
        self.trials += 1;
        let reason = cause
            .as_ref()
            .map_or(Some(RetryReason::Status), Cause::reason);
        self.cause = cause;
        if !outgoing.can_be_sent() || !self.has_tries(pool) {
            return Next::GiveUp;
        }
        self.reason = reason;
        Next::Again(Duration::ZERO)
    }

    /// Trials are none of its tries, and at none of those that it might have.
    fn has_tries(&self, pool: &LocalPool) -> bool {
        let tries = self.tried.len().saturating_sub(self.trials);
        has_tries(pool, tries, &self.tried, self.client.worker.now_us())
    }

    fn has_untried(&self, pool: &LocalPool) -> bool {
        pool.has_untried(&self.tried, self.client.worker.now_us())
    }

    fn after(&mut self, pool: &LocalPool, reason: RetryReason, outgoing: &Outgoing) -> Next {
        if !outgoing.can_be_sent() || !self.has_tries(pool) {
            return Next::GiveUp;
        }
        if let Err(denied) = may_repeat(pool, reason, self.client.worker.now_us()) {
            self.all_failed = denied == RetryDenied::Failing;
            return Next::GiveUp;
        }
        self.reason = Some(reason);
        let random = self.client.worker.random();
        let base = pool.settings().retry.backoff;
        Next::Again(pause(self.tried.len(), base, random))
    }

    /// What the client is told where `refusal` is why there is no further attempt.
    pub fn nobody_left(self, refusal: Refusal) -> Refusal {
        nobody_left(self.cause, refusal)
    }

    /// What the client is told where the time is over before an attempt begins.
    pub fn out_of_time(self) -> Refusal {
        let cause = self.cause.unwrap_or(Cause::TotalTimeout);
        cause.refusal()
    }

    /// What the client is told after the last attempt.
    pub fn refusal(self, pool: &LocalPool) -> Refusal {
        match self.cause {
            Some(cause) if !self.all_failed && self.has_untried(pool) => cause.refusal(),
            cause => nobody_left(cause, Refusal::unavailable().because(Refused::NoBackend)),
        }
    }
}

/// There is no backend for the request (any more). Where backends were asked
/// and none could be reached, the whole pool is down.
fn nobody_left(last: Option<Cause>, refusal: Refusal) -> Refusal {
    match last {
        None => refusal,
        Some(_) if refusal.why == Some(Refused::Reject) => refusal,
        Some(Cause::Connect(_)) => Refusal::unavailable().because(Refused::Connect),
        Some(cause) => cause.refusal(),
    }
}

/// There may be an attempt after so many tries, and somebody whom it could be at: not in
/// `tried`. (Of those some may have been ejected meanwhile, so that numbers say nothing.)
pub fn has_tries(pool: &LocalPool, tries: usize, tried: &[usize], now_us: u64) -> bool {
    tries < pool.settings().tries.get() && pool.has_untried(tried, now_us)
}

/// Whether the pool bears one more attempt. Where a backend may have seen the
/// request, that is charged to the budget.
pub fn may_repeat(pool: &LocalPool, reason: RetryReason, now_us: u64) -> Result<(), RetryDenied> {
    let may = match reason {
        _ if !pool.retries_are_of_use() => Err(RetryDenied::Failing),
        RetryReason::Connect => Ok(()),
        _ if pool.withdraw_retry(now_us) => Ok(()),
        _ => Err(RetryDenied::Budget),
    };
    may.inspect_err(|denied| pool.counts.retry_denied(*denied))
}

/// The pause before the retry of this number (1, 2, ...): none before the first,
/// then anything up to a ceiling that doubles. `random` has 53 bits.
fn pause(retry: usize, base: Duration, random: u64) -> Duration {
    let Some(doublings) = retry.checked_sub(2) else {
        return Duration::ZERO;
    };
    let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
    let times = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let ceiling = base.saturating_mul(times.clamp(1, LONGEST_PAUSE));
    ceiling.mul_f64(random as f64 / (1_u64 << 53) as f64)
}

/// The time that all attempts of a request may take together.
pub struct Clock(Option<(Alarm, Instant)>);

impl Clock {
    /// It begins to run. Zero: they may take any time.
    pub fn start(total: Duration) -> Clock {
        if total.is_zero() {
            return Clock(None);
        }
        let end = Instant::now().checked_add(total);
        Clock(end.map(|end| (Alarm::new(), end)))
    }

    /// What `work` gives, or `None` if the time is over before.
    pub fn within<F: Future>(&self, work: F) -> Within<'_, F> {
        match &self.0 {
            None => Within::forever(work),
            Some((alarm, end)) => {
                let left = end.saturating_duration_since(Instant::now());
                alarm.within(left, work)
            }
        }
    }

    /// Waits for so long, if there is so much time. False: there is not.
    pub async fn pauses(&self, client: &Client, pause: Duration) -> bool {
        if pause.is_zero() {
            return true;
        }
        if let Some((_, end)) = &self.0
            && end.saturating_duration_since(Instant::now()) <= pause
        {
            return false;
        }
        let forever = std::future::pending::<()>();
        client.watch.within(pause, forever).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_millis(25);
    const MOST: u64 = (1 << 53) - 1;

    #[test]
    fn pauses_double_up_to_ten_times_the_base() {
        let longest: Vec<u128> = (1..=8)
            .map(|retry| (pause(retry, BASE, MOST) + Duration::from_nanos(1)).as_millis())
            .collect();
        assert_eq!(longest, [0, 25, 50, 100, 200, 250, 250, 250]);
        assert_eq!(pause(3, BASE, 0), Duration::ZERO, "the jitter is full");
        assert_eq!(pause(5, Duration::ZERO, MOST), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_pause_is_too_long(retry: usize, base_ms in 0..=31_536_000_000_u64, random in 0..=MOST) {
            let base = Duration::from_millis(base_ms);
            prop_assert!(pause(retry, base, random) <= base * LONGEST_PAUSE);
        }
    }
}
