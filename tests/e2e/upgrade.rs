//! WebSocket and other upgrades: a tunnel after the 101, and only then.

use anubis_tests::client::{get, raw};
use anubis_tests::{Answer, Backend, Client, Config, Gate, Proxy, within};

use crate::RELOADED;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn tunnel(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address()).await;
    client.send(UPGRADE).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101, "{head}");
    assert!(
        head.one("upgrade")
            .is_some_and(|token| token.eq_ignore_ascii_case("websocket")),
        "{head}"
    );
    assert!(
        head.one("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{head}"
    );
    client
}

async fn echoes(client: &mut Client, text: &str) {
    client.send(text).await;
    let mut back = Vec::new();
    while back.len() < text.len() {
        let piece = within("the echo", client.reader.some())
            .await
            .expect("the tunnel is open");
        assert!(!piece.is_empty(), "the tunnel was closed");
        back.extend_from_slice(&piece);
    }
    assert_eq!(back, text.as_bytes());
}

#[tokio::test]
async fn bytes_pass_both_ways_after_the_101() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = tunnel(&proxy).await;
    echoes(&mut client, "hello").await;
    echoes(&mut client, "GET /not-a-request HTTP/1.1\r\n\r\n").await;
    echoes(&mut client, &"x".repeat(500_000)).await;
    let head = backend.request().await.head;
    assert_eq!(head.one("upgrade"), Some("websocket"));
    assert!(
        head.one("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{head}"
    );
    assert!(head.has("sec-websocket-key"));
}

#[tokio::test]
async fn bytes_sent_with_the_request_reach_the_tunnel() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send(format!("{UPGRADE}early")).await;
    assert_eq!(client.head().await.status(), 101);
    let mut back = Vec::new();
    while back.len() < 5 {
        let piece = within("the echo", client.reader.some())
            .await
            .expect("the tunnel is open");
        assert!(!piece.is_empty(), "the tunnel was closed");
        back.extend_from_slice(&piece);
    }
    assert_eq!(back, b"early");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_backends_side() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = tunnel(&proxy).await;
    echoes(&mut client, "hello").await;
    drop(client);
    backend
        .until("the end of the tunnel", |seen| seen.open() == 0)
        .await;
}

#[tokio::test]
async fn a_backend_that_leaves_ends_the_clients_side() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = tunnel(&proxy).await;
    echoes(&mut client, "hello").await;
    backend.hang_up().await;
    within("the end of the tunnel", client.reader.closed()).await;
}

#[tokio::test]
async fn a_tunnel_counts_as_in_flight_until_it_ends() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy =
        Proxy::start(Config::strategy("round-robin").backend(&backend, "capacity = 1")).await;
    let client = tunnel(&proxy).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 503);
    drop(client);
    backend
        .until("the end of the tunnel", |seen| seen.open() == 0)
        .await;
    // The backend sees the end a moment before the proxy has counted it.
    within("room for another", async {
        while get(proxy.address(), "/").await.status() == 503 {}
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_survives_a_reload() {
    let backends = ["a", "b"].map(|name| {
        Backend::named(name)
            .answer(Answer::tunnel("websocket"))
            .start()
    });
    let proxy = Proxy::start(Config::balanced(&backends)).await;
    let mut client = tunnel(&proxy).await;
    proxy.configure(Config::balanced(&backends).pool("tries = 2"));
    proxy.log(RELOADED).await;
    echoes(&mut client, "still here").await;
    // Even one to a backend that is no longer in the pool.
    proxy.configure(Config::balanced(&backends[1..]));
    proxy.log(RELOADED).await;
    echoes(&mut client, "and here").await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let backend = Backend::named("a").answer(Answer::text("no")).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let response = raw(proxy.address(), UPGRADE).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "no"));
    assert!(!response.head.has("upgrade"), "{}", response.head);
}

#[tokio::test]
async fn bytes_after_a_refused_upgrade_find_no_tunnel() {
    // What follows is either not read at all or is the next request, by the
    // same rules as any other. What must not be is a tunnel: the bytes at the
    // backend without a head of the proxy's making.
    let gate = Gate::new();
    let backend = Backend::named("a")
        .answer(Answer::text("no").when(&gate))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        ))
        .await;
    backend.request().await;
    gate.open();
    assert_eq!(client.response().await.text(), "no");
    let _ = within("an end or an answer", client.try_response()).await;
    for request in backend.log() {
        assert!(request.head.has("via"), "{}", request.head);
    }
}

#[tokio::test]
async fn a_101_nobody_asked_for_is_502() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    let response = client.response().await;
    assert_eq!(response.status(), 502, "{}", response.head);
    backend
        .until("the connection to be given up", |seen| seen.open() == 0)
        .await;
}

#[tokio::test]
async fn http_2_is_not_upgraded_to() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(raw(proxy.address(), request).await.text(), "a");
    let head = backend.request().await.head;
    assert!(
        !head.has("upgrade") && !head.has("http2-settings"),
        "{head}"
    );
}
