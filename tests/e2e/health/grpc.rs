//! `grpc.health.v1.Health/Check` against servers that speak HTTP/2.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use anubis_tests::{Answer, Backend, Metered, Proxy};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::{HEALTHY, UNHEALTHY, within_scrape};

/// `ServingStatus`
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A gRPC server with the health service. Ends with the test's runtime.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What is said of each service; of others, `NOT_FOUND`.
    statuses: Mutex<BTreeMap<String, u8>>,
    /// Path, service and headers of each call.
    calls: Mutex<Vec<(String, String, HeaderMap)>>,
}

impl Server {
    async fn start(service: &str, status: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let server = Self { address, shared };
        server.set(service, status);
        tokio::spawn(accept(listener, Arc::clone(&server.shared)));
        server
    }

    fn set(&self, service: &str, status: u8) {
        let mut statuses = self.shared.statuses.lock().expect("no holder panics");
        statuses.insert(service.to_owned(), status);
    }

    fn calls(&self) -> Vec<(String, String, HeaderMap)> {
        self.shared.calls.lock().expect("no holder panics").clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        let io = TokioIo::new(stream);
        let serve = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
        tokio::spawn(serve);
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Frames>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let service = match &body[..] {
        [0, 0, 0, 0, 0] => String::new(),
        [0, 0, 0, 0, length, 0x0a, _, name @ ..] if usize::from(*length) == name.len() + 2 => {
            String::from_utf8_lossy(name).into_owned()
        }
        other => panic!("not a request: {other:?}"),
    };
    let status = {
        let statuses = shared.statuses.lock().expect("no holder panics");
        statuses.get(&service).copied()
    };
    let mut calls = shared.calls.lock().expect("no holder panics");
    calls.push((head.uri.path().to_owned(), service, head.headers));
    drop(calls);
    let response = Response::builder().header("content-type", "application/grpc");
    let (response, frames) = match status {
        Some(status) => {
            let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, status]);
            let trailers = HeaderMap::from_iter([(
                "grpc-status".parse().expect("a name"),
                HeaderValue::from_static("0"),
            )]);
            let frames = vec![Frame::data(message), Frame::trailers(trailers)];
            (response, frames)
        }
        // As servers answer without a message: all in the head.
        None => (response.header("grpc-status", "5"), Vec::new()),
    };
    let body = Frames(frames.into_iter());
    Ok(response.body(body).expect("a response"))
}

/// Frames that are there already.
struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

/// A pool of these addresses, checked so.
fn config(addresses: &[(&str, SocketAddr)], lines: &str) -> String {
    let backends: Vec<_> = addresses
        .iter()
        .map(|(name, address)| format!("{{ name = {name:?}, address = \"{address}\" }}"))
        .collect();
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.web]\nstrategy = \"round-robin\"\n\
         backends = [{}]\n[pools.web.health-check]\ntype = \"grpc\"\ninterval = \"30ms\"\n{lines}\n",
        backends.join(", ")
    )
}

#[tokio::test]
async fn serving_is_healthy_and_nothing_else_is() {
    let server = Server::start("shop.Cart", SERVING).await;
    let lines = "service = \"shop.Cart\"\nheaders = { authorization = \"Bearer x\" }";
    let proxy = Metered::start(config(&[("a", server.address)], lines)).await;
    let labels = [("pool", "web"), ("backend", "a"), ("result", "passed")];
    within_scrape(&proxy, "anubis_backend_health_checks_total", &labels).await;
    let (path, service, headers) = server.calls().swap_remove(0);
    assert_eq!(path, "/grpc.health.v1.Health/Check");
    assert_eq!(service, "shop.Cart");
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["authorization"], "Bearer x");
    let agent = headers["user-agent"].to_str().expect("text");
    assert!(agent.starts_with("anubis-health-check/"), "{agent}");

    server.set("shop.Cart", NOT_SERVING);
    let line = proxy.proxy().log(UNHEALTHY).await;
    assert_eq!(line["error"], "NOT_SERVING");
    server.set("shop.Cart", SERVING);
    proxy.proxy().log(HEALTHY).await;
}

#[tokio::test]
async fn the_empty_name_is_the_server_as_a_whole() {
    let server = Server::start("", SERVING).await;
    let proxy = Metered::start(config(&[("a", server.address)], "")).await;
    let labels = [("pool", "web"), ("backend", "a"), ("result", "passed")];
    within_scrape(&proxy, "anubis_backend_health_checks_total", &labels).await;
    assert_eq!(server.calls()[0].1, "");
}

#[tokio::test]
async fn an_unknown_service_and_another_protocol_are_told_apart() {
    let server = Server::start("", SERVING).await;
    let http1 = Backend::named("http1")
        .answer(Answer::status("400 Bad Request", "no HTTP/2 here").then_silence())
        .start();
    let closes = Backend::named("closes").answer(Answer::close()).start();
    let addresses = [
        ("unknown", server.address),
        ("http1", http1.address()),
        ("closes", closes.address()),
    ];
    let proxy = Proxy::start(config(&addresses, "service = \"nobody\"")).await;
    let mut errors = BTreeMap::new();
    for _ in 0..3 {
        let line = proxy.log(UNHEALTHY).await;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        errors.insert(text("backend"), text("error"));
    }
    assert_eq!(errors["unknown"], "grpc status NOT_FOUND");
    assert!(
        errors["http1"].starts_with("its answer is not HTTP/2"),
        "{errors:?}"
    );
    assert_eq!(errors["closes"], "closed before it answered");
}
