//! One client connection: what it is waiting for, and for how long it may.
//!
//! HTTP/1.1 connections do one thing at a time, so one [`Alarm`] serves them
//! for life; [`Watch`] says what its ringing means. What a client sends comes over the
//! [`wire`], is looked at by [`framing`] before hyper sees it through its [`socket`], and
//! heard out by [`farewell`] when hyper will see no more of it.

mod farewell;
pub(crate) mod framing;
mod socket;
mod wire;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use self::framing::{Fault, Limits};
use self::socket::Socket;
use self::wire::{Answering, Listener, Wire};
use crate::config::ListenerSettings;
use crate::generation::Listening;
use crate::listener::{Handed, Place};
use crate::proxy::{self, Forwarding};
use crate::telemetry::metrics::{Connected, Ended};
use crate::timer::{Alarm, Within};
use crate::worker::{Open, Worker};

/// What hyper buffers of a connection at most, where a head needs no more: its
/// own default.
const BUFFER: usize = 8 * 1024 + 100 * 4096;

/// A connection that has waited so long for its next request rests: without hyper, whose
/// buffers of 16 KiB are most of what a connection costs. One that has sent nothing yet
/// rests from the beginning.
const RESTS_AFTER: Duration = Duration::from_secs(1);

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
    let mut stage = Stage::Rests(stream);
    let unheard = loop {
        stage = match stage {
            Stage::Rests(stream) => rest(&client, stream).await,
            // Boxed: one that rests carries no room for it.
            Stage::Converses(wire) => Box::pin(converse(&client, &listener.settings, wire)).await,
            Stage::Unheard(stream) => break stream,
            Stage::Over => return,
        };
    };
    // Boxed: few need it, and every connection would carry room for it.
    Box::pin(farewell::hear_out(unheard)).await;
}

/// How it goes on with a connection.
enum Stage {
    /// It waits for a request, without hyper.
    Rests(TcpStream),
    /// A request comes, for hyper; the beginning of it was read.
    Converses(Wire),
    /// It ends, but its client may not have been heard out.
    Unheard(TcpStream),
    /// It has ended.
    Over,
}

/// Serves requests until the connection ends, or waits for the next for a while.
async fn converse(client: &Rc<Client>, settings: &ListenerSettings, wire: Wire) -> Stage {
    let (worker, watch) = (&client.worker, &client.watch);
    let limits = Limits {
        line: settings.max_request_line,
        head: settings.max_header_size,
        body: settings.max_body_size,
    };
    let wire = Arc::new(wire);
    let socket = Socket::new(Arc::clone(&wire), Arc::clone(watch), limits);
    let served = Rc::clone(client);
    let listener = Rc::new(Listener(Arc::clone(&wire)));
    let service = service_fn(move |request| {
        // Now, and not when the answer is first asked for: hyper reads before that.
        served.watch.handling();
        Answering::new(&listener, proxy::handle(Rc::clone(&served), request))
    });
    let ended = {
        let mut connection = pin!(
            http1::Builder::new()
                // Whether the client has left, the wire knows.
                .half_close(true)
                .header_read_timeout(None)
                .max_headers(settings.max_headers)
                .max_buf_size(limits.head.max(BUFFER))
                .serve_connection(TokioIo::new(socket), service)
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
                if !watch.switched.load(Relaxed) && wire.poll_ahead(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(watch.poll_overdue(cx)) {
                    // What hyper has not written yet, it still has to.
                    Overdue::Rest if watch.blocked.load(Relaxed) || wire.has_held() => {}
                    Overdue::Rest => {
                        wire.rest();
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
    if !wire.rests() {
        count_end(client, ended);
    }
    match Arc::into_inner(wire) {
        Some(wire) if wire.rests() => Stage::Rests(wire.into_stream()),
        Some(wire) if wire.is_unheard() => Stage::Unheard(wire.into_stream()),
        // It was heard out, or goes on with another protocol, for which somebody else has it.
        _ => Stage::Over,
    }
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

/// Waits for the next request without hyper.
async fn rest(client: &Client, stream: TcpStream) -> Stage {
    let wire = Wire::new(stream);
    let comes = poll_fn(|cx| {
        if let Poll::Ready(comes) = wire.poll_piece(cx) {
            return Poll::Ready(comes);
        }
        if client.worker.closes_idle() {
            return Poll::Ready(false);
        }
        ready!(client.watch.poll_overdue(cx));
        client.counts.ended(Ended::Idle);
        Poll::Ready(false)
    })
    .await;
    match comes {
        true => Stage::Converses(wire),
        // A request may have come at this very moment.
        false if !wire.has_ended() && farewell::has_unread(wire.stream()) => {
            Stage::Unheard(wire.into_stream())
        }
        false => Stage::Over,
    }
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
