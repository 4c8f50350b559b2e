//! What a message looks like on the other side.

use anubis_tests::client::raw;
use anubis_tests::wire::Head;
use anubis_tests::{Answer, Backend, Client, Config, Proxy, within};

/// The head that a backend receives when a client sends this one.
async fn forwarded(config: impl Fn(Config) -> Config, request: &str) -> Head {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(config(Config::balanced([&backend]))).await;
    let response = raw(proxy.address(), request).await;
    assert_eq!(
        response.status(),
        200,
        "{}{}",
        response.head,
        response.text()
    );
    backend.request().await.head
}

/// The head that a client receives when a backend answers so.
async fn returned(answer: Answer) -> anubis_tests::client::Response {
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    anubis_tests::client::get(proxy.address(), "/").await
}

fn plain(config: Config) -> Config {
    config
}

fn trusting(config: Config) -> Config {
    config.listener("trusted-proxies = [\"127.0.0.0/8\"]")
}

#[tokio::test]
async fn the_request_line_is_forwarded_as_it_is() {
    let target = "/a%2Fb//c/../d;e?x=1&&y=%20&z=a+b";
    for method in ["GET", "DELETE", "OPTIONS", "PURGE"] {
        let head = forwarded(
            plain,
            &format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n"),
        )
        .await;
        assert_eq!(head.line, format!("{method} {target} HTTP/1.1"));
    }
}

#[tokio::test]
async fn end_to_end_fields_are_forwarded_as_they_are() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Twice: one\r\nX-Twice: two\r\nX-Empty:\r\n\
                   Authorization: Basic eDp5\r\nCookie: a=1; b=2\r\nX-Latin: caf\u{e9}\r\n\r\n";
    let head = forwarded(plain, request).await;
    assert_eq!(head.all("x-twice"), ["one", "two"]);
    assert_eq!(head.one("x-empty"), Some(""));
    assert_eq!(head.one("authorization"), Some("Basic eDp5"));
    assert_eq!(head.one("cookie"), Some("a=1; b=2"));
    assert_eq!(head.one("x-latin"), Some("caf\u{e9}"));
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Private, Keep-Alive\r\n\
                   Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: unheard-of\r\n\
                   X-Private: 1\r\nX-Public: 1\r\n\r\n";
    let head = forwarded(plain, request).await;
    for name in [
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "x-private",
    ] {
        assert!(!head.has(name), "{name} was forwarded: {head}");
    }
    assert_eq!(head.one("x-public"), Some("1"));
}

#[tokio::test]
async fn connection_cannot_remove_what_the_proxy_needs() {
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\
                   Connection: Host, Content-Length, X-Forwarded-For, Via, Forwarded\r\n\r\nbody";
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let response = raw(proxy.address(), request).await;
    if response.status() == 400 {
        assert_eq!(backend.seen().heads, 0, "refused, yet forwarded");
        return;
    }
    let request = backend.request().await;
    assert_eq!(request.body, b"body");
    assert_eq!(request.head.one("host"), Some("h"));
    for name in ["x-forwarded-for", "via", "forwarded"] {
        assert!(
            request.head.has(name),
            "{name} is missing: {}",
            request.head
        );
    }
}

#[tokio::test]
async fn response_hop_by_hop_fields_stay_on_their_hop() {
    let fields = [
        ("Connection", "X-Private, keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("X-Private", "1"),
        ("X-Public", "1"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "2"),
    ];
    let response = returned(Answer::head("200 Fine By Me", &fields).write("ok")).await;
    for name in ["keep-alive", "proxy-connection", "x-private"] {
        assert!(
            !response.head.has(name),
            "{name} was forwarded: {}",
            response.head
        );
    }
    assert_eq!(response.head.one("x-public"), Some("1"));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.text(), "ok");
}

#[tokio::test]
async fn unusual_statuses_are_forwarded() {
    for status in [203, 207, 299, 302, 402, 418, 451, 500, 507, 599] {
        let response = returned(Answer::status(&format!("{status} Odd"), "body")).await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (status, "body")
        );
    }
}

