//! One request to one backend: connect or reuse, send, wait for the response head.
//!
//! Neither chooses a backend nor decides whether to retry.

mod buffers;
mod chunked;
mod connection;
mod framing;
mod head;
mod received;
pub mod spare;
mod writing;

pub use connection::{Connection, SendError};
pub use head::{HeadReader, RequestHead};
pub use received::Received;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use self::writing::BodyError;
use crate::config::PoolSettings;
use crate::telemetry::metrics::BackendCounts;
use crate::timer::Alarm;

/// One worker's connections to one backend address.
///
/// The most recently used connection is taken first, so that a pool that got
/// too large for its traffic ages out.
pub struct Upstream {
    address: Arc<str>,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    /// When its last response ended, in microseconds.
    since_us: u64,
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
    Closed(io::Error),
    /// No response head within the response timeout.
    #[error("no answer in time")]
    ResponseTimeout,
    /// No response head within the time that all attempts may take.
    #[error("no answer in the time for all attempts")]
    TotalTimeout,
    /// What came back is not HTTP/1, or is not to be relied on.
    #[error("its answer is not HTTP/1 as it should be: {0}")]
    Protocol(Malformed),
    /// The client did not go on with its request body in time.
    #[error("the client's request body stalled")]
    RequestTimeout,
    /// The client's request body broke off or was malformed.
    #[error("the client's request body broke off: {0}")]
    RequestBody(BodyError),
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("there is no head of an answer")]
    Head,
    #[error("its head is too large")]
    LargeHead,
    #[error("its lengths contradict each other, or are none")]
    Length,
    /// It is coded in a way that only one hop could undo, and this does not.
    #[error("it has a transfer coding other than chunked")]
    Coding,
    #[error("it is not in chunks as it says")]
    Chunk,
    #[error("its trailers are not fields")]
    Trailers,
}

impl Upstream {
    /// No connections yet to `address` (host and port).
    pub fn new(address: Arc<str>) -> Upstream {
        Upstream {
            address,
            idle: RefCell::default(),
        }
    }

    /// A connection for one request: a kept one, where that is allowed and one is left
    /// that was not closed by `now_us`, otherwise a new one. `alarm` is set to the limit.
    ///
    /// # Errors
    /// When none can be made within the connect timeout.
    pub async fn connection(
        &self,
        limits: &Limits,
        alarm: &Alarm,
        reuse: Reuse,
        now_us: u64,
        counts: &BackendCounts,
    ) -> Result<Connection, Cause> {
        if let Some(connection) = self.kept(reuse, limits.keep_alive, now_us) {
            counts.reuses.add(1);
            return Ok(connection);
        }
        // Boxed: few requests need it, and each would carry room for it.
        let connection = Box::pin(self.connect(limits, alarm)).await?;
        counts.connects.add(1);
        Ok(connection)
    }

    /// Keeps `connection`, whose response was read to its end at `now_us`, for the
    /// next request.
    pub fn keep(&self, connection: Connection, limit: usize, now_us: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limit {
            idle.push(Idle {
                connection,
                since_us: now_us,
            });
        }
    }

    /// Connections that are kept, as of the last look.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes what has been idle for `keep_alive`, and what the backend closed.
    pub fn expire(&self, keep_alive: Duration, now_us: u64) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| idle.may_be_used(keep_alive, now_us));
    }

    fn kept(&self, reuse: Reuse, keep_alive: Duration, now_us: u64) -> Option<Connection> {
        if reuse == Reuse::Forbidden {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(one) = idle.pop() {
            if one.may_be_used(keep_alive, now_us) {
                return Some(one.connection);
            }
        }
        None
    }

    async fn connect(&self, limits: &Limits, alarm: &Alarm) -> Result<Connection, Cause> {
        let opened = alarm
            .within(limits.connect_timeout, open(&self.address))
            .await;
        let stream = opened
            .ok_or(Cause::ConnectTimeout)?
            .map_err(connect_cause)?;
        Ok(Connection::new(stream))
    }
}

impl Idle {
    fn may_be_used(&self, keep_alive: Duration, now_us: u64) -> bool {
        let idle = Duration::from_micros(now_us.saturating_sub(self.since_us));
        idle < keep_alive && self.connection.is_quiet()
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

/// The upstreams of one worker, by address: a reload keeps the connections of
/// what it did not change.
#[derive(Default)]
pub struct Upstreams {
    by_address: RefCell<rustc_hash::FxHashMap<Arc<str>, std::rc::Weak<Upstream>>>,
}

impl Upstreams {
    /// The upstream for `address`, the one in use if there is one.
    pub fn at(&self, address: &Arc<str>) -> Rc<Upstream> {
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

/// An answer, from all the bytes that a backend sent.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub struct Read {
    pub response: http::Response<Vec<u8>>,
    /// Its body is complete.
    pub whole: bool,
}

/// Reads the answer to a request with `method` from all that a backend sent before it
/// closed the connection, in pieces of `length`. `None`: it has no whole head.
#[cfg(any(test, fuzzing))]
pub fn read_answer(
    bytes: &[u8],
    length: usize,
    method: &http::Method,
) -> Result<Option<Read>, Malformed> {
    use self::framing::Piece;
    let (mut buffer, mut reader) = (bytes::BytesMut::new(), head::HeadReader::default());
    let (mut answer, mut data) = (None, Vec::new());
    for piece in bytes.chunks(length.max(1)) {
        buffer.extend_from_slice(piece);
        if answer.is_none() {
            answer = reader.take(&mut buffer, method)?;
        }
        let Some(head::AnswerHead { framing, .. }) = &mut answer else {
            continue;
        };
        loop {
            match framing.next(&mut buffer)? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(_) => {}
                Piece::End | Piece::More => break,
            }
        }
    }
    Ok(answer.map(|mut head| Read {
        whole: head.framing.close(),
        response: head.response.map(|()| data),
    }))
}
