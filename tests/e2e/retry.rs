//! What one bad backend costs while another is good: nothing that a client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anubis_tests::client::{get, raw};
use anubis_tests::metrics::Metered;
use anubis_tests::{Answer, Backend, Client, Config, Gate, Load, Proxy, within};

#[tokio::test]
async fn a_dead_backend_costs_no_error() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    let proxy = Proxy::start(Config::balanced([&dead, &good])).await;
    let report = Load::of(300, proxy.address(), 4).await;
    report.assert_none_failed();
    assert_eq!(report.of("good"), report.answered);
}

#[tokio::test]
async fn a_dead_backend_costs_no_error_with_any_strategy() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    for strategy in [
        "round-robin",
        "random",
        "least-connections",
        "least-time",
        "peak-ewma",
        "two-choices",
        "consistent-hash",
        "maglev",
        "first-fit",
        "priority-zone",
        "fallback",
    ] {
        let config = Config::strategy(strategy).pool("hash-key = \"client-address\"");
        let proxy = Proxy::start(config.backend(&dead, "").backend(&good, "")).await;
        for _ in 0..6 {
            assert_eq!(get(proxy.address(), "/").await.text(), "good", "{strategy}");
        }
    }
}

#[tokio::test]
async fn a_post_moves_on_when_nothing_was_sent() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    let proxy = Proxy::start(Config::balanced([&dead, &good])).await;
    for _ in 0..4 {
        let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(raw(proxy.address(), request).await.text(), "good");
    }
    assert!(good.log().iter().all(|request| request.body == b"body"));
}

#[tokio::test]
async fn a_backend_that_does_not_accept_costs_the_connect_timeout() {
    let blackhole = Backend::blackhole("hole").await;
    let good = Backend::named("good").start();
    let config = Config::balanced([&blackhole, &good]).pool("connect-timeout = \"300ms\"");
    let proxy = Proxy::start(config).await;
    for _ in 0..4 {
        assert_eq!(get(proxy.address(), "/").await.text(), "good");
    }
}

#[tokio::test]
async fn no_more_backends_are_tried_than_allowed() {
    let closing = ["a", "b", "c"].map(|name| Backend::named(name).answer(Answer::close()).start());
    let good = Backend::named("good").start();
    let [a, b, c] = &closing;
    let config = [a, b, c].into_iter().fold(
        Config::strategy("first-fit").pool("tries = 3"),
        |config, backend| config.backend(backend, "capacity = 10"),
    );
    let proxy = Proxy::start(config.backend(&good, "capacity = 10")).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 502);
    assert_eq!(good.seen().opened, 0);
    for backend in &closing {
        assert_eq!(
            backend.seen().heads,
            1,
            "{} is not asked twice",
            backend.name()
        );
    }
}

#[tokio::test]
async fn a_get_moves_on_when_the_backend_closes_without_an_answer() {
    let closing = Backend::named("closing").answer(Answer::close()).start();
    let good = Backend::named("good").start();
    let proxy = Proxy::start(Config::balanced([&closing, &good])).await;
    for _ in 0..4 {
        assert_eq!(get(proxy.address(), "/").await.text(), "good");
    }
    assert!(closing.seen().heads > 0);
}

#[tokio::test]
async fn a_post_is_not_repeated_once_it_was_sent() {
    let closing = Backend::named("closing").answer(Answer::close()).start();
    let good = Backend::named("good").start();
    let config = Config::strategy("first-fit")
        .backend(&closing, "")
        .backend(&good, "");
    let proxy = Proxy::start(config).await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(raw(proxy.address(), request).await.status(), 502);
    assert_eq!((closing.seen().heads, good.seen().heads), (1, 0));
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_is_no_error() {
    let backend = Backend::named("a").keep_alive_requests(1).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.text(), "a");
    }
}

