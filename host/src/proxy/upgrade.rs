//! Leaving HTTP: after a 101 from the backend, and only then, bytes pass both
//! ways unread (RFC 9110 section 7.8).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

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
    response: Response<Incoming>,
    record: &mut Record,
) -> Result<Response<ResponseBody>, Refusal> {
    let Some((wanted, protocol)) = wanted.zip(response.headers().get(UPGRADE).cloned()) else {
        attempt.failed(Some(Failure::Protocol));
        return Err(Refusal::closing(StatusCode::BAD_GATEWAY).because(Refused::Protocol));
    };
    let mut answer = Response::new(ResponseBody::text(bytes::Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = response.headers().clone();
    headers::strip_hop_by_hop(answer.headers_mut());
    headers::set_upgrade(answer.headers_mut(), protocol);
    let tunnel = Tunnel {
        downstream: wanted.downstream,
        upstream: hyper::upgrade::on(response),
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
    upstream: OnUpgrade,
    idle: Duration,
    attempt: Attempt,
    record: Record,
    client: Rc<Client>,
    _open: Open,
}

impl Tunnel {
    async fn run(mut self) {
        if let (Ok(downstream), Ok(upstream)) = tokio::join!(self.downstream, self.upstream) {
            let moved = pump(downstream, upstream, self.idle).await;
            self.record.add_bytes(moved);
            self.attempt.complete();
        }
        self.record.finish(&self.client);
    }
}

/// Copies both ways until both directions have ended or nothing moved for
/// `idle`; gives the bytes that went to the client.
async fn pump(downstream: Upgraded, upstream: Upgraded, idle: Duration) -> u64 {
    let alarm = Rc::new(Alarm::new());
    alarm.set(idle);
    let watched = |io| Watched {
        io: TokioIo::new(io),
        alarm: Rc::clone(&alarm),
        idle,
        received: 0,
    };
    let (mut downstream, mut upstream) = (watched(downstream), watched(upstream));
    tokio::select! {
        // However a direction ended, both are over: there is nobody to tell.
        _ = copy_bidirectional(&mut downstream, &mut upstream) => {}
        () = alarm.rings() => {}
    }
    upstream.received
}

/// One side of a tunnel: what it receives puts the alarm off.
struct Watched {
    io: TokioIo<Upgraded>,
    alarm: Rc<Alarm>,
    idle: Duration,
    received: u64,
}

impl Watched {
    fn io(self: Pin<&mut Self>) -> Pin<&mut TokioIo<Upgraded>> {
        Pin::new(&mut self.get_mut().io)
    }
}

impl AsyncRead for Watched {
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

impl AsyncWrite for Watched {
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
