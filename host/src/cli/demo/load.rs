//! A little traffic: a few users that each wait for an answer, think, and ask
//! again.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::HOST;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::summary::Tally;

const USERS: usize = 8;
/// Between an answer and the next question.
const THINKS: Duration = Duration::from_millis(5);
/// After a failure, before a new connection.
const RECOVERS: Duration = Duration::from_millis(100);

/// Sends requests to `proxy` from tasks of this thread.
pub fn start(proxy: SocketAddr, tally: &Rc<Tally>) {
    for user in 0..USERS {
        let tally = Rc::clone(tally);
        tokio::task::spawn_local(async move {
            loop {
                if visit(proxy, user, &tally).await.is_err() {
                    tally.failed();
                }
                tokio::time::sleep(RECOVERS).await;
            }
        });
    }
}

/// Asks over one connection until something fails.
async fn visit(proxy: SocketAddr, user: usize, tally: &Tally) -> anyhow::Result<()> {
    let stream = TcpStream::connect(proxy).await.context("connecting")?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    loop {
        let began = Instant::now();
        let greeting = ask(&mut sender, proxy, user).await?;
        let name = greeting
            .strip_prefix("Hello from ")
            .context("who is this?")?;
        tally.took(name.trim(), began.elapsed());
        tokio::time::sleep(THINKS).await;
    }
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    proxy: SocketAddr,
    user: usize,
) -> anyhow::Result<String> {
    sender.ready().await?;
    let request = Request::get(format!("/?user={user}"))
        .header(HOST, proxy.to_string())
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status().is_success(), "{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
