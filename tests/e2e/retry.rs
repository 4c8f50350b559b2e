//! What one bad backend costs while another is good: nothing that a client sees.

use anubis_tests::client::{get, raw};
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
    let proxy = Proxy::start(Config::balanced(&backends)).await;
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
