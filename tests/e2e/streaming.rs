//! Bodies of any size, in memory that does not grow with them.

use anubis_tests::client::send_pattern;
use anubis_tests::{Answer, Backend, Client, Config, Gate, Proxy, within};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// How much the proxy may grow while 1 GiB passes through it.
const GROWTH: u64 = 48 * MIB;

/// More than the buffers of four sockets and the proxy's own, and far less than a body.
const IN_BUFFERS: u64 = 32 * MIB;

async fn warm(proxy: &Proxy) -> u64 {
    Client::connect(proxy.address()).await.get("/warm").await;
    proxy.resident()
}

#[track_caller]
fn assert_grew_little(proxy: &Proxy, before: u64) {
    let after = proxy.resident();
    assert!(
        after < before + GROWTH,
        "from {} to {} MiB",
        before / MIB,
        after / MIB
    );
}

#[tokio::test]
async fn a_gibibyte_comes_down_in_bounded_memory() {
    let backend = Backend::named("a")
        .script(|request| {
            if request.target == "/warm" {
                Answer::text("a")
            } else {
                Answer::pattern(GIB)
            }
        })
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let before = warm(&proxy).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    assert_eq!(
        client.pattern().await.expect("the body is whole").1,
        Ok(GIB)
    );
    assert_grew_little(&proxy, before);
}

#[tokio::test]
async fn a_gibibyte_goes_up_in_bounded_memory() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let before = warm(&proxy).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {GIB}\r\n\r\n"
        ))
        .await;
    send_pattern(&mut client.writer, GIB)
        .await
        .expect("the proxy takes all");
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(backend.requests(2).await[1].pattern, Ok(GIB));
    assert_grew_little(&proxy, before);
}

#[tokio::test]
async fn both_ways_at_once() {
    let length = 64 * MIB;
    let backend = Backend::named("a").answer(Answer::echo()).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let Client { writer, reader, .. } = &mut client;
    let receive = async {
        let head = reader
            .head()
            .await
            .expect("the proxy answers")
            .expect("not an end");
        let mut check = anubis_tests::pattern::Check::default();
        let framing = head.framing().expect("it is framed");
        reader
            .body(framing, |piece| check.add(piece))
            .await
            .expect("the body is whole");
        check.result()
    };
    let (sent, received) = tokio::join!(send_pattern(writer, length), receive);
    sent.expect("the proxy takes all");
    assert_eq!(received, Ok(length));
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_backend() {
    let backend = Backend::named("a").answer(Answer::pattern(GIB)).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect_narrow(proxy.address()).await;
    client.send_get("/").await;
    client.head().await;
    let seen = backend
        .until("the backend's writes to stall", |seen| seen.stalled > 0)
        .await;
    assert!(
        seen.sent < IN_BUFFERS,
        "{} MiB were sent to nobody",
        seen.sent / MIB
    );
}

#[tokio::test]
async fn a_backend_that_stops_reading_stops_the_client() {
    let backend = Backend::named("a")
        .answer(Answer::silence().early())
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let before = proxy.resident();
    let mut client = Client::connect(proxy.address()).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {GIB}\r\n\r\n"
        ))
        .await;
    backend.request().await;
    // `silence` keeps reading to notice an end, 64 KiB and more at a time: only
    // what a client can push within a second is looked at here.
    let pushed = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        send_pattern(&mut client.writer, GIB),
    )
    .await;
    assert!(pushed.is_err() || pushed.is_ok_and(|sent| sent.is_ok()));
    assert_grew_little(&proxy, before);
}

#[tokio::test]
async fn every_piece_is_passed_on_as_it_comes() {
    let gate = Gate::new();
    let answer = Answer::head(
        "200 OK",
        &[
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "text/event-stream"),
        ],
    )
    .write("6\r\nfirst\n\r\n")
    .then_when(&gate)
    .write("7\r\nsecond\n\r\n0\r\n\r\n");
    let backend = Backend::named("a").answer(answer).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/events").await;
    client.head().await;
    let mut text = Vec::new();
    let mut each = |piece: &[u8]| text.extend_from_slice(piece);
    within("the first event", client.reader.chunk(&mut each))
        .await
        .expect("the proxy passes it on");
    gate.open();
    within("the second event", client.reader.chunk(&mut each))
        .await
        .expect("the proxy passes it on");
    assert_eq!(text, b"first\nsecond\n");
}

#[tokio::test]
async fn every_piece_of_a_request_is_passed_on_as_it_comes() {
    let backend = Backend::named("a").answer(Answer::echo()).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut text = Vec::new();
    let mut each = |piece: &[u8]| text.extend_from_slice(piece);
    client.send("5\r\nfirst\r\n").await;
    client.head().await;
    within("the first piece", client.reader.chunk(&mut each))
        .await
        .expect("it comes back");
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    within("the second piece", client.reader.chunk(&mut each))
        .await
        .expect("it comes back");
    assert_eq!(text, b"firstsecond");
}
