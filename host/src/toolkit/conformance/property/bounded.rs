//! `bounded`.

use std::time::Instant;

use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, equal, outcome, stir, told, told_rows};
use crate::toolkit::conformance::subject::{Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "bounded",
    sentence: "every one of many calls stays within the deadline, and after the first quarter of \
               them memory grows by no more than 128 KiB",
    may_lack: false,
    prove,
};

/// Growth of memory after the first quarter of the calls, in bytes.
const GROWTH: usize = 128 << 10;
const BACKENDS: u32 = 10;
/// Outcomes that are handed over at once; the clock is looked at as often.
const BATCH: u64 = 128;
/// Calls after which the pool changes, unless there are too few of them for that.
const CHANGES: u64 = 1_000;

fn prove(subject: &Subject) -> Proof {
    let all = equal(BACKENDS);
    let mut chooser = subject.start(&all).given(|| told_rows(&all))?;
    let mut rows = all.clone();
    let mut random = subject.random(90);
    let mut requests = Requests::new(subject.random(91), 1_000);
    let mut outcomes = Vec::new();
    let (wanted, limit) = (subject.terms().calls, subject.terms().time);
    let changes = (wanted / 64).clamp(1, CHANGES);
    let is_planner = subject.plugin().is_planner();
    let begin = Instant::now();
    let mut memory = Vec::new();
    let mut calls = 0;
    while calls < wanted {
        stir(&mut rows, &mut random);
        let request = requests.next();
        let tag = match is_planner {
            true => chooser.plan(&rows).map(|_| 0),
            false => chooser.choose(&rows, &request).map(|(_, tag)| tag),
        }
        .given(|| format!("call {}, {}", calls + 1, told(&rows, &request)))?;
        calls += 1;
        outcomes.push(outcome(&rows, tag, &mut random));
        if calls % changes == 0 {
            // One leaves, or all are back.
            rows = all.clone();
            rows.truncate(BACKENDS as usize - (calls / changes % 2) as usize);
            requests.pool_changed();
            chooser.pool_is(&rows);
        }
        if calls % BATCH == 0 {
            chooser
                .observe(&outcomes)
                .given(|| format!("observe {} outcomes", outcomes.len()))?;
            outcomes.clear();
            memory.push(chooser.memory());
            if begin.elapsed() > limit {
                break;
            }
        }
    }
    let per_call = begin.elapsed() / u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
    let most = chooser.memory();
    let warm = memory.get(memory.len() / 4).copied().unwrap_or(most);
    if let Some(answer) = leak(warm, most, subject.memory_limit()) {
        return Err(Counterexample {
            input: format!("{calls} calls with {BACKENDS} backends"),
            answer,
        });
    }
    let cut = match calls < wanted {
        true => format!(" (of {wanted}: the time was over)"),
        false => String::new(),
    };
    Ok(Shown::Holds(format!(
        "{calls} calls{cut}, {:.1} µs each, {} KiB at most",
        per_call.as_nanos() as f64 / 1000.0,
        most >> 10
    )))
}

/// What speaks for a leak. Who has all that there is by then grows no more.
fn leak(warm: usize, most: usize, limit: usize) -> Option<String> {
    if most + GROWTH > limit {
        return Some(format!("memory grew to its limit of {} KiB", limit >> 10));
    }
    (most - warm > GROWTH).then(|| {
        format!(
            "memory grew from {} KiB after a quarter of them to {} KiB",
            warm >> 10,
            most >> 10
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_grow_a_little_but_not_to_the_limit() {
        assert_eq!(leak(1 << 20, (1 << 20) + GROWTH, 64 << 20), None);
        let told = leak(1 << 20, (1 << 20) + GROWTH + 1, 64 << 20);
        assert!(told.is_some_and(|told| told.contains("from 1024 KiB")));
        assert!(leak(64 << 20, 64 << 20, 64 << 20).is_some());
    }
}
