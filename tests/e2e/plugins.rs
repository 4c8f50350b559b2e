//! Plugins that misbehave, at start and while serving. `tests/guests/README.md`
//! says which test is about which of their tricks.

use std::time::{Duration, SystemTime};

use anubis_tests::proxy::{Folder, Running, command};
use anubis_tests::{Backend, Config, Load, guests};
use rustix::process::Signal;

fn folder(backends: &[Backend], plugin: impl AsRef<[u8]>) -> Folder {
    let config = Config::strategy("./mine.wasm").pool("deadline = \"5ms\"");
    let config = backends
        .iter()
        .fold(config, |config, backend| config.backend(backend, ""));
    Folder::with(config).file("mine.wasm", plugin)
}

/// What is expected of the proxy whatever a plugin does while it serves: every
/// request is answered, by more than one backend; the fault is counted by its
/// kind; the plugin is in quarantine within a second; its memory is given back.
async fn serves_in_spite_of(kind: &str, plugin: Vec<u8>) {
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let proxy = folder(&backends, plugin).start().await;
    let baseline = proxy.resident();
    let load = Load::start(proxy.address(), 8);
    load.more(600).await;
    let fault = proxy.log("plugin faulted").await;
    assert_eq!(fault["kind"], kind, "{fault}");
    assert_eq!(fault["pool"], "web", "{fault}");
    let quarantine = proxy.log("plugin in quarantine").await;
    let took = time(&quarantine) - time(&fault);
    assert!(took < Duration::from_secs(1), "quarantine after {took:?}");
    proxy.resident_below(baseline + (24 << 20)).await;
    let report = load.stop().await;
    report.assert_none_failed();
    for name in ["a", "b", "c"] {
        assert!(
            report.share(name) > 0.05,
            "the fallback balances: {:?}",
            report.by_backend
        );
    }
    assert!(!proxy.process().logged("panicked"));
}

/// When a line was logged.
fn time(line: &serde_json::Value) -> Duration {
    let text = line["timestamp"].as_str().unwrap_or_default();
    let time = humantime::parse_rfc3339(text).unwrap_or_else(|_| panic!("no time in {line}"));
    time.duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is later than 1970")
}

#[tokio::test]
async fn one_that_loops_fails_no_request() {
    serves_in_spite_of(
        "deadline",
        guests::live("(loop $forever (br $forever)) unreachable"),
    )
    .await;
}

#[tokio::test]
async fn one_that_traps_fails_no_request() {
    serves_in_spite_of("trap", guests::live("unreachable")).await;
}

#[tokio::test]
async fn one_that_divides_by_zero_fails_no_request() {
    serves_in_spite_of(
        "trap",
        guests::live("(i32.div_u (i32.const 1) (i32.const 0))"),
    )
    .await;
}

#[tokio::test]
async fn one_that_recurses_without_end_fails_no_request() {
    let again =
        "(call $pick (local.get $key) (local.get $random) (local.get $sequence) (local.get $now)
      (local.get $generation) (local.get $attempt) (local.get $backends) (local.get $count))";
    serves_in_spite_of("trap", guests::live(again)).await;
}

#[tokio::test]
async fn a_fault_says_in_which_functions_it_happened() {
    let again = "(call $pick (local.get $key) (local.get $random) (local.get $sequence)
      (local.get $now) (local.get $generation) (local.get $attempt) (local.get $backends)
      (local.get $count))";
    let forever = "(loop $forever (br $forever)) unreachable";
    let backends = [Backend::named("a").start()];
    for (body, path) in [
        (again, "in pick, called by pick, called by pick"),
        (forever, "in pick"),
    ] {
        let proxy = folder(&backends, guests::live(body)).start().await;
        Load::of(1, proxy.address(), 1).await.assert_none_failed();
        let fault = proxy.log("plugin faulted").await;
        let error = fault["error"].as_str().unwrap_or_default();
        assert!(error.contains(path), "{fault}");
    }
    // The same before it serves anybody.
    let refused = folder(&backends, guests::strategy(again)).run().await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("in pick, called by pick"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn one_that_answers_out_of_range_fails_no_request() {
    for index in [
        "(local.get $count)",
        "(i32.const -1)",
        "(i32.const 1000000)",
    ] {
        serves_in_spite_of("bad-index", guests::live(index)).await;
    }
}

#[tokio::test]
async fn one_that_takes_all_memory_fails_no_request() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable";
    serves_in_spite_of("memory", guests::live(grow)).await;
}

