//! One client connection: what it is waiting for, and for how long it may.
//!
//! HTTP/1.1 connections do one thing at a time, so one [`Alarm`] serves them
//! for life; [`Watch`] says what its ringing means. What a client sends is
//! looked at by [`framing`] before hyper sees it, and heard out by [`farewell`]
//! when hyper will see no more of it.

mod farewell;
pub(crate) mod framing;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::farewell::Left;
use self::framing::{Fault, Framing, Limits, Violation};
use crate::config::ListenerSettings;
use crate::direct::Direct;
use crate::gather;
use crate::generation::Listening;
use crate::listener::{Handed, Place};
use crate::proxy::{self, Forwarding};
use crate::telemetry::metrics::{Connected, Ended};
use crate::timer::{Alarm, Within};
use crate::worker::{Open, Worker};

/// What hyper buffers of a connection at most, where a head needs no more: its
/// own default.
const BUFFER: usize = 8 * 1024 + 100 * 4096;

/// How much of what a client sends ahead is taken before its turn: further
/// requests wait in the kernel, and that the client has left goes unnoticed.
const AHEAD: usize = 16 * 1024;

/// A connection that has waited so long for its next request rests: without hyper, whose
/// buffers of 16 KiB are most of what a connection costs. One that has sent nothing yet
/// rests from the beginning.
const RESTS_AFTER: Duration = Duration::from_secs(1);

/// Sent before closing on a client that did not finish its request head in
/// time (RFC 9110 section 15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Sent before closing on a client whose request two readers could read in two
/// ways (RFC 9112 section 2.2 and others; see [`framing`]).
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

fn ended_for(fault: Fault) -> Ended {
    match fault {
        Fault::Malformed => Ended::Malformed,
        Fault::LongLine | Fault::LargeHead | Fault::LargeBody => Ended::TooLarge,
    }
}

/// What a connection is doing, and until when.
///
/// Shared between the socket, the request path and the bodies of one
/// connection, all on one thread; atomics only because hyper wants `Send`.
pub struct Watch {
    alarm: Alarm,
    phase: AtomicU8,
    /// The client ran out of time; the socket answers 408 at its next read.
    head_overdue: AtomicBool,
    /// The connection is being ended because nothing moved for too long.
    stalled: AtomicBool,
    /// It was told to end; the next ringing cuts it.
    ending: AtomicBool,
    /// It has waited for its next request for a while; the next ringing ends that.
    resting: AtomicBool,
    /// The last write did not get through: more of a response is waiting.
    blocked: AtomicBool,
    /// What follows is no HTTP/1: the connection was switched to another protocol.
    switched: AtomicBool,
    /// What is wrong with the client's bytes: [`Fault::number`], 0 for nothing.
    fault: AtomicU8,
    /// Who reads the socket, while what follows a request is held.
    reader: Mutex<Option<Waker>>,
    reader_waits: AtomicBool,
    /// Hyper is dropped, and the connection goes on.
    leaves_hyper: AtomicBool,
    left: Left,
    header_timeout: Duration,
    keep_alive: Duration,
    idle_timeout: Duration,
}

/// What the connection's alarm stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing of the next request has arrived.
    Idle = 0,
    /// A request head is arriving.
    Head = 1,
    /// The request path has taken over and times its own steps.
    Handling = 2,
    /// Bodies are moving.
    Streaming = 3,
}

impl Watch {
    /// The watch of a connection that was just accepted: a head is due.
    pub fn new(settings: &ListenerSettings) -> Watch {
        let watch = Watch {
            alarm: Alarm::new(),
            phase: AtomicU8::new(Phase::Idle as u8),
            head_overdue: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            resting: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            fault: AtomicU8::new(0),
            reader: Mutex::default(),
            reader_waits: AtomicBool::new(false),
            leaves_hyper: AtomicBool::new(false),
            left: Left::default(),
            header_timeout: settings.header_timeout,
            keep_alive: settings.keep_alive,
            idle_timeout: settings.idle_timeout,
        };
        watch.alarm.set(watch.header_timeout);
        watch
    }

    /// The request path takes over. Limits its own steps through
    /// [`Watch::within`].
    pub fn handling(&self) {
        self.enter(Phase::Handling);
        self.alarm.off();
    }

    /// The client has the next move within a body; it may take its idle timeout.
    pub fn waits_for_client(&self) {
        self.streaming(self.idle_timeout);
    }

    /// A body moves on within `limit`, or the connection ends.
    pub fn streaming(&self, limit: Duration) {
        self.enter(Phase::Streaming);
        self.alarm.set(limit);
    }

