//! The guests of `tests/guests`, loaded and called.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pool::Row;
use crate::strategy::{Failure, Inbound, Outcome, PickRequest, Routing};

use super::guests::{engine, members, panicking_members, rows, settings, wasm};
use super::{Answer, Binary, Engine, Fault, FaultKind, Instance, InstanceSettings, Plugin};

fn plugin(name: &str) -> Arc<Plugin> {
    let plugin = Plugin::compile(engine(), &wasm(name));
    Arc::new(plugin.unwrap_or_else(|error| panic!("{name}: {error:#}")))
}

fn start_with(name: &str, settings: &InstanceSettings) -> Result<Instance, Fault> {
    Instance::start(&plugin(name), settings, members())
}

fn start(name: &str) -> Instance {
    start_with(name, &settings()).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

fn pick(instance: &mut Instance, rows: &[Row]) -> Result<Answer, Fault> {
    let (answer, _) = instance.pick(rows, &PickRequest::default(), &mut Inbound::default())?;
    Ok(answer)
}

fn refusal(bytes: &[u8]) -> String {
    match Plugin::compile(engine(), bytes) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_answer_arrives() {
    for (name, answer) in [
        ("always-first", Answer::Index(0)),
        ("always-last", Answer::Index(2)),
        ("bad-index", Answer::Index(3)),
        ("refuses-fallback", Answer::Fallback),
        ("refuses-wait", Answer::Wait),
        ("rejects-429", Answer::Reject(429)),
        ("rejects-200", Answer::Reject(200)),
    ] {
        let mut instance = start(name);
        for _ in 0..3 {
            assert_eq!(pick(&mut instance, &rows(3)), Ok(answer), "{name}");
        }
    }
}

#[test]
fn every_field_of_every_row_arrives_in_its_place() {
    let mut instance = start("field");
    let number = |row: u32, field: u32| 1 + row * 100 + field;
    let rows: Vec<Row> = (0..300)
        .map(|row| {
            bytemuck::cast(std::array::from_fn::<u32, 10, _>(|field| {
                number(row, field as u32)
            }))
        })
        .collect();
    for attempt in [0, 1, 17, 299] {
        for generation in 0..10 {
            let request = PickRequest {
                generation,
                attempt,
                ..PickRequest::default()
            };
            let answer = instance.pick(&rows, &request, &mut Inbound::default());
            let wanted = Answer::Index(number(attempt, generation));
            assert_eq!(answer.unwrap().0, wanted);
        }
    }
}

#[test]
fn every_number_of_the_request_arrives() {
    let mut instance = start("request-field");
    for (generation, wanted) in [(0, 11), (1, 22), (2, 33), (3, 44), (4, 55)] {
        let request = PickRequest {
            key: 11,
            random: 22,
            sequence: 33,
            now_us: 44,
            generation,
            attempt: 55,
        };
        let answer = instance.pick(&rows(1), &request, &mut Inbound::default());
        assert_eq!(answer.unwrap().0, Answer::Index(wanted));
    }
}

#[test]
fn ten_thousand_backends_fit() {
    let mut instance = start("always-last");
    assert_eq!(pick(&mut instance, &rows(10_000)), Ok(Answer::Index(9_999)));
}

#[test]
fn faults_have_kinds() {
    for (name, kind, says) in [
        ("trap", FaultKind::Trap, "unreachable"),
        ("recursion", FaultKind::Trap, "stack"),
        ("loop", FaultKind::Deadline, "CPU time"),
        ("memory-grow", FaultKind::Memory, "unreachable"),
        ("table-grow", FaultKind::Memory, "unreachable"),
        ("bad-list", FaultKind::Lift, "pointer"),
        ("bad-discriminant", FaultKind::Lift, "discriminant"),
        ("bad-realloc", FaultKind::Lift, "realloc"),
        ("bad-slot", FaultKind::Lift, "slot 1024"),
    ] {
        // All but the loop come to their fault by themselves; memory is fetched page by
        // page, which takes its time on a busy machine.
        let deadline = match kind {
            FaultKind::Deadline => settings().deadline,
            _ => Duration::from_secs(5),
        };
        let settings = InstanceSettings {
            deadline,
            ..settings()
        };
        let mut instance = start_with(name, &settings).unwrap();
        let fault = pick(&mut instance, &rows(3)).unwrap_err();
        assert_eq!(fault.kind, kind, "{name}: {fault}");
        assert!(fault.message.contains(says), "{name}: {fault}");
    }
}

#[test]
fn a_fault_while_starting_has_a_kind_too() {
    for (name, kind) in [
        ("start-trap", FaultKind::Trap),
        ("start-loop", FaultKind::Deadline),
        ("start-memory", FaultKind::Memory),
        ("configure-loop", FaultKind::Deadline),
    ] {
        let fault = start_with(name, &settings()).err().unwrap();
        assert_eq!(fault.kind, kind, "{name}: {fault}");
    }
}

#[test]
fn a_deadline_is_kept() {
    let mut instance = start("loop");
    let begin = Instant::now();
    pick(&mut instance, &rows(3)).unwrap_err();
    // 10 ms of CPU time; the rest is for a busy machine.
    assert!(begin.elapsed() >= Duration::from_millis(5));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn recursion_ends_on_a_workers_stack() {
    std::thread::Builder::new()
        .stack_size(2 * super::engine::WASM_STACK)
        .spawn(|| {
            let fault = pick(&mut start("recursion"), &rows(3)).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Trap);
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn memory_is_capped_and_its_high_water_known() {
    let mut instance = start("memory-leak");
    for _ in 0..500 {
        assert_eq!(pick(&mut instance, &rows(3)), Ok(Answer::Index(0)));
    }
    let most = instance.memory_high_water();
    assert!(most > 7 << 20 && most <= 8 << 20, "{most}");
}

#[test]
fn configure_gets_its_text_and_may_refuse() {
    assert!(start_with("configure-refuses", &settings()).is_ok());
    let settings = InstanceSettings {
        config: "tau = 10\n".into(),
        ..settings()
    };
    let fault = start_with("configure-refuses", &settings).err().unwrap();
    assert_eq!(fault, Fault::new(FaultKind::Configure, "tau = 10\\n"));
}

fn inbound(value: &str) -> Inbound {
    let mut inbound = Inbound {
        uri: "/a?b=c".parse().unwrap(),
        ..Inbound::default()
    };
    inbound.headers.insert("x-backend", value.parse().unwrap());
    inbound
}

#[test]
fn a_plugin_reads_the_request_and_tags_it() {
    let mut instance = start("reads-header");
    let mut head = inbound("2");
    let answer = instance.pick(&rows(3), &PickRequest::default(), &mut head);
    assert_eq!(answer, Ok((Answer::Index(2), 1002)));
    assert_eq!(head.headers["x-backend"], "2");
    assert_eq!(head.uri, "/a?b=c");
    let nothing = instance.pick(&rows(3), &PickRequest::default(), &mut Inbound::default());
    assert_eq!(nothing, Ok((Answer::Fallback, 0)));
}

#[test]
fn a_trap_does_not_cost_the_request_its_head() {
    let mut instance = start("header-then-trap");
    let mut head = inbound("2");
    let fault = instance.pick(&rows(3), &PickRequest::default(), &mut head);
    assert_eq!(fault.unwrap_err().kind, FaultKind::Trap);
    assert_eq!(head.headers["x-backend"], "2");
    assert_eq!(head.uri, "/a?b=c");
}

#[test]
fn a_plugin_reads_labels() {
    let mut instance = start("reads-label");
    assert_eq!(pick(&mut instance, &rows(1)), Ok(Answer::Index(0)));
    assert_eq!(pick(&mut instance, &rows(3)[1..]), Ok(Answer::Index(1)));
    assert_eq!(pick(&mut instance, &rows(3)[1..2]), Ok(Answer::Fallback));
}

#[test]
fn a_panic_of_the_host_is_a_fault_like_any_other() {
    let mut instance =
        Instance::start(&plugin("reads-label"), &settings(), panicking_members()).unwrap();
    let fault = pick(&mut instance, &rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Panic);
    instance.set_members(members());
    drop(instance);
}

#[test]
fn instances_share_their_slots() {
    let settings = settings();
    let mut first = start_with("shared-counter", &settings).unwrap();
    let mut second = start_with("shared-counter", &settings).unwrap();
    assert_eq!(pick(&mut first, &rows(3)), Ok(Answer::Index(0)));
    assert_eq!(pick(&mut second, &rows(3)), Ok(Answer::Index(1)));
    drop(first);
    assert_eq!(pick(&mut second, &rows(3)), Ok(Answer::Index(2)));
}

#[test]
fn slots_live_as_long_as_somebody_holds_them() {
    let held = engine().shared_slots("held");
    assert!(Arc::ptr_eq(&held, &engine().shared_slots("held")));
    assert!(!Arc::ptr_eq(&held, &engine().shared_slots("other")));
    let weak = Arc::downgrade(&held);
    drop(held);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_log_flood_costs_no_deadline() {
    let mut instance = start("log-flood");
    assert_eq!(pick(&mut instance, &rows(3)), Ok(Answer::Index(0)));
}

#[test]
fn state_goes_over() {
    let mut old = start("counts");
    for wanted in 0..4 {
        assert_eq!(pick(&mut old, &rows(9)), Ok(Answer::Index(wanted)));
    }
    let saved = old.save().unwrap().unwrap();
    let mut new = start("counts");
    assert_eq!(new.restore(&saved), Ok(Ok(())));
    assert_eq!(pick(&mut new, &rows(9)), Ok(Answer::Index(4)));
    assert_eq!(new.restore(b"nonsense").unwrap_err().kind, FaultKind::Trap);
}

#[test]
fn a_plugin_without_state_takes_none() {
    let mut instance = start("always-first");
    assert_eq!(instance.save(), Ok(None));
    assert!(instance.restore(b"x").unwrap().is_err());
}

#[test]
fn a_state_of_any_size_is_not_taken() {
    let settings = InstanceSettings {
        memory: 64 << 20,
        ..settings()
    };
    let mut instance = start_with("state-bomb", &settings).unwrap();
    assert_eq!(instance.save().unwrap_err().kind, FaultKind::Lift);
}

#[test]
fn outcomes_arrive() {
    let mut instance = start("learns");
    let outcome = |tag| Outcome {
        tag,
        id: 1,
        latency_us: 2,
        status: 200,
        failure: Failure::None,
        attempt: 0,
    };
    instance
        .observe(&[outcome(7), outcome(8), outcome(5)])
        .unwrap();
    assert_eq!(pick(&mut instance, &rows(1)), Ok(Answer::Index(5)));
    let fault = start("observe-trap").observe(&[outcome(1)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
}

#[test]
fn plans_arrive() {
    let mut rows = rows(4);
    rows[1].weight = 9;
    for (name, plan) in [
        ("planner-last", Routing::Order(vec![3])),
        ("planner-weights", Routing::Weights(vec![1, 9, 1, 1])),
        ("planner-two-choices", Routing::TwoChoices(vec![1, 9, 1, 1])),
        ("planner-table", Routing::Table(vec![0, 1, 2, 3])),
        ("planner-bad", Routing::Table(vec![4])),
    ] {
        assert_eq!(start(name).plan(&rows), Ok(plan), "{name}");
    }
}

#[test]
fn a_plan_of_any_size_is_not_taken() {
    let settings = InstanceSettings {
        memory: 64 << 20,
        ..settings()
    };
    let mut instance = start_with("planner-huge", &settings).unwrap();
    let fault = instance.plan(&rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Lift);
    assert!(fault.message.contains("exhausted"), "{fault}");
}

#[test]
fn what_a_plugin_may_do_is_known_before_it_runs() {
    let imports = |name| plugin(name).imports().to_vec();
    assert_eq!(imports("always-first"), Vec::<String>::new());
    assert_eq!(imports("reads-header"), ["inbound"]);
    assert_eq!(imports("log-flood"), ["log"]);
    assert!(plugin("planner-last").is_planner());
    assert!(plugin("learns").wants_feedback());
    assert!(plugin("counts").has_state());
}

#[test]
fn what_is_no_plugin_is_refused_in_words() {
    for (name, says) in [
        ("wasi-import", "wasi:cli/environment"),
        ("wasi-import", "--stub-wasi"),
        (
            "unknown-import",
            "anubis:lb/files@0.1.0, which does not exist",
        ),
        ("future-import", "anubis:lb/log@0.2.0"),
        ("wrong-import", "another type"),
        ("wrong-signature", "expected `u32` found `s32`"),
        ("wrong-record", "expected `u32` found `u64`"),
        ("no-strategy", "neither anubis:lb/strategy"),
        ("both", "one or the other"),
    ] {
        let why = refusal(&wasm(name));
        assert!(why.contains(says), "{name}: {why}");
    }
}

#[test]
fn bytes_that_are_no_component_are_refused_in_words() {
    let whole = wasm("always-first");
    let truncated = &whole[..whole.len() / 2];
    let precompiled = wasmtime::Engine::default()
        .precompile_component(&whole)
        .unwrap();
    let module = wat::parse_str("(module (memory 1))").unwrap();
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"GIF89a nonsense", "not WebAssembly"),
        (b"\n  (component)", "text is not accepted"),
        (truncated, "not a valid component"),
        (&precompiled, "precompiled code is not accepted"),
        (&module, "without a component type"),
    ] {
        let why = refusal(bytes);
        assert!(why.contains(says), "{says}: {why}");
    }
}

/// A core module of one of the contract's worlds as a build leaves it: its
/// component type inside, every import imported, every export a trap.
fn module_of(world: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let contract = include_str!("../../../wit/lb.wit");
    let package = resolve.push_source("lb.wit", contract).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mangling = wit_parser::ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync);
    let mut module = wit_component::dummy_module(&resolve, world, mangling);
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    module
}

#[test]
fn every_world_of_the_contract_fits_as_its_build_leaves_it() {
    let everything = ["inbound", "log", "members", "shared"];
    for (world, imports, is_planner) in [
        ("simple", &[][..], false),
        ("configured", &everything, false),
        ("learning", &everything, false),
        ("planned", &everything, true),
    ] {
        let plugin = Plugin::compile(engine(), &module_of(world));
        let plugin = plugin.unwrap_or_else(|error| panic!("{world}: {error:#}"));
        assert_eq!(plugin.imports(), imports, "{world}");
        assert_eq!(plugin.is_planner(), is_planner, "{world}");
        assert_eq!(plugin.wants_feedback(), world == "learning");
        assert_eq!(plugin.has_state(), world == "learning");
    }
    let why = refusal(&module_of("host"));
    assert!(why.contains("one or the other"), "{why}");
}

#[test]
fn filling_memory_does_not_stop_the_clock() {
    let fault = pick(&mut start("fill-loop"), &rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
}

#[test]
fn imports_cannot_be_called_for_ever() {
    let patient = InstanceSettings {
        deadline: Duration::from_secs(60),
        ..settings()
    };
    let mut instance = start_with("import-loop", &patient).unwrap();
    let fault = pick(&mut instance, &rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Imports, "{fault}");
    assert!(fault.message.contains("100000 times"), "{fault}");
}

/// The contract's worlds have no post-return, but a component may.
#[test]
fn imports_cannot_be_called_where_none_may() {
    let fault = pick(&mut start("import-after-return"), &rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap, "{fault}");
    assert!(fault.message.contains("cannot leave"), "{fault}");
}

#[test]
fn a_text_that_is_none_is_a_fault() {
    let fault = pick(&mut start("log-no-text"), &rows(3)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Lift, "{fault}");
    assert!(fault.message.contains("utf-8"), "{fault}");
}

#[test]
fn nobody_finds_what_another_left_behind() {
    let plugin = plugin("canary");
    for _ in 0..1000 {
        let mut instance = Instance::start(&plugin, &settings(), members()).unwrap();
        assert_eq!(pick(&mut instance, &rows(2)), Ok(Answer::Index(0)));
        assert_eq!(pick(&mut instance, &rows(2)), Ok(Answer::Index(1)));
    }
}

/// Ten thousand times one pool's plugin leaves its mark wherever it can, and
/// traps; whoever starts next, in its place, looks everywhere.
#[test]
fn nobody_finds_what_another_pools_plugin_left_behind() {
    let (leaves, seeks) = (plugin("canary-leaves"), plugin("canary-seeks"));
    for _ in 0..10_000 {
        let mut one = Instance::start(&leaves, &settings(), members()).unwrap();
        let fault = pick(&mut one, &rows(2)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Trap);
        drop(one);
        let mut other = Instance::start(&seeks, &settings(), members()).unwrap();
        assert_eq!(pick(&mut other, &rows(2)), Ok(Answer::Index(0)));
    }
}

#[test]
fn a_crowd_of_instances_is_not_started() {
    let fault = start_with("crowd", &settings()).err().unwrap();
    assert!(fault.message.contains("instance"), "{fault}");
}

#[test]
fn stores_may_be_moved_to_another_thread() {
    let mut instance = start("counts");
    pick(&mut instance, &rows(3)).unwrap();
    let answer = std::thread::spawn(move || pick(&mut instance, &rows(3)));
    assert_eq!(answer.join().unwrap(), Ok(Answer::Index(1)));
}

#[test]
fn equal_bytes_are_compiled_once_while_somebody_has_them() {
    let binary = |name: &str| Binary::new(name, wasm("always-first"));
    let engine = Engine::new().unwrap();
    let one = Plugin::compile_once(&engine, &binary("one")).unwrap();
    let other = Plugin::compile_once(&engine, &binary("other")).unwrap();
    assert!(Arc::ptr_eq(&one, &other));
    drop((one, other));
    assert!(engine.compiled(binary("one").digest()).is_none());
}

/// A figure for people: `cargo test --release -p anubis replaced -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn what_a_replaced_instance_costs() {
    let bytes = super::shipped::bytes("least-time").unwrap();
    let plugin = Arc::new(Plugin::compile(engine(), bytes).unwrap());
    let begin = std::time::Instant::now();
    for _ in 0..1000 {
        drop(Instance::start(&plugin, &settings(), members()).unwrap());
    }
    println!("least-time: {:?} an instance", begin.elapsed() / 1000);
}
