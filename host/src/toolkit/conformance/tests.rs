//! Guests that violate a property each, and the shipped strategies, which violate none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{StrategySettings, StrategySource};
use crate::plugin::guests::{engine, wasm};
use crate::plugin::{Plugin, shipped};
use crate::toolkit::TestSettings;

use super::*;

fn subject(bytes: &[u8], calls: u64) -> Subject {
    let plugin = Arc::new(Plugin::compile(engine(), bytes).unwrap());
    let mut settings =
        StrategySettings::new(StrategySource::File(Path::new("guest.wasm").to_owned()));
    // Many tests run at once here.
    settings.deadline = Duration::from_millis(200);
    let terms = Terms {
        seed: 1,
        calls,
        time: Duration::from_secs(30),
    };
    Subject::new(plugin, "guest", settings, terms).unwrap()
}

/// What one property comes to for a plugin.
fn outcome_of(bytes: &[u8], property: &str) -> Outcome {
    let subject = subject(bytes, 4_000);
    let property = property::ALL.iter().find(|one| one.name == property);
    try_one(property.unwrap(), &subject, &Declared::default()).outcome
}

/// The guest `always-last`, but it picks the index that `expression` says.
fn picks(expression: &str) -> Vec<u8> {
    edited(
        "always-last",
        "(i32.sub (local.get $count) (i32.const 1))",
        expression,
    )
}

/// A guest of `tests/guests` with one thing in it replaced.
fn edited(guest: &str, from: &str, to: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/{guest}.wat"));
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{guest}: {from}");
    wat::parse_str(text.replace(from, to)).unwrap()
}

fn expect_failure(bytes: &[u8], property: &str, said: &str) {
    match outcome_of(bytes, property) {
        Outcome::Failed(against) => {
            assert!(!against.input.is_empty(), "{property}");
            assert!(against.answer.contains(said), "{property}: {against:?}");
        }
        other => panic!("{property} of a guest without it: {other:?}"),
    }
}

fn expect_pass(bytes: &[u8], property: &str) {
    let outcome = outcome_of(bytes, property);
    assert!(
        matches!(outcome, Outcome::Passed(_)),
        "{property}: {outcome:?}"
    );
}

/// Takes turns.
const IN_TURN: &str = "(i32.wrap_i64 (i64.rem_u (local.get $sequence) \
                       (i64.extend_i32_u (local.get $count))))";
/// By the key, as everybody's first hash does it.
const BY_KEY: &str = "(i32.wrap_i64 (i64.rem_u (local.get $key) \
                      (i64.extend_i32_u (local.get $count))))";

#[test]
fn an_answer_out_of_range_or_a_trap_is_seen() {
    expect_failure(&picks("(local.get $count)"), "in-range", "bad-index");
    expect_failure(&picks("(i32.const 1)"), "in-range", "picked backend 1 of 1");
    let many = "(if (result i32) (i32.ge_u (local.get $count) (i32.const 1000))
                  (then unreachable) (else (i32.const 0)))";
    expect_failure(&picks(many), "in-range", "trap");
    let busy = "(i32.div_u (i32.const 0)
                  (i32.add (i32.load offset=20 (local.get $rows)) (i32.const 1)))";
    expect_failure(&picks(busy), "in-range", "trap");
    expect_failure(&wasm("rejects-200"), "in-range", "bad-status");
    expect_failure(&wasm("planner-bad"), "in-range", "bad-index");
    expect_pass(&picks(IN_TURN), "in-range");
    expect_pass(&wasm("planner-last"), "in-range");
    expect_pass(&wasm("refuses-wait"), "in-range");
}

#[test]
fn a_configuration_that_traps_is_seen() {
    let traps = edited(
        "configure-refuses",
        "(i32.store8 (i32.const 32) (i32.ne (local.get $length) (i32.const 0)))",
        "(if (i32.gt_u (local.get $length) (i32.const 100000)) (then unreachable))
         (i32.store8 (i32.const 32) (i32.ne (local.get $length) (i32.const 0)))",
    );
    expect_failure(&traps, "configure", "trap");
    expect_pass(&wasm("configure-refuses"), "configure");
    let outcome = outcome_of(&picks(IN_TURN), "configure");
    assert!(matches!(outcome, Outcome::NotApplicable(_)), "{outcome:?}");
}

#[test]
fn who_always_picks_the_same_shares_no_ties_and_starves_the_others() {
    for property in ["ties-shared", "proportional", "no-starvation"] {
        expect_failure(&wasm("always-last"), property, "");
        expect_failure(&wasm("planner-last"), property, "");
    }
}

#[test]
fn who_takes_turns_shares_but_not_by_weight() {
    expect_pass(&picks(IN_TURN), "ties-shared");
    expect_pass(&picks(IN_TURN), "no-starvation");
    expect_failure(&picks(IN_TURN), "proportional", "25.0 %");
    expect_pass(&wasm("planner-weights"), "proportional");
    expect_pass(&wasm("planner-weights"), "no-starvation");
}