#[tokio::test]
async fn one_that_fills_its_memory_for_ever_fails_no_request() {
    let fill = "(loop $again
        (memory.fill (i32.const 0) (i32.const 0) (i32.const 1048576)) (br $again))
      unreachable";
    serves_in_spite_of("deadline", guests::live(fill)).await;
}

#[tokio::test]
async fn one_that_answers_outside_its_memory_fails_no_request() {
    for address in ["-16", "1048572", "17"] {
        let answer = format!("(return (i32.const {address}))");
        serves_in_spite_of("lift", guests::live(&answer)).await;
    }
}

#[tokio::test]
async fn one_that_answers_what_the_contract_does_not_have_fails_no_request() {
    let answer = "(i32.store (i32.const 16) (i32.const 7)) (return (i32.const 16))";
    serves_in_spite_of("lift", guests::live(answer)).await;
    // error, reject, 99
    let refusal = "(i32.store8 (i32.const 16) (i32.const 1))
      (i32.store8 (i32.const 20) (i32.const 2))
      (i32.store16 (i32.const 22) (i32.const 99))
      (return (i32.const 16))";
    serves_in_spite_of("bad-status", guests::live(refusal)).await;
}

#[tokio::test]
async fn one_that_now_and_then_traps_fails_no_request() {
    let sometimes = "(if (result i32) (i64.eqz (i64.rem_u (local.get $sequence) (i64.const 50)))
      (then unreachable) (else (i32.wrap_i64 (i64.rem_u (local.get $sequence) (i64.extend_i32_u (local.get $count))))))";
    serves_in_spite_of("trap", guests::live(sometimes)).await;
}

#[tokio::test]
async fn one_that_fails_on_demand_fails_no_request() {
    let backends = ["a", "b"].map(|name| Backend::named(name).start());
    let config = Config::strategy("./mine.wasm").pool("deadline = \"5ms\"");
    let config = config.backend(&backends[0], "").backend(&backends[1], "");
    let guest = guests::wasm("fault-on-demand");
    let proxy = Folder::with(config).file("mine.wasm", guest).start().await;
    let load = Load::start(proxy.address(), 4);
    for round in 0..3 {
        for fault in [
            "trap",
            "loop",
            "index",
            "memory",
            "recursion",
            "discriminant",
            "status",
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Fault: {fault}\r\n\r\n");
            let response = anubis_tests::client::raw(proxy.address(), &request).await;
            assert_eq!(response.status(), 200, "{fault}, round {round}");
        }
        load.more(50).await;
    }
    load.stop().await.assert_none_failed();
    proxy.log("plugin faulted").await;
}

/// Each of the guests in `tests/guests` is refused with the code of a refused
/// plugin, or it serves: then every request is answered.
#[tokio::test]
async fn every_hostile_one_is_refused_or_contained() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let files = std::fs::read_dir(folder)
        .expect("there are guests")
        .flatten();
    let guests = files.filter_map(|file| file.file_name().into_string().ok());
    let (mut refused, mut served) = (Vec::new(), Vec::new());
    for guest in guests.filter_map(|name| name.strip_suffix(".wat").map(str::to_owned)) {
        match fate(&guest).await {
            Fate::Refused => refused.push(guest),
            Fate::Served => served.push(guest),
        }
    }
    assert!(
        refused.len() > 10 && served.len() > 10,
        "refused {refused:?}, served {served:?}"
    );
}

enum Fate {
    Refused,
    Served,
}

