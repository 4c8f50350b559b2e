//! Pickers of good and bad plugins, with time and randomness as arguments.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::config::{OnFault, StrategySettings, StrategySource};
use crate::plugin::FaultKind;
use crate::plugin::guests::{engine, members, rows, wasm};
use crate::pool::Row;

use super::conduct::Gravity;
use super::*;

fn settings(source: StrategySource) -> StrategySettings {
    StrategySettings {
        source,
        config: String::new(),
        deadline: Duration::from_millis(10),
        budget: Duration::from_millis(250),
        memory: 8 << 20,
        recycle_memory: 6 << 20,
        recycle_calls: 0,
        on_fault: OnFault::Fallback,
        probation: Duration::from_secs(60),
        plan_interval: Duration::from_secs(1),
    }
}

/// A strategy from a file with one of the guests.
fn guest_with(
    name: &str,
    change: impl FnOnce(&mut StrategySettings),
) -> Result<Arc<Strategy>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    fs::write(&path, wasm(name)).unwrap();
    let mut settings = settings(StrategySource::File(path));
    change(&mut settings);
    Strategy::prepare(engine(), name, &settings).map_err(|error| format!("{error:#}"))
}

fn guest(name: &str) -> Arc<Strategy> {
    guest_with(name, |_| {}).unwrap()
}

fn picker(strategy: &Arc<Strategy>) -> Picker {
    Picker::new(strategy.clone(), None, members(), None, 0)
}

fn at(now_us: u64) -> PickRequest {
    PickRequest {
        now_us,
        ..PickRequest::default()
    }
}

fn pick_at(picker: &mut Picker, rows: &[Row], now_us: u64) -> Decision {
    picker.pick(rows, &at(now_us), &mut Inbound::default())
}

fn pick(picker: &mut Picker, rows: &[Row]) -> Decision {
    pick_at(picker, rows, 0)
}

const SECOND: u64 = 1_000_000;

#[test]
fn the_plugins_answer_is_the_decision() {
    for (name, wanted) in [
        ("always-last", Pick::Backend(2)),
        ("refuses-wait", Pick::Wait),
        ("rejects-429", Pick::Reject(StatusCode::TOO_MANY_REQUESTS)),
    ] {
        let strategy = guest(name);
        let decision = pick(&mut picker(&strategy), &rows(3));
        assert_eq!(
            (decision.pick, decision.fallback),
            (wanted, false),
            "{name}"
        );
        assert_eq!(strategy.stats().picks, 1);
        assert_eq!(strategy.stats().all_faults(), 0);
    }
}

#[test]
fn no_opinion_is_no_fault() {
    let strategy = guest_with("refuses-fallback", |settings| {
        settings.on_fault = OnFault::Reject;
    });
    let strategy = strategy.unwrap();
    let decision = pick(&mut picker(&strategy), &rows(1));
    assert_eq!((decision.pick, decision.fallback), (Pick::Backend(0), true));
    let stats = strategy.stats();
    assert_eq!((stats.fallbacks, stats.all_faults()), (1, 0));
}

#[test]
fn the_fallback_answers_for_every_kind_of_fault() {
    for (name, kind) in [
        ("trap", FaultKind::Trap),
        ("recursion", FaultKind::Trap),
        ("loop", FaultKind::Deadline),
        ("memory-grow", FaultKind::Memory),
        ("bad-index", FaultKind::BadIndex),
        ("rejects-200", FaultKind::BadStatus),
        ("bad-list", FaultKind::Lift),
        ("bad-discriminant", FaultKind::Lift),
        ("start-trap", FaultKind::Trap),
        ("start-loop", FaultKind::Deadline),
    ] {
        let strategy = guest(name);
        let decision = pick(&mut picker(&strategy), &rows(3));
        assert!(matches!(decision.pick, Pick::Backend(0..3)), "{name}");
        assert!(decision.fallback, "{name}");
        assert!(strategy.stats().faults(kind) >= 1, "{name}");
        assert_eq!(strategy.stats().fallbacks, 1, "{name}");
    }
}

