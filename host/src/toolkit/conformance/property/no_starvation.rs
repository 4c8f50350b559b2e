//! `no-starvation`.

use crate::pool::Row;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, equal, told_rows};
use crate::toolkit::conformance::subject::{Given as _, Subject};
use crate::toolkit::conformance::traffic::Traffic;

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "no-starvation",
    sentence: "every eligible backend is asked again within 60 s, also one that was slow for a \
               while, and one that is new",
    may_lack: true,
    prove,
};

/// Longest that a backend may wait for a request.
const T_US: u64 = 60 * SECOND;
const SECOND: u64 = 1_000_000;
/// Between two requests: 50 in a second.
const GAP_US: u64 = 20_000;
/// How long it goes on.
const END_US: u64 = 200 * SECOND;
/// The second backend answers in 1 s from here on ...
const SLOW_FROM_US: u64 = 10 * SECOND;
/// ... to here.
const SLOW_TO_US: u64 = 15 * SECOND;
/// The fourth joins.
const JOINS_US: u64 = 60 * SECOND;

fn prove(subject: &Subject) -> Proof {
    let rows = equal(3);
    let mut chooser = subject.start(&rows).given(|| told_rows(&rows))?;
    let mut traffic = Traffic::new(rows.clone(), Requests::new(subject.random(50), GAP_US));
    let mut last_asked = vec![0_u64; rows.len()];
    let mut longest = 0;
    loop {
        let (now_us, asked) = traffic.step(&mut chooser, service)?;
        if let Some(index) = asked {
            last_asked[index] = now_us;
        }
        for (index, asked_us) in last_asked.iter().enumerate() {
            longest = longest.max(now_us - asked_us);
            if now_us - asked_us > T_US {
                return Err(against(index, now_us));
            }
        }
        if now_us > END_US {
            break;
        }
        if now_us > JOINS_US && last_asked.len() == rows.len() {
            let row = Row { id: 4, ..rows[0] };
            traffic.join(row, &mut chooser);
            last_asked.push(now_us);
        }
    }
    Ok(Shown::Holds(format!(
        "the longest wait was {:.1} s",
        longest as f64 / SECOND as f64
    )))
}

fn service(index: usize, now_us: u64) -> u32 {
    match index == 1 && (SLOW_FROM_US..SLOW_TO_US).contains(&now_us) {
        true => 1_000_000,
        false => 5_000,
    }
}

fn against(index: usize, now_us: u64) -> Counterexample {
    Counterexample {
        input: "50 requests/s for 3 equal backends, answers in 5 ms; #2 takes 1 s from second 10 \
                to 15, #4 joins at second 60"
            .to_owned(),
        answer: format!(
            "at second {} #{} had not been asked for more than 60 s",
            now_us / SECOND,
            index + 1
        ),
    }
}