async fn fate(guest: &str) -> Fate {
    let backends = ["a", "b"].map(|name| Backend::named(name).start());
    let folder = folder(&backends, guests::wasm(guest));
    let running = Running::start(command([
        "run",
        &*folder.path("anubis.toml").to_string_lossy(),
    ]));
    let Some(address) = running.address_or_end().await else {
        let code = running.ended().await;
        assert_eq!(code, Some(3), "{guest}: {}", running.stderr());
        assert!(
            !running.stderr().contains("panicked"),
            "{guest}: {}",
            running.stderr()
        );
        return Fate::Refused;
    };
    let report = Load::of(200, address, 4).await;
    // Some refuse requests, which is a strategy's right.
    for failure in &report.failures {
        let refusal = failure.contains(" 429 ") || failure.contains(" 503 ");
        assert!(
            guest.starts_with("refuses-") || guest.starts_with("rejects-"),
            "{guest}: {failure}"
        );
        assert!(refusal, "{guest}: {failure}");
    }
    running.signal(Signal::TERM);
    assert_eq!(
        running.ended().await,
        Some(0),
        "{guest}: {}",
        running.stderr()
    );
    Fate::Served
}

#[tokio::test]
async fn on_fault_reject_answers_503() {
    let backend = Backend::named("a").start();
    let config = Config::strategy("./mine.wasm")
        .pool("on-fault = \"reject\"")
        .backend(&backend, "");
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::live("unreachable"))
        .start()
        .await;
    let response = anubis_tests::client::get(proxy.address(), "/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(backend.seen().heads, 0);
}

/// The proxy does not start, says which file and what is wrong with it, and
/// ends with the code of a refused plugin.
async fn refused_at_start(plugin: impl AsRef<[u8]>, why: &[&str]) {
    let backend = Backend::named("a").start();
    let ended = folder(&[backend], plugin).run().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for part in ["mine.wasm", "web"].iter().chain(why) {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is not in {}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_missing_one_is_refused() {
    let backend = Backend::named("a").start();
    let ended = Folder::with(Config::strategy("./mine.wasm").backend(&backend, ""))
        .run()
        .await;
    // A mistake of the configuration: it is told with its line.
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("mine.wasm") && ended.stderr.contains("No such file"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn an_empty_one_is_refused() {
    refused_at_start("", &["empty"]).await;
}

#[tokio::test]
async fn a_truncated_one_is_refused() {
    let whole = guests::always(0);
    for length in [9, whole.len() / 2, whole.len() - 1] {
        refused_at_start(&whole[..length], &[]).await;
    }
}

#[tokio::test]
async fn text_is_refused() {
    refused_at_start("(component)", &["text"]).await;
    refused_at_start("#!/bin/sh\nexit 0\n", &["not WebAssembly"]).await;
}

#[tokio::test]
async fn one_of_another_world_is_refused() {
    let nothing = "\0asm\x0d\0\x01\0";
    refused_at_start(nothing, &["anubis:lb/strategy"]).await;
}

#[tokio::test]
async fn one_that_wants_more_than_the_contract_gives_is_refused() {
    let greedy = wat::parse_str("(component (import \"wasi:filesystem/types@0.2.0\" (instance)))")
        .expect("it parses");
    refused_at_start(greedy, &["wasi:filesystem"]).await;
    let unknown = wat::parse_str("(component (import \"other:thing/x@1.0.0\" (instance)))")
        .expect("it parses");
    refused_at_start(unknown, &["other:thing/x"]).await;
}

#[tokio::test]
async fn a_module_without_a_component_type_is_refused() {
    refused_at_start(
        wat::parse_str("(module)").expect("it parses"),
        &["component type"],
    )
    .await;
}

#[tokio::test]
async fn one_that_fails_its_rehearsal_is_refused() {
    refused_at_start(guests::strategy("unreachable"), &["rehearsal"]).await;
    refused_at_start(
        guests::strategy("(loop $forever (br $forever)) unreachable"),
        &["rehearsal"],
    )
    .await;
    refused_at_start(guests::strategy("(i32.const 7)"), &["rehearsal"]).await;
}

#[tokio::test]
async fn a_shipped_name_that_is_none_is_a_wrong_configuration() {
    let backend = Backend::named("a").start();
    let ended = Folder::with(Config::strategy("least-tme").backend(&backend, ""))
        .run()
        .await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("least-time"),
        "it suggests the nearest: {}",
        ended.stderr
    );
}