    /// The request's body moved: while the response is waited for, time starts
    /// anew with `limit`; while it streams, with the client's idle timeout.
    pub fn upload_moved(&self, limit: Duration) {
        match self.phase() {
            Phase::Handling => self.alarm.set(limit),
            Phase::Streaming => self.alarm.set(self.idle_timeout),
            Phase::Idle | Phase::Head => {}
        }
    }

    /// The client was told that the protocol changes: its bytes are its own.
    pub fn switched(&self) {
        self.switched.store(true, Relaxed);
    }

    /// No response is under way, nor being waited for.
    fn is_between_requests(&self) -> bool {
        matches!(self.phase(), Phase::Idle | Phase::Head)
    }

    /// With a keep-alive of zero a connection is for one request.
    pub fn ends_with_response(&self) -> bool {
        self.keep_alive.is_zero()
    }

    /// How long a client may take to go on with a body.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Nothing moved for too long, which is why the connection ends.
    pub fn has_stalled(&self) -> bool {
        self.stalled.load(Relaxed)
    }

    /// A request's body turned out longer than it may be, and was cut off there.
    pub fn has_too_large_a_body(&self) -> bool {
        self.fault() == Some(Fault::LargeBody)
    }

    fn fault(&self) -> Option<Fault> {
        Fault::numbered(self.fault.load(Relaxed))
    }

    /// The response is complete, `now`; the next request may take `keep_alive` to come.
    pub fn idle(&self, now: Instant) {
        self.enter(Phase::Idle);
        self.resting.store(false, Relaxed);
        self.alarm.set_at(now, self.keep_alive.min(RESTS_AFTER));
        self.wake_reader();
    }

    /// The next request, or a part of it, is there already, and waits for the
    /// answer to the one before.
    fn holds_for(&self, reader: &Waker) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader.clone());
        self.reader_waits.store(true, Relaxed);
    }

    fn wake_reader(&self) {
        // Looked at first: to swap is ten times as slow.
        if self.reader_waits.load(Relaxed) && self.reader_waits.swap(false, Relaxed) {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// What `work` gives, or `None` if it takes longer than `limit`.
    pub fn within<F: Future>(&self, limit: Duration, work: F) -> Within<'_, F> {
        self.alarm.within(limit, work)
    }

    /// The connection's alarm, which the request path may set while it handles.
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Bytes of a request have come; of its head there is more to come, or not: then the
    /// request path takes over at once.
    fn bytes_arrived(&self, head_is_due: bool) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
            if head_is_due {
                self.alarm.set(self.header_timeout);
            }
        }
    }

    /// Whether the time to rest has come, and not yet the end.
    fn rests(&self) -> bool {
        self.keep_alive > RESTS_AFTER && !self.resting.swap(true, Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Handling,
            _ => Phase::Streaming,
        }
    }

    /// Ready when the connection's time is over.
    pub fn poll_overdue(&self, cx: &mut Context<'_>) -> Poll<Overdue> {
        ready!(self.alarm.poll_ring(cx));
        let overdue = match self.phase() {
            // The request path looks at the alarm itself.
            Phase::Handling => return Poll::Pending,
            Phase::Streaming => {
                self.stalled.store(true, Relaxed);
                Overdue::Cut
            }
            Phase::Idle if self.rests() => {
                self.alarm.set(self.keep_alive - RESTS_AFTER);
                return Poll::Ready(Overdue::Rest);
            }
            Phase::Idle | Phase::Head if self.ending.swap(true, Relaxed) => Overdue::Cut,
            Phase::Idle => Overdue::Close,
            Phase::Head => {
                self.head_overdue.store(true, Relaxed);
                Overdue::Refuse
            }
        };
        if overdue != Overdue::Cut {
            // What hyper has not written yet may still take its time.
            self.enter(Phase::Idle);
            self.alarm.set(self.idle_timeout);
        }
        Poll::Ready(overdue)
    }
}

/// How a connection whose time is over ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// It waits for its next request, and may do so without hyper.
    Rest,
    /// It was idle: no request may follow, what is left to write is written.
    Close,
    /// Its request head did not come: the socket answers 408.
    Refuse,
    /// Nothing moved: at once.
    Cut,
}

/// Serves a connection that this worker accepted.
pub fn spawn(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    listener: Listening,
    place: Place,
) {
    // From here on, not from when the task gets its turn: a worker that ends at this
    // moment waits for it.
    let open = worker.open();
    tokio::task::spawn_local(serve(open, stream, peer, listener, place));
}