#[tokio::test]
async fn says_for_whom_it_asks() {
    let head = forwarded(plain, "GET / HTTP/1.1\r\nHost: www.example.org:81\r\n\r\n").await;
    assert_eq!(head.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.one("x-forwarded-proto"), Some("http"));
    assert_eq!(head.one("x-forwarded-host"), Some("www.example.org:81"));
    let forwarded = head
        .one("forwarded")
        .unwrap_or_default()
        .to_ascii_lowercase();
    for part in ["for=127.0.0.1", "proto=http", "host=\"www.example.org:81\""] {
        assert!(forwarded.contains(part), "{part} is not in {forwarded}");
    }
    assert!(
        head.one("via").is_some_and(|via| via.starts_with("1.1 ")),
        "{head}"
    );
}

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: claimed.org\r\nForwarded: for=192.0.2.1;proto=https\r\n\
                      Via: 1.0 earlier\r\n\r\n";

#[tokio::test]
async fn claims_of_strangers_are_replaced() {
    let head = forwarded(plain, CLAIMS).await;
    assert_eq!(head.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.one("x-forwarded-proto"), Some("http"));
    assert_eq!(head.one("x-forwarded-host"), Some("h"));
    assert!(
        !head.all("forwarded").concat().contains("192.0.2.1"),
        "{head}"
    );
    // Via is a trace of the path, not a claim of identity: it always grows.
    let via = head.all("via").join(", ");
    assert!(via.starts_with("1.0 earlier, 1.1 "), "{via}");
}

#[tokio::test]
async fn claims_of_trusted_proxies_are_extended() {
    let head = forwarded(trusting, CLAIMS).await;
    assert_eq!(
        head.all("x-forwarded-for").join(", "),
        "192.0.2.1, 127.0.0.1"
    );
    assert_eq!(head.one("x-forwarded-proto"), Some("https"));
    assert_eq!(head.one("x-forwarded-host"), Some("claimed.org"));
    let forwarded = head.all("forwarded").join(", ");
    assert!(
        forwarded.starts_with("for=192.0.2.1;proto=https, "),
        "{forwarded}"
    );
    assert!(forwarded.contains("for=127.0.0.1"), "{forwarded}");
}

#[tokio::test]
async fn twins_with_underscores_do_not_slip_through() {
    // CGI and WSGI make one variable of `X-Forwarded-For` and `X_Forwarded_For`.
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 192.0.2.1\r\nX_Forwarded_Proto: https\r\n\r\n";
    let head = forwarded(plain, request).await;
    assert!(
        !head.has("x_forwarded_for") && !head.has("x_forwarded_proto"),
        "{head}"
    );
}

#[tokio::test]
async fn the_host_is_kept_or_replaced() {
    let backend = Backend::named("a").start();
    for (setting, expected) in [
        ("keep", "h:81"),
        ("backend", &*backend.address().to_string()),
        ("inside.example", "inside.example"),
    ] {
        let request = "GET / HTTP/1.1\r\nHost: h:81\r\n\r\n";
        let config = Config::balanced([&backend]).pool(&format!("host-header = \"{setting}\""));
        let proxy = Proxy::start(config).await;
        assert_eq!(raw(proxy.address(), request).await.status(), 200);
        let head = backend.log().pop().expect("it answered").head;
        assert_eq!(head.one("host"), Some(expected));
        assert_eq!(head.one("x-forwarded-host"), Some("h:81"));
    }
}

#[tokio::test]
async fn an_absolute_target_beats_the_host_field() {
    let head = forwarded(
        plain,
        "GET http://www.example.org/x?y HTTP/1.1\r\nHost: other.org\r\n\r\n",
    )
    .await;
    assert_eq!(head.line, "GET /x?y HTTP/1.1");
    assert_eq!(head.one("host"), Some("www.example.org"));
}

