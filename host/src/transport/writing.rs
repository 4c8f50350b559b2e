//! A request on its way to the backend: its head, then its body as it comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::head::RequestHead;
use crate::gather;
use crate::grammar;

/// What of a request is still to be written.
pub struct Writing<B> {
    /// The head, or what a chunk begins with.
    before: Vec<u8>,
    /// How much of it is written.
    written: usize,
    data: Bytes,
    /// What a chunk ends with.
    after: &'static [u8],
    body: B,
    /// All of the body has come.
    ended: bool,
    coding: Coding,
    /// Something was written, or taken from the body.
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
}

/// A body that can be sent.
pub trait RequestBody: Body<Data = Bytes, Error: Into<BodyError>> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin + 'static> RequestBody for B {}

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// The backend takes no more.
    Backend(io::Error),
    /// Its body broke off, or has another length than was declared.
    Body(BodyError),
}

impl WriteError {
    fn length() -> WriteError {
        WriteError::Body("its length is not the declared one".into())
    }
}

impl<B: RequestBody> Writing<B> {
    /// The request with this head and body; `space` is used for what is written.
    pub fn new(head: &RequestHead<'_>, body: B, mut space: Vec<u8>) -> Writing<B> {
        let ended = body.is_end_stream();
        space.clear();
        head.write(&mut space, !ended);
        Writing {
            before: space,
            written: 0,
            data: Bytes::new(),
            after: b"",
            coding: match ended {
                false => Coding::of(head.headers),
                true => Coding::Length(0),
            },
            body,
            ended,
            begun: false,
        }
    }

    /// All of it is written.
    pub fn is_complete(&self) -> bool {
        self.ended && !self.has_pieces()
    }

    /// The body, if nothing was written and nothing was taken from it.
    pub fn unsent(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// The space that it was given.
    pub fn into_space(self) -> Vec<u8> {
        self.before
    }

    /// Writes what there is; ready when all of it is written.
    pub fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            // With the head, where it is there already: one call instead of two.
            if self.data.is_empty() && self.after.is_empty() {
                self.take_frame(cx)?;
            }
            if !self.has_pieces() {
                return match self.ended {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Pending,
                };
            }
            let written = ready!(self.poll_write(io, cx)).map_err(WriteError::Backend)?;
            self.advance(written);
        }
    }

    fn has_pieces(&self) -> bool {
        self.written < self.before.len() || !self.data.is_empty() || !self.after.is_empty()
    }

    fn take_frame(&mut self, cx: &mut Context<'_>) -> Result<(), WriteError> {
        if self.ended {
            return Ok(());
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return Ok(());
        };
        self.begun = true;
        let trailers = match frame
            .transpose()
            .map_err(|error| WriteError::Body(error.into()))?
        {
            Some(frame) => match frame.into_data() {
                Ok(data) => {
                    // Known at once, so that the last bytes go with what ends the body.
                    let ended = self.body.is_end_stream();
                    self.add(data)?;
                    if !ended {
                        return Ok(());
                    }
                    HeaderMap::new()
                }
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            },
            None => HeaderMap::new(),
        };
        self.ended = true;
        self.end(&trailers)
    }

    fn add(&mut self, data: Bytes) -> Result<(), WriteError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.coding {
            Coding::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or_else(WriteError::length)?;
            }
            Coding::Chunked => {
                self.make_room();
                self.before
                    .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.after = b"\r\n";
            }
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), WriteError> {
        match self.coding {
            Coding::Length(0) => {}
            Coding::Length(_) => return Err(WriteError::length()),
            Coding::Chunked if trailers.is_empty() => {
                self.after = match self.after.is_empty() {
                    true => b"0\r\n\r\n",
                    false => b"\r\n0\r\n\r\n",
                };
            }
            Coding::Chunked => {
                self.make_room();
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        self.before.extend_from_slice(part);
                    }
                }
                self.before.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Drops what is written.
    fn make_room(&mut self) {
        self.before.drain(..self.written);
        self.written = 0;
    }

    fn poll_write(
        &self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let head = &self.before[self.written..];
        let written = match self.data.is_empty() && self.after.is_empty() {
            true => Pin::new(io).poll_write(cx, head),
            false => {
                let pieces = [head, &self.data, self.after].map(IoSlice::new);
                gather::poll_write(io, cx, &pieces)
            }
        };
        match ready!(written)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(Ok(written)),
        }
    }

    fn advance(&mut self, written: usize) {
        self.begun = true;
        let of_head = written.min(self.before.len() - self.written);
        self.written += of_head;
        let of_data = (written - of_head).min(self.data.len());
        self.data.advance(of_data);
        self.after = &self.after[written - of_head - of_data..];
    }
}