/// What cannot be sent twice is not sent on a connection that is known to be closed.
#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_gets_no_post() {
    let backend = Backend::named("a").keep_alive_requests(1).start();
    let proxy = Proxy::start(Config::balanced([&backend]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    for number in 1..=20 {
        client
            .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.response().await.text(), "a");
        backend
            .until("its close", |seen| seen.closed == number)
            .await;
    }
    assert_eq!(backend.seen().requests, 20);
}

#[tokio::test]
async fn kept_connections_that_backends_close_are_no_error_under_load() {
    let backends = ["a", "b"].map(|name| Backend::named(name).keep_alive_requests(3).start());
    let proxy = Proxy::start(Config::balanced(&backends)).await;
    Load::of(1000, proxy.address(), 8)
        .await
        .assert_none_failed();
}

#[tokio::test]
async fn a_backend_that_dies_and_returns_costs_no_error() {
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    // It comes back by a trial.
    let config = Config::balanced(&backends);
    let config = config.pool("outlier-detection = { ejection-time = \"100ms\" }");
    let proxy = Proxy::start(config).await;
    let load = Load::start(proxy.address(), 4);
    for _ in 0..3 {
        load.more(100).await;
        backends[1].stop().await;
        load.more(100).await;
        backends[1].restart().await;
        backends[1].requests(backends[1].seen().requests + 5).await;
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn all_down_is_503_at_once() {
    let dead = [Backend::refusing("a").await, Backend::refusing("b").await];
    let proxy = Proxy::start(Config::balanced(&dead)).await;
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.status(), 503);
    let seconds = response
        .head
        .one("retry-after")
        .and_then(|value| value.parse::<u32>().ok());
    assert!(
        seconds.is_some_and(|seconds| seconds > 0),
        "{}",
        response.head
    );
    for backend in &dead {
        backend.restart().await;
    }
    within("the pool to be used again", async {
        while get(proxy.address(), "/").await.status() != 200 {}
    })
    .await;
}

#[tokio::test]
async fn all_full_is_503_and_passes() {
    let gate = Gate::new();
    let backend = Backend::named("a")
        .answer(Answer::text("a").when(&gate))
        .start();
    let proxy =
        Proxy::start(Config::strategy("round-robin").backend(&backend, "capacity = 1")).await;
    let mut first = Client::connect(proxy.address()).await;
    first.send_get("/").await;
    backend.request().await;
    let refused = get(proxy.address(), "/").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.head.has("retry-after"), "{}", refused.head);
    gate.open();
    assert_eq!(first.response().await.text(), "a");
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
const NOT_EJECTED: &str = "outlier-detection = { max-ejected = 0 }";

/// The first is asked first, as long as it is eligible.
fn in_order<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Config {
    let config = Config::strategy("first-fit").pool(NOT_EJECTED);
    backends.into_iter().fold(config, |config, backend| {
        config.backend(backend, "capacity = 100")
    })
}

fn answering(name: &str, status: &str) -> Backend {
    let answer = Answer::status(status, name);
    Backend::named(name).answer(answer).start()
}

fn silent(name: &str) -> Backend {
    Backend::named(name).answer(Answer::silence()).start()
}

fn retries(reason: &'static str) -> [(&'static str, &'static str); 2] {
    [("pool", "web"), ("reason", reason)]
}

fn in_flight(backend: &'static str) -> [(&'static str, &'static str); 2] {
    [("pool", "web"), ("backend", backend)]
}

fn attempts(backend: &'static str, result: &'static str) -> [(&'static str, &'static str); 3] {
    [("pool", "web"), ("backend", backend), ("result", result)]
}

#[tokio::test]
async fn each_status_of_retry_on_moves_a_get_on_and_no_other() {
    let good = Backend::named("good").start();
    for (status, retried) in [
        ("500 Internal Server Error", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
        ("504 Gateway Timeout", true),
        ("429 Too Many Requests", true),
        ("501 Not Implemented", false),
        ("404 Not Found", false),
    ] {
        let bad = answering("bad", status);
        let config = in_order([&bad, &good]).pool("retry-on = [429, \"500\", \"502-504\"]");
        let proxy = Metered::start(config).await;
        let response = get(proxy.address(), "/").await;
        let expected = if retried { "good" } else { "bad" };
        assert_eq!(response.text(), expected, "{status}");
        let count = f64::from(u8::from(retried));
        let scrape = proxy.scrape();
        assert_eq!(
            scrape.value("anubis_pool_retries_total", &retries("status")),
            count
        );
        assert_eq!(bad.seen().heads, 1);
    }
}

#[tokio::test]
async fn a_status_is_not_retried_by_default() {
    let bad = answering("bad", "503 Service Unavailable");
    let good = Backend::named("good").start();
    let proxy = Proxy::start(in_order([&bad, &good])).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "bad");
    assert_eq!(good.seen().heads, 0);
}

#[tokio::test]
async fn a_post_is_never_doubled_whatever_is_retried() {
    let good = Backend::named("good").start();
    for answer in [
        Answer::status("503 Service Unavailable", "bad"),
        Answer::close(),
        Answer::silence(),
    ] {
        let bad = Backend::named("bad").answer(answer).start();
        let config = in_order([&bad, &good]).pool(
            "retry-on = [\"timeout\", \"5xx\"]\nreplay-buffer = \"64KiB\"\n\
             hedge-after = \"20ms\"\nresponse-timeout = \"200ms\"",
        );
        let proxy = Proxy::start(config).await;
        let status = raw(proxy.address(), POST).await.status();
        assert!([502, 503, 504].contains(&status), "{status}");
        assert_eq!((bad.seen().heads, good.seen().heads), (1, 0));
    }
}

#[tokio::test]
async fn b3_a_timeout_moves_a_get_on_where_that_is_wanted() {
    let (slow, good) = (silent("slow"), Backend::named("good").start());
    let config = |more: &str| {
        let config = in_order([&slow, &good]);
        config.pool(&format!("response-timeout = \"200ms\"\n{more}"))
    };
    let proxy = Proxy::start(config("")).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 504);
    assert_eq!(good.seen().heads, 0);
    let proxy = Metered::start(config("retry-on = [\"timeout\"]")).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "good");
    let count = proxy
        .scrape()
        .value("anubis_pool_retries_total", &retries("timeout"));
    assert_eq!(count, 1.0);
    slow.until("both gave up", |seen| seen.aborted == 2).await;
}

