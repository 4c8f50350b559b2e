//! The chunked coding of an answer, undone (RFC 9112, section 7.1).

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memmem};

use super::Malformed;
use super::framing::{self, Piece};
use crate::grammar;

/// Longest line of a chunk's size with its extensions, and most bytes of all extensions
/// and of all trailers.
const MOST: usize = 16 * 1024;
/// Most trailers.
const TRAILERS: usize = 100;

/// Where in a chunked body the next byte belongs.
#[derive(Debug, Default)]
pub struct Chunked {
    place: Place,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line's end after a chunk's data.
    DataEnd,
    Trailers,
    End,
}

impl Chunked {
    /// All of the body was taken.
    pub fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Takes the next piece from the beginning of `buffer`.
    ///
    /// # Errors
    /// It is not chunked as it should be.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.place {
                Place::Size => {
                    let Some(line) = line(buffer)? else {
                        return Ok(Piece::More);
                    };
                    self.place = match self.size(&line)? {
                        0 => Place::Trailers,
                        size => Place::Data(size),
                    };
                }
                Place::Data(_) if buffer.is_empty() => return Ok(Piece::More),
                Place::Data(mut left) => {
                    let piece = framing::take(buffer, &mut left);
                    self.place = match left {
                        0 => Place::DataEnd,
                        left => Place::Data(left),
                    };
                    return Ok(piece);
                }
                Place::DataEnd => match line(buffer)? {
                    Some(line) if line.is_empty() => self.place = Place::Size,
                    Some(_) => return Err(Malformed::Chunk),
                    None => return Ok(Piece::More),
                },
                Place::Trailers => match trailers(buffer)? {
                    None => return Ok(Piece::More),
                    Some(map) => {
                        self.place = Place::End;
                        if !map.is_empty() {
                            return Ok(Piece::Trailers(map));
                        }
                    }
                },
                Place::End => return Ok(Piece::End),
            }
        }
    }

    fn size(&mut self, line: &[u8]) -> Result<u64, Malformed> {
        let extension = memchr(b';', line).map_or(0, |at| line.len() - at);
        self.extensions += extension;
        if self.extensions > MOST {
            return Err(Malformed::Chunk);
        }
        grammar::chunk_size(line, false).ok_or(Malformed::Chunk)
    }
}

/// Takes a line, without its end.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Malformed> {
    match memchr(b'\n', buffer) {
        None if buffer.len() > MOST => Err(Malformed::Chunk),
        None => Ok(None),
        Some(end) => {
            let mut line = buffer.split_to(end + 1);
            if !line.ends_with(b"\r\n") {
                return Err(Malformed::Chunk);
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
    }
}

/// Takes the trailers and the empty line after them.
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let Some(end) = memmem::find(buffer, b"\r\n\r\n") else {
        return match buffer.len() > MOST {
            true => Err(Malformed::Trailers),
            false => Ok(None),
        };
    };
    let section = buffer.split_to(end + 4).freeze();
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS];
    let parsed = httparse::parse_headers(&section, &mut fields);
    let Ok(httparse::Status::Complete((_, fields))) = parsed else {
        return Err(Malformed::Trailers);
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed::Trailers);
        };
        map.append(name, value);
    }
    Ok(Some(map))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data, and how many trailers followed, of bytes that come in these pieces.
    fn read(bytes: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, usize, usize)>, Malformed> {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let (mut chunked, mut buffer) = (Chunked::default(), BytesMut::new());
        let (mut data, mut trailers, mut from) = (Vec::new(), 0, 0);
        for end in ends {
            buffer.extend_from_slice(&bytes[from..end]);
            from = end;
            loop {
                match chunked.next(&mut buffer)? {
                    Piece::Data(piece) => data.extend_from_slice(&piece),
                    Piece::Trailers(map) => trailers = map.len(),
                    Piece::End => {
                        return Ok(Some((data, trailers, bytes.len() - end + buffer.len())));
                    }
                    Piece::More => break,
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_is_what_its_chunks_hold() {
        let body = b"5\r\nhello\r\n1;x=y\r\n \r\n6 \r\nworld!\r\n0\r\nA: b\r\nC: d\r\n\r\nnext";
        let whole = read(body, &[]);
        assert_eq!(whole, Ok(Some((b"hello world!".to_vec(), 2, 4))));
        assert_eq!(read(b"0\r\n\r\n", &[]), Ok(Some((Vec::new(), 0, 0))));
        assert_eq!(read(b"5\r\nhell", &[]), Ok(None));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for wrong in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n",
            "1000000000000000\r\n",
            "5 5\r\nhello",
            "0\r\nno colon\r\n\r\n",
            "0\r\nname : value\r\n\r\n",
        ] {
            assert!(read(wrong.as_bytes(), &[]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        let long = vec![b'0'; MOST + 2];
        assert_eq!(read(&long, &[]), Err(Malformed::Chunk));
        let extensions = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20);
        assert_eq!(read(extensions.as_bytes(), &[]), Err(Malformed::Chunk));
        let trailers = format!("0\r\nA: {}", "x".repeat(MOST));
        assert_eq!(read(trailers.as_bytes(), &[]), Err(Malformed::Trailers));
        let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(TRAILERS + 1));
        assert_eq!(read(many.as_bytes(), &[]), Err(Malformed::Trailers));
    }

    proptest! {
        #[test]
        fn how_it_is_cut_makes_no_difference(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nTrailer: one\r\n\r\n");
            match noise {
                None => {
                    let expected = (chunks.concat(), 1, 0);
                    prop_assert_eq!(read(&bytes, &cuts), Ok(Some(expected)));
                }
                Some((at, byte)) => {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
                }
            }
        }
    }
}
