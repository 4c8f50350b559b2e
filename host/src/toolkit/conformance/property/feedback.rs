//! `feedback`.

use crate::strategy::{Failure, Outcome};
use crate::toolkit::conformance::scene::{MOST, Requests, equal, told};
use crate::toolkit::conformance::subject::{Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "feedback",
    sentence: "outcomes are taken in batches of any size, with extreme numbers and of backends \
               that are no longer there",
    may_lack: false,
    prove,
};

/// Outcomes of ever other backends.
const STRANGERS: u32 = 20_000;
/// As many as the proxy hands over at once.
const BATCH: usize = 128;

fn prove(subject: &Subject) -> Proof {
    if !subject.plugin().wants_feedback() {
        return Ok(Shown::Beside("it does not hear of outcomes".to_owned()));
    }
    let rows = equal(3);
    let mut chooser = subject
        .start(&rows)
        .given(|| "a pool of 3 backends".to_owned())?;
    let mut requests = Requests::new(subject.random(70), 1_000);
    let mut told_of = 0;
    for (name, batches) in [
        ("extreme outcomes, one by one", one_by_one(extreme())),
        ("extreme outcomes at once", vec![extreme()]),
        ("no outcomes", vec![Vec::new()]),
        ("outcomes of unknown backends", strangers()),
    ] {
        for batch in batches {
            told_of += batch.len();
            chooser
                .observe(&batch)
                .given(|| format!("{name}: {} such as {:?}", batch.len(), batch.first()))?;
            let request = requests.next();
            chooser
                .choose(&rows, &request)
                .given(|| format!("{name}, then {}", told(&rows, &request)))?;
        }
    }
    Ok(Shown::Holds(format!("{told_of} outcomes")))
}

fn one_by_one(outcomes: Vec<Outcome>) -> Vec<Vec<Outcome>> {
    outcomes.into_iter().map(|outcome| vec![outcome]).collect()
}

fn extreme() -> Vec<Outcome> {
    let failures = [
        Failure::None,
        Failure::Connect,
        Failure::Timeout,
        Failure::Reset,
        Failure::Protocol,
        Failure::ClientLeft,
    ];
    let mut outcomes = Vec::new();
    for failure in failures {
        for id in [1, 0, u32::MAX] {
            for (tag, number, status) in [(0, 0, 0), (MOST, u32::MAX, 599), (1, 1, 100)] {
                outcomes.push(Outcome {
                    tag,
                    id,
                    latency_us: number,
                    status,
                    failure,
                    attempt: number,
                });
            }
        }
    }
    outcomes
}

fn strangers() -> Vec<Vec<Outcome>> {
    let stranger = |id| Outcome {
        tag: 0,
        id,
        latency_us: 1_000,
        status: 200,
        failure: Failure::None,
        attempt: 0,
    };
    let all: Vec<Outcome> = (1_000..1_000 + STRANGERS).map(stranger).collect();
    all.chunks(BATCH).map(<[_]>::to_vec).collect()
}