#[tokio::test]
async fn no_backend_is_tried_twice_and_the_last_answer_is_passed_on() {
    let backends = ["a", "b", "c"].map(|name| answering(name, "503 Service Unavailable"));
    let config = in_order(&backends).pool("retry-on = [503]\ntries = 9\nretry-backoff = \"1ms\"");
    let proxy = Proxy::start(config).await;
    let response = get(proxy.address(), "/").await;
    assert_eq!((response.status(), response.text().as_str()), (503, "c"));
    assert!(!response.head.has("retry-after"), "it is the backend's own");
    for backend in &backends {
        assert_eq!(backend.seen().heads, 1, "{}", backend.name());
    }
}

#[tokio::test]
async fn an_answer_is_better_than_the_502_after_it() {
    let busy = answering("busy", "503 Service Unavailable");
    let dead = Backend::refusing("dead").await;
    let proxy = Metered::start(in_order([&busy, &dead]).pool("retry-on = [503]")).await;
    let response = get(proxy.address(), "/").await;
    assert_eq!((response.status(), response.text().as_str()), (503, "busy"));
    proxy
        .until("anubis_backend_attempts_in_flight", &in_flight("busy"), 0)
        .await;
    let tries = attempts("dead", "connect");
    let scrape = proxy.scrape();
    assert_eq!(scrape.value("anubis_backend_attempts_total", &tries), 1.0);
}