#[test]
fn or_the_request_is_refused() {
    let strategy = guest_with("trap", |settings| settings.on_fault = OnFault::Reject).unwrap();
    let mut picker = picker(&strategy);
    for now in [0, 0, SECOND / 4] {
        let decision = pick_at(&mut picker, &rows(3), now);
        let wanted = Pick::Reject(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(decision.pick, wanted);
    }
    assert_eq!(strategy.stats().fallbacks, 0);
}

#[test]
fn a_fault_costs_one_pick_and_a_series_costs_the_trust() {
    let strategy = guest("trap");
    let mut picker = picker(&strategy);
    for now in 0..5 {
        assert_eq!(strategy.standing(), Standing::Trusted);
        pick_at(&mut picker, &rows(3), now);
    }
    assert_eq!(strategy.standing(), Standing::Quarantined);
    for now in 5..20 {
        assert!(pick_at(&mut picker, &rows(3), now).fallback);
    }
    let stats = strategy.stats();
    assert_eq!(stats.all_faults(), 5, "it is not asked any more");
    assert_eq!(stats.replacements, 4, "each fault but the last");
    assert_eq!((stats.fallbacks, strategy.quarantines()), (20, 1));
}

#[test]
fn faults_of_all_workers_count_together() {
    let strategy = guest("trap");
    let mut workers = [(); 5].map(|()| picker(&strategy));
    for worker in &mut workers {
        pick(worker, &rows(3));
    }
    assert_eq!(strategy.standing(), Standing::Quarantined);
}

/// In quarantine, and its time is over.
fn probed(strategy: &Arc<Strategy>, picker: &mut Picker) {
    for now in 0..5 {
        let mut inbound = Inbound::default();
        inbound.headers.insert("x-fault", "t".parse().unwrap());
        picker.pick(&rows(3), &at(now), &mut inbound);
    }
    assert_eq!(strategy.probe(&members(), 2 * SECOND, 0), Probe::None);
    assert_eq!(strategy.standing(), Standing::Probed);
    assert_eq!(
        strategy.probe(&members(), 3 * SECOND, 0),
        Probe::None,
        "there are no requests"
    );
}

#[test]
fn a_plugin_that_answers_copies_well_is_trusted_again() {
    let strategy = guest("fault-on-demand");
    let mut picker = picker(&strategy);
    probed(&strategy, &mut picker);
    let before = strategy.stats().all_faults();
    assert!(pick_at(&mut picker, &rows(3), 4 * SECOND).fallback);
    assert_eq!(strategy.probe(&members(), 4 * SECOND, 0), Probe::Passed);
    assert_eq!(strategy.standing(), Standing::Trusted);
    assert!(!pick_at(&mut picker, &rows(3), 4 * SECOND).fallback);
    assert_eq!(strategy.stats().all_faults(), before);
}

#[test]
fn a_plugin_that_faults_on_a_copy_stays_in_quarantine() {
    let strategy = guest("fault-on-demand");
    let mut picker = picker(&strategy);
    probed(&strategy, &mut picker);
    let mut inbound = Inbound::default();
    inbound.headers.insert("x-fault", "t".parse().unwrap());
    assert!(
        picker
            .pick(&rows(3), &at(3 * SECOND), &mut inbound)
            .fallback
    );
    let probe = strategy.probe(&members(), 4 * SECOND, u64::MAX);
    let Probe::Failed(fault, time) = probe else {
        panic!("{probe:?}");
    };
    assert_eq!(fault.kind, FaultKind::Trap);
    assert_eq!(time.as_secs_f64().round(), 2.0, "twice the first");
    assert_eq!(strategy.standing(), Standing::Quarantined);
    assert_eq!(strategy.quarantines(), 2);
}

#[test]
fn the_last_good_strategy_answers_for_a_bad_one() {
    let bad = guest_with("trap", |settings| settings.on_fault = OnFault::LastGood).unwrap();
    let good = guest("always-last");
    let mut picker = Picker::new(bad.clone(), Some(good.clone()), members(), None, 0);
    for now in 0..10 {
        let decision = pick_at(&mut picker, &rows(3), now);
        assert_eq!((decision.pick, decision.fallback), (Pick::Backend(2), true));
    }
    assert_eq!((bad.stats().picks, good.stats().picks), (10, 10));
}

#[test]
fn without_a_last_good_strategy_the_fallback_answers() {
    let bad = guest_with("trap", |settings| settings.on_fault = OnFault::LastGood).unwrap();
    let mut picker = Picker::new(bad.clone(), None, members(), None, 0);
    let decision = pick(&mut picker, &rows(3));
    assert!(matches!(decision.pick, Pick::Backend(_)) && decision.fallback);
}

#[test]
fn a_plugin_that_stays_just_under_its_deadline_is_caught() {
    let slow = guest_with("slow", |settings| {
        settings.budget = Duration::from_millis(1);
    });
    let slow = slow.unwrap();
    let mut picker = picker(&slow);
    let clock = std::time::Instant::now();
    while slow.standing() == Standing::Trusted {
        let now = clock.elapsed().as_micros() as u64;
        pick_at(&mut picker, &rows(3), now);
        assert!(clock.elapsed() < Duration::from_secs(20), "never caught");
    }
    assert_eq!(slow.stats().faults(FaultKind::Budget), 1);
    assert_eq!(slow.stats().all_faults(), 1);
    assert!(slow.stats().cpu > Duration::from_millis(1));
}

#[test]
fn a_rare_trap_is_hardly_noticed() {
    let strategy = guest("trap-at-times");
    let mut picker = picker(&strategy);
    for number in 0..1000 {
        // One pick a second, so that its faults are far apart.
        let decision = pick_at(&mut picker, &rows(3), number * SECOND);
        assert_eq!(decision.fallback, number % 100 == 99);
    }
    assert_eq!(strategy.stats().all_faults(), 10);
    assert_eq!(strategy.stats().replacements, 9);
}

#[test]
fn nobody_to_choose_is_waited_for() {
    for name in ["always-first", "planner-last"] {
        let decision = pick(&mut picker(&guest(name)), &[]);
        assert_eq!((decision.pick, decision.fallback), (Pick::Wait, false));
    }
}

#[test]
fn a_native_fallback_is_a_strategy_too() {
    let settings = settings(StrategySource::Fallback);
    let strategy = Strategy::prepare(engine(), "web", &settings).unwrap();
    assert_eq!(
        (strategy.name(), strategy.version()),
        ("fallback", "native")
    );
    let mut picker = picker(&strategy);
    let mut rows = rows(2);
    rows[0].in_flight = 5;
    let decision = pick(&mut picker, &rows);
    assert_eq!(
        (decision.pick, decision.fallback),
        (Pick::Backend(1), false)
    );
    assert_eq!(pick(&mut picker, &[]).pick, Pick::Wait);
    assert_eq!(strategy.rehearse(&rows, members(), None).unwrap().calls, 0);
}

#[test]
fn tags_go_with_the_decision() {
    let mut picker = picker(&guest("reads-header"));
    let mut inbound = Inbound::default();
    inbound.headers.insert("x-backend", "2".parse().unwrap());
    let decision = picker.pick(&rows(3), &at(0), &mut inbound);
    assert_eq!((decision.pick, decision.tag), (Pick::Backend(2), 1002));
}

#[test]
fn faults_on_demand_pass_their_rehearsal() {
    let strategy = guest("fault-on-demand");
    strategy.rehearse(&rows(3), members(), None).unwrap();
    let mut picker = picker(&strategy);
    for (minutes, (letter, kind)) in [
        ("t", FaultKind::Trap),
        ("r", FaultKind::Trap),
        ("l", FaultKind::Deadline),
        ("m", FaultKind::Memory),
        ("i", FaultKind::BadIndex),
        ("s", FaultKind::BadStatus),
        ("d", FaultKind::Lift),
    ]
    .into_iter()
    .enumerate()
    {
        let now = minutes as u64 * 61 * SECOND;
        assert_eq!(pick_at(&mut picker, &rows(3), now).pick, Pick::Backend(0));
        let before = strategy.stats().faults(kind);
        let mut inbound = Inbound::default();
        inbound.headers.insert("x-fault", letter.parse().unwrap());
        assert!(picker.pick(&rows(3), &at(now), &mut inbound).fallback);
        assert_eq!(strategy.stats().faults(kind), before + 1, "{letter}");
        assert_eq!(inbound.headers["x-fault"], letter);
    }
}

fn outcome(tag: u64) -> Outcome {
    Outcome {
        tag,
        id: 1,
        latency_us: 1,
        status: 200,
        failure: Failure::None,
        attempt: 0,
    }
}

#[test]
fn outcomes_are_told_in_batches() {
    let mut picker = picker(&guest("learns"));
    picker.observe(outcome(1));
    picker.observe(outcome(2));
    assert_eq!(picker.pending_outcomes(), 2);
    assert_eq!(pick(&mut picker, &rows(3)).pick, Pick::Backend(0));
    picker.flush(0);
    assert_eq!(picker.pending_outcomes(), 0);
    assert_eq!(pick(&mut picker, &rows(3)).pick, Pick::Backend(2));
}

#[test]
fn outcomes_nobody_takes_are_not_kept_for_ever() {
    let strategy = guest("learns");
    let mut picker = picker(&strategy);
    for _ in 0..5000 {
        picker.observe(outcome(1));
    }
    assert_eq!(picker.pending_outcomes(), 4096);
    assert_eq!(strategy.stats().outcomes_dropped, 904);
    let mut deaf = super::tests::picker(&guest("always-first"));
    deaf.observe(outcome(1));
    assert_eq!(deaf.pending_outcomes(), 0);
}

#[test]
fn a_fault_on_feedback_costs_no_pick() {
    let strategy = guest("observe-trap");
    let mut picker = picker(&strategy);
    picker.observe(outcome(1));
    picker.flush(0);
    assert_eq!(strategy.stats().faults(FaultKind::Trap), 1);
    assert!(!pick(&mut picker, &rows(3)).fallback);
}

#[test]
fn state_survives_a_swap() {
    let old = guest("counts");
    let mut picker = picker(&old);
    for wanted in 0..3 {
        assert_eq!(pick(&mut picker, &rows(9)).pick, Pick::Backend(wanted));
    }
    let mut second = Picker::new(guest("counts"), None, members(), Some(&mut picker), 0);
    assert_eq!(pick(&mut second, &rows(9)).pick, Pick::Backend(3));
    assert_eq!(pick(&mut second, &rows(9)).pick, Pick::Backend(4));
    let decision = pick(&mut picker, &rows(9));
    assert_eq!(
        (decision.pick, decision.fallback),
        (Pick::Backend(3), false)
    );
    let mut other = Picker::new(guest("always-first"), None, members(), Some(&mut second), 0);
    assert_eq!(pick(&mut other, &rows(9)).pick, Pick::Backend(0));
}

#[test]
fn a_state_that_cannot_go_over_starts_cold() {
    let old = guest_with("state-bomb", |settings| settings.memory = 64 << 20).unwrap();
    let new = guest("counts");
    let mut picker = Picker::new(new.clone(), None, members(), Some(&mut picker(&old)), 0);
    assert_eq!(pick(&mut picker, &rows(9)).pick, Pick::Backend(0));
    assert_eq!(new.stats().all_faults(), 0);
}

#[test]
fn shared_slots_outlive_a_swap_and_a_rehearsal_leaves_them_alone() {
    let old = guest("shared-counter");
    let mut first = picker(&old);
    let mut second = picker(&old);
    assert_eq!(pick(&mut first, &rows(5)).pick, Pick::Backend(0));
    assert_eq!(pick(&mut second, &rows(5)).pick, Pick::Backend(1));
    let new = guest("shared-counter");
    new.rehearse(&rows(5), members(), None).unwrap();
    let mut third = Picker::new(new, None, members(), Some(&mut first), 0);
    drop((old, second));
    assert_eq!(pick(&mut third, &rows(5)).pick, Pick::Backend(2));
}

/// Looks after the picker, as a worker does ten times a second, until so many
/// instances were recycled for this reason; the time then.
fn until_recycled(picker: &mut Picker, reason: Recycled, count: u64, mut now_us: u64) -> u64 {
    let begin = std::time::Instant::now();
    while picker.strategy().stats().recycled(reason) < count {
        now_us += SECOND / 10;
        picker.flush(now_us);
        assert!(begin.elapsed() < Duration::from_secs(20), "never recycled");
        std::thread::yield_now();
    }
    now_us
}

#[test]
fn a_leak_is_recycled_before_it_fails() {
    let strategy = guest("memory-leak");
    let mut picker = picker(&strategy);
    for life in 1..=3 {
        // Of 128 pages an instance may hold 96 without being recycled.
        for _ in 0..100 {
            assert!(!pick(&mut picker, &rows(3)).fallback);
        }
        until_recycled(&mut picker, Recycled::Memory, life, life * 100 * SECOND);
    }
    let stats = strategy.stats();
    assert_eq!((stats.replacements, stats.all_faults()), (0, 0));
}

#[test]
fn who_was_called_often_enough_is_recycled_with_its_state() {
    let strategy = guest_with("counts", |settings| settings.recycle_calls = 3).unwrap();
    let mut picker = picker(&strategy);
    let mut now_us = 0;
    for number in 0..9 {
        if number == 3 || number == 6 {
            now_us = until_recycled(&mut picker, Recycled::Calls, number / 3, now_us + SECOND);
        }
        let decision = pick(&mut picker, &rows(9));
        assert_eq!(decision.pick, Pick::Backend(number as usize));
    }
    assert_eq!(strategy.stats().recycled(Recycled::Memory), 0);
    assert_eq!(strategy.stats().all_faults(), 0);
}

#[test]
fn without_a_reason_nobody_is_recycled() {
    let strategy = guest("counts");
    let mut picker = picker(&strategy);
    for now in 0..1000 {
        pick_at(&mut picker, &rows(9), now * SECOND);
        picker.flush(now * SECOND);
    }
    let stats = strategy.stats();
    assert_eq!(Recycled::ALL.map(|reason| stats.recycled(reason)), [0, 0]);
}

#[test]
fn a_planner_is_recycled_too_and_its_plan_stays() {
    let strategy = guest("planner-leak");
    let mut picker = picker(&strategy);
    let mut now_us = 0;
    for _ in 0..100 {
        now_us += SECOND;
        assert!(picker.replan_if_due(&rows(4), now_us, 1));
    }
    let now_us = until_recycled(&mut picker, Recycled::Memory, 1, now_us);
    let decision = pick(&mut picker, &rows(4));
    assert_eq!(
        (decision.pick, decision.fallback),
        (Pick::Backend(3), false)
    );
    assert!(picker.replan_if_due(&rows(2), now_us + SECOND, 2));
    assert_eq!(pick(&mut picker, &rows(2)).pick, Pick::Backend(1));
    assert_eq!(strategy.stats().all_faults(), 0);
}

#[test]
fn a_plugin_in_quarantine_is_not_recycled() {
    let strategy = guest("memory-leak");
    let mut picker = picker(&strategy);
    for _ in 0..100 {
        pick(&mut picker, &rows(3));
    }
    picker.flush(2 * SECOND);
    strategy.conduct().fault(Gravity::Lasting, 0, 0);
    assert_eq!(strategy.standing(), Standing::Quarantined);
    for now in 3..50 {
        picker.flush(now * SECOND);
    }
    assert_eq!(strategy.stats().recycled(Recycled::Memory), 0);
}

#[test]
fn a_plan_is_made_and_looked_up() {
    let strategy = guest("planner-last");
    let mut picker = picker(&strategy);
    assert!(strategy.is_planner());
    assert!(pick(&mut picker, &rows(4)).fallback, "there is no plan yet");
    assert!(picker.replan_due(0, 7));
    assert!(picker.replan_if_due(&rows(4), 0, 7));
    let decision = pick(&mut picker, &rows(4));
    assert_eq!(
        (decision.pick, decision.fallback),
        (Pick::Backend(3), false)
    );
    assert_eq!(picker.look_up(&rows(4)[..], &at(0)), decision);
}

#[test]
fn a_new_plan_is_made_when_the_pool_or_the_time_asks_for_it() {
    let strategy = guest("planner-last");
    let mut picker = picker(&strategy);
    assert!(picker.replan_if_due(&rows(4), 0, 7));
    assert!(!picker.replan_if_due(&rows(4), SECOND - 1, 7));
    assert!(picker.replan_if_due(&rows(4), SECOND, 7));
    assert!(picker.replan_if_due(&rows(2), SECOND + 1, 8));
    assert_eq!(pick(&mut picker, &rows(2)).pick, Pick::Backend(1));
    assert_eq!(strategy.stats().plans, 3);
}

#[test]
fn a_plan_for_other_members_is_made_again() {
    let mut picker = picker(&guest("planner-last"));
    assert!(picker.replan_if_due(&rows(4), 0, 7));
    let mut others = rows(4);
    others.reverse();
    picker.set_members(members());
    assert_eq!(pick(&mut picker, &others).pick, Pick::Backend(0));
    assert!(picker.replan_if_due(&others, 1, 7));
    assert_eq!(pick(&mut picker, &others).pick, Pick::Backend(3));
}

#[test]
fn a_planner_in_quarantine_is_tried_on_the_pool_as_it_is() {
    let strategy = guest("planner-bad");
    let mut picker = picker(&strategy);
    for now in 0..5 {
        picker.replan_if_due(&rows(4), now, 1);
    }
    assert_eq!(strategy.standing(), Standing::Quarantined);
    strategy.probe(&members(), 2 * SECOND, 0);
    assert!(!picker.replan_if_due(&rows(4), 2 * SECOND, 1));
    let probe = strategy.probe(&members(), 4 * SECOND, 0);
    assert!(matches!(probe, Probe::Failed(..)), "{probe:?}");
}

#[test]
fn the_last_plan_stays_in_force() {
    let good = guest("planner-last");
    let mut picker = picker(&good);
    picker.replan_if_due(&rows(4), 0, 1);
    let bad = guest("planner-bad");
    let mut picker = Picker::new(bad.clone(), None, members(), Some(&mut picker), 0);
    assert!(!picker.replan_if_due(&rows(4), 0, 1));
    assert_eq!(bad.stats().faults(FaultKind::BadIndex), 1);
    let decision = pick(&mut picker, &rows(4));
    assert_eq!(
        (decision.pick, decision.fallback),
        (Pick::Backend(3), false)
    );
}

#[test]
fn a_rehearsal_shows_who_may_not_serve() {
    for (name, says) in [
        ("trap", "trap: "),
        ("trap-at-times", "trap: "),
        ("loop", "deadline: "),
        ("bad-index", "bad-index: picked backend"),
        ("rejects-200", "bad-status: "),
        ("memory-grow", "memory: "),
        ("start-loop", "deadline: "),
        ("observe-trap", "trap: "),
        ("state-bomb", "memory: "),
        ("planner-bad", "bad-index: "),
        ("planner-huge", "memory: "),
    ] {
        let why = guest(name).rehearse(&rows(3), members(), None).unwrap_err();
        let why = format!("{why:#}");
        assert!(why.contains(says), "{name}: {why}");
        assert!(why.starts_with(&format!("pool {name}: plugin /")), "{why}");
    }
}

#[test]
fn a_rehearsal_tells_what_becomes_of_the_state() {
    let hand_over = |new: &str, old: &str| {
        let old = guest(old);
        let rehearsal = guest(new).rehearse(&rows(3), members(), Some(&old));
        rehearsal.unwrap().state
    };
    assert_eq!(hand_over("counts", "counts"), HandOver::Taken);
    assert_eq!(hand_over("state-noise", "state-noise"), HandOver::Taken);
    let refused = HandOver::Refused("not mine".into());
    assert_eq!(hand_over("state-refuses", "counts"), refused);
    assert_eq!(hand_over("counts", "always-first"), HandOver::None);
    assert_eq!(hand_over("always-first", "counts"), HandOver::None);
}

#[test]
fn who_cannot_bear_the_old_ones_state_is_not_let_in() {
    let old = guest("state-noise");
    let rehearsal = guest("counts").rehearse(&rows(3), members(), Some(&old));
    let why = format!("{:#}", rehearsal.unwrap_err());
    assert!(why.contains("trap: "), "{why}");
}

#[test]
fn a_rehearsal_lets_the_good_through() {
    for name in [
        "always-first",
        "refuses-wait",
        "rejects-429",
        "counts",
        "learns",
        "reads-header",
        "planner-weights",
        "planner-two-choices",
        "planner-table",
    ] {
        for pool in [&rows(3)[..], &rows(1), &[]] {
            let rehearsal = guest(name).rehearse(pool, members(), None);
            assert!(rehearsal.unwrap().calls >= 20, "{name}");
        }
    }
}

#[test]
fn the_same_bytes_and_settings_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    fs::write(&path, wasm("always-first")).unwrap();
    let settings = settings(StrategySource::File(path.clone()));
    let strategy = Strategy::prepare(engine(), "web", &settings).unwrap();
    assert_eq!(strategy.version().len(), 12);
    let same =
        |settings: &StrategySettings| strategy.same_as(read(settings).unwrap().as_ref(), settings);
    assert!(same(&settings));
    let mut other = settings.clone();
    other.config = "x".into();
    assert!(!same(&other));
    fs::write(&path, wasm("always-last")).unwrap();
    assert!(!same(&settings));
}

