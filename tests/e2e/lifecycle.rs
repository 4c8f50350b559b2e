//! From start to end: clients that leave, reloads, and a clean stop.

use std::net::SocketAddr;

use anubis_tests::client::{BETWEEN_RESPONSES, get};
use anubis_tests::{Answer, Backend, Client, Config, Gate, Load, Proxy, within};
use rustix::process::Signal;

use crate::{REFUSED, RELOADED};

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let backend = Backend::named("a").answer(Answer::silence()).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backend.request().await;
    drop(client);
    backend.until("the abort", |seen| seen.aborted == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_within_the_body_cancels_its_request() {
    let answer = Answer::head("200 OK", &[("Content-Length", "1000")])
        .write("part")
        .then_silence();
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    client.head().await;
    drop(client);
    backend.until("the abort", |seen| seen.aborted == 1).await;
}

/// A backend with room for one: as long as anything counts as in flight there,
/// others get 503. `leave` ends the request that takes the room.
async fn room_is_made(answer: Answer, leave: impl AsyncFn(Client)) {
    let backend = Backend::named("a")
        .script(move |request| {
            if request.target == "/hold" {
                answer.clone()
            } else {
                Answer::text("room")
            }
        })
        .start();
    let proxy =
        Proxy::start(Config::strategy("round-robin").backend(&backend, "capacity = 1")).await;
    for _ in 0..20 {
        let before = backend.seen();
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/hold").await;
        backend
            .until("the request", |seen| seen.heads > before.heads)
            .await;
        leave(client).await;
        within("the room to be free again", async {
            while get(proxy.address(), "/").await.status() == 503 {}
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_stays_in_flight_when_clients_leave_before_the_answer() {
    room_is_made(Answer::silence(), async |client| drop(client)).await;
}

#[tokio::test]
async fn nothing_stays_in_flight_when_clients_leave_within_the_body() {
    let part = Answer::head("200 OK", &[("Content-Length", "1000")])
        .write("part")
        .then_silence();
    room_is_made(part, async |mut client| {
        client.head().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_stays_in_flight_after_failures() {
    for answer in [
        Answer::close(),
        Answer::raw("garbage\r\n\r\n"),
        Answer::head("200 OK", &[("Content-Length", "9")])
            .write("cut")
            .then_close(),
        Answer::head("304 Not Modified", &[]),
        Answer::text("whole"),
    ] {
        room_is_made(answer, async |mut client| {
            let _ = within("an answer or an end", client.try_response()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer_or_a_clean_end() {
    let gate = Gate::new();
    let backend = Backend::named("a")
        .answer(Answer::text("a").when(&gate))
        .start();
    let proxy =
        Proxy::start(Config::strategy("round-robin").backend(&backend, "capacity = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backend.request().await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.writer)
        .await
        .expect("it is open");
    gate.open();
    let answer = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(
        answer.is_empty() || answer.ends_with("\r\n\r\na"),
        "{answer}"
    );
    within("the room to be free again", async {
        while get(proxy.address(), "/").await.status() == 503 {}
    })
    .await;
}

/// Waits until nothing listens there any more.
async fn refused(address: SocketAddr) {
    within("the listener to close", async {
        while Client::try_connect(address).await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn sigterm_finishes_what_runs() {
    let gate = Gate::new();
    let body = Answer::head("200 OK", &[("Content-Length", "10")])
        .write("first")
        .then_when(&gate)
        .write("later");
    let head = Answer::text("slow head").when(&gate);
    let backend = Backend::named("a")
        .script(move |request| {
            if request.target == "/body" {
                body.clone()
            } else {
                head.clone()
            }
        })
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut in_body = Client::connect(proxy.address()).await;
    in_body.send_get("/body").await;
    in_body.head().await;
    let mut before_head = Client::connect(proxy.address()).await;
    before_head.send_get("/head").await;
    let mut idle = Client::connect(proxy.address()).await;
    backend.requests(2).await;

    proxy.terminate();
    refused(proxy.address()).await;
    within("the idle connection to be closed", idle.reader.closed()).await;
    gate.open();
    let response = before_head.response().await;
    assert_eq!(response.text(), "slow head");
    assert_eq!(
        response.head.one("connection"),
        Some("close"),
        "{}",
        response.head
    );
    assert_eq!(in_body.rest().await, b"firstlater");
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn ctrl_c_ends_it_too() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    proxy.process().signal(Signal::INT);
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn the_grace_time_is_an_end() {
    let backend = Backend::named("a").answer(Answer::silence()).start();
    let proxy =
        Proxy::start(Config::balanced([&backend]).global("shutdown-grace = \"300ms\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backend.request().await;
    proxy.terminate();
    within("the connection to be cut", client.reader.closed()).await;
    assert!(proxy.exit().await.is_some(), "it ends by itself");
}

#[tokio::test]
async fn a_stop_under_load_cuts_no_answer() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let load = Load::start(proxy.address(), 8);
    load.more(200).await;
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0));
    // No answer was cut. A kept connection may be closed while a request is on
    // its way there, which every client must be ready for.
    let report = load.stop().await;
    for failure in &report.failures {
        assert!(
            failure.contains("refused") || failure == BETWEEN_RESPONSES,
            "{failure}"
        );
    }
}

#[tokio::test]
async fn sighup_reloads() {
    let [a, b] = ["a", "b"].map(|name| Backend::named(name).start());
    let proxy = Proxy::start(Config::balanced([&a])).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    proxy.configure(Config::balanced([&b]));
    proxy.hang_up();
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
}

#[tokio::test]
async fn saving_the_file_reloads() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let proxy = Proxy::start(Config::balanced([&a])).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    proxy.configure(Config::balanced([&b]));
    proxy.log(RELOADED).await;
    assert_eq!(
        client.get("/").await.text(),
        "b",
        "the client's connection stays and follows"
    );
    proxy.replace("anubis.toml", Config::balanced([&c]).to_string());
    proxy.log(RELOADED).await;
    assert_eq!(client.get("/").await.text(), "c");
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_names_the_line() {
    let [a, b] = ["a", "b"].map(|name| Backend::named(name).start());
    let proxy = Proxy::start(Config::balanced([&a])).await;
    let broken = Config::balanced([&b]).pool("tires = 3").to_string();
    let line = 1 + broken
        .lines()
        .position(|line| line == "tires = 3")
        .expect("it is there");
    proxy.configure(broken);
    let refusal = proxy.log(REFUSED).await.to_string();
    for part in ["anubis.toml", &line.to_string(), "tires", "tries"] {
        assert!(refusal.contains(part), "{part} is not in {refusal}");
    }
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    proxy.configure(Config::balanced([&b]));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
}

#[tokio::test]
async fn a_file_cut_short_or_gone_changes_nothing() {
    let a = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&a])).await;
    let whole = Config::balanced([&a]).to_string();
    proxy.configure(&whole[..whole.len() / 2]);
    proxy.log(REFUSED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    std::fs::remove_file(proxy.path("anubis.toml")).expect("it is there");
    proxy.hang_up();
    proxy.log(REFUSED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn a_reload_cuts_nothing_in_flight() {
    let gate = Gate::new();
    let slow = Answer::head("200 OK", &[("Content-Length", "10")])
        .write("first")
        .then_when(&gate)
        .write("later");
    let a = Backend::named("a").answer(slow).start();
    let b = Backend::named("b").start();
    let proxy = Proxy::start(Config::balanced([&a])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    client.head().await;
    proxy.configure(Config::balanced([&b]));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    gate.open();
    let mut body = Vec::new();
    let framing = anubis_tests::wire::Framing::Length(10);
    within(
        "the rest",
        client
            .reader
            .body(framing, |piece| body.extend_from_slice(piece)),
    )
    .await
    .expect("it is whole");
    assert_eq!(body, b"firstlater");
    assert_eq!(client.get("/").await.text(), "b");
}

#[tokio::test]
async fn what_is_unchanged_keeps_its_connections() {
    let [a, b] = ["a", "b"].map(|name| Backend::named(name).start());
    let proxy = Proxy::start(Config::balanced([&a]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    client.get("/").await;
    proxy.configure(Config::balanced([&a, &b]).global("workers = 1"));
    proxy.log(RELOADED).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    assert_eq!((a.seen().opened, b.seen().opened), (1, 1));
}

#[tokio::test]
async fn leases_outlive_a_reload() {
    let gate = Gate::new();
    let held = Answer::text("a").when(&gate);
    let a = Backend::named("a").answer(held).start();
    let config = Config::strategy("round-robin").backend(&a, "capacity = 1");
    let proxy = Proxy::start(config.clone()).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    a.request().await;
    proxy.configure(config.clone().pool("tries = 1"));
    proxy.log(RELOADED).await;
    assert_eq!(
        get(proxy.address(), "/").await.status(),
        503,
        "the one place is still taken"
    );
    gate.open();
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(
        get(proxy.address(), "/").await.text(),
        "a",
        "and was given back once"
    );
}

#[tokio::test]
async fn a_reload_may_open_and_close_listeners() {
    let a = Backend::named("a").start();
    let one = Config::balanced([&a]).to_string();
    let two = format!("[[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n{one}");
    let proxy = Proxy::start(&one).await;
    proxy.configure(&two);
    let second = proxy.process().address().await;
    assert_eq!(get(second, "/").await.text(), "a");
    assert_eq!(
        get(proxy.address(), "/").await.text(),
        "a",
        "the first is as it was"
    );
    proxy.configure(&one);
    refused(second).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn no_client_can_make_it_panic() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let seeds: [&[u8]; 4] = [
        b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HEAD * HTTP/1.0\r\nExpect: 100-continue\r\nCookie: a=b; c\r\nContent-Length: 3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n\0 :,;\xff%"[next(9)]),
            }
        }
        let mut client = Client::connect(proxy.address()).await;
        let _ = client.try_send(&bytes).await;
        // Whatever it is answered, if anything: the next one comes at once.
        drop(client);
    }
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    assert!(
        !proxy.process().logged("panic"),
        "{}",
        proxy.process().stderr()
    );
}
