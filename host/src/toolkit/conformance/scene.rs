//! Made-up pools, and the requests that come to them.

use std::fmt::Write as _;

use crate::pool::Row;
use crate::strategy::{Failure, Outcome, PickRequest};

/// Most that the contract has for a request's numbers: 53 bits.
pub(super) const MOST: u64 = (1 << 53) - 1;
/// Backends of a pool that are told of one by one.
const TOLD: usize = 4;

/// Idle backends of weight 1, with ids from 1.
pub(super) fn equal(count: u32) -> Vec<Row> {
    weighted(&vec![1; count as usize])
}

/// Idle backends of these weights, with ids from 1.
pub(super) fn weighted(weights: &[u32]) -> Vec<Row> {
    let row = |(id, &weight)| Row {
        id,
        weight,
        ..Row::default()
    };
    (1..).zip(weights).map(row).collect()
}

/// Changes what a strategy looks at of one backend: load, latency, failures.
pub(super) fn stir(rows: &mut [Row], random: &mut fastrand::Rng) {
    let Some(row) = random.choice(rows.iter_mut()) else {
        return;
    };
    row.in_flight = random.u32(0..64);
    row.latency_us = random.u32(0..50_000);
    row.failures = random.u32(0..=10_000);
    row.utilization = random.u32(0..=10_000);
}

/// An answer, mostly a good one, of one of `rows`.
pub(super) fn outcome(rows: &[Row], tag: u64, random: &mut fastrand::Rng) -> Outcome {
    let failed = random.u32(0..16) == 0;
    Outcome {
        tag,
        id: random.choice(rows).map_or(0, |row| row.id),
        latency_us: random.u32(500..50_000),
        status: if failed { 0 } else { 200 },
        failure: if failed {
            Failure::Connect
        } else {
            Failure::None
        },
        attempt: 0,
    }
}

/// The requests of a pool, one after the other.
pub(super) struct Requests {
    random: fastrand::Rng,
    gap_us: u64,
    next: PickRequest,
}

impl Requests {
    /// One each `gap_us` microseconds.
    pub(super) fn new(random: fastrand::Rng, gap_us: u64) -> Self {
        Self {
            random,
            gap_us,
            next: PickRequest {
                now_us: 1_000_000,
                generation: 1,
                ..PickRequest::default()
            },
        }
    }

    /// Membership, weights or eligibility have changed.
    pub(super) fn pool_changed(&mut self) {
        self.next.generation += 1;
    }

    /// Of a client nobody has seen before.
    pub(super) fn next(&mut self) -> PickRequest {
        let key = self.random.u64(0..=MOST);
        self.next_of(key)
    }

    /// Of the client that has this key.
    pub(super) fn next_of(&mut self, key: u64) -> PickRequest {
        let request = PickRequest {
            key,
            random: self.random.u64(0..=MOST),
            ..self.next
        };
        self.next.sequence += 1;
        self.next.now_us += self.gap_us;
        request
    }
}

/// Backends and a request, for people.
pub(super) fn told(rows: &[Row], request: &PickRequest) -> String {
    format!("{}; {}", told_rows(rows), told_request(request))
}

/// Backends, for people: the first few with all that is not 0.
pub(super) fn told_rows(rows: &[Row]) -> String {
    let mut text = format!("{} backends:", rows.len());
    for row in rows.iter().take(TOLD) {
        let _ = write!(text, " #{}", row.id);
        for (name, value) in [
            ("weight", row.weight),
            ("capacity", row.capacity),
            ("priority", row.priority),
            ("zone", row.zone),
            ("in-flight", row.in_flight),
            ("latency-us", row.latency_us),
            ("failures", row.failures),
            ("utilization", row.utilization),
            ("state", row.state),
        ] {
            if value != 0 {
                let _ = write!(text, " {name} {value}");
            }
        }
        text.push(',');
    }
    if rows.len() > TOLD {
        let _ = write!(text, " and {} more", rows.len() - TOLD);
    }
    text.trim_end_matches(',').to_owned()
}

fn told_request(request: &PickRequest) -> String {
    let PickRequest {
        key,
        random,
        sequence,
        now_us,
        generation,
        attempt,
    } = request;
    format!(
        "request: key {key}, random {random}, sequence {sequence}, now-us {now_us}, \
         generation {generation}, attempt {attempt}"
    )
}
