//! Requests whose end, host or fields two readers could understand in two ways
//! are refused by the first, and none of their bytes reach the second. Tests carry
//! the number of their row in the list of what is known to have gone wrong elsewhere.

use anubis_tests::backend::Request;
use anubis_tests::client::{get, raw};
use anubis_tests::{Answer, Backend, Client, Config, Proxy, within};

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
async fn s1_length_and_chunked_together() {
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
async fn s2_lengths_that_are_none() {
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
            "Content-Length: 5\r\nContent-Length: 5, 5",
            "Content-Length: ,5",
            "Content-Length: 5\x0b",
            "Content-Length: \u{a0}5",
        ],
    )
    .await;
}

#[tokio::test]
async fn s3_codings_other_than_chunked_once() {
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
async fn s4_chunked_from_http_1_0() {
    refused(
        &[400],
        &["POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    )
    .await;
}

#[tokio::test]
async fn s7_names_that_are_none() {
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
async fn s7_folded_lines() {
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
async fn s6_controls_in_values() {
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
async fn s6_lines_that_end_in_half() {
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
async fn s8_hosts_that_are_none() {
    refused(
        &[400],
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
            "GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n",
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
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%00\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn s8_request_lines_that_are_none() {
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
            "GET ?x HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS *?x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / http/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.2x\r\nHost: h\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            "GET / HTTP/11\r\nHost: h\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/#b HTTP/1.1\r\nHost: h\r\n\r\n",
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
async fn s5_chunks_that_are_none() {
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

/// Extensions have their end, as everything has.
#[tokio::test]
async fn s5_endless_extensions() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = "x".repeat(1 << 20);
    let _ = client
        .try_send(format!("{head}5;{extension}\r\nhello\r\n0\r\n\r\n"))
        .await;
    let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 400 "),
        "{rest}"
    );
    assert_eq!(backend.seen().requests, 0, "it took none for whole");
}

/// A body belongs to its request, whatever the method: it is forwarded or
/// refused, and never becomes the next request.
#[tokio::test]
async fn s9_bodies_of_methods_that_have_none() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "BREW"] {
        for framing in [
            format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
                inner.len()
            ),
        ] {
            let before = backend.log().len();
            let mut client = Client::connect(proxy.address()).await;
            client
                .send(format!("{method} /outer HTTP/1.1\r\nHost: h\r\n{framing}"))
                .await;
            if method == "HEAD" {
                assert_eq!(client.head().await.status(), 200);
            } else {
                assert_eq!(client.response().await.status(), 200, "{method}");
            }
            assert_eq!(client.get("/next").await.text(), "a", "{method}");
            let log = backend.log();
            let targets: Vec<_> = log[before..].iter().map(|one| &*one.target).collect();
            assert_eq!(targets, ["/outer", "/next"], "{method}");
            assert_eq!(log[before].body, inner.as_bytes(), "{method}");
        }
    }
}

/// What a client nominates for removal is not what the proxy says, nor framing.
#[tokio::test]
async fn s10_nominating_what_the_proxy_needs() {
    let nominated = "Host, Content-Length, Transfer-Encoding, X-Forwarded-For, X-Forwarded-Proto, \
                     X-Forwarded-Host, Forwarded, Via, Upgrade";
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    for (request, body) in [
        ("Content-Length: 4\r\nConnection: ", "body"),
        ("X-Forwarded-For: 9.9.9.9\r\nConnection: close, ", ""),
        ("Upgrade: websocket\r\nConnection: upgrade, ", ""),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{request}{nominated}\r\n\r\n{body}");
        assert_eq!(raw(proxy.address(), &text).await.status(), 200, "{request}");
        let log = backend.log();
        let seen = log.last().expect("a request");
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.head.one("host"), Some("h"));
        assert_eq!(seen.head.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.head.one("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.head.one("x-forwarded-host"), Some("h"));
        assert_eq!(seen.head.one("via"), Some("1.1 anubis"));
        assert!(seen.head.has("forwarded"), "{}", seen.head);
        assert_eq!(seen.head.has("upgrade"), request.starts_with("Upgrade"));
    }
}

/// A stranger's claims do not reach the backend under any name.
#[tokio::test]
async fn s11_claims_of_strangers() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let claims = "X-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\n\
                  X-Forwarded_For: 9.9.9.9\r\nx_forwarded-for: 9.9.9.9\r\n\
                  X-Real-IP: 9.9.9.9\r\nX_Real_IP: 9.9.9.9\r\nX-Forwarded-Port: 9\r\n\
                  X-Forwarded-Prefix: /9\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Host: 9\r\n\
                  X-Forwarded-Proto: 9\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{claims}X_Mine: 1\r\n\r\n");
    assert_eq!(raw(proxy.address(), &request).await.status(), 200);
    let head = backend.request().await.head;
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    assert_eq!(head.one("x_mine"), Some("1"), "others keep their names");
    let text = text.replace("X_Mine", "").replace("x_mine", "");
    assert!(!text.contains('9') || !text.contains("9.9.9.9"), "{text}");
    for name in ["x-forwarded-port", "x-forwarded-prefix", "x-real-ip"] {
        assert!(!head.has(name), "{head}");
    }
    assert!(!text.contains('_'), "{text}");
}

/// No byte of a backend's field becomes a line of its own.
#[tokio::test]
async fn s13_responses_that_would_split() {
    for value in ["a\rSet-Cookie: b", "a\0b", "a\r\rb", "a\x01b", "\x7f"] {
        let answer = Answer::raw(format!(
            "HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n"
        ));
        let backend = Backend::named("a").answer(answer).start();
        let proxy = Proxy::start(Config::balanced([&backend])).await;
        let response = get(proxy.address(), "/").await;
        assert_eq!(response.status(), 502, "{value:?}");
        assert!(!response.head.has("set-cookie") && !response.head.has("x"));
    }
}

/// An answer that comes before the body was read: what is left of the body is
/// nobody's request, neither here nor on the connection to the backend.
#[tokio::test]
async fn s14_what_is_left_of_a_body_is_no_request() {
    let early = Answer::status("403 Forbidden", "no").early();
    let backend = Backend::named("a").script(move |request| match &*request.target {
        "/early" => early.clone(),
        _ => Answer::text("a"),
    });
    let backend = backend.start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = inner.len() * 2;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{inner}"
        ))
        .await;
    assert_eq!(client.response().await.status(), 403);
    // Whether the connection is kept is the proxy's choice.
    let next = "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let _ = client.try_send([inner, next].concat()).await;
    let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{rest}");
    for _ in 0..3 {
        assert_eq!(get(proxy.address(), "/other").await.text(), "a");
    }
    let log = backend.log();
    let early = log.iter().find(|one| one.target == "/early");
    let early = early.expect("it was there").connection;
    // This backend takes for a request what it has not read of a body: there alone.
    let smuggled = |one: &&Request| one.target == "/smuggled";
    assert!(
        log.iter()
            .filter(smuggled)
            .all(|one| one.connection == early)
    );
    let others = log.iter().filter(|one| one.target == "/other");
    assert!(others.clone().count() == 3 && others.clone().all(|one| one.connection != early));
}

/// A wish to switch with a body: the wish goes, and the body stays one.
#[tokio::test]
async fn s15_a_wish_to_switch_with_a_body() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Content-Length: {}\r\n\r\n{inner}",
            inner.len()
        ))
        .await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(client.get("/next").await.status(), 200);
    let log = backend.log();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].body, inner.as_bytes());
    assert!(!log[0].head.has("upgrade") && !log[0].head.has("connection"));
}

