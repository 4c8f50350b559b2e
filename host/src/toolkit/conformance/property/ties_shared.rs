//! `ties-shared`.

use crate::pool::Row;
use crate::strategy::fallback;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, equal, told_rows};
use crate::toolkit::conformance::subject::{Choice, Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "ties-shared",
    sentence: "backends that are equal share: each gets between half and twice its part",
    may_lack: true,
    prove,
};

/// Requests for each of the equals.
const EACH: u64 = 400;

fn prove(subject: &Subject) -> Proof {
    let mut busy_first = equal(4);
    busy_first[0].in_flight = 50;
    busy_first[0].latency_us = 900_000;
    for (rows, equals) in [
        (equal(2), 0..2),
        (equal(3), 0..3),
        (equal(10), 0..10),
        (busy_first, 1..4),
    ] {
        let asked = ask(subject, &rows)?;
        let of_equals = &asked[equals];
        let fair = of_equals.iter().sum::<u64>() / of_equals.len() as u64;
        if of_equals
            .iter()
            .any(|&one| fair == 0 || 2 * one < fair || one > 2 * fair)
        {
            return Err(Counterexample {
                input: format!("{}, nothing changes", told_rows(&rows)),
                answer: format!("they were asked {asked:?} times"),
            });
        }
    }
    Ok(Shown::Holds(
        "pools of 2, 3 and 10, and 3 beside a busy one".to_owned(),
    ))
}

/// How often each backend is asked while nothing changes.
fn ask(subject: &Subject, rows: &[Row]) -> Result<Vec<u64>, Counterexample> {
    let mut chooser = subject.start(rows).given(|| told_rows(rows))?;
    let mut requests = Requests::new(subject.random(30), 1_000);
    let mut asked = vec![0; rows.len()];
    for _ in 0..EACH * rows.len() as u64 {
        let request = requests.next();
        let (choice, _) = chooser.choose(rows, &request).given(|| told_rows(rows))?;
        let index = match choice {
            Choice::Backend(index) => Some(index),
            Choice::Fallback => fallback(rows, &request),
            Choice::Nobody => None,
        };
        if let Some(index) = index {
            asked[index] += 1;
        }
    }
    Ok(asked)
}
