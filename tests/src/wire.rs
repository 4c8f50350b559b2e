//! HTTP/1 as bytes: just enough parsing to know where a message ends, and
//! nothing that would hide what was really sent.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// A message head, exactly as received.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Every byte up to and including the empty line.
    pub raw: Vec<u8>,
    /// The request or status line.
    pub line: String,
    /// Names as sent, values trimmed, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Self {
            fields: lines.filter_map(field).collect(),
            line,
            raw,
        }
    }

    /// Every value of a field, in order; names compare without case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a field that occurs at most once.
    ///
    /// # Panics
    /// When the field occurs twice, which is what a test wants to know.
    pub fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(
            values.len() < 2,
            "{name} occurs {} times in {self}",
            values.len()
        );
        values.first().copied()
    }

    /// Whether the field is there at all.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The second word of the first line: a response's status.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// A word of the first line, from 0.
    pub fn word(&self, number: usize) -> &str {
        self.line.split(' ').nth(number).unwrap_or_default()
    }

    /// How the body after this head is delimited; `None` where nothing says so.
    pub fn framing(&self) -> Option<Framing> {
        if self
            .all("transfer-encoding")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Some(Framing::Chunked);
        }
        let length = self.all("content-length").first()?.parse().ok()?;
        Some(Framing::Length(length))
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// With the connection.
    ToEnd,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    /// Nothing read yet.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            buffer: BytesMut::with_capacity(16 * 1024),
        }
    }

    /// The next head; `None` when the peer closed before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(end) = self.find(b"\r\n\r\n").await? else {
            return if self.buffer.is_empty() {
                Ok(None)
            } else {
                Err(cut("within a head"))
            };
        };
        let raw = self.buffer.split_to(end + 4).to_vec();
        Ok(Some(Head::parse(raw)))
    }

    /// Reads a body, handing every piece of content to `each`; returns the trailers.
    pub async fn body(
        &mut self,
        framing: Framing,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Vec<(String, String)>> {
        match framing {
            Framing::Length(length) => self.exactly(length, &mut each).await?,
            Framing::ToEnd => self.until_end(&mut each).await?,
            Framing::Chunked => return self.chunks(&mut each).await,
        }
        Ok(Vec::new())
    }

    /// Whatever has arrived or arrives next; empty at the end.
    pub async fn some(&mut self) -> io::Result<BytesMut> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split())
    }

    /// Returns when the peer has closed or reset the connection; what arrives
    /// before is kept for reading.
    pub async fn closed(&mut self) {
        while matches!(self.fill().await, Ok(1..)) {}
    }

    /// Whether anything was received that has not been read.
    pub fn has_bytes(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &tokio::net::TcpStream {
        self.half.as_ref()
    }

    /// One chunk's content; `None` after the last, when only trailers are left.
    pub async fn chunk(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<Option<u64>> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16)
            .map_err(|_| io::Error::other(format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        self.exactly(size, each).await?;
        self.line().await?;
        Ok(Some(size))
    }

    /// The fields after the last chunk.
    pub async fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            match self.line().await?.as_str() {
                "" => return Ok(trailers),
                line => trailers.extend(field(line)),
            }
        }
    }

    async fn chunks(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<Vec<(String, String)>> {
        while self.chunk(each).await?.is_some() {}
        self.trailers().await
    }

    async fn exactly(&mut self, mut length: u64, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(cut("within a body"));
            }
            let size = self
                .buffer
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            each(&self.buffer[..size]);
            self.buffer.advance(size);
            length -= size as u64;
        }
        Ok(())
    }

    async fn until_end(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            each(&self.buffer);
            self.buffer.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = self
            .find(b"\r\n")
            .await?
            .ok_or_else(|| cut("within a line"))?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    async fn find(&mut self, end: &[u8]) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = self
                .buffer
                .windows(end.len())
                .position(|window| window == end)
            {
                return Ok(Some(at));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(64 * 1024);
        self.half.read_buf(&mut self.buffer).await
    }
}

fn cut(place: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the peer closed {place}"),
    )
}