#[tokio::test]
async fn nobody_waits_in_the_queue_with_an_answer_in_hand() {
    let gate = Gate::new();
    let busy = answering("busy", "503 Service Unavailable");
    let slow = Backend::named("slow").answer(Answer::text("slow").when(&gate));
    let slow = slow.start();
    let config = Config::strategy("first-fit")
        .pool(NOT_EJECTED)
        .backend(&busy, "capacity = 100")
        .backend(&slow, "capacity = 1")
        .pool("retry-on = [503]\nqueue-size = 10\nqueue-timeout = \"1h\"");
    let proxy = Proxy::start(config).await;
    let mut first = Client::connect(proxy.address()).await;
    first.send_get("/").await;
    slow.request().await;
    assert_eq!(get(proxy.address(), "/").await.text(), "busy");
    gate.open();
    assert_eq!(first.response().await.text(), "slow");
}

#[tokio::test]
async fn the_connection_of_a_refused_answer_is_used_again_if_it_is_short() {
    let good = Backend::named("good").start();
    for (length, connections) in [(10_000, 1), (10_000_000, 3)] {
        let head = [("Content-Length", &*format!("{length}"))];
        let answer = Answer::head("503 Service Unavailable", &head).write_pattern(length);
        let bad = Backend::named("bad").answer(answer).start();
        let config = in_order([&bad, &good]).pool("retry-on = [503]\nkeep-alive = \"1m\"");
        let proxy = Metered::start(config.global("workers = 1")).await;
        for request in 1..=3 {
            assert_eq!(get(proxy.address(), "/").await.text(), "good");
            let attempts = attempts("bad", "5xx");
            proxy
                .until("anubis_backend_attempts_total", &attempts, request)
                .await;
            let over = |seen: &anubis_tests::backend::Seen| {
                seen.answered + seen.aborted == usize::try_from(request).expect("few")
            };
            bad.until("the answer to be over", over).await;
            if connections == 1 {
                let idle = in_flight("bad");
                proxy
                    .until("anubis_backend_connections_idle", &idle, 1)
                    .await;
            }
        }
        assert_eq!(bad.seen().opened, connections, "{length} bytes");
    }
}

#[tokio::test]
async fn the_budget_is_a_share_of_the_requests_over_all_workers() {
    let bad = answering("bad", "503 Service Unavailable");
    let good = Backend::named("good").start();
    let config = Config::balanced([&bad, &good]).global("workers = 2");
    let config = config.pool(&format!(
        "{NOT_EJECTED}\nretry-on = [503]\nretry-budget = 10"
    ));
    let proxy = Metered::start(config).await;
    let requests = 400;
    let load = Load::of(requests, proxy.address(), 4).await;
    let requests = load.answered + load.failed;
    assert!(load.failed > 0, "half fail and a tenth is retried");
    let (bad, good) = (bad.seen().heads, good.seen().heads);
    let retries = bad + good - requests;
    assert!(retries <= requests / 10, "{retries} of {requests}");
    assert!(retries >= requests / 20, "{retries} of {requests}");
    let scrape = proxy.scrape();
    let denied = [("pool", "web"), ("reason", "budget")];
    assert!(scrape.value("anubis_pool_retries_denied_total", &denied) > 0.0);
}

#[tokio::test]
async fn without_a_budget_only_connect_failures_are_retried() {
    let (closing, good) = (
        Backend::named("closing").answer(Answer::close()).start(),
        Backend::named("good").start(),
    );
    let config = |first| in_order([first, &good]).pool("retry-budget = 0");
    let proxy = Proxy::start(config(&closing)).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 502);
    let dead = Backend::refusing("dead").await;
    let proxy = Proxy::start(config(&dead)).await;
    for _ in 0..10 {
        assert_eq!(get(proxy.address(), "/").await.text(), "good");
    }
}

#[tokio::test]
async fn where_all_fail_few_are_tried_again_until_one_succeeds() {
    let backends = ["a", "b"].map(|name| Backend::named(name).answer(Answer::close()).start());
    let config = Config::balanced(&backends).pool(&format!("{NOT_EJECTED}\nretry-budget = 100"));
    let proxy = Metered::start(config.global("workers = 1")).await;
    for _ in 0..100 {
        assert_eq!(get(proxy.address(), "/").await.status(), 502);
    }
    let tries: usize = backends.iter().map(|backend| backend.seen().heads).sum();
    // Some are free until each has failed three times; then it is one in ten.
    assert!((103..=116).contains(&tries), "{tries} for 100 requests");
    let denied = [("pool", "web"), ("reason", "failing")];
    let scrape = proxy.scrape();
    assert!(scrape.value("anubis_pool_retries_denied_total", &denied) > 80.0);
}

