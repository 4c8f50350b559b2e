//! `configure`.

use crate::plugin::FaultKind;
use crate::toolkit::conformance::Counterexample;
use crate::toolkit::conformance::scene::equal;
use crate::toolkit::conformance::subject::Subject;

use super::{Proof, Property, Shown};

pub(super) const PROPERTY: Property = Property {
    name: "configure",
    sentence: "the given configuration is taken; an empty one, nonsense and a very long one are \
               answered with yes or no",
    may_lack: false,
    prove,
};

fn prove(subject: &Subject) -> Proof {
    if !subject.plugin().takes_configuration() {
        return Ok(Shown::Beside("it takes no configuration".to_owned()));
    }
    // That the given one is taken was seen when the test began.
    let (mut taken, mut refused) = (0, 0);
    for (name, text) in hostile() {
        match subject.start_with(&text, &equal(3)) {
            Ok(_) => taken += 1,
            Err(fault) if fault.kind == FaultKind::Configure => refused += 1,
            Err(fault) => {
                return Err(Counterexample {
                    input: format!("configure with {name}"),
                    answer: fault.to_string(),
                });
            }
        }
    }
    Ok(Shown::Holds(format!(
        "of {} texts that mean nothing it took {taken} and refused {refused} with a reason",
        taken + refused
    )))
}

fn hostile() -> [(&'static str, String); 10] {
    [
        ("an empty text", String::new()),
        ("one space", " ".to_owned()),
        ("the text `nonsense`", "nonsense".to_owned()),
        ("the text `{`", "{".to_owned()),
        ("an unknown key", "{\"no-such-option\": true}".to_owned()),
        ("a zero character", "\0".to_owned()),
        ("characters beyond ASCII", "ключ=🐺\u{202e}".to_owned()),
        ("10,000 opening brackets", "[".repeat(10_000)),
        ("10,000 opening braces", "{\"a\":".repeat(10_000)),
        ("256 KiB of the letter x", "x".repeat(256 << 10)),
    ]
}