#[tokio::test]
async fn an_absolute_target_without_a_path_asks_for_the_root() {
    for (end, line) in [("", "GET / HTTP/1.1"), ("?query", "GET /?query HTTP/1.1")] {
        let target = format!("http://www.example.org{end}");
        let request = format!("GET {target} HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
        assert_eq!(forwarded(plain, &request).await.line, line, "{target}");
    }
}

#[tokio::test]
async fn options_asterisk_is_forwarded() {
    let head = forwarded(plain, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(head.line, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn connect_is_refused() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let response = raw(
        proxy.address(),
        "CONNECT other.org:443 HTTP/1.1\r\nHost: other.org:443\r\n\r\n",
    )
    .await;
    assert!(
        [400, 405, 501].contains(&response.status()),
        "{}",
        response.head
    );
    assert_eq!(backend.seen().heads, 0);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(
        (head.status(), head.one("content-length")),
        (200, Some("1"))
    );
    assert_eq!(
        client.get("/").await.text(),
        "a",
        "the connection is still in step"
    );
    assert_eq!(backend.request().await.method, "HEAD");
}

#[tokio::test]
async fn statuses_without_a_body_have_none() {
    for (status, fields) in [
        ("204 No Content", &[("X-Y", "z")][..]),
        (
            "304 Not Modified",
            &[("Content-Length", "5"), ("ETag", "\"e\"")],
        ),
        ("304 Not Modified", &[]),
    ] {
        let (status, answer) = (status.to_owned(), Answer::head(status, fields));
        let backend = Backend::named("a")
            .script(move |request| {
                if request.target == "/" {
                    answer.clone()
                } else {
                    Answer::text("next")
                }
            })
            .start();
        let proxy = Proxy::start(Config::balanced([&backend])).await;
        let mut client = Client::connect(proxy.address()).await;
        let response = client.get("/").await;
        assert!(
            status.starts_with(&response.status().to_string()),
            "{}",
            response.head
        );
        assert!(!response.head.has("transfer-encoding"), "{}", response.head);
        assert_eq!(client.get("/next").await.text(), "next", "after {status}");
        assert_eq!(
            backend.seen().opened,
            1,
            "the connection to the backend is still in step after {status}"
        );
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 100);
    client.send("body").await;
    assert_eq!(client.response().await.text(), "a");
    let request = backend.request().await;
    assert_eq!(request.body, b"body");
    assert!(!request.head.has("expect"), "{}", request.head);
}

#[tokio::test]
async fn a_client_need_not_wait_for_100_continue() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody")
        .await;
    let mut response = client.response().await;
    if response.status() == 100 {
        response = client.response().await;
    }
    assert_eq!(response.text(), "a");
    assert_eq!(backend.request().await.body, b"body");
}

#[tokio::test]
async fn another_expectation_fails() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nExpect: the-unexpected\r\n\r\n";
    assert_eq!(raw(proxy.address(), request).await.status(), 417);
    assert_eq!(backend.seen().heads, 0);
}

#[tokio::test]
async fn interim_responses_do_not_end_the_exchange() {
    let answer =
        Answer::raw("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    let mut response = client.response().await;
    while response.status() < 200 {
        response = client.response().await;
    }
    assert_eq!(response.text(), "ok");
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let backend = Backend::named("a")
        .answer(Answer::chunked_pattern(200_000))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client
        .send("3\r\nabc\r\n5;note=1\r\ndefgh\r\n0\r\n\r\n")
        .await;
    let (head, length) = client.pattern().await.expect("the answer is whole");
    assert_eq!((head.status(), length), (200, Ok(200_000)));
    assert_eq!(backend.request().await.body, b"abcdefgh");
}

#[tokio::test]
async fn request_trailers_are_forwarded() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nhi\r\n0\r\nX-Sum: 42\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(raw(proxy.address(), request).await.status(), 200);
    let trailers = backend.request().await.trailers;
    assert!(
        trailers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("x-sum") && value == "42"),
        "{trailers:?}"
    );
    assert!(
        !trailers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length")),
        "{trailers:?}"
    );
}

