//! Leaving HTTP: after a 101 from the backend, and only then, bytes pass both
//! ways unread (RFC 9110 section 7.8).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::header::UPGRADE;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

use super::Answer;
use super::attempt::Attempt;
use super::body::ResponseBody;
use super::error::Refusal;
use super::headers;
use super::record::Record;
use super::request::Upgrade;
use crate::connection::Client;
use crate::strategy::Failure;
use crate::telemetry::metrics::Refused;
use crate::timer::Alarm;
use crate::worker::{LocalPool, Open};

/// Passes a 101 on and tunnels, if a switch to that protocol was asked for.
/// One that nobody asked for is the backend's mistake.
pub fn switch(
    client: &Rc<Client>,
    pool: &Rc<LocalPool>,
    wanted: Option<Upgrade>,
    mut attempt: Attempt,
    response: Answer,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let protocol = response.headers().get(UPGRADE).cloned();
    let (mut head, body) = response.into_parts();
    let both = wanted.zip(protocol).zip(body.into_stream());
    let Some(((wanted, protocol), (stream, unread))) = both else {
        attempt.failed(Some(Failure::Protocol));
        return Err(Refusal::closing(StatusCode::BAD_GATEWAY).because(Refused::Protocol));
    };
    let mut answer = Response::new(ResponseBody::text(bytes::Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = std::mem::take(&mut head.headers);
    headers::strip_hop_by_hop(answer.headers_mut());
    headers::set_upgrade(answer.headers_mut(), protocol);
    let tunnel = Tunnel {
        downstream: wanted.downstream,
        upstream: stream,
        unread,
        idle: pool.settings().tunnel_timeout,
        attempt,
        record: record.take(),
        client: Rc::clone(client),
        _open: client.worker.open(),
    };
    client.watch.switched();
    tokio::task::spawn_local(tunnel.run());
    Ok(answer)
}

/// What lives until both sides have hung up.
struct Tunnel {
    downstream: OnUpgrade,
    upstream: TcpStream,
    /// What the backend sent behind its 101.
    unread: BytesMut,
    idle: Duration,
    attempt: Attempt,
    record: Record,
    client: Rc<Client>,
    _open: Open,
}

impl Tunnel {
    async fn run(mut self) {
        if let Ok(downstream) = self.downstream.await {
            let downstream = TokioIo::new(downstream);
            let moved = pump(downstream, self.upstream, self.unread, self.idle).await;
            self.record.add_bytes(moved);
            self.attempt.complete();
        }
        self.record.finish(&self.client);
    }
}

/// Copies both ways until both directions have ended or nothing moved for
/// `idle`; gives the bytes that went to the client, of which `unread` are the first.
async fn pump(
    downstream: impl AsyncRead + AsyncWrite + Unpin,
    upstream: TcpStream,
    unread: BytesMut,
    idle: Duration,
) -> u64 {
    let alarm = Rc::new(Alarm::new());
    alarm.set(idle);
    let mut downstream = Watched::new(downstream, &alarm, idle);
    let mut upstream = Watched::new(upstream, &alarm, idle);
    upstream.received = unread.len() as u64;
    let copied = async {
        downstream.write_all(&unread).await?;
        copy_bidirectional(&mut downstream, &mut upstream).await
    };
    tokio::select! {
        // However a direction ended, both are over: there is nobody to tell.
        _ = copied => {}
        () = alarm.rings() => {}
    }
    upstream.received
}

/// One side of a tunnel: what it receives puts the alarm off.
struct Watched<T> {
    io: T,
    alarm: Rc<Alarm>,
    idle: Duration,
    received: u64,
}

impl<T: Unpin> Watched<T> {
    fn new(io: T, alarm: &Rc<Alarm>, idle: Duration) -> Watched<T> {
        Watched {
            io,
            alarm: Rc::clone(alarm),
            idle,
            received: 0,
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut T> {
        Pin::new(&mut self.get_mut().io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.as_mut().io().poll_read(cx, buffer);
        let received = buffer.filled().len() - before;
        if received > 0 {
            self.received += received as u64;
            self.alarm.set(self.idle);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
