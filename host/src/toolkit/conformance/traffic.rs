//! A simulation of what the proxy sees while requests flow: in flight, latency, and
//! outcomes. Time passes in numbers only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::pool::{Live, Row, Sample};
use crate::strategy::{Failure, Outcome, PickRequest, fallback};

use super::Counterexample;
use super::scene::{Requests, told};
use super::subject::{Choice, Chooser, Given as _};

/// Outcomes that are handed over at once.
const BATCH: usize = 128;

/// A pool's backends and what goes on at them.
pub(super) struct Traffic {
    rows: Vec<Row>,
    /// What the proxy knows of each.
    live: Vec<Live>,
    /// Requests that are under way, by when they end.
    under_way: BinaryHeap<Reverse<Answer>>,
    requests: Requests,
    outcomes: Vec<Outcome>,
}

/// How a request ends; ordered by when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    at_us: u64,
    index: usize,
    latency_us: u32,
    tag: u64,
}

impl Traffic {
    /// Nothing has happened yet.
    pub(super) fn new(rows: Vec<Row>, requests: Requests) -> Self {
        Self {
            live: rows.iter().map(|_| Live::default()).collect(),
            rows,
            under_way: BinaryHeap::new(),
            requests,
            outcomes: Vec::with_capacity(BATCH),
        }
    }

    /// A backend joins the pool.
    pub(super) fn join(&mut self, row: Row, chooser: &mut Chooser) {
        self.rows.push(row);
        self.live.push(Live::default());
        self.requests.pool_changed();
        chooser.pool_is(&self.rows);
    }

    /// The next request: when it came, and the index of who was asked, which then
    /// takes the time of `service(index, now)`, in microseconds. Where the plugin has
    /// no opinion the proxy's fallback decides.
    pub(super) fn step(
        &mut self,
        chooser: &mut Chooser,
        mut service: impl FnMut(usize, u64) -> u32,
    ) -> Result<(u64, Option<usize>), Counterexample> {
        let request = self.requests.next();
        self.pass(request.now_us);
        self.tell(chooser)?;
        let (choice, tag) = chooser
            .choose(&self.rows, &request)
            .given(|| told(&self.rows, &request))?;
        let asked = self.asked(choice, &request);
        if let Some(index) = asked {
            let latency_us = service(index, request.now_us);
            self.rows[index].in_flight += 1;
            self.under_way.push(Reverse(Answer {
                at_us: request.now_us + u64::from(latency_us),
                index,
                latency_us,
                tag,
            }));
        }
        Ok((request.now_us, asked))
    }

    fn asked(&self, choice: Choice, request: &PickRequest) -> Option<usize> {
        match choice {
            Choice::Backend(index) => Some(index),
            Choice::Fallback => fallback(&self.rows[..], request),
            Choice::Nobody => None,
        }
    }

    /// Time goes on to `now_us`: what ends until then has ended.
    fn pass(&mut self, now_us: u64) {
        while let Some(Reverse(answer)) = self.under_way.peek() {
            if answer.at_us > now_us {
                break;
            }
            let Some(Reverse(answer)) = self.under_way.pop() else {
                break;
            };
            self.end(&answer);
        }
        for (row, live) in self.rows.iter_mut().zip(&self.live) {
            row.latency_us = live.latency_us(now_us);
        }
    }

    fn end(&mut self, answer: &Answer) {
        let row = &mut self.rows[answer.index];
        row.in_flight -= 1;
        let sample = Sample {
            latency_us: Some(answer.latency_us.into()),
            failed: false,
        };
        self.live[answer.index].record(sample, answer.at_us);
        self.outcomes.push(Outcome {
            tag: answer.tag,
            id: row.id,
            latency_us: answer.latency_us,
            status: 200,
            failure: Failure::None,
            attempt: 0,
        });
    }

    fn tell(&mut self, chooser: &mut Chooser) -> Result<(), Counterexample> {
        if self.outcomes.len() < BATCH {
            return Ok(());
        }
        let told = chooser.observe(&self.outcomes);
        told.given(|| format!("{} outcomes of good answers", self.outcomes.len()))?;
        self.outcomes.clear();
        Ok(())
    }
}
