//! `deterministic`.

use crate::pool::Row;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, outcome, stir, told, told_rows, weighted};
use crate::toolkit::conformance::subject::{Chooser, Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "deterministic",
    sentence: "two fresh instances that are told and asked the same answer the same",
    may_lack: true,
    prove,
};

const REQUESTS: u32 = 2_000;
const PLANS: u32 = 50;

fn prove(subject: &Subject) -> Proof {
    let rows = weighted(&[1, 2, 3, 4, 5]);
    let start = || subject.start(&rows).given(|| told_rows(&rows));
    compare(subject, [start()?, start()?], &rows)
}

/// Whether two instances go on alike.
pub(in crate::toolkit::conformance) fn compare(
    subject: &Subject,
    two: [Chooser; 2],
    rows: &[Row],
) -> Proof {
    match two[0].is_planner() {
        true => compare_plans(subject, two, rows.to_vec()),
        false => compare_choices(subject, two, rows.to_vec()),
    }
}

fn compare_choices(subject: &Subject, mut two: [Chooser; 2], mut rows: Vec<Row>) -> Proof {
    let mut random = subject.random(20);
    let mut requests = Requests::new(subject.random(21), 1_000);
    for number in 1..=REQUESTS {
        stir(&mut rows, &mut random);
        let request = requests.next();
        let ask = |chooser: &mut Chooser| {
            let chosen = chooser.choose(&rows, &request);
            chosen.given(|| told(&rows, &request))
        };
        let [first, second] = &mut two;
        let (first, second) = (ask(first)?, ask(second)?);
        if first != second {
            return Err(Counterexample {
                input: format!("call {number}, {}", told(&rows, &request)),
                answer: format!(
                    "one instance answered {:?} with tag {}, the other {:?} with tag {}",
                    first.0, first.1, second.0, second.1
                ),
            });
        }
        let outcomes = [outcome(&rows, first.1, &mut random)];
        for chooser in &mut two {
            let observed = chooser.observe(&outcomes);
            observed.given(|| format!("observe {outcomes:?}"))?;
        }
    }
    Ok(Shown::Holds(format!(
        "{REQUESTS} requests, asked of two instances"
    )))
}

fn compare_plans(subject: &Subject, mut two: [Chooser; 2], mut rows: Vec<Row>) -> Proof {
    let mut random = subject.random(20);
    for number in 1..=PLANS {
        stir(&mut rows, &mut random);
        let [first, second] = &mut two;
        let first = first.plan(&rows).given(|| told_rows(&rows))?;
        let second = second.plan(&rows).given(|| told_rows(&rows))?;
        if first != second {
            return Err(Counterexample {
                input: format!("plan {number}, {}", told_rows(&rows)),
                answer: "the plans of two instances differ".to_owned(),
            });
        }
    }
    Ok(Shown::Holds(format!("{PLANS} plans of two instances")))
}
