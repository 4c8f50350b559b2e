//! Another strategy while traffic flows.

use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::proxy::Folder;
use anubis_tests::{Backend, Client, Config, Load, Proxy, guests};

use crate::{REFUSED, RELOADED};

pub fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| Backend::named(name).start())
}

pub fn config(strategy: &str, backends: &[Backend]) -> Config {
    backends
        .iter()
        .fold(Config::strategy(strategy), |config, backend| {
            config.backend(backend, "")
        })
}

pub async fn with_plugin(backends: &[Backend], plugin: Vec<u8>) -> Proxy {
    Folder::with(config("./mine.wasm", backends))
        .file("mine.wasm", plugin)
        .start()
        .await
}

/// All further answers come from this backend alone.
pub async fn only(load: &Load, name: &str) {
    // What was picked before may still be on its way.
    load.more(50).await;
    load.report().assert_none_failed();
    load.more(200).await;
    let report = load.report();
    report.assert_none_failed();
    assert_eq!(report.of(name), report.answered, "{:?}", report.by_backend);
}

#[tokio::test]
async fn a_strategys_name_changes_under_load() {
    let backends = abc();
    let proxy = Proxy::start(config("round-robin", &backends)).await;
    let load = Load::start(proxy.address(), 8);
    load.more(300).await;
    let report = load.report();
    report.assert_none_failed();
    for name in ["a", "b", "c"] {
        assert!(
            (report.share(name) - 1.0 / 3.0).abs() < 0.05,
            "{:?}",
            report.by_backend
        );
    }
    proxy.configure(config("first-fit", &backends));
    proxy.log(RELOADED).await;
    only(&load, "a").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_plugin_written_in_place_under_load() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let load = Load::start(proxy.address(), 8);
    only(&load, "a").await;
    for (index, name) in [(1, "b"), (2, "c"), (0, "a")] {
        proxy.write("mine.wasm", guests::always(index));
        proxy.log(RELOADED).await;
        only(&load, name).await;
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_plugin_renamed_over_under_load() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let load = Load::start(proxy.address(), 8);
    only(&load, "a").await;
    for (index, name) in [(1, "b"), (2, "c"), (0, "a")] {
        proxy.replace("mine.wasm", guests::always(index));
        proxy.log(RELOADED).await;
        only(&load, name).await;
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn many_swaps_under_load_fail_nothing() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let load = Load::start(proxy.address(), 8);
    for round in 1..=30 {
        proxy.replace("mine.wasm", guests::always(round % 3));
        proxy.log(RELOADED).await;
        load.more(10).await;
    }
    only(&load, "a").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_swap_holds_no_request_up() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let load = Load::start(proxy.address(), 4);
    load.more(200).await;
    load.report();
    proxy.replace("mine.wasm", guests::always(1));
    proxy.log(RELOADED).await;
    load.more(200).await;
    let report = load.stop().await;
    report.assert_none_failed();
    // Two cores run this whole suite meanwhile; a compile on a worker of a
    // build without optimisation would take longer still.
    assert!(
        report.slowest < Duration::from_secs(1),
        "{:?}",
        report.slowest
    );
}

#[tokio::test]
async fn a_broken_plugin_leaves_the_old_one_in_force() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(1)).await;
    let load = Load::start(proxy.address(), 4);
    let whole = guests::always(2);
    let broken: [&[u8]; 6] = [
        &whole[..whole.len() / 2],
        b"",
        b"(component)",
        b"\0asm\x0d\0\x01\0",
        &guests::strategy("unreachable"),
        &guests::strategy("(i32.const 7)"),
    ];
    for plugin in broken {
        proxy.replace("mine.wasm", plugin);
        let refusal = proxy.log(REFUSED).await.to_string();
        assert!(refusal.contains("mine.wasm"), "{refusal}");
        only(&load, "b").await;
    }
    proxy.replace("mine.wasm", whole);
    proxy.log(RELOADED).await;
    only(&load, "c").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_plugin_that_is_gone_leaves_the_old_one_in_force() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(1)).await;
    std::fs::remove_file(proxy.path("mine.wasm")).expect("it is there");
    proxy.log(REFUSED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    proxy.write("mine.wasm", guests::always(2));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "c");
}

#[tokio::test]
async fn a_plugin_that_traps_after_a_swap_fails_no_request() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(1)).await;
    let load = Load::start(proxy.address(), 4);
    only(&load, "b").await;
    proxy.replace("mine.wasm", guests::live("unreachable"));
    proxy.log(RELOADED).await;
    load.more(300).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_state_that_the_new_one_cannot_bear_leaves_the_old_one_in_force() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::wasm("state-noise")).await;
    let load = Load::start(proxy.address(), 4);
    only(&load, "a").await;
    proxy.replace("mine.wasm", guests::wasm("counts"));
    let refusal = proxy.log(REFUSED).await.to_string();
    assert!(
        refusal.contains("mine.wasm") && refusal.contains("trap"),
        "{refusal}"
    );
    only(&load, "a").await;
    proxy.replace("mine.wasm", guests::wasm("state-refuses"));
    // Whether a worker is quicker to say so than the reload is to be told, nobody knows.
    proxy.log("starts without the state").await;
    only(&load, "a").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn the_same_bytes_are_no_swap() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(1)).await;
    proxy.replace("mine.wasm", guests::always(1));
    proxy.hang_up();
    proxy.log("nothing to reload").await;
    assert!(!proxy.process().logged("\"reloaded\""));
}

#[tokio::test]
async fn a_swap_touches_no_connection() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    proxy.replace("mine.wasm", guests::always(1));
    proxy.log(RELOADED).await;
    assert_eq!(client.get("/").await.text(), "b");
    proxy.replace("mine.wasm", guests::always(0));
    proxy.log(RELOADED).await;
    assert_eq!(client.get("/").await.text(), "a");
    assert_eq!(
        backends[0].seen().opened,
        1,
        "the kept connection to the backend is used again"
    );
}

#[tokio::test]
async fn a_shipped_strategys_configuration_changes() {
    let backends = abc();
    let with = |latency: &str| {
        let lines = format!("config = {{ default-latency = \"{latency}\" }}");
        config("least-time", &backends).pool(&lines)
    };
    let proxy = Proxy::start(with("20ms")).await;
    proxy.configure(with("1ms"));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
    proxy.configure(with("soon"));
    let refusal = proxy.log(REFUSED).await.to_string();
    assert!(
        refusal.contains("web") && refusal.contains("default-latency"),
        "{refusal}"
    );
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
}
