//! Plugins that wear out: their instances make room for others, and nobody notices.

use std::time::Duration;

use anubis_tests::admin::Admin;
use anubis_tests::proxy::Folder;
use anubis_tests::{Load, Proxy, guests};
use serde_json::Value;

use crate::swap::{abc, config};

const RECYCLED: &str = "plugin instance recycled";

/// A proxy with one worker whose pool has these lines, and this guest.
async fn with_guest(name: &str, pool: &str) -> (Proxy, [anubis_tests::Backend; 3]) {
    let backends = abc();
    let config = config("./mine.wasm", &backends)
        .global("workers = 1\nlog.level = \"debug\"\nadmin.address = \"127.0.0.1:0\"")
        .pool(pool);
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::wasm(name))
        .start()
        .await;
    (proxy, backends)
}

async fn stats(admin: &Admin) -> Value {
    let told = admin.get("/v1/pools/web/strategy").await;
    told.json["stats"].clone()
}

#[tokio::test]
async fn one_that_leaks_is_recycled_under_load_and_keeps_what_it_learned() {
    let (proxy, _backends) = with_guest("rejects-forgetful", "recycle-memory = \"256KiB\"").await;
    let admin = Admin::of(&proxy).await;
    let load = Load::start(proxy.address(), 4);
    for _ in 0..3 {
        let line = proxy.log(RECYCLED).await;
        assert_eq!(
            (&line["pool"], &line["reason"]),
            (&"web".into(), &"memory".into())
        );
        assert!(line["memory"].as_u64() > Some(256 << 10), "{line}");
        // It takes a page of memory at every thousandth pick, which it goes on
        // counting where the one before it stopped; three pages are too much.
        assert!(line["calls"].as_u64() > Some(2000), "{line}");
    }
    load.more(500).await;
    let report = load.stop().await;
    // It refuses requests when it finds that it has forgotten something.
    report.assert_none_failed();
    let stats = stats(&admin).await;
    assert!(stats["recycled"]["memory"].as_u64() >= Some(3), "{stats}");
    assert_eq!(stats["recycled"]["calls"], 0, "{stats}");
    for none in ["fallbacks", "replacements", "quarantines"] {
        assert_eq!(stats[none], 0, "{none}: {stats}");
    }
    let faults = stats["faults"].as_object().expect("faults by kind");
    assert!(faults.values().all(|count| *count == 0), "{stats}");
    for name in ["a", "b", "c"] {
        assert!((report.share(name) - 1.0 / 3.0).abs() < 0.01, "{name}");
    }
    // As long as a swap may take on a machine that runs this whole suite.
    assert!(report.slowest < Duration::from_secs(1), "{report:?}");
}

#[tokio::test]
async fn many_calls_are_a_reason_too() {
    let (proxy, _backends) = with_guest("rejects-forgetful", "recycle-calls = 100").await;
    let load = Load::start(proxy.address(), 2);
    for _ in 0..2 {
        let line = proxy.log(RECYCLED).await;
        assert_eq!(line["reason"], "calls", "{line}");
        assert!(line["calls"].as_u64() >= Some(100), "{line}");
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn one_that_fills_its_memory_at_once_is_kept_longer_and_told_of() {
    // It begins with two pages, so that every instance is too large at once.
    let (proxy, _backends) = with_guest("rejects-forgetful", "recycle-memory = \"64KiB\"").await;
    let load = Load::start(proxy.address(), 2);
    proxy.log(RECYCLED).await;
    let line = proxy.log("fills its memory within a second").await;
    assert_eq!(
        (&line["level"], &line["seconds"]),
        (&"WARN".into(), &2.into())
    );
    proxy.log(RECYCLED).await;
    load.stop().await.assert_none_failed();
}
