use super::*;
use crate::client::{self, Client};
use crate::gate::Gate;
use crate::pattern;

#[tokio::test]
async fn answers_with_its_name_and_records_the_request() {
    let backend = Backend::named("a").start();
    let mut client = Client::connect(backend.address()).await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(client.response().await.text(), "a");
    let request = backend.request().await;
    assert_eq!(
        (
            request.method.as_str(),
            request.target.as_str(),
            &*request.body
        ),
        ("POST", "/x", &b"hi"[..])
    );
    assert_eq!(request.head.one("host"), Some("h"));
}

#[tokio::test]
async fn streams_echoes_and_closes() {
    let length = 300_000;
    let backend = Backend::named("a")
        .script(move |request| match request.target.as_str() {
            "/chunks" => Answer::chunked_pattern(length),
            "/echo" => Answer::echo(),
            _ => Answer::pattern(length).then_close(),
        })
        .start();
    for target in ["/chunks", "/close"] {
        let mut client = Client::connect(backend.address()).await;
        client.send_get(target).await;
        assert_eq!(client.pattern().await.expect("it answers").1, Ok(length));
    }
    let mut client = Client::connect(backend.address()).await;
    let body = pattern::bytes(100_000);
    client
        .send("POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        .await;
    client.send(&body).await;
    assert_eq!(client.response().await.body, body);
}

#[tokio::test]
async fn counts_what_a_client_gives_up() {
    let gate = Gate::new();
    let backend = Backend::named("a")
        .answer(Answer::text("late").when(&gate))
        .start();
    let mut client = Client::connect(backend.address()).await;
    client.send_get("/").await;
    backend.request().await;
    drop(client);
    let over = backend.until("the abort", |seen| seen.aborted == 1 && seen.open() == 0);
    assert_eq!(over.await.answered, 0);
}

#[tokio::test]
async fn refuses_while_stopped_and_listens_again() {
    let backend = Backend::refusing("a").await;
    assert!(Client::try_connect(backend.address()).await.is_err());
    backend.restart().await;
    assert_eq!(client::get(backend.address(), "/").await.text(), "a");
}
