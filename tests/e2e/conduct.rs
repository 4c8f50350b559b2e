//! Plugins that misbehave while they serve: nobody notices, and soon they are
//! not asked any more.

use anubis_tests::client::{get, raw};
use anubis_tests::proxy::Folder;
use anubis_tests::{Backend, Config, Load, Proxy, guests};

use crate::RELOADED;
use crate::swap::{abc, config, only, with_plugin};

const QUARANTINE: &str = "plugin in quarantine";
const RETURNS: &str = "the strategy before it comes back";

/// Passes its rehearsal and traps on every real request.
fn treacherous() -> Vec<u8> {
    guests::live("unreachable")
}

async fn with_guest(name: &str, pool: &str, backends: &[Backend]) -> Proxy {
    Folder::with(config("./mine.wasm", backends).pool(pool))
        .file("mine.wasm", guests::wasm(name))
        .start()
        .await
}

#[tokio::test]
async fn a_plugin_that_always_traps_is_in_quarantine_at_once() {
    let backends = abc();
    let proxy = with_plugin(&backends, treacherous()).await;
    let load = Load::start(proxy.address(), 8);
    load.more(500).await;
    let line = proxy.log(QUARANTINE).await;
    assert_eq!(line["pool"], "web", "{line}");
    assert!(
        line["version"]
            .as_str()
            .is_some_and(|version| version.len() == 12)
    );
    assert!(
        (500..=1000).contains(&line["time_ms"].as_u64().unwrap_or(0)),
        "{line}"
    );
    load.stop().await.assert_none_failed();
    let faults = proxy.process().stderr().matches("plugin faulted").count();
    assert!(
        (5..50).contains(&faults),
        "{faults} faults of hundreds of picks"
    );
}

#[tokio::test]
async fn a_bad_swap_is_undone_by_itself() {
    let backends = abc();
    let proxy = with_plugin(&backends, guests::always(0)).await;
    let load = Load::start(proxy.address(), 8);
    only(&load, "a").await;
    proxy.replace("mine.wasm", treacherous());
    let line = proxy.log(RETURNS).await;
    assert_eq!(line["pool"], "web", "{line}");
    let line = proxy.log("strategy in force").await;
    assert_eq!(line["origin"], "returned", "{line}");
    only(&load, "a").await;
    // The bad one is still what the configuration asks for; that alone does
    // not bring it back, another one does.
    proxy.hang_up();
    proxy.log("nothing to reload").await;
    only(&load, "a").await;
    proxy.replace("mine.wasm", guests::always(1));
    proxy.log(RELOADED).await;
    only(&load, "b").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn without_probation_the_last_good_strategy_stands_in() {
    let backends = abc();
    let lines = "on-fault = \"last-good\"\nprobation = \"0s\"";
    let proxy = Folder::with(config("./mine.wasm", &backends).pool(lines))
        .file("mine.wasm", guests::always(1))
        .start()
        .await;
    let load = Load::start(proxy.address(), 8);
    only(&load, "b").await;
    proxy.replace("mine.wasm", treacherous());
    proxy.log(QUARANTINE).await;
    only(&load, "b").await;
    assert!(!proxy.process().logged(RETURNS));
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn or_its_requests_are_refused_and_no_others() {
    let backends = abc();
    let proxy = with_guest("fault-on-demand", "on-fault = \"reject\"", &backends).await;
    let faulty = "GET / HTTP/1.1\r\nHost: h\r\nX-Fault: t\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(proxy.address(), faulty).await.status(), 503);
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
}

#[tokio::test]
async fn who_answers_copies_well_is_trusted_again() {
    let backends = abc();
    let proxy = with_guest("fault-on-demand", "", &backends).await;
    let faulty = "GET / HTTP/1.1\r\nHost: h\r\nX-Fault: t\r\nConnection: close\r\n\r\n";
    for _ in 0..5 {
        assert_eq!(raw(proxy.address(), faulty).await.status(), 200);
    }
    proxy.log(QUARANTINE).await;
    let load = Load::start(proxy.address(), 2);
    proxy.log("plugin out of quarantine").await;
    only(&load, "a").await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_plugin_that_stays_under_its_deadline_is_caught_by_its_budget() {
    let backends = abc();
    let proxy = with_guest("slow", "budget = \"1ms\"", &backends).await;
    let load = Load::start(proxy.address(), 8);
    let line = proxy.log("plugin faulted").await;
    assert_eq!(line["kind"], "budget", "{line}");
    proxy.log(QUARANTINE).await;
    load.more(100).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn no_strategy_can_choose_a_backend_that_drains() {
    let backends = abc();
    let drained = |state: &str| {
        let [a, b, c] = &backends;
        Config::strategy("./mine.wasm")
            .backend(a, &format!("state = {state:?}"))
            .backend(b, "")
            .backend(c, "")
    };
    let proxy = Folder::with(drained("active"))
        .file("mine.wasm", guests::always(0))
        .start()
        .await;
    let load = Load::start(proxy.address(), 8);
    for state in ["drain", "maintenance"] {
        only(&load, "a").await;
        proxy.configure(drained(state));
        proxy.log(RELOADED).await;
        only(&load, "b").await;
        proxy.configure(drained("active"));
        proxy.log(RELOADED).await;
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn maintenance_closes_idle_connections_and_draining_does_not() {
    let backends = abc();
    let proxy = Proxy::start(config("first-fit", &backends).global("workers = 1")).await;
    let set = |state: &str| {
        let [a, b, _] = &backends;
        Config::strategy("first-fit")
            .global("workers = 1")
            .pool("keep-alive = \"1h\"")
            .backend(a, &format!("state = {state:?}"))
            .backend(b, "")
    };
    proxy.configure(set("active"));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    proxy.configure(set("drain"));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    proxy.configure(set("active"));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    assert_eq!(backends[0].seen().opened, 1, "the kept connection was used");
    proxy.configure(set("maintenance"));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    let closed = |seen: &anubis_tests::backend::Seen| seen.open() == 0;
    backends[0].until("no open connection", closed).await;
}
