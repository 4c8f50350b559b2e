//! `proportional`.

use crate::pool::Row;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, told_rows, weighted};
use crate::toolkit::conformance::subject::{Given as _, Subject};
use crate::toolkit::conformance::traffic::Traffic;

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "proportional",
    sentence: "where all answer alike, each backend's share of the requests is within a tenth of \
               its share of the weights, be it one request after the other or many at once; of equals \
               also with one or two at once",
    may_lack: true,
    prove,
};

/// How far a share may be off, in parts of what it should be.
const EPSILON: f64 = 0.1;
const REQUESTS: u32 = 20_000;
/// What every backend takes for an answer, give or take a tenth.
const SERVICE_US: u32 = 10_000;

/// Requests under way for each unit of weight, where they are many. Where they are
/// few, who goes by load rightly spares whoever has one, heavy or not: then only
/// equals can be expected to get equal shares.
const MANY: u32 = 4;

/// How the requests come.
#[derive(Debug, Clone, Copy)]
enum Pace {
    OneByOne,
    AtOnce(u32),
}

fn prove(subject: &Subject) -> Proof {
    let mut worst: f64 = 0.0;
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 3, 4], &[5, 1, 1]] {
        let total: u32 = weights.iter().sum();
        let is_even = weights.iter().all(|weight| *weight == weights[0]);
        let few = [1, 2].map(Pace::AtOnce);
        let few = if is_even { &few[..] } else { &[] };
        for &pace in [Pace::OneByOne, Pace::AtOnce(MANY * total)]
            .iter()
            .chain(few)
        {
            let rows = weighted(weights);
            let shares = shares(subject, &rows, pace)?;
            for (&share, &weight) in shares.iter().zip(weights) {
                let should = f64::from(weight) / f64::from(total);
                let off = (share / should - 1.0).abs();
                worst = worst.max(off);
                if off > EPSILON {
                    return Err(against(&rows, pace, &shares));
                }
            }
        }
    }
    Ok(Shown::Holds(format!(
        "off by {:.1} % at most",
        100.0 * worst
    )))
}

fn against(rows: &[Row], pace: Pace, shares: &[f64]) -> Counterexample {
    let shares: Vec<String> = shares
        .iter()
        .map(|share| format!("{:.1} %", 100.0 * share))
        .collect();
    Counterexample {
        input: format!(
            "{}; {REQUESTS} requests, {}, answers in 10 ms",
            told_rows(rows),
            match pace {
                Pace::OneByOne => "one after the other".to_owned(),
                Pace::AtOnce(requests) => format!("about {requests} at once"),
            }
        ),
        answer: format!("shares of the requests: {}", shares.join(", ")),
    }
}

fn shares(subject: &Subject, rows: &[Row], pace: Pace) -> Result<Vec<f64>, Counterexample> {
    let mut chooser = subject.start(rows).given(|| told_rows(rows))?;
    let gap_us = u64::from(match pace {
        Pace::OneByOne => 2 * SERVICE_US,
        Pace::AtOnce(requests) => SERVICE_US / requests,
    });
    let requests = Requests::new(subject.random(40), gap_us);
    let mut traffic = Traffic::new(rows.to_vec(), requests);
    let mut random = subject.random(41);
    let mut asked = vec![0_u32; rows.len()];
    for _ in 0..REQUESTS {
        let service = |_, _| SERVICE_US - SERVICE_US / 10 + random.u32(0..SERVICE_US / 5);
        let (_, index) = traffic.step(&mut chooser, service)?;
        if let Some(index) = index {
            asked[index] += 1;
        }
    }
    let all = f64::from(asked.iter().sum::<u32>().max(1));
    Ok(asked.iter().map(|&one| f64::from(one) / all).collect())
}
