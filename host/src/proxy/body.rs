//! Bodies on their way through: streamed, and collected only where a pool has a
//! replay buffer; each ends its attempt exactly once.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::headers;
use crate::connection::{Client, Watch};
use crate::transport::Received;

/// The client's body on its way to a backend.
pub struct RequestBody {
    source: Source,
    upload: Upload,
    /// How long the backend may think once it has all of the body.
    response_timeout: Duration,
}

/// Where a request's body comes from.
enum Source {
    /// There is none.
    Nowhere,
    /// From the client, as it arrives; whose time is watched.
    Client(Incoming, Arc<Watch>),
    /// The client's, which has arrived: what of it is still to be passed on.
    Kept(Bytes),
}

/// Why a body could not be kept.
pub enum KeepError {
    /// The client did not go on in time.
    Stalled,
    /// It broke off, or was malformed.
    Broken,
}

/// How far a request body got; `None`: there is no body.
#[derive(Clone, Default)]
pub struct Upload(Option<Rc<Moved>>);

#[derive(Default)]
struct Moved {
    progress: Cell<Progress>,
    bytes: Cell<u64>,
}

/// Whose move it is.
#[derive(Clone, Copy, Default)]
enum Progress {
    /// The backend has not asked for (more of) the body.
    #[default]
    Backend,
    /// It did, and the client has not sent it.
    Client,
    /// All of it was passed on, at this time.
    Complete(Instant),
}

impl Upload {
    /// Nothing of the request is left to be sent.
    pub fn is_complete(&self) -> bool {
        !matches!(self.progress(), Some(Progress::Backend | Progress::Client))
    }

    /// The client owes some of its body.
    pub fn waits_for_client(&self) -> bool {
        matches!(self.progress(), Some(Progress::Client))
    }

    /// When the last of a body was passed on: from then on the backend thinks.
    pub fn completed_at(&self) -> Option<Instant> {
        match self.progress() {
            Some(Progress::Complete(at)) => Some(at),
            _ => None,
        }
    }

    /// How much of the body was passed on.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |moved| moved.bytes.get())
    }

    fn progress(&self) -> Option<Progress> {
        self.0.as_ref().map(|moved| moved.progress.get())
    }

    fn set(&self, progress: Progress) {
        if let Some(moved) = &self.0 {
            moved.progress.set(progress);
        }
    }

    fn add(&self, bytes: usize) {
        if let Some(moved) = &self.0 {
            moved.bytes.set(moved.bytes.get() + bytes as u64);
        }
    }
}

impl RequestBody {
    /// The body of a request that `client` sent.
    pub fn new(incoming: Incoming, client: &Client) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody {
            source: Source::Client(incoming, Arc::clone(&client.watch)),
            upload: Upload(Some(Rc::default())),
            ..RequestBody::empty()
        }
    }

    /// The same body beside this one, for a request that may be sent again:
    /// empty, or kept. One that streams cannot be had twice; then it is empty.
    pub fn again(&self) -> RequestBody {
        match &self.source {
            Source::Kept(bytes) => RequestBody {
                source: Source::Kept(bytes.clone()),
                upload: Upload(Some(Rc::default())),
                ..RequestBody::empty()
            },
            Source::Nowhere | Source::Client(..) => RequestBody::empty(),
        }
    }

    /// The request has no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Nowhere)
    }

    /// Nothing of it is still to come from the client.
    pub fn is_here(&self) -> bool {
        !matches!(self.source, Source::Client(..))
    }

    /// It streams, and its length was declared and is at most `limit`.
    pub fn fits(&self, limit: usize) -> bool {
        let Source::Client(incoming, _) = &self.source else {
            return false;
        };
        let length = incoming.size_hint().exact();
        length.is_some_and(|length| length <= limit as u64)
    }

    /// Reads all of it into memory. The client may take its idle timeout for
    /// each piece.
    ///
    /// # Errors
    ///
    /// When the client does not do its part. The body is of no use then.
    pub async fn keep(&mut self) -> Result<(), KeepError> {
        let Source::Client(incoming, watch) = &mut self.source else {
            return Ok(());
        };
        // Grows with what arrives: a length alone costs no memory.
        let mut kept = BytesMut::new();
        loop {
            let frame = watch.within(watch.idle_timeout(), incoming.frame()).await;
            match frame.ok_or(KeepError::Stalled)? {
                Some(Ok(frame)) => kept.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Err(KeepError::Broken),
                None => break,
            }
        }
        self.source = Source::Kept(kept.freeze());
        Ok(())
    }

    /// Sets how long the backend may take to answer once it has the whole body.
    pub fn answered_within(&mut self, response_timeout: Duration) {
        self.response_timeout = response_timeout;
    }

    /// Tells later how far the body got.
    pub fn upload(&self) -> Upload {
        self.upload.clone()
    }

    fn empty() -> RequestBody {
        RequestBody {
            source: Source::Nowhere,
            upload: Upload(None),
            response_timeout: Duration::MAX,
        }
    }

    /// Time starts anew for whoever has the next move.
    fn moved(&self, progress: Progress) {
        self.upload.set(progress);
        if let Source::Client(_, watch) = &self.source {
            watch.upload_moved(match progress {
                Progress::Complete(_) => self.response_timeout,
                Progress::Backend | Progress::Client => watch.idle_timeout(),
            });
        }
    }
}

