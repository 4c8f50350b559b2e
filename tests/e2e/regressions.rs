//! What was once wrong, and must not be again.

use std::time::Duration;

use anubis_tests::proxy::Folder;
use anubis_tests::{Answer, Backend, Client, Config, Proxy, client};

const ROUND_ROBIN: &[u8] = include_bytes!("../../plugins/components/round-robin.wasm");

/// A core module that ends within its component type made the decoder panic,
/// and a panic while reloading ended all workers.
#[tokio::test]
async fn a_module_that_is_cut_off_is_refused_and_nothing_else() {
    let backend = Backend::named("a").start();
    let whole = include_bytes!("../guests/core-module.wasm");
    let config = || Config::strategy("./mine.wasm").backend(&backend, "");
    let proxy = Folder::with(config())
        .file("mine.wasm", ROUND_ROBIN)
        .start()
        .await;
    for length in [8, 100, 3000, whole.len() / 2, whole.len() - 1] {
        proxy.replace("mine.wasm", &whole[..length]);
        proxy.log("reload refused").await;
        assert_eq!(client::get(proxy.address(), "/").await.text(), "a");
    }
    let ended = Folder::with(config())
        .file("mine.wasm", &whole[..whole.len() / 2])
        .run()
        .await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cut off") && !ended.stderr.contains("panicked"),
        "{}",
        ended.stderr
    );
}

/// hyper sends a GET of unknown length without its body.
#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let backend = Backend::named("a").answer(Answer::echo()).start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let request =
        "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(client::raw(proxy.address(), request).await.text(), "hello");
}

/// HTTP/1.1, which backends are spoken to in, asks for a Host.
#[tokio::test]
async fn a_request_without_host_gets_the_backends() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    client::raw(proxy.address(), "GET / HTTP/1.0\r\n\r\n").await;
    let head = format!("{:?}", backend.request().await);
    assert!(head.contains(&backend.address().to_string()), "{head}");
}

/// The timeout of a body that moves starts anew in both directions.
#[tokio::test]
async fn an_upload_that_goes_on_after_the_response_head_is_not_cut() {
    let backend = Backend::named("a").answer(Answer::echo().early()).start();
    let limits = "idle-timeout = \"500ms\"";
    let proxy = Proxy::start(Config::balanced([&backend]).listener(limits).pool(limits)).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n")
        .await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.text(), "x".repeat(12));
}

/// A response that hyper has taken but not yet written is not an idle connection.
#[tokio::test]
async fn a_slow_reader_gets_all_of_a_response() {
    const LENGTH: u64 = 4 << 20;
    let backend = Backend::named("a").answer(Answer::pattern(LENGTH)).start();
    let limits = "keep-alive = \"200ms\"";
    let proxy = Proxy::start(Config::balanced([&backend]).listener(limits)).await;
    let mut client = Client::connect_narrow(proxy.address()).await;
    client.send_get("/").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(client.pattern().await.expect("a whole body").1, Ok(LENGTH));
}

/// What a strategy does not take is not silently ignored.
#[tokio::test]
async fn a_configuration_for_a_strategy_without_options_is_refused() {
    let backend = Backend::named("a").start();
    let config = Config::strategy("round-robin")
        .pool("config = { x = 1 }")
        .backend(&backend, "");
    let ended = Folder::with(config).run().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("takes no configuration"),
        "{}",
        ended.stderr
    );
}
