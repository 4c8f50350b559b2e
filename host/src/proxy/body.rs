//! Bodies on their way through: streamed, never collected, and each ending its
//! attempt exactly once.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use crate::connection::{Client, Watch};

/// The client's body on its way to a backend.
pub struct RequestBody {
    /// `None`: there is no body.
    incoming: Option<Incoming>,
    watch: Arc<Watch>,
    progress: Upload,
}

/// Whether all of a request body was passed on.
#[derive(Clone, Default)]
pub struct Upload(Option<Rc<Cell<bool>>>);

impl Upload {
    /// Nothing of the request is left to be sent.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|done| done.get())
    }
}

impl RequestBody {
    /// The body of a request that `client` sent.
    pub fn new(incoming: Incoming, client: &Client) -> RequestBody {
        let watch = Arc::clone(&client.watch);
        if incoming.is_end_stream() {
            return RequestBody {
                incoming: None,
                watch,
                progress: Upload(None),
            };
        }
        RequestBody {
            incoming: Some(incoming),
            watch,
            progress: Upload(Some(Rc::default())),
        }
    }

    /// An empty body beside this empty one, for a request that may be sent again.
    pub fn again(&self) -> RequestBody {
        RequestBody {
            incoming: None,
            watch: Arc::clone(&self.watch),
            progress: Upload(None),
        }
    }

    /// The request has no body.
    pub fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// Tells later how far the body got.
    pub fn progress(&self) -> Upload {
        self.progress.clone()
    }

    fn completed(&self) {
        if let Upload(Some(done)) = &self.progress {
            done.set(true);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let ended = incoming.is_end_stream();
        match &frame {
            Some(Ok(_)) => self.watch.progress(),
            Some(Err(_)) => {}
            None => self.completed(),
        }
        if ended {
            self.completed();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// What the client gets.
pub enum ResponseBody {
    /// A backend's body; dropping it unread ends the attempt as well.
    Upstream {
        incoming: Incoming,
        exchange: Exchange,
    },
    /// The proxy's own words.
    Text(Option<Bytes>),
}

impl ResponseBody {
    /// A body of the proxy's own.
    pub fn text(text: Bytes) -> ResponseBody {
        ResponseBody::Text(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            ResponseBody::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            ResponseBody::Upstream { incoming, exchange } => {
                let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => exchange.progress(frame.data_ref().map_or(0, Bytes::len)),
                    Some(Err(_)) => exchange.broke_off(),
                    None => exchange.complete(),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Text(text) => text.is_none(),
            ResponseBody::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            ResponseBody::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    /// hyper does not poll a body again that has said it is at its end.
    fn drop(&mut self) {
        if let ResponseBody::Upstream { incoming, exchange } = self
            && incoming.is_end_stream()
        {
            exchange.complete();
        }
    }
}