#[tokio::test]
async fn later_retries_wait_longer_and_the_first_does_not() {
    let backends = ["a", "b", "c", "d", "e", "f"].map(|name| answering(name, "503 Busy"));
    let took = async |tries: usize| {
        let config = in_order(&backends).pool(&format!(
            "retry-on = [503]\nretry-budget = 100\ntries = {tries}\nretry-backoff = \"2s\""
        ));
        let proxy = Proxy::start(config).await;
        let began = Instant::now();
        assert_eq!(get(proxy.address(), "/").await.status(), 503);
        began.elapsed()
    };
    assert!(took(2).await < Duration::from_secs(1), "at once");
    // A pause of anything up to an hour.
    let proxy = Proxy::start(
        in_order(&backends)
            .pool("retry-on = [503]\ntries = 6\nretry-backoff = \"1h\"\ntotal-timeout = \"300ms\""),
    )
    .await;
    let before: usize = backends.iter().map(|backend| backend.seen().heads).sum();
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    let after: usize = backends.iter().map(|backend| backend.seen().heads).sum();
    assert_eq!(after - before, 2, "there is no time for the pause");
}

#[tokio::test]
async fn the_total_timeout_is_for_all_attempts() {
    let backends = ["a", "b", "c"].map(silent);
    let config = in_order(&backends).pool(
        "retry-on = [\"timeout\"]\nretry-backoff = \"0s\"\n\
         response-timeout = \"400ms\"\ntotal-timeout = \"600ms\"",
    );
    let proxy = Metered::start(config).await;
    let began = Instant::now();
    assert_eq!(get(proxy.address(), "/").await.status(), 504);
    assert!(began.elapsed() >= Duration::from_millis(600));
    let heads = backends.each_ref().map(|backend| backend.seen().heads);
    assert_eq!(heads, [1, 1, 0]);
    // The second had less than its time: nobody knows.
    let (first, second) = (attempts("a", "timeout"), attempts("b", "other"));
    let scrape = proxy.scrape();
    assert_eq!(scrape.value("anubis_backend_attempts_total", &first), 1.0);
    assert_eq!(scrape.value("anubis_backend_attempts_total", &second), 1.0);
    for (name, backend) in [("a", &backends[0]), ("b", &backends[1])] {
        backend.until("it is left", |seen| seen.open() == 0).await;
        let flight = in_flight(name);
        let left = scrape.value("anubis_backend_attempts_in_flight", &flight);
        assert_eq!(left, 0.0);
    }
}

#[tokio::test]
async fn the_total_timeout_leaves_the_body_alone() {
    let gate = Gate::new();
    let head = Answer::head("200 OK", &[("Content-Length", "4")]).write("sl");
    let answer = head.then_when(&gate).write("ow");
    let backend = Backend::named("a").answer(answer).start();
    let config = Config::balanced([&backend]).pool("total-timeout = \"200ms\"");
    let proxy = Proxy::start(config).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backend.request().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    gate.open();
    assert_eq!(client.response().await.text(), "slow");
}

/// A request with a body of the pattern.
fn pattern_request(method: &str, length: usize) -> Vec<u8> {
    let head = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    let mut request = head.into_bytes();
    request.extend(anubis_tests::pattern::bytes(length));
    request
}

