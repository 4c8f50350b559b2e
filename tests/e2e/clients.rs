//! What clients do wrong, row by row: they leave, stall, send too much, ask for
//! what there is not. Whatever they do, they are told where that is possible, the
//! backend is let go of, and nothing is left behind.

use std::time::Duration;

use anubis_tests::client::{Client, Response, get, raw};
use anubis_tests::{Answer, Backend, Config, Gate, Metered, Proxy, within};
use tokio::io::AsyncWriteExt;

const LISTENER: (&str, &str) = ("listener", "public");
const POOL: (&str, &str) = ("pool", "web");

/// Nothing is counted as under way, nothing is open.
async fn everything_is_over(proxy: &Metered) {
    let backend = [("backend", "a"), POOL];
    proxy
        .until("anubis_listener_connections_open", &[LISTENER], 0)
        .await;
    proxy
        .until("anubis_pool_requests_in_flight", &[POOL], 0)
        .await;
    proxy
        .until("anubis_backend_attempts_in_flight", &backend, 0)
        .await;
}

/// So many connections ended for this reason.
async fn ended(proxy: &Metered, reason: &str, count: u32) {
    let name = "anubis_listener_connections_ended_total";
    proxy
        .until(name, &[LISTENER, ("reason", reason)], count)
        .await;
}

/// How far a client goes before it leaves: what it sends, and whether it waits
/// for the beginning of an answer.
const STAGES: [(&str, bool); 9] = [
    ("", false),
    ("GE", false),
    ("GET /slow HTTP/1.1\r\nHost:", false),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
        false,
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        false,
    ),
    ("GET /silent HTTP/1.1\r\nHost: h\r\n\r\n", false),
    ("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
    (
        "GET /silent HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        false,
    ),
];

