//! Where the body of an answer ends (RFC 9112, section 6.3), and what of the bytes that
//! come is its data. No IO.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::Malformed;
use super::chunked::Chunked;

/// What is left of a body.
#[derive(Debug)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// What comes until the connection is closed.
    UntilClose,
}

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body is complete.
    End,
    /// More bytes are needed to tell.
    More,
}

impl Framing {
    /// Takes the next piece from the beginning of `buffer`.
    ///
    /// # Errors
    /// The body is not coded as it should be.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            Framing::Length(0) => Ok(Piece::End),
            Framing::Chunked(chunked) => chunked.next(buffer),
            _ if buffer.is_empty() => Ok(Piece::More),
            Framing::Length(left) => Ok(take(buffer, left)),
            Framing::UntilClose => Ok(Piece::Data(buffer.split().freeze())),
        }
    }

    /// The connection was closed by the backend; false: in the middle of the body.
    pub fn close(&mut self) -> bool {
        if matches!(self, Framing::UntilClose) {
            *self = Framing::Length(0);
        }
        self.is_complete()
    }

    /// Nothing of the body is left.
    pub fn is_complete(&self) -> bool {
        match self {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunked) => chunked.is_complete(),
            Framing::UntilClose => false,
        }
    }
}

/// As much of `left` bytes as `buffer` has.
pub fn take(buffer: &mut BytesMut, left: &mut u64) -> Piece {
    let taken = (*left).min(buffer.len() as u64);
    *left -= taken;
    Piece::Data(buffer.split_to(taken as usize).freeze())
}
