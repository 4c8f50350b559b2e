//! `minimal-disruption`.

use crate::pool::Row;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, equal, told_rows};
use crate::toolkit::conformance::subject::{Choice, Chooser, Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "minimal-disruption",
    sentence: "where one key means one backend, who leaves moves its own keys and at most one in \
               twenty of the others, who comes back gets its own again, and the order of the list \
               means nothing",
    may_lack: true,
    prove,
};

/// Keys that may move although their backend stays, in parts of those.
const TOLERANCE: f64 = 0.05;
const KEYS: usize = 1_000;
const BACKENDS: u32 = 10;

fn prove(subject: &Subject) -> Proof {
    let rows = equal(BACKENDS);
    let mut keys = Keys::new(subject, &rows)?;
    if let Some(why) = keys.is_not_key_based(&rows)? {
        return Ok(Shown::Beside(why.to_owned()));
    }
    let before = keys.owners(&rows)?;
    let mut most: f64 = 0.0;
    for leaver in [0, BACKENDS as usize / 2, BACKENDS as usize - 1] {
        let mut left = rows.clone();
        let leaver = left.remove(leaver).id;
        let after = keys.owners_in(&left)?;
        let moved = moved(&before, &after, leaver);
        most = most.max(moved);
        if moved > TOLERANCE {
            return Err(Counterexample {
                input: format!("{}, then without #{leaver}", told_rows(&rows)),
                answer: format!(
                    "{:.1} % of the keys of those that stayed moved",
                    100.0 * moved
                ),
            });
        }
        let again = keys.owners_in(&rows)?;
        same(&before, &again, || {
            format!(
                "{}, without #{leaver}, then with it again",
                told_rows(&rows)
            )
        })?;
    }
    let mut shuffled = rows.clone();
    subject.random(60).shuffle(&mut shuffled);
    let after = keys.owners_in(&shuffled)?;
    same(&before, &after, || {
        format!("{}, then in another order", told_rows(&rows))
    })?;
    Ok(Shown::Holds(format!(
        "one of {BACKENDS} left: {:.1} % of the others' keys moved at most",
        100.0 * most
    )))
}

/// The part of the keys that have moved although their backend is still there.
fn moved(before: &[Owner], after: &[Owner], leaver: u32) -> f64 {
    let stayed = before
        .iter()
        .zip(after)
        .filter(|(before, _)| **before != Some(leaver));
    let (all, moved) = stayed.fold((0, 0), |(all, moved), (before, after)| {
        (all + 1, moved + u32::from(before != after))
    });
    f64::from(moved) / f64::from(all.max(1))
}

fn same(
    before: &[Owner],
    after: &[Owner],
    input: impl FnOnce() -> String,
) -> Result<(), Counterexample> {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    if moved == 0 {
        return Ok(());
    }
    Err(Counterexample {
        input: input(),
        answer: format!("{moved} of {} keys moved", before.len()),
    })
}

/// The id of the backend that a key belongs to, if it does to one.
type Owner = Option<u32>;

/// Asks for the same keys again and again.
struct Keys {
    chooser: Chooser,
    keys: Vec<u64>,
    requests: Requests,
    random: fastrand::Rng,
}

impl Keys {
    fn new(subject: &Subject, rows: &[Row]) -> Result<Self, Counterexample> {
        let mut random = subject.random(61);
        Ok(Self {
            chooser: subject.start(rows).given(|| told_rows(rows))?,
            keys: (0..KEYS).map(|_| random.u64(..) >> 11).collect(),
            requests: Requests::new(subject.random(62), 1_000),
            random,
        })
    }

    /// Why one key does not mean one backend, if so.
    fn is_not_key_based(&mut self, rows: &[Row]) -> Result<Option<&'static str>, Counterexample> {
        let first = self.owners(rows)?;
        for _ in 0..3 {
            if self.owners(rows)? != first {
                return Ok(Some("the key does not decide: it is not key-based"));
            }
        }
        if first.iter().all(|owner| *owner == first[0]) {
            return Ok(Some(
                "every key comes to the same backend: it is not key-based",
            ));
        }
        Ok(None)
    }

    fn owners_in(&mut self, rows: &[Row]) -> Result<Vec<Owner>, Counterexample> {
        self.requests.pool_changed();
        self.chooser.pool_is(rows);
        self.owners(rows)
    }

    fn owners(&mut self, rows: &[Row]) -> Result<Vec<Owner>, Counterexample> {
        let mut owners = vec![None; self.keys.len()];
        // Another order each time: whoever takes turns gives itself away.
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        self.random.shuffle(&mut order);
        for place in order {
            let request = self.requests.next_of(self.keys[place]);
            let (choice, _) = self
                .chooser
                .choose(rows, &request)
                .given(|| told_rows(rows))?;
            owners[place] = match choice {
                Choice::Backend(index) => Some(rows[index].id),
                Choice::Fallback | Choice::Nobody => None,
            };
        }
        Ok(owners)
    }
}