/// Clients leave at every stage, thousands of times: nothing stays behind. With
/// `ANUBIS_DISCONNECTS` as many times as it says.
#[tokio::test]
async fn c1_nothing_is_left_of_clients_that_leave() {
    let count = std::env::var("ANUBIS_DISCONNECTS").ok();
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(2_000);
    let backend = Backend::named("a").script(|request| match request.target.as_str() {
        "/silent" => Answer::silence(),
        "/endless" => Answer::pattern(1 << 40),
        _ => Answer::text("a"),
    });
    let backend = backend.start();
    let proxy = Metered::start(Config::balanced([&backend])).await;
    let address = proxy.address();
    assert_eq!(get(address, "/").await.status(), 200);
    let before = proxy.process().proc_entries("fd");
    let clients = (0..32).map(|worker| {
        tokio::spawn(async move {
            for turn in (worker..count).step_by(32) {
                let (bytes, waits) = STAGES[turn % STAGES.len()];
                let mut client = Client::connect(address).await;
                client.send(bytes).await;
                if waits {
                    client.head().await;
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no client fails");
    }
    everything_is_over(&proxy).await;
    within("the descriptors to be given back", async {
        // Some are connections to the backend that are kept.
        while proxy.process().proc_entries("fd") > before + 64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(get(address, "/").await.status(), 200);
}

/// On the wire, half a close is no different from a client that has left, and
/// work for those is stopped (C1). As with nginx, whoever wants an answer keeps
/// its side open.
#[tokio::test]
async fn c2_a_client_that_closes_its_side_has_left() {
    let gate = Gate::new();
    let answer = Answer::text("a").when(&gate);
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Metered::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backend.request().await;
    client.writer.shutdown().await.expect("it is open");
    backend
        .until("the request to be given up", |seen| seen.aborted == 1)
        .await;
    assert!(client.rest().await.is_empty());
    proxy
        .until("anubis_pool_requests_abandoned_total", &[POOL], 1)
        .await;
    everything_is_over(&proxy).await;
    gate.open();
}

/// A byte now and then is not progress: the whole head has its time, each client
/// is told, and the others are served.
#[tokio::test]
async fn c3_slow_heads_are_told_and_hold_nobody_up() {
    const CLIENTS: u32 = 100;
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("header-timeout = \"1s\"");
    let proxy = Metered::start(config).await;
    let address = proxy.address();
    let slow = (0..CLIENTS).map(|_| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            client.send("GET / HTTP/1.1\r\nX: ").await;
            let (reader, writer) = (&mut client.reader, &mut client.writer);
            let drip = async {
                while writer.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                std::future::pending::<()>().await
            };
            let head = tokio::select! {
                head = within("an answer", reader.head()) => head,
                () = drip => unreachable!("it never ends"),
            };
            head.ok().flatten().map_or(0, |head| head.status())
        })
    });
    let slow: Vec<_> = slow.collect();
    assert_eq!(get(address, "/").await.status(), 200, "others are served");
    for client in slow {
        assert_eq!(client.await.expect("it waits for its answer"), 408);
    }
    ended(&proxy, "slow-head", CLIENTS).await;
    everything_is_over(&proxy).await;
    assert_eq!(backend.seen().heads, 1, "nothing of them reached it");
}

/// A body that stalls costs its backend no more than the listener's patience.
#[tokio::test]
async fn c4_a_body_that_stalls_lets_go_of_the_backend() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("idle-timeout = \"500ms\"");
    let proxy = Metered::start(config).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let answer = raw(proxy.address(), request).await;
        assert_eq!(answer.status(), 408, "{request:?}");
        assert_eq!(answer.head.one("connection"), Some("close"));
    }
    everything_is_over(&proxy).await;
    assert_eq!(backend.seen().requests, 0, "no body was ever whole");
}

/// A body that moves, however slowly, is none that stalls.
#[tokio::test]
async fn c4_a_slow_body_that_does_not_stall_arrives() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("idle-timeout = \"1500ms\"");
    let proxy = Proxy::start(config).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n")
        .await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(backend.request().await.body, b"xxxxxxxx");
}

/// A client with a closed window: the backend is slowed down to nothing, the
/// proxy holds no more than its buffers, and after its patience both are let go.
#[tokio::test]
async fn c5_a_client_that_reads_nothing_costs_buffers_and_patience() {
    const READERS: u64 = 8;
    let backend = Backend::named("a").answer(Answer::pattern(1 << 30)).start();
    let config = Config::balanced([&backend]).listener("idle-timeout = \"2s\"");
    let proxy = Metered::start(config).await;
    let before = proxy.proxy().resident();
    let mut clients = Vec::new();
    for _ in 0..READERS {
        let mut client = Client::connect_narrow(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
    }
    backend
        .until("backpressure", |seen| seen.stalled >= READERS as usize)
        .await;
    let (sent, grown) = (
        backend.seen().sent / READERS,
        proxy.proxy().resident().saturating_sub(before) / READERS,
    );
    assert!(sent < 16 << 20, "{sent} bytes each went off");
    assert!(grown < 4 << 20, "{grown} bytes each are held");
    println!("each of {READERS} readers of nothing: {sent} B sent by the backend, {grown} B held");
    ended(&proxy, "stalled", READERS as u32).await;
    backend
        .until("the requests to be given up", |seen| {
            seen.aborted == READERS as usize
        })
        .await;
    everything_is_over(&proxy).await;
}

/// Whoever is quicker, answers keep the order of the questions; a bad one is the
/// last.
#[tokio::test]
async fn c6_pipelined_answers_keep_their_order() {
    let gate = Gate::new();
    let waits = gate.clone();
    let backend = Backend::named("a").script(move |request| {
        let answer = Answer::text(&request.target);
        match request.target.as_str() {
            "/slow" => answer.when(&waits),
            _ => answer,
        }
    });
    let backend = backend.start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    let get = |target| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let requests = ["/slow", "/1", "/2"].map(get).concat();
    let bad = "GET /bad HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n";
    client
        .send(format!("{requests}{bad}{}", get("/never")))
        .await;
    backend.request().await;
    assert_eq!(backend.seen().requests, 1, "one after the other");
    gate.open();
    for expected in ["/slow", "/1", "/2"] {
        assert_eq!(client.response().await.text(), expected);
    }
    assert_eq!(client.response().await.status(), 400);
    assert!(client.rest().await.is_empty(), "nothing after the refusal");
    assert_eq!(backend.seen().requests, 3);
}

/// HTTP/1.0 knows no chunks and keeps a connection only where both say so.
#[tokio::test]
async fn c7_http_1_0_gets_what_it_understands() {
    let backend = Backend::named("a").script(|request| match request.target.as_str() {
        "/chunks" => Answer::chunked_pattern(1000),
        _ => Answer::text("a"),
    });
    let backend = backend.start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET /chunks HTTP/1.0\r\n\r\n").await;
    let (head, body) = client.pattern().await.expect("a whole answer");
    assert!(!head.has("transfer-encoding"), "{head}");
    assert_eq!(body, Ok(1000));

    let mut kept = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let response = kept.response().await;
        assert_eq!(response.text(), "a");
        assert_eq!(response.head.one("connection"), Some("keep-alive"));
    }
    kept.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(kept.response().await.text(), "a");
    assert!(kept.rest().await.is_empty(), "it is closed");
    let seen = backend.log();
    let head = &seen.last().expect("a request").head;
    assert!(head.line.ends_with("HTTP/1.1"), "{head}");
    assert_eq!(head.one("host"), Some(&*backend.address().to_string()));
}

/// 100 is sent for a body that somebody takes, and for no other.
#[tokio::test]
async fn c8_a_body_is_asked_for_only_when_it_is_wanted() {
    let expecting =
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let refusing = Backend::refusing("a").await;
    let proxy = Proxy::start(Config::balanced([&refusing])).await;
    assert_eq!(
        raw(proxy.address(), expecting).await.status(),
        503,
        "nobody is there to take it"
    );

    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("max-body-size = \"3B\"");
    let proxy = Proxy::start(config).await;
    assert_eq!(raw(proxy.address(), expecting).await.status(), 413);
    let other = expecting.replace("100-continue", "200-maybe");
    let other = other.replace("Content-Length: 4", "Content-Length: 3");
    assert_eq!(raw(proxy.address(), &other).await.status(), 417);
    assert_eq!(backend.seen().heads, 0);

    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send(expecting).await;
    assert_eq!(client.head().await.status(), 100);
    client.send("body").await;
    assert_eq!(client.response().await.text(), "a");
    // It may also not wait.
    client.send(format!("{expecting}body")).await;
    let mut response = client.response().await;
    while response.status() == 100 {
        response = client.response().await;
    }
    assert_eq!(response.text(), "a");
    for request in backend.log() {
        assert_eq!(request.body, b"body");
        assert!(!request.head.has("expect"), "{}", request.head);
    }
}

/// A wish to switch is forwarded where the answer cannot be mistaken, and is
/// otherwise an ordinary request.
#[tokio::test]
async fn c9_only_a_plain_wish_to_switch_is_forwarded() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    for (request, forwarded) in [
        ("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", true),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", false),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            false,
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
            false,
        ),
        ("Upgrade: websocket\r\n\r\n", false),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody",
            false,
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let mut client = Client::connect(proxy.address()).await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: h\r\n{request}"))
            .await;
        assert_eq!(client.response().await.status(), 200, "{request:?}");
        // What comes after an answer that switches nothing is a request.
        assert_eq!(client.get("/").await.status(), 200, "{request:?}");
        let log = backend.log();
        let [.., asked, _] = log.as_slice() else {
            panic!("two requests for {request:?}");
        };
        assert_eq!(asked.head.has("upgrade"), forwarded, "{}", asked.head);
        assert!(!asked.head.has("http2-settings"), "{}", asked.head);
    }
}

