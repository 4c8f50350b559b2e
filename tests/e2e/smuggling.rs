//! Requests whose end, host or fields two readers could understand in two ways
//! are refused by the first, and none of their bytes reach the second.

use anubis_tests::{Backend, Client, Config, Proxy, within};

/// What the proxy made of a request.
struct Verdict {
    status: u16,
    closed: bool,
    forwarded: usize,
}

async fn judge(proxy: &Proxy, backend: &Backend, request: &str) -> Verdict {
    let before = backend.seen().heads;
    let mut client = Client::connect(proxy.address()).await;
    let _ = client.try_send(request).await;
    let status = match within("an answer", client.try_response()).await {
        Ok(response) => response.status(),
        Err(_) => 0,
    };
    // Well behaved or not, an end is seen at once or not at all: a second
    // request is answered only where the connection was kept.
    let _ = client
        .try_send("GET /probe HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let closed = within("an answer or an end", client.try_response())
        .await
        .is_err();
    let probes = usize::from(!closed);
    Verdict {
        status,
        closed,
        forwarded: backend.seen().heads - before - probes,
    }
}

/// Every one of these is answered with one of `statuses`, the connection is
/// closed, and the backend sees nothing.
async fn refused(statuses: &[u16], requests: &[&str]) {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut wrong = Vec::new();
    for request in requests {
        let Verdict {
            status,
            closed,
            forwarded,
        } = judge(&proxy, &backend, request).await;
        if !statuses.contains(&status) || !closed || forwarded > 0 {
            let kept = if closed { "closed" } else { "kept open" };
            wrong.push(format!(
                "{status}, {kept}, {forwarded} forwarded: {request:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        requests.len(),
        wrong.join("\n")
    );
}

/// Every one of these is answered with 200.
async fn accepted(requests: &[&str]) {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    for request in requests {
        let Verdict { status, .. } = judge(&proxy, &backend, request).await;
        assert_eq!(status, 200, "{request:?}");
    }
}

const CHUNKS: &str = "0\r\n\r\n";

fn with_fields(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{CHUNKS}")
}

async fn fields_refused(statuses: &[u16], fields: &[&str]) {
    let requests: Vec<_> = fields.iter().map(|fields| with_fields(fields)).collect();
    let requests: Vec<_> = requests.iter().map(String::as_str).collect();
    refused(statuses, &requests).await;
}

#[tokio::test]
async fn length_and_chunked_together() {
    fields_refused(
        &[400],
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "transfer-encoding: Chunked\r\ncontent-length: 5",
        ],
    )
    .await;
}

#[tokio::test]
async fn lengths_that_are_none() {
    fields_refused(
        &[400],
        &[
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: +5",
            "Content-Length: -0",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5a",
            "Content-Length: five",
            "Content-Length:",
            "Content-Length: 5 5",
            "Content-Length: 5;",
            "Content-Length: 5.0",
            "Content-Length: 1e1",
            "Content-Length: 18446744073709551616",
            "Content-Length: 99999999999999999999999",
        ],
    )
    .await;
}

#[tokio::test]
async fn codings_other_than_chunked_once() {
    fields_refused(
        &[400, 501],
        &[
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunkedx",
            "Transfer-Encoding: chunked;a=b",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked\x0b",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding: \x0cchunked",
            "Transfer-Encoding: chun\tked",
            "Transfer-Encoding:",
            "Transfer-Encoding: \u{a0}chunked",
        ],
    )
    .await;
}

#[tokio::test]
async fn chunked_from_http_1_0() {
    refused(
        &[400],
        &["POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    )
    .await;
}

#[tokio::test]
async fn names_that_are_none() {
    fields_refused(
        &[400],
        &[
            "Content-Length : 5",
            "Transfer-Encoding : chunked",
            "X Y: z",
            ": empty",
            "no colon",
            "X-N\u{e4}me: x",
            "X\0: y",
            "X(: y",
            "X-Tab\t: y",
        ],
    )
    .await;
}

#[tokio::test]
async fn folded_lines() {
    fields_refused(
        &[400],
        &[
            "X: a\r\n b",
            "X: a\r\n\tb",
            "Transfer-Encoding:\r\n chunked",
            "X: y\r\n Transfer-Encoding: chunked",
        ],
    )
    .await;
    refused(&[400], &["GET / HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n"]).await;
}

#[tokio::test]
async fn controls_in_values() {
    fields_refused(
        &[400],
        &[
            "X: a\0b",
            "X: a\x01b",
            "X: a\x7fb",
            "X: a\rb",
            "X: a\r\rb",
            "X: \x1b[31m",
        ],
    )
    .await;
}

#[tokio::test]
async fn lines_that_end_in_half() {
    refused(
        &[400],
        &[
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        ],
    )
    .await;
}

/// What came before is answered, in order, and then the refusal.
#[tokio::test]
async fn a_request_before_a_bad_one_is_answered() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /bad HTTP/1.1\nHost: h\r\n\r\n")
        .await;
    assert_eq!(client.try_response().await.expect("an answer").text(), "a");
    assert_eq!(
        client.try_response().await.expect("a refusal").status(),
        400
    );
    assert!(client.try_response().await.is_err(), "and the end");
    assert_eq!(backend.seen().requests, 1);
}

/// A refused wish to switch does not open a way around the check.
#[tokio::test]
async fn a_wish_to_switch_hides_nothing() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    for wish in ["websocket", "h2c"] {
        let mut client = Client::connect(proxy.address()).await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: {wish}\r\n\r\n\
                 GET /good HTTP/1.1\r\nHost: h\r\n\r\nGET /bad HTTP/1.1\nHost: h\r\n\r\n"
            ))
            .await;
        for answer in [200, 200, 400] {
            let response = within("an answer", client.try_response()).await;
            assert_eq!(response.expect("an answer").status(), answer, "{wish}");
        }
    }
    assert_eq!(backend.seen().requests, 4);
}

#[tokio::test]
async fn hosts_that_are_none() {
    refused(
        &[400],
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn request_lines_that_are_none() {
    refused(
        &[400, 501, 505],
        &[
            "GET\r\nHost: h\r\n\r\n",
            "GET /\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / http/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.2x\r\nHost: h\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            "GET / HTTP/11\r\nHost: h\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        ],
    )
    .await;
}

/// A bad chunk may be found only when the head is already at the backend: what
/// counts is that the client is told or cut off, that nothing after the bad
/// chunk is a request, and that the backend never takes the body for whole.
#[tokio::test]
async fn chunks_that_are_none() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut wrong = Vec::new();
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nBad Name: x\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
    ] {
        let before = backend.seen().requests;
        let mut client = Client::connect(proxy.address()).await;
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = client
            .try_send(format!(
                "{head}{body}GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
        let answers = rest.matches("HTTP/1.1 ").count();
        let told = rest.is_empty() || rest.starts_with("HTTP/1.1 400 ");
        if !told || answers > 1 || backend.seen().requests != before {
            wrong.push(format!(
                "{body:?} was answered {:?}",
                rest.lines().next().unwrap_or_default()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(1 << 20));
    let long_field = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let fields: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let many_fields = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    refused(&[414, 431], &[&long_line, &long_field, &many_fields]).await;
}

#[tokio::test]
async fn what_is_unusual_but_clear_is_accepted() {
    accepted(&[
        "GET / HTTP/1.1\r\nHost:h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h \t\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n000\r\n\r\n",
        "PATCH /?a[]={b}|c HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ])
    .await;
}
