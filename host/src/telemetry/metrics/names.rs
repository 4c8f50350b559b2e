//! What is counted of the names of backends. The board of answers keeps it.

use std::fmt;

use super::sheet::Sheet;
use crate::discovery::{Board, Question, Tally};

/// Writes what became of the names.
pub fn write(sheet: &mut Sheet, board: &Board) -> fmt::Result {
    let tallies = board.tallies();
    let names = || {
        tallies
            .iter()
            .map(|(question, tally)| (labels(question), tally))
    };
    sheet.counter(
        "anubis_dns_lookups_total",
        "Lookups of names that have ended, by what they came to.",
        names().flat_map(|([kind, name], tally)| {
            let results = Tally::RESULTS.iter().zip(tally.lookups);
            results.map(move |(&result, count)| ([kind, name, ("result", result)], count))
        }),
    )?;
    sheet.gauge(
        "anubis_dns_failing",
        "1 while the last lookup of a name brought no answer, else 0.",
        names().map(|(labels, tally)| (labels, u32::from(tally.failing))),
    )?;
    sheet.gauge(
        "anubis_dns_addresses",
        "Addresses in the answer that is in force for a name; 0 before the first.",
        names().map(|(labels, tally)| (labels, tally.addresses as u64)),
    )
}

fn labels(question: &Question) -> [(&'static str, &str); 2] {
    let (kind, name) = match question {
        Question::Host(name) => ("host", name),
        Question::Service(name) => ("srv", name),
    };
    [("kind", kind), ("name", name)]
}
