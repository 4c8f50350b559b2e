//! One connection to a backend, and one request on it until the head of its answer.
//!
//! A request is written, and its answer read, by whoever waits for it: there is no task
//! of the connection's own that would have to be woken, and handed the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Response};
use tokio::net::TcpStream;

use super::Cause;
use super::buffers::Buffers;
use super::head::{AnswerHead, HeadReader, RequestHead};
use super::received::{Received, Source, Upload};
use super::writing::{RequestBody, WriteError, Writing};
use crate::direct::Direct;

/// An open connection that one request may use.
pub struct Connection {
    stream: TcpStream,
    /// It carried a request before: that it turns out closed says nothing of
    /// the backend.
    reused: bool,
}

/// Why there is no answer.
pub struct SendError<B> {
    pub cause: Cause,
    /// The body, if not a byte of the request was sent.
    pub unsent: Option<B>,
}

impl Connection {
    /// One that was just made.
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            reused: false,
        }
    }

    /// One that has carried a request.
    pub fn reused(stream: TcpStream) -> Connection {
        Connection {
            stream,
            reused: true,
        }
    }

    /// It carried a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// The backend has neither closed it nor sent anything, as far as is known.
    pub fn is_quiet(&self) -> bool {
        // No system call, unless something is known to have happened; perhaps only that the
        // last read took everything there was.
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends the request with this head and body; what comes of it is an answer, whose
    /// body has the connection.
    pub fn send<B: RequestBody>(self, head: &RequestHead<'_>, body: B) -> Sending<B> {
        let mut buffers = Buffers::take();
        let space = std::mem::take(&mut buffers.outgoing);
        Sending {
            open: Some(Open {
                writing: Writing::new(head, body, space),
                stream: self.stream,
                buffers,
                reused: self.reused,
                refused: None,
                answered: false,
            }),
            method: head.method.clone(),
            head: HeadReader::default(),
        }
    }
}

/// A request under way, until the head of its answer is there. Dropped, it takes the
/// connection with it.
pub struct Sending<B> {
    /// `None` once it has ended.
    open: Option<Open<B>>,
    method: Method,
    head: HeadReader,
}

struct Open<B> {
    stream: TcpStream,
    buffers: Buffers,
    writing: Writing<B>,
    reused: bool,
    /// The backend takes no more of the request; it may still have answered.
    refused: Option<io::Error>,
    /// Some of an answer has come.
    answered: bool,
}

impl<B: RequestBody> Future for Sending<B> {
    type Output = Result<Response<Received>, SendError<B>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let open = this.open.as_mut().expect("not polled after its end");
        let result = ready!(open.poll(&mut this.head, &this.method, cx));
        let ended = this.open.take();
        Poll::Ready(match (result, ended) {
            (Ok(head), Some(open)) => Ok(open.into_answer(head)),
            (Err(cause), open) => Err(SendError {
                cause,
                unsent: open.and_then(|open| open.writing.unsent()),
            }),
            (Ok(_), None) => unreachable!("it was just polled"),
        })
    }
}

impl<B: RequestBody> Open<B> {
    fn poll(
        &mut self,
        head: &mut HeadReader,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, Cause>> {
        if self.refused.is_none()
            && let Poll::Ready(Err(error)) = self.writing.poll(&mut Direct(&self.stream), cx)
        {
            match error {
                WriteError::Backend(error) => self.refused = Some(error),
                WriteError::Body(error) => return Poll::Ready(Err(Cause::RequestBody(error))),
            }
        }
        loop {
            let read = ready!(self.buffers.poll_more(&mut Direct(&self.stream), cx));
            match read {
                Ok(0) => return Poll::Ready(Err(self.closed(None))),
                Err(error) => return Poll::Ready(Err(self.closed(Some(error)))),
                Ok(_) => self.answered = true,
            }
            match head.take(&mut self.buffers.incoming, method) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(Cause::Protocol(malformed))),
            }
        }
    }

    /// Why there is no answer, where the connection has ended.
    fn closed(&mut self, error: Option<io::Error>) -> Cause {
        if self.reused && !self.answered {
            return Cause::StaleConnection;
        }
        let error = error.or(self.refused.take());
        Cause::Closed(error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }

    fn into_answer(mut self, head: AnswerHead) -> Response<Received> {
        let AnswerHead {
            response,
            framing,
            persists,
        } = head;
        let persists = persists && self.refused.is_none();
        let source = match self.refused.is_some() || self.writing.is_complete() {
            true => {
                self.buffers.outgoing = self.writing.into_space();
                Source::Connection(self.stream)
            }
            false => {
                let (read, mut write) = self.stream.into_split();
                let mut writing = self.writing;
                let rest = tokio::task::spawn_local(async move {
                    let written = std::future::poll_fn(|cx| writing.poll(&mut write, cx));
                    // Why not, its request or its answer finds out as well.
                    written.await.is_ok().then_some(write)
                });
                Source::Half(read, Upload(rest))
            }
        };
        response.map(|()| Received::new(source, self.buffers, framing, persists))
    }
}
