//! `state-round-trip`.

use crate::pool::Row;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::{Requests, outcome, stir, told, told_rows, weighted};
use crate::toolkit::conformance::subject::{Chooser, Given as _, Subject};

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "state-round-trip",
    sentence: "a successor takes the state and then saves or decides the same; any other bytes \
               are answered with yes or no",
    may_lack: false,
    prove,
};

/// Requests before the state is saved, and after it was restored: a prime number, so
/// that whoever takes turns is not where it began.
const REQUESTS: u32 = 997;
/// Most beginnings of the own state that are tried.
const BEGINNINGS: usize = 64;

fn prove(subject: &Subject) -> Proof {
    if !subject.plugin().has_state() {
        return Ok(Shown::Beside(
            "it keeps no state for a successor".to_owned(),
        ));
    }
    let rows = weighted(&[1, 2, 3, 4, 5]);
    let mut own = subject.start(&rows).given(|| told_rows(&rows))?;
    live(subject, &mut own, &rows, 80)?;
    let saved = save(&mut own)?;
    round_trip(subject, own, &saved, &rows)?;
    let hostile = hostile(subject, &saved);
    for (name, bytes) in &hostile {
        take(subject, name, bytes, &rows)?;
    }
    Ok(Shown::Holds(format!(
        "{} bytes came through; {} others were answered",
        saved.len(),
        hostile.len()
    )))
}

/// Decides and learns for a while; who was chosen.
fn live(
    subject: &Subject,
    chooser: &mut Chooser,
    rows: &[Row],
    stream: u64,
) -> Result<Vec<(u64, String)>, Counterexample> {
    let mut rows = rows.to_vec();
    let mut random = subject.random(stream);
    let mut requests = Requests::new(subject.random(stream + 1), 1_000);
    let mut choices = Vec::new();
    for _ in 0..REQUESTS {
        stir(&mut rows, &mut random);
        let request = requests.next();
        let (choice, tag) = chooser
            .choose(&rows, &request)
            .given(|| told(&rows, &request))?;
        choices.push((tag, format!("{choice:?}")));
        let outcomes = [outcome(&rows, tag, &mut random)];
        chooser
            .observe(&outcomes)
            .given(|| format!("observe {outcomes:?}"))?;
    }
    Ok(choices)
}

fn save(chooser: &mut Chooser) -> Result<Vec<u8>, Counterexample> {
    let saved = chooser
        .save()
        .given(|| format!("save after {REQUESTS} requests"))?;
    Ok(saved.unwrap_or_default())
}

fn round_trip(
    subject: &Subject,
    mut own: Chooser,
    saved: &[u8],
    rows: &[Row],
) -> Result<(), Counterexample> {
    let against = |answer: String| Counterexample {
        input: format!("its own state of {} bytes", saved.len()),
        answer,
    };
    let mut successor = subject.start(rows).given(|| told_rows(rows))?;
    let taken = successor
        .restore(saved)
        .given(|| format!("its own state of {} bytes", saved.len()))?;
    taken.map_err(|why| against(format!("was refused: {why}")))?;
    // Whoever keeps a map may save it in another order, and whoever keeps a part
    // only may decide differently: one of the two is enough.
    if save(&mut successor)? == saved {
        return Ok(());
    }
    let after = (
        live(subject, &mut own, rows, 82)?,
        live(subject, &mut successor, rows, 82)?,
    );
    if after.0 == after.1 {
        return Ok(());
    }
    Err(against(
        "the successor saves other bytes and decides differently".to_owned(),
    ))
}

/// Bytes that are no state of it, or only nearly.
fn hostile(subject: &Subject, saved: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut random = subject.random(84);
    let mut noise = |count: usize| -> Vec<u8> { (0..count).map(|_| random.u8(..)).collect() };
    let mut all = vec![
        ("no bytes".to_owned(), Vec::new()),
        ("a byte".to_owned(), vec![0]),
        ("64 random bytes".to_owned(), noise(64)),
        ("4096 random bytes".to_owned(), noise(4096)),
        // What a strategy keeps of 10,000 backends; an interpreter reads no more of it
        // in the time that it has.
        ("128 KiB of zeros".to_owned(), vec![0; 128 << 10]),
        ("128 KiB of 0xff".to_owned(), vec![0xff; 128 << 10]),
    ];
    let step = saved.len().div_ceil(BEGINNINGS).max(1);
    for length in (0..saved.len()).step_by(step) {
        all.push((
            format!("the first {length} bytes of its state"),
            saved[..length].to_vec(),
        ));
        let mut spoilt = saved.to_vec();
        spoilt[length] ^= 0xff;
        all.push((format!("its state with byte {length} inverted"), spoilt));
    }
    let mut longer = saved.to_vec();
    longer.extend(noise(16));
    all.push(("its state and 16 bytes more".to_owned(), longer));
    all
}

/// Whether it takes them is its own affair, but it must go on afterwards.
fn take(subject: &Subject, name: &str, bytes: &[u8], rows: &[Row]) -> Result<(), Counterexample> {
    let mut chooser = subject.start(rows).given(|| told_rows(rows))?;
    let _ = chooser
        .restore(bytes)
        .given(|| format!("restore with {name}"))?;
    let mut requests = Requests::new(subject.random(85), 1_000);
    for _ in 0..8 {
        let request = requests.next();
        chooser
            .choose(rows, &request)
            .given(|| format!("restore with {name}, then {}", told(rows, &request)))?;
    }
    Ok(())
}
