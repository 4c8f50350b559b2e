//! One request to one backend: connect or reuse, send, wait for the response head.
//!
//! Neither chooses a backend nor decides whether to retry.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;

use crate::config::PoolSettings;
use crate::telemetry::metrics::BackendCounts;
use crate::timer::Alarm;

/// One worker's connections to one backend address.
///
/// The most recently used connection is taken first, so that a pool that got
/// too large for its traffic ages out.
pub struct Upstream<B> {
    address: Arc<str>,
    idle: RefCell<Vec<Idle<B>>>,
}

/// An open connection that one request may use.
pub struct Connection<B> {
    sender: http1::SendRequest<B>,
    /// It carried a request before: that it turns out closed says nothing of
    /// the backend.
    reused: bool,
}

struct Idle<B> {
    connection: Connection<B>,
    since: Instant,
}

/// What the pool says about connections to its backends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub keep_alive: Duration,
    pub keep_alive_connections: usize,
}

impl From<&PoolSettings> for Limits {
    fn from(pool: &PoolSettings) -> Limits {
        Limits {
            connect_timeout: pool.connect_timeout,
            response_timeout: pool.response_timeout,
            keep_alive: pool.keep_alive,
            keep_alive_connections: pool.keep_alive_connections,
        }
    }
}

/// Whether a kept connection may carry a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    Allowed,
    /// One had been closed: the next request gets a new one.
    Forbidden,
}

/// Why there is no response.
pub struct SendError<B> {
    pub cause: Cause,
    /// The request, if not a byte of it was sent.
    pub unsent: Option<Request<B>>,
}

/// What went wrong between us and the backend.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The connection was refused or could not be made.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection within the connect timeout.
    #[error("no connection in time")]
    ConnectTimeout,
    /// This machine could not provide a socket (descriptors or ports ran out).
    #[error("no socket to be had: {0}")]
    Local(io::Error),
    /// A kept connection turned out to be closed before any response byte.
    #[error("a kept connection had been closed")]
    StaleConnection,
    /// The connection broke before the response head was complete.
    #[error("closed before it answered: {0}")]
    Closed(hyper::Error),
    /// No response head within the response timeout.
    #[error("no answer in time")]
    ResponseTimeout,
    /// No response head within the time that all attempts may take.
    #[error("no answer in the time for all attempts")]
    TotalTimeout,
    /// What came back is not HTTP/1.
    #[error("its answer is not HTTP/1: {0}")]
    Protocol(hyper::Error),
    /// Its body is coded in a way that only one hop could undo, and this does not.
    #[error("its answer has a transfer coding other than chunked")]
    Coding,
    /// The client did not go on with its request body in time.
    #[error("the client's request body stalled")]
    RequestTimeout,
    /// The client's request body broke off or was malformed.
    #[error("the client's request body broke off: {0}")]
    RequestBody(hyper::Error),
}