/// The second request of a connection is as if it were the first: nothing of the
/// one before is its own.
#[tokio::test]
async fn s17_nothing_is_inherited() {
    let (a, b) = (Backend::named("a").start(), Backend::named("b").start());
    let proxy = Proxy::start(format!(
        "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nhost = \"a.example\"\npool = \"a\"\n\
         [[routes]]\nhost = \"b.example\"\npool = \"b\"\n\
         [[pools.a.backends]]\naddress = \"{a}\"\n[[pools.b.backends]]\naddress = \"{b}\"\n"
    ))
    .await;
    let mut client = Client::connect(proxy.address()).await;
    let first = "GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic eDp5\r\n\
                 Cookie: c=1\r\nX-Forwarded-Host: x\r\nTE: trailers\r\nConnection: te\r\n\r\n";
    let second = "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
    let third = "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n";
    let fourth = "GET / HTTP/1.1\r\nHost: c.example\r\n\r\n";
    client.send([first, second, third, second].concat()).await;
    for expected in ["a", "b", "a", "b"] {
        assert_eq!(client.response().await.text(), expected);
    }
    client.send(fourth).await;
    assert_eq!(client.response().await.status(), 404);
    for request in b.log() {
        for name in ["authorization", "cookie", "te", "connection"] {
            assert!(!request.head.has(name), "{}", request.head);
        }
        assert_eq!(request.head.one("host"), Some("b.example"));
        assert_eq!(request.head.one("x-forwarded-host"), Some("b.example"));
    }
}
