//! The body of an answer, and the connection that it comes over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::buffers::Buffers;
use super::connection::Connection;
use super::framing::{Framing, Piece};
use crate::direct::Direct;

/// The body of an answer as it comes. Dropped before its end, it takes the connection
/// with it.
pub struct Received {
    source: Source,
    buffers: Buffers,
    framing: Framing,
    /// Another request may follow on the connection.
    persists: bool,
}

/// What a body is read from.
pub enum Source {
    Connection(TcpStream),
    /// The request is still being sent.
    Half(OwnedReadHalf, Upload),
    /// Nothing more comes.
    Nowhere,
}

/// The rest of a request that was answered before all of it was sent. It goes on beside
/// the answer: many backends read and answer at the same time. Ends when it is dropped.
pub struct Upload(pub JoinHandle<Option<OwnedWriteHalf>>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upload {
    /// The half of the connection that the request was written to, if all of it was.
    fn finished(&mut self) -> Option<OwnedWriteHalf> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll(&mut context) {
            Poll::Ready(Ok(half)) => half,
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }
}

impl Received {
    /// A body that is framed so, read from `source`; the beginning of it may be in `buffers`.
    pub fn new(source: Source, buffers: Buffers, framing: Framing, persists: bool) -> Received {
        Received {
            source,
            buffers,
            framing,
            persists,
        }
    }

    /// The connection, if another request may follow on it: the body was read to its end,
    /// the request was sent to its end, and nothing came that nobody asked for.
    pub fn take_connection(&mut self) -> Option<Connection> {
        if !self.persists || !self.is_end_stream() || !self.buffers.incoming.is_empty() {
            return None;
        }
        let stream = match std::mem::replace(&mut self.source, Source::Nowhere) {
            Source::Connection(stream) => stream,
            Source::Half(read, mut upload) => read.reunite(upload.finished()?).ok()?,
            Source::Nowhere => return None,
        };
        Some(Connection::reused(stream))
    }

    /// The connection and what came over it behind the head; for another protocol.
    pub fn into_stream(mut self) -> Option<(TcpStream, BytesMut)> {
        match self.source {
            Source::Connection(stream) => {
                let unread = std::mem::take(&mut self.buffers.incoming);
                Some((stream, unread))
            }
            Source::Half(..) | Source::Nowhere => None,
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.source {
            Source::Connection(stream) => self.buffers.poll_more(&mut Direct(&*stream), cx),
            Source::Half(half, _) => self.buffers.poll_more(half, cx),
            Source::Nowhere => Poll::Ready(Ok(0)),
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            let frame = match this.framing.next(&mut this.buffers.incoming) {
                Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Piece::Trailers(map)) => Some(Ok(Frame::trailers(map))),
                Ok(Piece::End) => None,
                Ok(Piece::More) => match ready!(this.poll_more(cx)) {
                    Ok(0) if this.framing.close() => continue,
                    Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                    Ok(_) => continue,
                    Err(error) => Some(Err(error)),
                },
                Err(malformed) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, malformed))),
            };
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.framing {
            Framing::Length(left) => SizeHint::with_exact(*left),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}
