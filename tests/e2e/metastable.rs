//! An outage of all backends must end with the outage: retries must not keep the
//! pool down, nor add to its load meanwhile.
//!
//! The figure, with half a minute of outage:
//!
//!     ANUBIS_METASTABLE_SECONDS=30 cargo test -p anubis-tests --test e2e metastable -- --nocapture

use std::time::Duration;

use anubis_tests::metrics::Metered;
use anubis_tests::{Answer, Backend, Config, Load};

/// How long nobody answers.
fn outage() -> Duration {
    let seconds = std::env::var("ANUBIS_METASTABLE_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What the backends of the pool have been asked, also where they refused.
fn attempts(proxy: &Metered) -> f64 {
    let scrape = proxy.scrape();
    let results = [
        "ok", "5xx", "connect", "timeout", "reset", "protocol", "other",
    ];
    let of = |backend| {
        let labels = |result| [("pool", "web"), ("backend", backend), ("result", result)];
        let count = |result| scrape.value("anubis_backend_attempts_total", &labels(result));
        results.into_iter().map(count).sum::<f64>()
    };
    NAMES.into_iter().map(of).sum()
}

fn requests(proxy: &Metered) -> f64 {
    let scrape = proxy.scrape();
    let count = |code| {
        scrape.value(
            "anubis_pool_requests_total",
            &[("pool", "web"), ("code", code)],
        )
    };
    count("2xx") + count("5xx")
}

/// One outage, and what it did.
async fn measure(case: &str, proxy: &Metered, down: impl AsyncFn(), up: impl AsyncFn()) {
    let load = Load::start(proxy.address(), 8);
    load.more(500).await;
    load.report().assert_none_failed();
    let before = (attempts(proxy), requests(proxy));
    down().await;
    tokio::time::sleep(outage()).await;
    let during = (attempts(proxy), requests(proxy));
    up().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let failed = load.report().failed;
    load.more(1_000).await;
    let after = load.stop().await;
    let (tries, asked) = (during.0 - before.0, during.1 - before.1);
    let rate = tries / asked;
    let well = after.answered as f64 / (after.answered + after.failed) as f64;
    println!(
        "{case}: {:?} of outage, {asked} requests, {rate:.4} attempts each, {failed} failed; \
         from 1 s after the return {:.3} % of {} succeed",
        outage(),
        well * 100.0,
        after.answered + after.failed
    );
    assert!(failed > 100, "there was an outage");
    assert!(rate <= 1.2, "{tries} attempts for {asked} requests");
    assert!(well >= 0.999, "{:#?}", after.failures);
}

fn config<'a>(backends: impl IntoIterator<Item = &'a Backend>, pool: &str) -> Config {
    let config = Config::balanced(backends).global("workers = 2");
    config.pool(pool)
}

const EAGER: &str = "tries = 3\nretry-on = [\"timeout\", \"5xx\"]";

#[tokio::test]
async fn x10_an_outage_of_refused_connections_ends_with_it() {
    let backends = NAMES.map(|name| Backend::named(name).start());
    let proxy = Metered::start(config(&backends, EAGER)).await;
    let down = async || {
        for backend in &backends {
            backend.stop().await;
        }
    };
    let up = async || {
        for backend in &backends {
            backend.restart().await;
        }
    };
    measure("refused connections", &proxy, down, up).await;
}

#[tokio::test]
async fn x10_an_outage_of_errors_ends_with_it() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let ill = Arc::new(AtomicBool::new(false));
    let backends = NAMES.map(|name| {
        let ill = Arc::clone(&ill);
        let script = move |_: &_| match ill.load(Ordering::SeqCst) {
            true => Answer::status("503 Service Unavailable", name).after(Duration::from_millis(5)),
            false => Answer::text(name),
        };
        Backend::named(name).script(script).start()
    });
    let proxy = Metered::start(config(&backends, EAGER)).await;
    let down = async || ill.store(true, Ordering::SeqCst);
    let up = async || ill.store(false, Ordering::SeqCst);
    measure("answers of 503", &proxy, down, up).await;
}