#[tokio::test]
async fn response_trailers_are_forwarded_to_who_takes_them() {
    let answer = Answer::head(
        "200 OK",
        &[("Trailer", "X-Sum"), ("Transfer-Encoding", "chunked")],
    )
    .write("2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let response = raw(proxy.address(), request).await;
    assert_eq!(response.text(), "hi");
    let [(name, value)] = &response.trailers[..] else {
        panic!("{:?}", response.trailers)
    };
    assert_eq!(
        (name.to_ascii_lowercase().as_str(), value.as_str()),
        ("x-sum", "42")
    );
}

/// RFC 9110 section 6.5.1: framing, routing and authentication are no matters for
/// trailers, and who did not say that it takes trailers gets none.
#[tokio::test]
async fn b17_no_trailer_says_what_only_a_head_may() {
    let names = [
        "Authorization",
        "Connection",
        "Content-Length",
        "Cookie",
        "Forwarded",
        "Host",
        "Keep-Alive",
        "Proxy-Authorization",
        "Set-Cookie",
        "Transfer-Encoding",
        "Upgrade",
        "Via",
        "WWW-Authenticate",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X_Forwarded_For",
    ];
    let announced = format!("X-Sum, {}", names.join(", "));
    let sent: String = names.map(|name| format!("{name}: 7\r\n")).concat();
    let body = format!("2\r\nhi\r\n0\r\nX-Sum: 42\r\n{sent}\r\n");
    let answer = Answer::head(
        "200 OK",
        &[("Trailer", &announced), ("Transfer-Encoding", "chunked")],
    )
    .write(body.clone());
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let left = |trailers: &[(String, String)]| {
        let names = trailers.iter().map(|(name, _)| name);
        names
            .map(|name| name.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    for (said, expected) in [("TE: trailers\r\nConnection: TE\r\n", 1), ("", 0)] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTrailer: {announced}\r\n{said}\
             Transfer-Encoding: chunked\r\n\r\n{body}"
        );
        let response = raw(proxy.address(), &request).await;
        assert_eq!(response.text(), "hi");
        assert_eq!(
            left(&response.trailers),
            vec!["x-sum"; expected],
            "{said:?}"
        );
    }
    for request in backend.requests(2).await {
        assert_eq!(left(&request.trailers), ["x-sum"]);
    }
}

#[tokio::test]
async fn an_http_1_0_client_is_understood() {
    let backend = Backend::named("a")
        .answer(Answer::chunked_pattern(100_000))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let (head, length) = client
        .pattern()
        .await
        .expect("the body ends with the connection");
    assert!(!head.has("transfer-encoding"), "{head}");
    assert_eq!((head.status(), length), (200, Ok(100_000)));
    assert_eq!(backend.request().await.head.word(2), "HTTP/1.1");
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_its_connection() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        client
            .send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let response = client.response().await;
        assert_eq!(response.text(), "a");
        assert_eq!(
            response.head.one("connection"),
            Some("keep-alive"),
            "{}",
            response.head
        );
    }
}

#[tokio::test]
async fn an_http_1_0_backend_is_understood() {
    let answer = Answer::raw("HTTP/1.0 200 OK\r\n\r\n")
        .write_pattern(70_000)
        .then_close();
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        client.send_get("/").await;
        let (head, length) = client.pattern().await.expect("the body is whole");
        assert_eq!((head.word(0), length), ("HTTP/1.1", Ok(70_000)));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backends = ["a", "b"].map(|name| {
        let echo_target = |request: &anubis_tests::backend::Request| Answer::text(&request.target);
        Backend::named(name).script(echo_target).start()
    });
    let proxy = Proxy::start(Config::balanced(&backends)).await;
    let mut client = Client::connect(proxy.address()).await;
    let requests: String = (0..10)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .collect();
    client.send(requests).await;
    for n in 0..10 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(client.response().await.text(), "a");
    let requests = backend.requests(2).await;
    assert_eq!(
        (&*requests[0].body, requests[1].target.as_str()),
        (&b"body"[..], "/2")
    );
}

#[tokio::test]
async fn an_early_answer_is_forwarded_before_the_body_ends() {
    let backend = Backend::named("a")
        .answer(Answer::status("413 Too Large", "no").then_close().early())
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nonly a part")
        .await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text().as_str()), (413, "no"));
}

#[tokio::test]
async fn close_is_honoured() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(
        (response.text().as_str(), response.head.one("connection")),
        ("a", Some("close"))
    );
    within("the proxy to close", client.reader.closed()).await;
    assert_eq!(
        backend.seen().open(),
        1,
        "the client's wish is not the backend's"
    );
}

#[tokio::test]
async fn connections_to_the_backend_are_kept_and_shared() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend]).global("workers = 1")).await;
    for _ in 0..10 {
        assert_eq!(
            anubis_tests::client::get(proxy.address(), "/").await.text(),
            "a"
        );
    }
    assert_eq!(backend.seen().opened, 1);
}
