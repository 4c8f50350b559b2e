//! What the proxy says of itself.

use anubis_tests::client::get;
use anubis_tests::{Backend, Config, Proxy};
use serde_json::Value;

#[tokio::test]
async fn log_lines_are_json_where_nobody_watches() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    get(proxy.address(), "/").await;
    proxy.terminate();
    proxy.exit().await;
    for line in proxy.process().stderr().lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key} is missing in {line}");
        }
    }
    assert_eq!(proxy.process().stdout(), "", "the access log is off");
}

#[tokio::test]
async fn requests_are_not_logged_one_by_one() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    get(proxy.address(), "/").await;
    let before = proxy.process().stderr().lines().count();
    for _ in 0..20 {
        get(proxy.address(), "/").await;
    }
    assert_eq!(proxy.process().stderr().lines().count(), before);
}

#[tokio::test]
async fn a_dead_backend_is_logged_once_not_for_every_request() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    let proxy = Proxy::start(Config::balanced([&dead, &good])).await;
    for _ in 0..100 {
        get(proxy.address(), "/").await;
    }
    let lines = proxy.process().stderr().lines().count();
    assert!(
        lines < 20,
        "{lines} lines for 100 requests:\n{}",
        proxy.process().stderr()
    );
}

#[tokio::test]
async fn the_access_log_has_a_json_line_for_each_request() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    // One worker, so that the lines are in the order of the requests.
    let config = Config::strategy("first-fit").global("workers = 1\n[log]\naccess = \"json\"");
    let proxy = Proxy::start(config.backend(&dead, "").backend(&good, "")).await;
    get(proxy.address(), "/one?x=1").await;
    get(proxy.address(), "/two").await;
    let text = proxy.process().printed("/two").await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["status"], 200, "{text}");
    assert_eq!(lines[0]["attempts"], 2, "{text}");
    for part in ["/one?x=1", "\"good\"", "first-fit", "GET", "127.0.0.1"] {
        assert!(
            lines[0].to_string().contains(part),
            "{part} is not in {text}"
        );
    }
}

#[tokio::test]
async fn the_access_log_has_a_common_line_for_each_request() {
    let backend = Backend::named("a").start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).global("[log]\naccess = \"common\"")).await;
    get(proxy.address(), "/one").await;
    let text = proxy.process().printed("/one").await;
    assert!(text.starts_with("127.0.0.1 - - ["), "{text}");
    assert!(text.contains("\"GET /one HTTP/1.1\" 200 1"), "{text}");
}

#[tokio::test]
async fn nobody_can_forge_an_access_line() {
    let backend = Backend::named("a").start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).global("[log]\naccess = \"common\"")).await;
    let request =
        "GET /%0A\"forged HTTP/1.1\r\nHost: h\r\nReferer: \"x\r\nUser-Agent: \u{1b}[31m\r\n\r\n";
    let forged = anubis_tests::client::raw(proxy.address(), request).await;
    get(proxy.address(), "/last").await;
    let text = proxy.process().printed("/last").await;
    assert!(
        text.lines().count() <= 2,
        "after a {}: {text}",
        forged.status()
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
