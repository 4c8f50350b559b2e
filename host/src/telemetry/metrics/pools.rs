//! What is counted for each pool.

use std::fmt;

use http::StatusCode;

use super::sheet::{Label, Sheet};
use super::{
    Code, Counter, Gauge, Histogram, Refused, RetryDenied, RetryReason, Scale, SessionToken,
};
use crate::generation::Generation;
use crate::pool::Pool;

/// What a request takes, from its route to the end of its response or in the
/// queue, in microseconds.
#[derive(Debug)]
struct Duration;

impl Scale<16> for Duration {
    const BOUNDS: [u64; 16] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
    const PER_SECOND: f64 = 1e6;
}

/// One worker's counts of one pool.
#[derive(Debug, Default)]
pub struct PoolCounts {
    in_flight: Gauge,
    retries: [Counter; RetryReason::COUNT],
    retries_denied: [Counter; RetryDenied::COUNT],
    /// Second attempts beside a first one, and those that were answered first.
    pub hedges: Counter,
    pub hedges_won: Counter,
    /// Bytes of bodies.
    pub received: Counter,
    pub sent: Counter,
    requests: [Counter; Code::COUNT],
    abandoned: Counter,
    refused: [Counter; Refused::COUNT],
    session_tokens: [Counter; SessionToken::COUNT],
    pub sessions_moved: Counter,
    durations: Histogram<Duration, 16>,
    /// Times that the strategy wanted a request to wait.
    pub strategy_waits: Counter,
    waits: Histogram<Duration, 16>,
}

impl PoolCounts {
    /// A request was routed to the pool.
    pub fn began(&self) {
        self.in_flight.up();
    }

    /// A request has ended after `us` microseconds; without a status nobody
    /// was there any more to be answered.
    pub fn ended(&self, status: Option<StatusCode>, us: u64) {
        self.in_flight.down();
        match status {
            Some(status) => self.requests[Code::of(status) as usize].add(1),
            None => self.abandoned.add(1),
        }
        self.durations.observe(us);
    }

    /// Requests that have come, whether they have ended or not.
    pub fn begun(&self) -> u64 {
        let ended: u64 = self.requests.iter().map(Counter::get).sum();
        ended + self.abandoned.get() + self.in_flight.get()
    }

    /// A request is tried again.
    pub fn retried(&self, reason: RetryReason) {
        self.retries[reason as usize].add(1);
    }

    /// A request might have been tried again.
    pub fn retry_denied(&self, why: RetryDenied) {
        self.retries_denied[why as usize].add(1);
    }

    /// Requests that have not ended.
    #[cfg(test)]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// A request is not in the queue any more, for whatever reason, after `us`
    /// microseconds.
    pub fn waited(&self, us: u64) {
        self.waits.observe(us);
    }

    /// The proxy answers a request itself.
    pub fn refused(&self, why: Refused) {
        self.refused[why as usize].add(1);
    }

    /// A request's session token was looked at.
    pub fn session_token(&self, token: SessionToken) {
        self.session_tokens[token as usize].add(1);
    }
}