#[tokio::test]
async fn a_put_is_sent_again_with_its_whole_body_if_that_is_kept() {
    let good = Backend::named("good").start();
    let closing = Backend::named("closing").answer(Answer::close()).start();
    let busy = answering("busy", "503 Service Unavailable");
    let config = in_order([&closing, &busy, &good])
        .pool("retry-on = [503]\nreplay-buffer = \"100KiB\"\ntries = 3");
    let proxy = Proxy::start(config).await;
    let length = 100 << 10;
    let mut client = Client::connect(proxy.address()).await;
    client.send(pattern_request("PUT", length)).await;
    assert_eq!(client.response().await.text(), "good");
    for backend in [&closing, &busy, &good] {
        let [request] = &backend.log()[..] else {
            panic!("{} got it once", backend.name());
        };
        assert_eq!(request.pattern, Ok(length as u64), "{}", backend.name());
        assert_eq!(
            request.head.one("content-length"),
            Some(&*length.to_string())
        );
    }
    // One byte more streams, and is not sent again.
    let mut client = Client::connect(proxy.address()).await;
    client.send(pattern_request("PUT", length + 1)).await;
    assert_eq!(client.response().await.status(), 502);
    assert_eq!(good.seen().heads, 1);
}

#[tokio::test]
async fn a_put_is_not_sent_again_without_a_buffer_nor_in_chunks() {
    let closing = Backend::named("closing").answer(Answer::close()).start();
    let good = Backend::named("good").start();
    let proxy = Proxy::start(in_order([&closing, &good])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send(pattern_request("PUT", 10)).await;
    assert_eq!(client.response().await.status(), 502);
    let config = in_order([&closing, &good]).pool("replay-buffer = \"1KiB\"");
    let proxy = Proxy::start(config).await;
    let chunked = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(raw(proxy.address(), chunked).await.status(), 502);
    assert_eq!(good.seen().heads, 0);
}

#[tokio::test]
async fn c4_a_slow_body_that_is_kept_occupies_no_backend() {
    let backend = Backend::named("a").start();
    let config = Config::strategy("round-robin").backend(&backend, "capacity = 1");
    let proxy = Proxy::start(config.pool("replay-buffer = \"64KiB\"")).await;
    let mut slow = Client::connect(proxy.address()).await;
    slow.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(slow.head().await.status(), 100);
    slow.send("bo").await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    assert_eq!(backend.seen().heads, 1);
    slow.send("dy").await;
    assert_eq!(slow.response().await.text(), "a");
    assert_eq!(backend.requests(2).await[1].body, b"body");
}

#[tokio::test]
async fn c4_a_body_that_does_not_come_is_408_and_no_backend_hears_of_it() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("idle-timeout = \"200ms\"");
    let proxy = Proxy::start(config.pool("replay-buffer = \"64KiB\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    assert_eq!(client.response().await.status(), 408);
    assert_eq!(backend.seen().opened, 0);
}

#[tokio::test]
async fn a_hedge_wins_over_a_slow_backend_which_is_left() {
    let (slow, good) = (silent("slow"), Backend::named("good").start());
    let config = in_order([&slow, &good]).pool("hedge-after = \"50ms\"\nreplay-buffer = \"1KiB\"");
    let proxy = Metered::start(config).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "good");
    slow.until("it is left", |seen| seen.aborted == 1 && seen.open() == 0)
        .await;
    let mut client = Client::connect(proxy.address()).await;
    client.send(pattern_request("PUT", 1024)).await;
    assert_eq!(client.response().await.text(), "good");
    slow.until("it is left", |seen| seen.aborted == 2 && seen.open() == 0)
        .await;
    assert_eq!(good.requests(2).await[1].pattern, Ok(1024));
    let scrape = proxy.scrape();
    let pool = [("pool", "web")];
    assert_eq!(scrape.value("anubis_pool_hedges_total", &pool), 2.0);
    assert_eq!(scrape.value("anubis_pool_hedges_won_total", &pool), 2.0);
    let cancelled = attempts("slow", "cancelled");
    assert_eq!(
        scrape.value("anubis_backend_attempts_total", &cancelled),
        2.0
    );
    let flight = in_flight("slow");
    assert_eq!(
        scrape.value("anubis_backend_attempts_in_flight", &flight),
        0.0
    );
    proxy
        .until("anubis_backend_attempts_in_flight", &in_flight("good"), 0)
        .await;
}

#[tokio::test]
async fn a_hedge_that_is_not_needed_any_more_is_cancelled() {
    let gate = Gate::new();
    let first = Backend::named("first")
        .answer(Answer::text("first").when(&gate))
        .start();
    let hedge = silent("hedge");
    let proxy = Metered::start(in_order([&first, &hedge]).pool("hedge-after = \"50ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    hedge.request().await;
    gate.open();
    assert_eq!(client.response().await.text(), "first");
    hedge
        .until("it is left", |seen| seen.aborted == 1 && seen.open() == 0)
        .await;
    // The connection goes on, and so does its one alarm.
    assert_eq!(client.get("/").await.text(), "first");
    let pool = [("pool", "web")];
    let scrape = proxy.scrape();
    assert_eq!(scrape.value("anubis_pool_hedges_total", &pool), 1.0);
    assert_eq!(scrape.value("anubis_pool_hedges_won_total", &pool), 0.0);
    for backend in ["first", "hedge"] {
        let flight = in_flight(backend);
        proxy
            .until("anubis_backend_attempts_in_flight", &flight, 0)
            .await;
    }
}

#[tokio::test]
async fn a_hedge_is_charged_and_never_goes_where_the_first_is() {
    let slow = silent("slow");
    let good = Backend::named("good").start();
    let more = "hedge-after = \"50ms\"\nresponse-timeout = \"300ms\"";
    let alone = Proxy::start(in_order([&slow]).pool(more)).await;
    assert_eq!(get(alone.address(), "/").await.status(), 504);
    assert_eq!(slow.seen().heads, 1);
    let config = in_order([&slow, &good]).pool(&format!("{more}\nretry-budget = 0"));
    let proxy = Proxy::start(config).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 504);
    assert_eq!((slow.seen().heads, good.seen().heads), (2, 0));
}

#[tokio::test]
async fn a_client_that_leaves_leaves_both_attempts() {
    let backends = ["a", "b"].map(silent);
    let proxy = Metered::start(in_order(&backends).pool("hedge-after = \"20ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    for backend in &backends {
        backend.request().await;
    }
    drop(client);
    for (backend, name) in backends.iter().zip(["a", "b"]) {
        backend.until("it is left", |seen| seen.open() == 0).await;
        proxy
            .until("anubis_backend_attempts_in_flight", &in_flight(name), 0)
            .await;
    }
}

#[tokio::test]
async fn b4_b5_a_fault_after_the_request_moves_only_what_is_safe() {
    // Answers once, and closes at the second request of a connection.
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let flaky = Backend::named("flaky")
        .script(move |request| {
            asked.fetch_add(1, Ordering::SeqCst);
            match request.target.as_str() {
                "/close" => Answer::close(),
                _ => Answer::text("flaky"),
            }
        })
        .start();
    let good = Backend::named("good").start();
    let config = in_order([&flaky, &good]).global("workers = 1");
    let proxy = Proxy::start(config).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "flaky");
    // A kept connection, then a fresh one to the same backend, then another backend.
    assert_eq!(client.get("/close").await.text(), "good");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(good.seen().heads, 1);
    client.send(POST.replace("POST /", "POST /close")).await;
    assert_eq!(client.response().await.status(), 502);
    assert_eq!(count.load(Ordering::SeqCst), 4);
    assert_eq!(good.seen().heads, 1);
}

#[tokio::test]
async fn the_access_log_counts_attempts_and_names_who_answered() {
    let busy = answering("busy", "503 Service Unavailable");
    let dead = Backend::refusing("dead").await;
    let config = in_order([&busy, &dead]).pool("retry-on = [503]");
    let proxy = Proxy::start(config.global("[log]\naccess = \"json\"")).await;
    assert_eq!(get(proxy.address(), "/held").await.text(), "busy");
    let line = proxy.process().printed("/held").await;
    assert!(line.contains("\"attempts\":2"), "{line}");
    assert!(line.contains("\"backend\":\"busy\""), "{line}");
}
