//! The client's socket, as hyper has it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::framing::{Fault, Framing, Limits, Violation};
use super::wire::Wire;
use super::{Watch, farewell};
use crate::direct::Direct;
use crate::gather;

/// Sent before closing on a client that did not finish its request head in
/// time (RFC 9110 section 15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Sent before closing on a client whose request two readers could read in two
/// ways (RFC 9112 section 2.2 and others; see [`super::framing`]).
const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Sent before closing on a request line that is too long (RFC 9110 section 15.5.15).
const URI_TOO_LONG: &[u8] =
    b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Sent before closing on a head that is too large (RFC 6585 section 5).
const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Of what ends in a head; a body's fault is its request's to answer.
fn answer_to(fault: Fault) -> &'static [u8] {
    match fault {
        Fault::Malformed | Fault::LargeBody => BAD_REQUEST,
        Fault::LongLine => URI_TOO_LONG,
        Fault::LargeHead => HEAD_TOO_LARGE,
    }
}

/// The client's socket: reports arriving bytes to the [`Watch`], and lets none
/// pass that [`super::framing`] does not.
pub struct Socket {
    wire: Arc<Wire>,
    watch: Arc<Watch>,
    framing: Framing,
    /// Bytes were held back for this; nothing passes any more.
    fault: Option<Fault>,
}

impl Socket {
    /// Watches over what comes over `wire`.
    pub fn new(wire: Arc<Wire>, watch: Arc<Watch>, limits: Limits) -> Socket {
        Socket {
            wire,
            watch,
            framing: Framing::new(limits),
            fault: None,
        }
    }

    /// Answers for the request path, and ends the stream. Never into the middle
    /// of a response, and as far as the client's window lets us.
    fn refuse(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &[u8]) -> Poll<io::Result<()>> {
        if !self.watch.blocked.load(Relaxed) {
            let _ = Pin::new(&mut self.direct()).poll_write(cx, answer);
        }
        Poll::Ready(Ok(()))
    }

    /// What follows must not pass. A body cannot be mended: its request says so.
    /// A request before a bad head is answered first: hyper reads again when it
    /// is done with that one.
    fn poll_faulty(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        fault: Fault,
    ) -> Poll<io::Result<()>> {
        if !self.framing.is_in_head() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if !self.watch.is_between_requests() {
            return Poll::Pending;
        }
        self.refuse(cx, answer_to(fault))
    }

    /// Closing now might reset the connection: there is, or may well come, more
    /// from the client.
    fn is_heard_out(&self) -> bool {
        let watch = &self.watch;
        if self.wire.has_ended() || watch.has_stalled() || watch.switched.load(Relaxed) {
            return true;
        }
        let is_amid = self.fault.is_some()
            || watch.head_overdue.load(Relaxed)
            || self.wire.has_held()
            || !self.framing.is_between_requests();
        !is_amid && !farewell::has_unread(self.wire.stream())
    }

    fn direct(&self) -> Direct<&TcpStream> {
        Direct(self.wire.stream())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.wire.rests() && !self.is_heard_out() {
            self.wire.leave_unheard();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.head_overdue.load(Relaxed) {
            return self.refuse(cx, REQUEST_TIMEOUT);
        }
        if let Some(fault) = self.fault {
            return self.poll_faulty(cx, fault);
        }
        if self.watch.switched.load(Relaxed) {
            return self.wire.poll_switched(cx, buffer);
        }
        if self.framing.holds() {
            if !self.watch.is_between_requests() {
                return Poll::Pending;
            }
            self.framing.go_on();
            self.wire.set_holds(false);
        }
        let before = buffer.filled().len();
        ready!(self.wire.poll_bytes(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        let arrived = &buffer.filled()[before..];
        let passed = match self.framing.feed(arrived) {
            Ok(passed) => {
                self.wire.put_back(&arrived[passed..]);
                self.wire.set_holds(self.framing.holds());
                passed
            }
            Err(Violation { at, fault }) => {
                self.fault = Some(fault);
                self.watch.fault.store(fault.number(), Relaxed);
                at
            }
        };
        self.watch
            .bytes_arrived(self.framing.is_in_head() && !self.framing.holds());
        buffer.set_filled(before + passed);
        match (passed, self.fault) {
            (0, Some(fault)) => self.poll_faulty(cx, fault),
            // Not reached: what is held was not read here.
            (0, None) => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.direct()).poll_write(cx, bytes);
        self.watch.blocked.store(written.is_pending(), Relaxed);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = gather::poll_write(&mut self.direct(), cx, slices);
        self.watch.blocked.store(written.is_pending(), Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.direct().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.direct()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Otherwise what comes next says it as well: the connection is closed, or its client
        // heard out.
        match self.watch.switched.load(Relaxed) {
            true => Pin::new(&mut self.direct()).poll_shutdown(cx),
            false => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ListenerSettings;

    const LIMITS: Limits = Limits {
        line: 8 << 10,
        head: 64 << 10,
        body: u64::MAX,
    };

    /// A client, and the wire to it.
    async fn pair() -> (TcpStream, Arc<Wire>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (client, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let wire = Wire::new(ours.expect("accepted").0);
        (client.expect("connected"), Arc::new(wire))
    }

    fn socket(wire: &Arc<Wire>) -> Socket {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let watch = Arc::new(Watch::new(&ListenerSettings::new(address)));
        Socket::new(Arc::clone(wire), watch, LIMITS)
    }

    #[tokio::test]
    async fn of_a_connection_that_rests_nothing_is_read() {
        let (mut client, wire) = pair().await;
        client.write_all(b"G").await.expect("written");
        wire.stream().readable().await.expect("it has come");
        let socket = socket(&wire);
        wire.rest();
        drop(socket);
        let stream = Arc::into_inner(wire).expect("nobody has it").into_stream();
        assert!(farewell::has_unread(&stream));
    }

    #[tokio::test]
    async fn only_so_much_is_taken_ahead() {
        let (mut client, wire) = pair().await;
        let mut socket = socket(&wire);
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let ahead = request.repeat(2_000);
        let mut head = [0; 100];
        let (result, read) = tokio::join!(client.write_all(&ahead), socket.read(&mut head));
        result.expect("written");
        assert_eq!(read.expect("read"), request.len(), "one at a time");
        poll_fn(|cx| {
            assert!(wire.poll_ahead(cx).is_pending(), "it has not left");
            Poll::Ready(())
        })
        .await;
        let kept = (16..32).contains(&(wire.held_bytes() >> 10));
        assert!(kept, "{} bytes", wire.held_bytes());
        assert!(
            farewell::has_unread(wire.stream()),
            "the kernel has the rest"
        );
    }
}