/// The next frame; trailers are left only what may stand in them.
fn poll_cleaned<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let mut frame = Pin::new(body).poll_frame(cx);
    if let Poll::Ready(Some(Ok(frame))) = &mut frame
        && let Some(trailers) = frame.trailers_mut()
    {
        headers::strip_from_trailers(trailers);
    }
    frame
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = match &mut self.source {
            Source::Client(incoming, _) => incoming,
            Source::Nowhere => return Poll::Ready(None),
            Source::Kept(kept) => {
                let bytes = std::mem::take(kept);
                // The connection's alarm may be another attempt's: it is left alone.
                self.upload.set(Progress::Complete(Instant::now()));
                self.upload.add(bytes.len());
                let frame = Some(bytes).filter(|bytes| !bytes.is_empty());
                return Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))));
            }
        };
        let Poll::Ready(frame) = poll_cleaned(incoming, cx) else {
            if !self.upload.waits_for_client() {
                self.moved(Progress::Client);
            }
            return Poll::Pending;
        };
        let ended = frame.is_none() || incoming.is_end_stream();
        if let Some(Ok(frame)) = &frame {
            self.upload.add(frame.data_ref().map_or(0, Bytes::len));
        }
        if !matches!(frame, Some(Err(_))) {
            self.moved(match ended {
                true => Progress::Complete(Instant::now()),
                false => Progress::Backend,
            });
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Nowhere => true,
            Source::Client(incoming, _) => incoming.is_end_stream(),
            Source::Kept(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Nowhere => SizeHint::with_exact(0),
            Source::Client(incoming, _) => incoming.size_hint(),
            Source::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// What the client gets.
pub enum ResponseBody {
    /// A backend's body; dropping it unread ends the attempt as well. Boxed: hyper moves a
    /// response a dozen times.
    Upstream(Box<Passing>),
    /// The proxy's own words.
    Text(Option<Bytes>),
}

/// A backend's body on its way to the client.
pub struct Passing {
    received: Received,
    exchange: Exchange,
    /// It broke off so, which hyper is still to be told.
    broken: Option<io::Error>,
}

impl ResponseBody {
    /// The body of the answer that `exchange` is about.
    pub fn upstream(received: Received, exchange: Exchange) -> ResponseBody {
        ResponseBody::Upstream(Box::new(Passing {
            received,
            exchange,
            broken: None,
        }))
    }

    /// A body of the proxy's own.
    pub fn text(text: Bytes) -> ResponseBody {
        ResponseBody::Text(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(frame) = poll_cleaned(&mut self.received, cx) else {
            self.exchange.waits_for_backend();
            return Poll::Pending;
        };
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let is_last = self.received.is_end_stream();
                self.exchange.progress(length, is_last);
            }
            None => self.complete(),
            Some(Err(_)) => {
                self.exchange.broke_off();
                // What came before it goes to the client first: with a body that fails,
                // hyper drops what it has not written.
                self.broken = frame.and_then(Result::err);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(frame)
    }

    fn complete(&mut self) {
        self.exchange.complete(self.received.take_connection());
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            ResponseBody::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            ResponseBody::Upstream(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Text(text) => text.is_none(),
            ResponseBody::Upstream(passing) => passing.received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            ResponseBody::Upstream(passing) => passing.received.size_hint(),
        }
    }
}

impl Drop for Passing {
    /// hyper does not poll a body again that has said it is at its end.
    fn drop(&mut self) {
        if self.received.is_end_stream() {
            self.complete();
        }
    }
}