#[test]
fn a_backend_that_was_slow_once_and_is_never_asked_again_is_seen() {
    // Remembers that the second one was slow; takes the first for it.
    let grudge = edited(
        "always-last",
        "(i32.store (i32.const 20) (i32.sub (local.get $count) (i32.const 1)))",
        "(i32.store (i32.const 20) (i32.wrap_i64 (i64.rem_u (local.get $sequence)
           (i64.extend_i32_u (local.get $count)))))
         (if (i32.and (i32.gt_u (local.get $count) (i32.const 1))
               (i32.gt_u (i32.load offset=64 (local.get $rows)) (i32.const 500000)))
           (then (i32.store (i32.const 24) (i32.const 1))))
         (if (i32.and (i32.load (i32.const 24))
               (i32.eq (i32.load (i32.const 20)) (i32.const 1)))
           (then (i32.store (i32.const 20) (i32.const 0))))",
    );
    expect_failure(&grudge, "no-starvation", "#2");
    expect_pass(&grudge, "ties-shared");
}

#[test]
fn a_remainder_moves_nearly_every_key() {
    expect_failure(&picks(BY_KEY), "minimal-disruption", "moved");
    for (expression, why) in [
        (IN_TURN, "the key does not decide"),
        ("(i32.const 0)", "every key comes to the same"),
    ] {
        match outcome_of(&picks(expression), "minimal-disruption") {
            Outcome::NotApplicable(said) => assert!(said.contains(why), "{said}"),
            other => panic!("{expression}: {other:?}"),
        }
    }
}

#[test]
fn instances_that_differ_are_seen() {
    let rows = scene::weighted(&[1, 2, 3]);
    let start = |bytes: &[u8]| subject(bytes, 1).start(&rows).unwrap();
    let compared = |one: &[u8], other: &[u8]| {
        let subject = subject(one, 1);
        property::compare(&subject, [start(one), start(other)], &rows)
    };
    let counts = wasm("counts");
    assert!(compared(&counts, &counts).is_ok());
    let against = compared(&wasm("always-first"), &wasm("always-last")).unwrap_err();
    assert!(against.answer.contains("Backend(0)"), "{against:?}");
    let (one, other) = (wasm("planner-last"), wasm("planner-weights"));
    assert!(compared(&one, &one).is_ok());
    assert!(compared(&one, &other).is_err());
}

#[test]
fn feedback_that_traps_is_seen() {
    expect_failure(&wasm("observe-trap"), "feedback", "trap");
    // It takes a tag for an index, whatever came back.
    expect_failure(&wasm("learns"), "feedback", "bad-index");
    let outcome = outcome_of(&picks(IN_TURN), "feedback");
    assert!(matches!(outcome, Outcome::NotApplicable(_)), "{outcome:?}");
}

#[test]
fn a_state_that_does_not_come_through_or_traps_is_seen() {
    expect_failure(&wasm("state-refuses"), "state-round-trip", "refused");
    expect_failure(&wasm("counts"), "state-round-trip", "trap");
    let careful = edited(
        "counts",
        "(if (i32.ne (local.get $length) (i32.const 4)) (then unreachable))",
        "(if (i32.ne (local.get $length) (i32.const 4)) (then
           (i32.store8 (i32.const 32) (i32.const 1))
           (i32.store (i32.const 40) (i32.const 0))
           (return (i32.const 32))))",
    );
    expect_pass(&careful, "state-round-trip");
    let forgetful = edited(
        "counts",
        "(if (i32.ne (local.get $length) (i32.const 4)) (then unreachable))
      (global.set $picks (i32.load (local.get $saved)))",
        "",
    );
    expect_failure(&forgetful, "state-round-trip", "decides differently");
}

#[test]
fn a_leak_and_a_call_without_end_are_seen() {
    expect_failure(&wasm("memory-leak"), "bounded", "memory grew");
    expect_failure(&wasm("loop"), "bounded", "deadline");
    expect_pass(&picks(IN_TURN), "bounded");
}

#[test]
fn what_is_declared_as_lacking_is_no_failure() {
    let declared = |property: &str| {
        let lacks = [(property.to_owned(), "its nature".to_owned())].into();
        Declared::checked(TestSettings {
            lacks,
            ..TestSettings::default()
        })
        .unwrap()
    };
    let subject = subject(&wasm("always-last"), 1_000);
    let outcome = |name: &str| {
        let property = property::ALL.iter().find(|one| one.name == name).unwrap();
        try_one(property, &subject, &declared(name)).outcome
    };
    assert!(matches!(outcome("ties-shared"), Outcome::Lacks(why, Some(_)) if why == "its nature"));
    assert!(matches!(outcome("deterministic"), Outcome::Lacks(_, None)));
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let measured = |seed| {
        let mut subject = subject(shipped::bytes("random").unwrap(), 1);
        subject.set_seed(seed);
        match try_one(&property::ALL[4], &subject, &Declared::default()).outcome {
            Outcome::Passed(measured) => measured,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(measured(7), measured(7));
    assert_ne!(measured(7), measured(8));
}

#[test]
fn the_shipped_strategies_have_what_they_do_not_declare_as_lacking() {
    for name in shipped::names() {
        let subject = subject(shipped::bytes(name).unwrap(), 20_000);
        let declared = Declared::of_shipped(name).unwrap();
        for verdict in run(&subject, &declared, |_| {}) {
            let well = match verdict.outcome {
                Outcome::Failed(_) | Outcome::Lacks(_, None) => false,
                Outcome::Passed(_) | Outcome::Lacks(..) | Outcome::NotApplicable(_) => true,
            };
            assert!(well, "{name}: {verdict:?}");
        }
    }
}