/// Bytes that come with the wish belong to the protocol that is switched to,
/// whatever they would mean in HTTP.
#[tokio::test]
async fn c9_bytes_sent_ahead_belong_to_the_new_protocol() {
    let gate = Gate::new();
    let tunnel = Answer::tunnel("websocket").when(&gate);
    let backend = Backend::named("a").answer(tunnel).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    let wish = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let ahead = "\n\rno \u{1} HTTP\n";
    client.send(format!("{wish}{ahead}")).await;
    backend.request().await;
    client.send("more\n").await;
    gate.open();
    assert_eq!(client.head().await.status(), 101);
    let mut echo = Vec::new();
    within("the echo", async {
        while echo.len() < ahead.len() + 5 {
            echo.extend(client.reader.some().await.expect("an echo"));
        }
    })
    .await;
    assert_eq!(echo, format!("{ahead}more\n").as_bytes());
}

/// Requests sent far ahead of their answers wait, all are answered, and what they
/// take here is bounded.
#[tokio::test]
async fn c6_requests_sent_far_ahead_wait() {
    const REQUESTS: usize = 5_000;
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    let requests =
        "GET / HTTP/1.1\r\nHost: h\r\nX: 0123456789012345678901234567890123456789\r\n\r\n";
    let requests = requests.repeat(REQUESTS);
    let (reader, writer) = (&mut client.reader, &mut client.writer);
    let ask = async { writer.write_all(requests.as_bytes()).await };
    let answers = async {
        for _ in 0..REQUESTS {
            let head = within("an answer", reader.head()).await;
            let head = head.expect("an answer").expect("not an end");
            assert_eq!(head.status(), 200);
            let framing = head.framing().expect("a length");
            reader.body(framing, |_| ()).await.expect("a body");
        }
    };
    let (asked, ()) = tokio::join!(ask, answers);
    asked.expect("all is taken");
    assert_eq!(backend.seen().requests, REQUESTS);
}

