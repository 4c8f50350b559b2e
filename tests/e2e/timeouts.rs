//! Nobody is waited for without end.

use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::{Answer, Backend, Client, Config, Proxy, within};

#[tokio::test]
async fn a_silent_backend_is_504() {
    let backend = Backend::named("a").answer(Answer::silence()).start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).pool("response-timeout = \"300ms\"")).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 504);
    backend
        .until("the request to be given up", |seen| seen.aborted == 1)
        .await;
}

#[tokio::test]
async fn a_response_that_stalls_is_cut() {
    let stall = Answer::head("200 OK", &[("Content-Length", "10")])
        .write("half")
        .then_silence();
    let backend = Backend::named("a").answer(stall).start();
    let proxy = Proxy::start(Config::balanced([&backend]).pool("idle-timeout = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.rest().await, b"half");
    backend
        .until("the request to be given up", |seen| seen.aborted == 1)
        .await;
}

#[tokio::test]
async fn a_slow_response_that_does_not_stall_is_not_cut() {
    let mut drip = Answer::head("200 OK", &[("Content-Length", "6")]);
    for _ in 0..6 {
        drip = drip.then_after(Duration::from_millis(200)).write("x");
    }
    let backend = Backend::named("a").answer(drip).start();
    let proxy = Proxy::start(Config::balanced([&backend]).pool("idle-timeout = \"600ms\"")).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "xxxxxx");
}

#[tokio::test]
async fn half_a_request_head_is_408() {
    let backend = Backend::named("a").start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).listener("header-timeout = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.1\r\nHo").await;
    let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert_eq!(backend.seen().opened, 0);
}

/// Neither the time after which a connection rests, which is shorter, nor the one that it
/// may wait for its next request.
#[tokio::test]
async fn a_later_request_head_has_as_long_as_the_first() {
    let backend = Backend::named("a").start();
    let listener = "header-timeout = \"3s\"\nkeep-alive = \"1h\"";
    let proxy = Proxy::start(Config::balanced([&backend]).listener(listener)).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    client.send("GET / HTTP/1.1\r\nHo").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send("st: h\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "a");
    client.send("GET / HTTP/1.1\r\nHo").await;
    let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend]).listener("keep-alive = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    assert_eq!(
        client.rest().await,
        b"",
        "closed without a word: the client asked for nothing"
    );
}

/// A connection that waits costs its socket and little more, and goes on as if it had not.
#[tokio::test]
async fn connections_that_rest_cost_little_and_are_there_when_they_are_wanted() {
    const MANY: u64 = 400;
    const EACH: u64 = 8 << 10;
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::default().backend(&backend, "")).await;
    let mut first = Client::connect(proxy.address()).await;
    first.get("/").await;
    let before = proxy.resident();
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = Client::connect(proxy.address()).await;
        assert_eq!(client.get("/").await.text(), "a");
        clients.push(client);
    }
    let begun = proxy.resident();
    assert!(
        begun > before + MANY * EACH,
        "it shows: {begun}, {before} before"
    );
    proxy.resident_below(before + MANY * EACH).await;
    for client in &mut clients {
        // Two at once: what is behind the first must not be lost.
        client
            .send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "a");
        assert_eq!(client.response().await.text(), "a");
    }
    // Who leaves while it rests is let go; who is resting when the proxy ends too.
    clients.truncate(10);
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn a_request_body_that_stalls_is_given_up() {
    let backend = Backend::named("a").start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).listener("idle-timeout = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    backend
        .until("the request to be given up", |seen| {
            seen.opened == 0 || seen.open() == 0
        })
        .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::named("a").answer(Answer::pattern(1 << 30)).start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).listener("idle-timeout = \"500ms\"")).await;
    let mut client = Client::connect_narrow(proxy.address()).await;
    client.send_get("/").await;
    client.head().await;
    backend
        .until("the request to be given up", |seen| seen.aborted == 1)
        .await;
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let backend = Backend::named("a").answer(Answer::tunnel("x")).start();
    let proxy = Proxy::start(Config::balanced([&backend]).pool("tunnel-timeout = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 101);
    within("the tunnel's end", client.reader.closed()).await;
}

#[tokio::test]
async fn an_idle_connection_to_a_backend_is_closed() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend]).pool("keep-alive = \"300ms\"")).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    backend
        .until("the idle connection's end", |seen| seen.open() == 0)
        .await;
}

#[tokio::test]
async fn a_backend_that_does_not_accept_is_504() {
    let blackhole = Backend::blackhole("a").await;
    let proxy =
        Proxy::start(Config::balanced([&blackhole]).pool("connect-timeout = \"300ms\"")).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 504);
}

#[tokio::test]
async fn a_backend_that_is_silent_on_a_kept_connection_is_504() {
    let backend = Backend::named("a").script(|request| match request.target.as_str() {
        "/silent" => Answer::silence(),
        _ => Answer::text("a"),
    });
    let backend = backend.start();
    let pool = "response-timeout = \"500ms\"\ntries = 1";
    let proxy = Proxy::start(Config::balanced([&backend]).pool(pool)).await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "a");
    }
    assert_eq!(backend.seen().opened, 1);
    let asked = std::time::Instant::now();
    assert_eq!(client.get("/silent").await.status(), 504);
    assert!(asked.elapsed() >= Duration::from_millis(500));
    assert_eq!(backend.seen().opened, 1, "the connection was used again");
}

#[tokio::test]
async fn a_backend_has_all_its_time_however_slow_the_client_was() {
    let backend = Backend::named("a").start();
    let pool = "response-timeout = \"500ms\"\nreplay-buffer = \"1KiB\"\ntries = 1";
    let proxy = Proxy::start(Config::balanced([&backend]).pool(pool)).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
    client.send(&format!("{head}sl")).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    client.send("ow").await;
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(backend.seen().opened, 1, "the connection was used again");
}
