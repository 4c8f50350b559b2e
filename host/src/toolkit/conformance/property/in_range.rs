//! `in-range`.

use crate::pool::Row;
use crate::strategy::PickRequest;
use crate::toolkit::conformance::scene::{MOST, Requests, equal, told, told_rows, weighted};
use crate::toolkit::conformance::subject::{Chooser, Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "in-range",
    sentence: "an answer is one of the backends, or a refusal that the contract has, however \
               many there are and whatever their numbers",
    may_lack: false,
    prove,
};

/// Ordinary requests for each pool.
const REQUESTS: u32 = 50;

fn prove(subject: &Subject) -> Proof {
    let is_planner = subject.plugin().is_planner();
    let counts: &[u32] = match is_planner {
        true => &[1, 2, 3, 1_000, 10_000],
        false => &[1, 2, 3, 1_000],
    };
    let mut pools = 0;
    for &count in counts {
        for rows in pools_of(count, subject) {
            let mut chooser = subject.start(&rows).given(|| told_rows(&rows))?;
            try_pool(subject, &mut chooser, &rows)?;
            pools += 1;
        }
    }
    let most = counts.last().copied().unwrap_or_default();
    Ok(Shown::Holds(format!(
        "{pools} pools of 1 to {most} backends"
    )))
}

/// Equal, extreme and mixed numbers.
fn pools_of(count: u32, subject: &Subject) -> Vec<Vec<Row>> {
    let mut random = subject.random(u64::from(count));
    let all = |row: Row| -> Vec<Row> { (1..=count).map(|id| Row { id, ..row }).collect() };
    let mixed = (0..count).map(|place| extreme(u32::MAX - place, &mut random));
    vec![
        equal(count),
        weighted(&vec![65_535; count as usize]),
        all(extreme(1, &mut fastrand::Rng::with_seed(0))),
        all(Row {
            weight: 65_535,
            capacity: u32::MAX,
            priority: u32::MAX,
            zone: u32::MAX,
            in_flight: u32::MAX,
            latency_us: u32::MAX,
            failures: 10_000,
            utilization: u32::MAX,
            state: u32::MAX,
            id: 0,
        }),
        mixed.collect(),
    ]
}

/// Each field at one end of what the contract allows it.
fn extreme(id: u32, random: &mut fastrand::Rng) -> Row {
    let mut either = |least: u32, most: u32| if random.bool() { least } else { most };
    Row {
        id,
        weight: either(1, 65_535),
        capacity: either(0, u32::MAX),
        priority: either(0, u32::MAX),
        zone: either(0, u32::MAX),
        in_flight: either(0, u32::MAX),
        latency_us: either(0, u32::MAX),
        failures: either(0, 10_000),
        utilization: either(0, u32::MAX),
        state: either(0, u32::MAX),
    }
}

fn try_pool(
    subject: &Subject,
    chooser: &mut Chooser,
    rows: &[Row],
) -> Result<(), super::Counterexample> {
    let mut requests = Requests::new(subject.random(1), 1_000);
    let ordinary = (0..REQUESTS).map(|_| requests.next());
    for request in ordinary.chain(extreme_requests()) {
        chooser
            .choose(rows, &request)
            .given(|| told(rows, &request))?;
    }
    Ok(())
}

/// The ends of what the contract allows a request; time goes forward.
fn extreme_requests() -> impl Iterator<Item = PickRequest> {
    let ends = [0, 1, MOST - 1, MOST];
    ends.into_iter().flat_map(move |now_us| {
        ends.map(|bits| PickRequest {
            key: bits,
            random: MOST - bits,
            sequence: bits,
            now_us: now_us.max(2_000_000),
            generation: (bits as u32).max(2),
            attempt: bits as u32,
        })
    })
}
