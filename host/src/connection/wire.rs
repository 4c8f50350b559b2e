//! The TCP connection to a client, and what of it was read ahead of its turn.
//!
//! While a request is being answered hyper is not asked to read: it would take another
//! buffer for that each time. So the connection's task listens here, to hear that the client
//! has left, and holds what comes until it is hyper's turn.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::direct::{self, Direct};

/// How much of what a client sends ahead is taken before its turn: further
/// requests wait in the kernel, and that the client has left goes unnoticed.
const AHEAD: usize = 16 * 1024;

/// One client's connection.
///
/// Shared between the socket that hyper has and the connection's task, on one thread;
/// atomics only because hyper wants `Send`.
pub struct Wire {
    stream: TcpStream,
    /// A request is complete, and what follows it is held until it is answered.
    holds: AtomicBool,
    held: Mutex<Vec<u8>>,
    has_held: AtomicBool,
    /// The task is woken when something comes.
    waits: AtomicBool,
    /// Nothing more comes from the client.
    ended: AtomicBool,
    /// It goes on without hyper.
    rests: AtomicBool,
    /// hyper is done with it, but the client was not heard out.
    unheard: AtomicBool,
}

impl Wire {
    /// A connection of which nothing was read.
    pub fn new(stream: TcpStream) -> Wire {
        let no = || AtomicBool::new(false);
        Wire {
            stream,
            holds: no(),
            held: Mutex::default(),
            has_held: no(),
            waits: no(),
            ended: no(),
            rests: no(),
            unheard: no(),
        }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection, of which nobody else has a part.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// What comes from now on is held, or is not.
    pub fn set_holds(&self, holds: bool) {
        self.holds.store(holds, Relaxed);
    }

    /// Something was read that is still to be passed on.
    pub fn has_held(&self) -> bool {
        self.has_held.load(Relaxed)
    }

    /// Nothing more comes from the client.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// It goes on without hyper, whose part in it ends now.
    pub fn rest(&self) {
        self.rests.store(true, Relaxed);
    }

    /// See [`Wire::rest`].
    pub fn rests(&self) -> bool {
        self.rests.load(Relaxed)
    }

    /// The client is still to be heard out.
    pub fn is_unheard(&self) -> bool {
        self.unheard.load(Relaxed)
    }

    /// hyper is done with the connection, before the client was heard out.
    pub fn leave_unheard(&self) {
        self.unheard.store(true, Relaxed);
    }

    /// [`Wire::poll_bytes`] for another protocol, which another task reads.
    pub fn poll_switched(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waits.store(false, Relaxed);
        self.poll_bytes(cx, buffer)
    }

    /// What was held, then what arrives.
    pub fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_held() {
            return self.poll_read(cx, buffer);
        }
        let mut held = self.held();
        let fits = held.len().min(buffer.remaining());
        buffer.put_slice(&held[..fits]);
        held.drain(..fits);
        self.has_held.store(!held.is_empty(), Relaxed);
        Poll::Ready(Ok(()))
    }

    /// Holds bytes that were taken too early: before what is held.
    pub fn put_back(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut held = self.held();
        held.splice(0..0, bytes.iter().copied());
        self.has_held.store(true, Relaxed);
    }

    /// Holds what comes while a request is being answered, up to [`AHEAD`]. Ready when the
    /// client has left, also behind what is held.
    pub fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<()> {
        while self.holds.load(Relaxed) {
            if self.has_held() && self.held().len() >= AHEAD {
                break;
            }
            if !ready!(self.poll_piece(cx)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Reads once, and holds that; false: nothing more comes.
    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut piece = [MaybeUninit::uninit(); 2048];
        let mut buffer = ReadBuf::uninit(&mut piece);
        let read = ready!(self.poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(false);
        }
        self.held().extend_from_slice(buffer.filled());
        self.has_held.store(true, Relaxed);
        Poll::Ready(true)
    }

    /// How much is held.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.held().len()
    }

    fn held(&self) -> MutexGuard<'_, Vec<u8>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Who is going to be woken anyway need not ask for it again, which takes a lock.
        if self.waits.load(Relaxed) && !direct::is_ready_to_read(&self.stream) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut Direct(&self.stream)).poll_read(cx, buffer);
        // Without budget it asked for nothing, and will be polled again anyway.
        let waits = read.is_pending() && has_budget_remaining();
        self.waits.store(waits, Relaxed);
        if let Poll::Ready(read) = &read {
            let ended = read.is_err() || buffer.filled().len() == before;
            self.ended.store(ended, Relaxed);
        }
        read
    }
}

pin_project! {
    /// The answer to a request, in the making for as long as its client is there: of one
    /// that has left together with its last byte, no backend hears.
    pub struct Answering<F> {
        // An `Rc`: of an `Arc` each request would pay for a part.
        listener: Rc<Listener>,
        looked: bool,
        #[pin]
        answer: F,
    }
}

/// Whoever listens to a wire.
pub struct Listener(pub Arc<Wire>);

impl<F> Answering<F> {
    /// Makes `answer` for the client whom `listener` hears.
    pub fn new(listener: &Rc<Listener>, answer: F) -> Answering<F> {
        Answering {
            listener: Rc::clone(listener),
            looked: false,
            answer,
        }
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // From then on the connection's task looks.
        if !std::mem::replace(this.looked, true) && this.listener.0.poll_ahead(cx).is_ready() {
            return Poll::Pending;
        }
        this.answer.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::task::coop::consume_budget;
    use tokio::time::timeout;

    use super::*;

    /// A client, and the wire to it, which holds what comes.
    async fn pair() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (client, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let wire = Wire::new(ours.expect("accepted").0);
        wire.set_holds(true);
        (client.expect("connected"), wire)
    }

    /// tokio lets a task do only so much at once. Asked for more, it has nobody woken by
    /// the connection.
    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_by_who_was_busy_before() {
        let (mut client, wire) = pair().await;
        client.write_all(b"all that comes").await.expect("written");
        assert!(poll_fn(|cx| wire.poll_piece(cx)).await);
        // A task of its own: whoever else waits in the same one has it polled, too.
        let mut was_busy = false;
        let leaves = tokio::spawn(poll_fn(move |cx| {
            if std::mem::replace(&mut was_busy, true) {
                return wire.poll_ahead(cx);
            }
            while Box::pin(consume_budget()).as_mut().poll(cx).is_ready() {}
            assert!(wire.poll_ahead(cx).is_pending());
            Poll::Pending
        }));
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(client);
        let left = timeout(Duration::from_secs(5), leaves).await;
        left.expect("it was not noticed").expect("no panic");
    }

    #[tokio::test]
    async fn nothing_is_done_for_a_client_that_has_left() {
        let (client, wire) = pair().await;
        let wire = Arc::new(wire);
        let listener = Rc::new(Listener(Arc::clone(&wire)));
        assert_eq!(Answering::new(&listener, ready(1)).await, 1);
        drop(client);
        wire.stream().readable().await.expect("the end");
        let answer = Answering::new(&listener, async { unreachable!("nobody wants it") });
        let mut answer = std::pin::pin!(answer);
        poll_fn(|cx| {
            assert!(answer.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