/// Serves a connection that another worker accepted.
pub fn spawn_handed(worker: &Rc<Worker>, handed: Handed) {
    let Handed {
        stream,
        peer,
        listener,
        place,
    } = handed;
    match TcpStream::from_std(stream) {
        Ok(stream) => spawn(worker, stream, peer, listener, place),
        Err(error) => tracing::warn!(%peer, %error, "connection lost between workers"),
    }
}

async fn serve(
    open: Open,
    stream: TcpStream,
    peer: SocketAddr,
    listener: Listening,
    _place: Place,
) {
    let worker = Rc::clone(open.worker());
    // Without it, small responses would wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::new(&listener.settings));
    let client = Rc::new(Client::new(
        Rc::clone(&worker),
        peer,
        &listener,
        Arc::clone(&watch),
    ));
    let mut comes = rest(&client, stream).await;
    while let Some(stream) = comes {
        // Boxed: one that rests carries no room for it.
        let conversation = Box::pin(converse(&client, &listener.settings, stream));
        comes = match conversation.await {
            Some(stream) => rest(&client, stream).await,
            None => None,
        };
    }
    if let Some(stream) = watch.left.take() {
        // Boxed: few need it, and every connection would carry room for it.
        Box::pin(farewell::hear_out(stream)).await;
    }
}