impl Coding {
    fn of(headers: &HeaderMap) -> Coding {
        let declared = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        match declared.and_then(grammar::length) {
            Some(length) => Coding::Length(length),
            None => Coding::Chunked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::header::TRANSFER_ENCODING;
    use http::{Method, Uri};
    use http_body::Frame;
    use proptest::prelude::*;

    use super::*;

    /// A body whose frames come one by one, each after one time of waiting.
    struct Frames {
        frames: VecDeque<Frame<Bytes>>,
        waited: bool,
    }

    impl Frames {
        fn of(pieces: &[Vec<u8>]) -> Frames {
            let data = pieces.iter().map(|piece| Frame::data(piece.clone().into()));
            Frames {
                frames: data.collect(),
                waited: false,
            }
        }
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            self.waited = !self.waited;
            match self.waited {
                true => Poll::Pending,
                false => Poll::Ready(self.frames.pop_front().map(Ok)),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.frames.is_empty()
        }
    }

    /// Takes so many bytes at once, and none every other time.
    struct Trickle {
        taken: Vec<u8>,
        at_once: usize,
        waited: bool,
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.waited = !self.waited;
            if self.waited {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.at_once);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is written of a request with these headers and this body.
    fn written(
        headers: &HeaderMap,
        body: Frames,
        at_once: usize,
    ) -> (Result<(), WriteError>, String) {
        let target = Uri::from_static("/");
        let head = RequestHead {
            method: &Method::POST,
            target: &target,
            headers,
            host: None,
            added: b"",
        };
        let mut writing = Writing::new(&head, body, b"left from before".to_vec());
        let mut io = Trickle {
            taken: Vec::new(),
            at_once,
            waited: false,
        };
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            if let Poll::Ready(result) = writing.poll(&mut io, &mut context) {
                assert_eq!(writing.is_complete(), result.is_ok());
                return (result, String::from_utf8(io.taken).expect("text"));
            }
            assert!(!writing.is_complete());
        }
        panic!("it does not end")
    }

    fn with(name: http::HeaderName, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a value");
        HeaderMap::from_iter([(name, value)])
    }

    #[test]
    fn trailers_end_a_chunked_body() {
        let mut body = Frames::of(&[b"hello".to_vec()]);
        let trailers = with(http::HeaderName::from_static("check"), "sum");
        body.frames.push_back(Frame::trailers(trailers));
        let headers = with(TRANSFER_ENCODING, "chunked");
        let (result, text) = written(&headers, body, usize::MAX);
        assert!(result.is_ok());
        let expected = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\ncheck: sum\r\n\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_body_has_the_length_that_was_declared_or_fails() {
        let two = || Frames::of(&[b"one".to_vec(), b"two".to_vec()]);
        let (result, text) = written(&with(CONTENT_LENGTH, "6"), two(), usize::MAX);
        assert!(result.is_ok());
        assert!(text.ends_with("\r\n\r\nonetwo"), "{text}");
        for wrong in ["5", "7"] {
            let (result, text) = written(&with(CONTENT_LENGTH, wrong), two(), usize::MAX);
            assert!(matches!(result, Err(WriteError::Body(_))), "{wrong}");
            assert!(!text.ends_with("two") || wrong == "7", "nothing beyond it");
        }
    }

    #[test]
    fn a_body_is_given_back_if_nothing_was_sent() {
        let target = Uri::from_static("/");
        let head = RequestHead {
            method: &Method::POST,
            target: &target,
            headers: &with(CONTENT_LENGTH, "3"),
            host: None,
            added: b"",
        };
        let mut writing = Writing::new(&head, Frames::of(&[b"one".to_vec()]), Vec::new());
        let mut io = Trickle {
            taken: Vec::new(),
            at_once: 1,
            waited: false,
        };
        let mut context = Context::from_waker(Waker::noop());
        assert!(writing.poll(&mut io, &mut context).is_pending());
        assert!(io.taken.is_empty());
        let body = writing.unsent().expect("not a byte was written");
        let mut writing = Writing::new(&head, body, Vec::new());
        assert!(writing.poll(&mut io, &mut context).is_pending());
        assert_eq!(io.taken.len(), 1);
        assert!(writing.unsent().is_none());
    }

    proptest! {
        #[test]
        fn how_much_is_taken_at_once_makes_no_difference(
            pieces in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 1..30), 0..5),
            at_once in 1_usize..40,
        ) {
            let (result, text) =
                written(&with(TRANSFER_ENCODING, "chunked"), Frames::of(&pieces), at_once);
            prop_assert!(result.is_ok());
            let mut expected = "POST / HTTP/1.1\r\n".to_owned();
            if !pieces.is_empty() {
                expected += "transfer-encoding: chunked\r\n";
            }
            expected += "\r\n";
            for piece in &pieces {
                let piece = String::from_utf8_lossy(piece);
                expected += &format!("{:x}\r\n{piece}\r\n", piece.len());
            }
            if !pieces.is_empty() {
                expected += "0\r\n\r\n";
            }
            prop_assert_eq!(text, expected);
        }
    }
}
