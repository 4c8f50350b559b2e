//! Backends that break the rules: the client sees a clean error or a visible
//! cut, never somebody else's bytes.

use anubis_tests::client::{get, raw};
use anubis_tests::{Answer, Backend, Client, Config, Proxy};

#[tokio::test]
async fn nonsense_is_502() {
    for answer in [
        "garbage\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nName with space: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03",
    ] {
        let backend = Backend::named("a")
            .answer(Answer::raw(answer).then_close())
            .start();
        let proxy = Proxy::start(Config::balanced([&backend])).await;
        let response = get(proxy.address(), "/").await;
        assert_eq!(
            response.status(),
            502,
            "after {answer:?}: {}",
            response.head
        );
    }
}

#[tokio::test]
async fn half_a_head_is_502() {
    let backend = Backend::named("a")
        .answer(Answer::raw("HTTP/1.1 200 OK\r\nConte").then_close())
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 502);
}

#[tokio::test]
async fn an_endless_head_is_502_in_bounded_memory() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(4 << 20));
    let backend = Backend::named("a")
        .answer(Answer::raw(head).then_silence())
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 502);
}

#[tokio::test]
async fn a_body_cut_short_is_cut_for_the_client_too() {
    let cut = Answer::head("200 OK", &[("Content-Length", "1000")])
        .write("half")
        .then_close();
    let backend = Backend::named("a").answer(cut).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    assert_eq!(client.head().await.one("content-length"), Some("1000"));
    assert_eq!(client.rest().await, b"half");
}

#[tokio::test]
async fn a_chunked_body_cut_short_never_looks_whole() {
    for cut in [
        "4\r\nhalf\r\n",
        "8\r\nhalf",
        "4\r\nhalf\r\n0\r\n",
        "4\r\nhalf\r\nnonsense\r\n",
    ] {
        let answer = Answer::head("200 OK", &[("Transfer-Encoding", "chunked")])
            .write(cut)
            .then_close();
        let backend = Backend::named("a").answer(answer).start();
        let proxy = Proxy::start(Config::balanced([&backend])).await;
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        assert_eq!(client.head().await.status(), 200);
        let body = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(!body.ends_with("0\r\n\r\n"), "{cut:?} became {body:?}");
    }
}

#[tokio::test]
async fn bytes_beyond_the_body_reach_nobody() {
    let answer = Answer::head("200 OK", &[("Content-Length", "2")])
        .write("okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(
        backend.seen().opened,
        5,
        "a connection in doubt is not used again"
    );
}

#[tokio::test]
async fn a_body_after_head_reaches_nobody() {
    let answer = Answer::head("200 OK", &[("Content-Length", "4")]).write("evil");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    let response = client.get("/").await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, "evil"),
        "its own body, on a fresh connection"
    );
    assert_eq!(backend.seen().opened, 2);
}

#[tokio::test]
async fn chunked_wins_over_a_length_or_is_refused() {
    let answer = Answer::head(
        "200 OK",
        &[("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
    )
    .write("5\r\nhello\r\n0\r\n\r\n");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let response = get(proxy.address(), "/").await;
    match response.status() {
        200 => assert_eq!(response.text(), "hello"),
        status => assert_eq!(status, 502),
    }
    assert!(
        response.head.all("content-length").len() + response.head.all("transfer-encoding").len()
            == 1
    );
}

/// Whatever says how a response is framed other than plainly: 502, and the
/// connection is not used again.
#[tokio::test]
async fn b11_framing_that_is_not_plain_is_502() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (version, fields) in [
        ("HTTP/1.1", "Transfer-Encoding: gzip\r\n"),
        ("HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n"),
        ("HTTP/1.1", "Transfer-Encoding: chunked, chunked\r\n"),
        (
            "HTTP/1.1",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "HTTP/1.1",
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        ),
        ("HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
    ] {
        let answer = format!("{version} 200 OK\r\n{fields}\r\n{chunks}");
        let backend = Backend::named("a").answer(Answer::raw(answer)).start();
        let proxy = Proxy::start(Config::balanced([&backend])).await;
        let response = get(proxy.address(), "/").await;
        assert_eq!(
            response.status(),
            502,
            "{version} {fields}: {}",
            response.head
        );
        backend
            .until("its connection to be closed", |seen| seen.open() == 0)
            .await;
    }
}

#[tokio::test]
async fn b11_a_length_beside_chunked_ends_the_connection() {
    let answer = Answer::head(
        "200 OK",
        &[("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
    )
    .write("5\r\nhello\r\n0\r\n\r\n");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "hello");
    backend
        .until("its connection to be closed", |seen| seen.open() == 0)
        .await;
}

#[tokio::test]
async fn a_reset_after_the_whole_answer_does_not_spoil_it() {
    let backend = Backend::named("a")
        .answer(Answer::text("whole").then_reset())
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "/").await.text(), "whole");
    }
}

#[tokio::test]
async fn errors_say_nothing_internal() {
    let dead = Backend::refusing("secret-name").await;
    let closing = Backend::named("secret-name")
        .answer(Answer::close())
        .start();
    for backend in [&dead, &closing] {
        let proxy = Proxy::start(Config::balanced([backend])).await;
        let response = get(proxy.address(), "/").await;
        let text = format!("{}{}", response.head, response.text());
        assert!(response.status() >= 500, "{text}");
        let port = backend.address().port().to_string();
        for secret in [
            "secret-name",
            &port,
            "127.0.0.1",
            "hyper",
            "os error",
            "web",
        ] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert!((1..200).contains(&response.body.len()), "{text}");
    }
}

#[tokio::test]
async fn errors_come_as_json_where_asked_for() {
    let dead = Backend::refusing("a").await;
    let proxy = Proxy::start(Config::balanced([&dead])).await;
    let response = raw(
        proxy.address(),
        "GET / HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n",
    )
    .await;
    assert_eq!(response.head.one("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&response.body).expect("it is JSON");
    assert_eq!(json["status"], response.status(), "{json}");
    let plain = get(proxy.address(), "/").await;
    assert!(
        plain
            .head
            .one("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{}",
        plain.head
    );
}