/// Serves requests until the connection ends, or only waits for the next: its socket then.
async fn converse(
    client: &Rc<Client>,
    settings: &ListenerSettings,
    stream: TcpStream,
) -> Option<TcpStream> {
    let (worker, watch) = (&client.worker, &client.watch);
    let limits = Limits {
        line: settings.max_request_line,
        head: settings.max_header_size,
        body: settings.max_body_size,
    };
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(watch), limits));
    let served = Rc::clone(client);
    let service = service_fn(move |request| {
        // Now, and not when the answer is first asked for: hyper reads before that.
        served.watch.handling();
        proxy::handle(Rc::clone(&served), request)
    });
    let ended = {
        let mut connection = pin!(
            http1::Builder::new()
                .header_read_timeout(None)
                .max_headers(settings.max_headers)
                .max_buf_size(limits.head.max(BUFFER))
                .serve_connection(socket, service)
                .with_upgrades()
        );
        let mut draining = false;
        poll_fn(|cx| {
            if worker.closes_idle() && !std::mem::replace(&mut draining, true) {
                connection.as_mut().graceful_shutdown();
            }
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                match ready!(watch.poll_overdue(cx)) {
                    // What hyper has not written yet, it still has to.
                    Overdue::Rest if watch.blocked.load(Relaxed) => {}
                    Overdue::Rest => {
                        watch.leaves_hyper.store(true, Relaxed);
                        return Poll::Ready(Ok(()));
                    }
                    Overdue::Close => {
                        client.counts.ended(Ended::Idle);
                        connection.as_mut().graceful_shutdown();
                    }
                    // The socket now answers 408 to the read that hyper waits in.
                    Overdue::Refuse => client.counts.ended(Ended::SlowHead),
                    Overdue::Cut => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    };
    if watch.leaves_hyper.swap(false, Relaxed) {
        return watch.left.take();
    }
    count_end(client, ended);
    None
}

/// How else a connection ended concerns nobody: its last request was answered or logged.
fn count_end(client: &Client, ended: hyper::Result<()>) {
    if client.watch.has_stalled() {
        client.counts.ended(Ended::Stalled);
    }
    match (client.watch.fault(), ended) {
        (Some(fault), _) => client.counts.ended(ended_for(fault)),
        (None, Err(error)) if error.is_parse_too_large() => client.counts.ended(Ended::TooLarge),
        (None, Err(error)) if error.is_parse() => client.counts.ended(Ended::Malformed),
        (None, _) => {}
    }
}

/// Waits for the next request without hyper. `None` when none may follow, or the client
/// has left: what is to be heard out is left then.
async fn rest(client: &Client, stream: TcpStream) -> Option<TcpStream> {
    let watch = &client.watch;
    let comes = poll_fn(|cx| {
        // Looked at, because tokio takes a new socket to be ready. That nothing more comes
        // is something, too: hyper finds out what.
        let mut first = [MaybeUninit::uninit()];
        if let Poll::Ready(seen) = stream.poll_peek(cx, &mut ReadBuf::uninit(&mut first)) {
            return Poll::Ready(seen.is_ok());
        }
        if client.worker.closes_idle() {
            return Poll::Ready(false);
        }
        ready!(watch.poll_overdue(cx));
        client.counts.ended(Ended::Idle);
        Poll::Ready(false)
    })
    .await;
    if comes {
        return Some(stream);
    }
    // A request may have come at this very moment.
    if farewell::has_unread(&stream) {
        watch.left.leave(stream);
    }
    None
}

/// Who is connected, and to whom.
pub struct Client {
    pub worker: Rc<Worker>,
    pub address: SocketAddr,
    pub watch: Arc<Watch>,
    pub forwarding: Forwarding,
    /// Longest body of a request.
    pub max_body_size: u64,
    /// What its listener counts.
    pub counts: Connected,
}

impl Client {
    fn new(
        worker: Rc<Worker>,
        peer: SocketAddr,
        listener: &Listening,
        watch: Arc<Watch>,
    ) -> Client {
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let address = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let trusted = listener.settings.trusts(address.ip());
        let counts = worker.generation().counts(&listener.bound);
        Client {
            counts: Connected::begin(counts),
            worker,
            address,
            watch,
            forwarding: Forwarding::new(address.ip(), trusted),
            max_body_size: listener.settings.max_body_size,
        }
    }
}

/// The client's socket: reports arriving bytes to the [`Watch`], and lets none
/// pass that [`framing`] does not.
pub struct Socket {
    /// There until the drop.
    stream: Option<TcpStream>,
    watch: Arc<Watch>,
    framing: Framing,
    /// What followed a request, until that is answered.
    held: Vec<u8>,
    /// Bytes were held back for this; nothing passes any more.
    fault: Option<Fault>,
    /// Nothing more comes from the client.
    ended: bool,
}

impl Socket {
    /// Watches over `stream`.
    pub fn new(stream: TcpStream, watch: Arc<Watch>, limits: Limits) -> Socket {
        Socket {
            stream: Some(stream),
            watch,
            framing: Framing::new(limits),
            held: Vec::new(),
            fault: None,
            ended: false,
        }
    }

    /// What was held, then what arrives.
    fn poll_bytes(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let before = buffer.filled().len();
            let read = ready!(Pin::new(&mut self.direct()).poll_read(cx, buffer));
            self.ended = read.is_err() || buffer.filled().len() == before;
            return Poll::Ready(read);
        }
        let fits = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..fits]);
        self.held.drain(..fits);
        Poll::Ready(Ok(()))
    }

    /// Holds what comes while a request is being answered, up to [`AHEAD`]; and
    /// hears that the client has left, also behind what is held.
    fn poll_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [MaybeUninit::uninit(); 2048];
        while self.held.len() < AHEAD {
            let mut buffer = ReadBuf::uninit(&mut piece);
            let Poll::Ready(read) = Pin::new(&mut self.direct()).poll_read(cx, &mut buffer) else {
                break;
            };
            self.ended = read.is_err() || buffer.filled().is_empty();
            if self.ended {
                return Poll::Ready(read);
            }
            self.held.extend_from_slice(buffer.filled());
        }
        if !self.held.is_empty() {
            self.watch.holds_for(cx.waker());
        }
        Poll::Pending
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
        if self.ended || watch.has_stalled() || watch.switched.load(Relaxed) {
            return true;
        }
        let is_amid = self.fault.is_some()
            || watch.head_overdue.load(Relaxed)
            || !self.held.is_empty()
            || !self.framing.is_between_requests();
        !is_amid && !self.stream.as_ref().is_some_and(farewell::has_unread)
    }

    fn direct(&self) -> Direct<&TcpStream> {
        Direct(self.stream.as_ref().expect("it is there until the drop"))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if (self.watch.leaves_hyper.load(Relaxed) || !self.is_heard_out())
            && let Some(stream) = self.stream.take()
        {
            self.watch.left.leave(stream);
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
        let switched = self.watch.switched.load(Relaxed);
        if self.framing.holds() && !switched {
            if !self.watch.is_between_requests() {
                return self.poll_ahead(cx);
            }
            self.framing.go_on();
        }
        let before = buffer.filled().len();
        ready!(self.as_mut().poll_bytes(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        if switched {
            return Poll::Ready(Ok(()));
        }
        let arrived = &buffer.filled()[before..];
        let passed = match self.framing.feed(arrived) {
            Ok(passed) => {
                self.held.splice(0..0, arrived[passed..].iter().copied());
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
        Pin::new(&mut self.direct()).poll_shutdown(cx)
    }
}