#[tokio::test]
async fn c10_nobody_is_connected_through() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let target = backend.address();
    for request in [
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"
        ),
        format!("CONNECT / HTTP/1.1\r\nHost: {target}\r\n\r\n"),
    ] {
        let mut client = Client::connect(proxy.address()).await;
        client.send(&request).await;
        let response = client.response().await;
        assert!([400, 405].contains(&response.status()), "{}", response.head);
        assert!(client.rest().await.is_empty(), "what follows is dropped");
    }
    assert_eq!(backend.seen().opened, 0);
}

/// A body beyond the limit: known from its head, no backend is asked; found out
/// on the way, it is cut off there, and the backend never takes it for whole.
#[tokio::test]
async fn c11_a_body_that_is_too_large_is_413() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).listener("max-body-size = \"1KiB\"");
    let proxy = Metered::start(config).await;
    let declared = |length: usize| {
        let body = "x".repeat(length);
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let chunked = |lengths: &[usize]| {
        let chunk = |length: &usize| format!("{length:x}\r\n{}\r\n", "x".repeat(*length));
        let chunks: String = lengths.iter().map(chunk).collect();
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    };
    let closed = |answer: &Response| answer.head.one("connection") == Some("close");
    let address = proxy.address();
    assert_eq!(raw(address, &declared(1024)).await.status(), 200);
    assert_eq!(raw(address, &chunked(&[1000, 24])).await.status(), 200);
    let whole = backend.requests(2).await.len();
    let heads = backend.seen().heads;
    let answer = raw(address, &declared(1025)).await;
    assert_eq!((answer.status(), closed(&answer)), (413, true));
    assert_eq!(backend.seen().heads, heads, "no backend was asked");
    for lengths in [&[1000, 25][..], &[1025], &[1 << 40]] {
        let request = match lengths {
            [huge] if *huge > 1 << 20 => format!(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{huge:x}\r\nx"
            ),
            _ => chunked(lengths),
        };
        let answer = raw(address, &request).await;
        assert_eq!(
            (answer.status(), closed(&answer)),
            (413, true),
            "{lengths:?}"
        );
    }
    ended(&proxy, "too-large", 3).await;
    everything_is_over(&proxy).await;
    assert_eq!(backend.seen().requests, whole, "it took none for whole");
}

/// Whoever is refused while it still sends reads why, and then an orderly end: no
/// reset takes the answer away.
#[tokio::test]
async fn c12_a_refusal_is_read_although_more_was_sent() {
    const MEBIBYTE: usize = 1 << 20;
    let early = Answer::status("403 Forbidden", "no").early();
    let backend = Backend::named("a").answer(early).start();
    let limits = "max-body-size = \"1KiB\"\nmax-header-size = \"4KiB\"\nheader-timeout = \"1s\"";
    let proxy = Metered::start(Config::balanced([&backend]).listener(limits)).await;
    let filler = "x".repeat(MEBIBYTE);
    for (status, beginning) in [
        (
            413,
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n".to_owned(),
        ),
        (
            413,
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n".to_owned(),
        ),
        (400, "GET / HTTP/1.1\r\nHost: h\nX: ".to_owned()),
        (400, "nonsense\r\n\r\n".to_owned()),
        (414, "GET /".to_owned()),
        (431, "GET / HTTP/1.1\r\nHost: h\r\nX: ".to_owned()),
        (405, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned()),
        (
            417,
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 1024\r\n\r\n".to_owned(),
        ),
    ] {
        let mut client = Client::connect(proxy.address()).await;
        let sent = client.try_send(format!("{beginning}{filler}")).await;
        assert!(sent.is_ok(), "{beginning:?}: {sent:?}");
        let response = within("an answer", client.try_response()).await;
        let response = response.unwrap_or_else(|error| panic!("{beginning:?}: {error}"));
        assert_eq!(response.status(), status, "{beginning:?}");
        let end = within("the end", client.reader.head()).await;
        assert!(
            matches!(end, Ok(None)),
            "{beginning:?}: not an orderly end: {end:?}"
        );
    }
    everything_is_over(&proxy).await;
}

/// Not for ever, and not for any amount: who goes on sending is cut off.
#[tokio::test]
async fn c12_nobody_is_heard_out_without_end() {
    let backend = Backend::named("a").start();
    let proxy = Metered::start(Config::balanced([&backend])).await;
    let mut silent = Client::connect(proxy.address()).await;
    silent.send("nonsense\r\n\r\n").await;
    assert_eq!(silent.response().await.status(), 400);
    let mut talkative = Client::connect(proxy.address()).await;
    talkative.send("nonsense\r\n\r\n").await;
    let piece = vec![b'x'; 1 << 16];
    within("the end of patience", async {
        while talkative.writer.write_all(&piece).await.is_ok() {}
    })
    .await;
    everything_is_over(&proxy).await;
}