impl<B> Upstream<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connections yet to `address` (host and port).
    pub fn new(address: Arc<str>) -> Upstream<B> {
        Upstream {
            address,
            idle: RefCell::default(),
        }
    }

    /// A connection for one request: a kept one, where that is allowed and one is left
    /// that was not closed meanwhile, otherwise a new one. `alarm` is set to the limit.
    ///
    /// # Errors
    /// When none can be made within the connect timeout.
    pub async fn connection(
        &self,
        limits: &Limits,
        alarm: &Alarm,
        reuse: Reuse,
        counts: &BackendCounts,
    ) -> Result<Connection<B>, Cause> {
        while let Some(mut connection) = self.kept(reuse, limits.keep_alive) {
            if connection.is_free(limits, alarm).await {
                counts.reuses.add(1);
                return Ok(connection);
            }
        }
        let connection = self.connect(limits, alarm).await?;
        counts.connects.add(1);
        Ok(connection)
    }

    /// Keeps `connection`, whose response was read to its end at `now`, for the
    /// next request.
    pub fn keep(&self, mut connection: Connection<B>, limit: usize, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if connection.sender.is_closed() || idle.len() >= limit {
            return;
        }
        connection.reused = true;
        idle.push(Idle {
            connection,
            since: now,
        });
    }

    /// Connections that are kept, as of the last look.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes what has been idle for `keep_alive`, and what the backend closed.
    pub fn expire(&self, keep_alive: Duration) {
        self.idle.borrow_mut().retain(|idle| {
            !idle.connection.sender.is_closed() && idle.since.elapsed() < keep_alive
        });
    }

    fn kept(&self, reuse: Reuse, keep_alive: Duration) -> Option<Connection<B>> {
        if reuse == Reuse::Forbidden {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop() {
            if !connection.sender.is_closed() && since.elapsed() < keep_alive {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self, limits: &Limits, alarm: &Alarm) -> Result<Connection<B>, Cause> {
        let opened = alarm
            .within(limits.connect_timeout, open(&self.address))
            .await;
        let stream = opened
            .ok_or(Cause::ConnectTimeout)?
            .map_err(connect_cause)?;
        let (sender, driver) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Cause::Closed)?;
        tokio::task::spawn_local(async move {
            // Whoever sent a request hears of the error; an idle connection has nobody to tell.
            let _ = driver.with_upgrades().await;
        });
        Ok(Connection {
            sender,
            reused: false,
        })
    }
}

async fn open(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connect_cause(error: io::Error) -> Cause {
    match is_local(&error) {
        true => Cause::Local(error),
        false => Cause::Connect(error),
    }
}

/// No connection, and not because of the backend: descriptors or ports ran out.
pub fn is_local(error: &io::Error) -> bool {
    const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
    const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
        || error.kind() == io::ErrorKind::AddrNotAvailable
}

impl<B: Body + 'static> Connection<B> {
    /// It is as the request before left it, as soon as its task has noticed.
    async fn is_free(&mut self, limits: &Limits, alarm: &Alarm) -> bool {
        if self.sender.is_ready() {
            return true;
        }
        let ready = alarm.within(limits.connect_timeout, self.sender.ready());
        matches!(ready.await, Some(Ok(())))
    }

    /// Sends `request` at once and gives the response head, within the response
    /// timeout, to which `alarm` is set.
    ///
    /// The future does not have the request: all that it is held in is moved with it.
    pub fn send<'a>(
        &mut self,
        request: Request<B>,
        limits: &Limits,
        alarm: &'a Alarm,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError<B>>> + use<'a, B> {
        let answer = self.sender.try_send_request(request);
        Sent {
            answer: alarm.within(limits.response_timeout, answer),
            reused: self.reused,
        }
    }
}

pin_project! {
    // Not an `async` block, which would have room for the answer's future twice.
    struct Sent<F> {
        #[pin]
        answer: F,
        reused: bool,
    }
}

impl<F, B> Future for Sent<F>
where
    F: Future<Output = Option<Result<Response<Incoming>, TrySendError<Request<B>>>>>,
{
    type Output = Result<Response<Incoming>, SendError<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.answer.poll(cx)) {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut failed)) => Err(SendError {
                unsent: failed.take_message(),
                cause: cause(failed.into_error(), *this.reused),
            }),
            None => Err(SendError {
                unsent: None,
                cause: Cause::ResponseTimeout,
            }),
        })
    }
}

fn cause(error: hyper::Error, reused: bool) -> Cause {
    if error.is_user() {
        Cause::RequestBody(error)
    } else if error.is_parse() {
        Cause::Protocol(error)
    } else if reused {
        Cause::StaleConnection
    } else {
        Cause::Closed(error)
    }
}

/// The upstreams of one worker, by address: a reload keeps the connections of
/// what it did not change.
pub struct Upstreams<B> {
    by_address: RefCell<rustc_hash::FxHashMap<Arc<str>, std::rc::Weak<Upstream<B>>>>,
}

impl<B> Default for Upstreams<B> {
    fn default() -> Upstreams<B> {
        Upstreams {
            by_address: RefCell::default(),
        }
    }
}

impl<B> Upstreams<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The upstream for `address`, the one in use if there is one.
    pub fn at(&self, address: &Arc<str>) -> Rc<Upstream<B>> {
        let mut known = self.by_address.borrow_mut();
        if let Some(upstream) = known.get(address).and_then(std::rc::Weak::upgrade) {
            return upstream;
        }
        let upstream = Rc::new(Upstream::new(Arc::clone(address)));
        known.insert(Arc::clone(address), Rc::downgrade(&upstream));
        upstream
    }

    /// Forgets the addresses that no generation uses any more.
    pub fn forget_unused(&self) {
        self.by_address
            .borrow_mut()
            .retain(|_, upstream| upstream.strong_count() > 0);
    }
}