#[test]
fn errors_name_the_pool_and_the_file() {
    let why = guest_with("wasi-import", |_| {}).err().unwrap();
    assert!(why.starts_with("pool wasi-import: plugin /"), "{why}");
    let gone = settings(StrategySource::File("nowhere/x.wasm".into()));
    let why = Strategy::prepare(engine(), "web", &gone).err().unwrap();
    let why = format!("{why:#}");
    assert!(
        why.starts_with("pool web: plugin nowhere/x.wasm: cannot be opened: "),
        "{why}"
    );
    let unknown = settings(StrategySource::Shipped("leest-time".into()));
    let why = Strategy::prepare(engine(), "web", &unknown).err().unwrap();
    assert!(format!("{why:#}").contains("leest-time"), "{why:#}");
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let endless = settings(StrategySource::File("/dev/zero".into()));
    let why = Strategy::prepare(engine(), "web", &endless).err().unwrap();
    assert!(format!("{why:#}").contains("larger than 64 MiB"), "{why:#}");
}

#[test]
fn every_shipped_strategy_passes_its_rehearsal() {
    assert!(crate::plugin::shipped::bytes("least-time").is_some());
    for name in crate::plugin::shipped::names() {
        let settings = StrategySettings {
            memory: 64 << 20,
            // What is right is tested here, not what is fast on a busy machine.
            deadline: Duration::from_millis(100),
            ..settings(StrategySource::Shipped(name.to_owned()))
        };
        let strategy = Strategy::prepare(engine(), "web", &settings).unwrap();
        for count in [1, 3, 100] {
            let rehearsal = strategy.rehearse(&rows(count), members(), None);
            assert!(rehearsal.is_ok(), "{name}: {:#}", rehearsal.unwrap_err());
        }
    }
}