/// Writes what all workers counted for the pools of `generation`.
pub fn write(sheet: &mut Sheet, generation: &Generation) -> fmt::Result {
    let pools = || generation.pools.iter().map(|served| &*served.pool);
    let sums = |count: fn(&PoolCounts) -> u64| {
        pools().map(move |pool| ([label(pool)], pool.counts.sum(count)))
    };
    sheet.counter(
        "anubis_pool_requests_total",
        "Requests whose response has ended, by class of status.",
        pools().flat_map(|pool| {
            Code::ALL.iter().map(move |&code| {
                let count = pool
                    .counts
                    .sum(|counts| counts.requests[code as usize].get());
                ([label(pool), ("code", code.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_pool_requests_abandoned_total",
        "Requests whose client left before there was a response.",
        sums(|counts| counts.abandoned.get()),
    )?;
    sheet.histogram(
        "anubis_pool_request_duration_seconds",
        "Time from the route to the end of the response, of a tunnel to its end; abandoned requests included.",
        pools().map(|pool| ([label(pool)], pool.counts.distribution(|counts| &counts.durations))),
    )?;
    sheet.gauge(
        "anubis_pool_requests_in_flight",
        "Requests between their route and the end of their response.",
        sums(|counts| counts.in_flight.get()),
    )?;
    sheet.gauge(
        "anubis_pool_requests_queued",
        "Requests that wait until a backend has room.",
        pools().map(|pool| ([label(pool)], pool.queue.len() as u64)),
    )?;
    sheet.histogram(
        "anubis_pool_queue_duration_seconds",
        "Time in the queue, of requests that had to wait, however that ended.",
        pools().map(|pool| {
            (
                [label(pool)],
                pool.counts.distribution(|counts| &counts.waits),
            )
        }),
    )?;
    sheet.counter(
        "anubis_pool_strategy_waits_total",
        "Times that the strategy wanted a request to wait.",
        sums(|counts| counts.strategy_waits.get()),
    )?;
    sheet.counter(
        "anubis_pool_retries_total",
        "Attempts after the first of a request, by what became of the one before; hedges are not among them.",
        pools().flat_map(|pool| {
            RetryReason::ALL.iter().map(move |&reason| {
                let count = pool
                    .counts
                    .sum(|counts| counts.retries[reason as usize].get());
                ([label(pool), ("reason", reason.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_pool_retries_denied_total",
        "Times that a request was not tried again, or no second backend asked beside the first, to spare the pool, by why.",
        pools().flat_map(|pool| {
            RetryDenied::ALL.iter().map(move |&why| {
                let count = pool
                    .counts
                    .sum(|counts| counts.retries_denied[why as usize].get());
                ([label(pool), ("reason", why.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_pool_hedges_total",
        "Second attempts beside a first one that was slow to answer.",
        sums(|counts| counts.hedges.get()),
    )?;
    sheet.counter(
        "anubis_pool_hedges_won_total",
        "Second attempts that were answered before the first.",
        sums(|counts| counts.hedges_won.get()),
    )?;
    sheet.counter(
        "anubis_pool_refusals_total",
        "Requests that the proxy answered itself, by why.",
        pools().flat_map(|pool| {
            Refused::ALL.iter().map(move |&why| {
                let count = pool.counts.sum(|counts| counts.refused[why as usize].get());
                ([label(pool), ("reason", why.as_str())], count)
            })
        }),
    )?;
    sheet.gauge(
        "anubis_pool_panic",
        "1 while so few backends are eligible that all are asked.",
        pools().map(|pool| ([label(pool)], u32::from(pool.eligibility.is_in_panic()))),
    )?;
    let sticky = || pools().filter(|pool| pool.sessions().is_some());
    sheet.counter(
        "anubis_pool_session_tokens_total",
        "Requests of pools with sessions, by what their token came to.",
        sticky().flat_map(|pool| {
            SessionToken::ALL.iter().map(move |&token| {
                let count = pool
                    .counts
                    .sum(|counts| counts.session_tokens[token as usize].get());
                ([label(pool), ("token", token.as_str())], count)
            })
        }),
    )?;
    sheet.counter(
        "anubis_pool_sessions_moved_total",
        "Sessions that went over to another backend, theirs being gone or taking no requests.",
        sticky().map(|pool| {
            let count = pool.counts.sum(|counts| counts.sessions_moved.get());
            ([label(pool)], count)
        }),
    )?;
    sheet.counter(
        "anubis_pool_request_bytes_total",
        "Bytes of request bodies that went to backends, counted when the attempt ends; not those of tunnels.",
        sums(|counts| counts.received.get()),
    )?;
    sheet.counter(
        "anubis_pool_response_bytes_total",
        "Bytes of backends' response bodies that went to clients, and of tunnels once they end.",
        sums(|counts| counts.sent.get()),
    )
}

fn label(pool: &Pool) -> Label<'_> {
    ("pool", &pool.settings.name)
}
