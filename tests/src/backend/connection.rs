//! One connection to a backend: read a request, take the answer's steps, again.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use super::Shared;
use crate::answer::{Answer, Step};
use crate::pattern::{self, Check};
use crate::wire::{Framing, Head, Reader};

/// How much of a request's body is kept to look at.
const KEPT: usize = 64 * 1024;
/// A write that takes longer than this counts as stalled.
const STALL: Duration = Duration::from_millis(500);

/// A request as a backend received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first word of the request line.
    pub method: String,
    /// The second.
    pub target: String,
    /// The head, byte for byte.
    pub head: Head,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// The body's length if it is made of [`crate::pattern`], else where it differs.
    pub pattern: Result<u64, String>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Which connection it came on: 1, 2, ...
    pub connection: usize,
}

/// Counts a connection as over however its task ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|seen| seen.closed += 1);
    }
}

enum End {
    /// The steps are done; the connection can take another request.
    Done,
    /// The script closed it.
    Closed,
    /// The peer left first.
    Aborted,
}

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    shared.count(|seen| seen.opened += 1);
    let number = shared.seen.borrow().opened;
    let open = Open(shared);
    // A backend that answers in two writes must not wait for Nagle.
    let _ = stream.set_nodelay(true);
    let (read, writer) = stream.into_split();
    let mut connection = Connection {
        reader: Reader::new(read),
        writer,
        shared: open.0.clone(),
    };
    for _ in 0..open.0.keep_alive_requests {
        if !connection.exchange(number).await {
            return;
        }
    }
}

struct Connection {
    reader: Reader,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
}

impl Connection {
    /// One request and its answer; whether another may follow.
    async fn exchange(&mut self, number: usize) -> bool {
        let Ok(Some(head)) = self.reader.head().await else {
            return false;
        };
        self.shared.count(|seen| seen.heads += 1);
        let close = head
            .all("connection")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("close"));
        match self.answer(head, number).await {
            Ok(End::Done) => {
                self.shared.count(|seen| seen.answered += 1);
                !close
            }
            Ok(End::Closed) => {
                self.shared.count(|seen| seen.answered += 1);
                false
            }
            Ok(End::Aborted) | Err(_) => {
                self.shared.count(|seen| seen.aborted += 1);
                false
            }
        }
    }

    async fn answer(&mut self, head: Head, connection: usize) -> io::Result<End> {
        let framing = head.framing();
        let mut request = Request {
            method: head.word(0).to_owned(),
            target: head.word(1).to_owned(),
            head,
            body: Vec::new(),
            pattern: Ok(0),
            trailers: Vec::new(),
            connection,
        };
        let answer: Answer = (self.shared.script)(&request);
        if let (Some(framing), false) = (framing, answer.early) {
            self.read_body(framing, &mut request).await?;
        }
        self.shared.record(request);
        for step in &answer.steps {
            match self.step(step, framing).await? {
                End::Done => {}
                end => return Ok(end),
            }
        }
        Ok(End::Done)
    }

    async fn read_body(&mut self, framing: Framing, request: &mut Request) -> io::Result<()> {
        let mut check = Check::default();
        let body = &mut request.body;
        let each = |piece: &[u8]| {
            check.add(piece);
            body.extend_from_slice(&piece[..piece.len().min(KEPT.saturating_sub(body.len()))]);
        };
        request.trailers = self.reader.body(framing, each).await?;
        request.pattern = check.result();
        Ok(())
    }

    async fn step(&mut self, step: &Step, framing: Option<Framing>) -> io::Result<End> {
        match step {
            Step::Write(bytes) => self.writer.write_all(bytes).await?,
            Step::Pattern(length) => self.send(*length, false).await?,
            Step::ChunkedPattern(length) => {
                self.send(*length, true).await?;
                self.writer.write_all(b"0\r\n\r\n").await?;
            }
            Step::Wait(delay) => return Ok(self.unless_left(sleep(*delay)).await),
            Step::Gate(gate) => return Ok(self.unless_left(gate.passed()).await),
            Step::Silence => return Ok(self.unless_left(std::future::pending()).await),
            Step::Echo => self.echo(framing).await?,
            Step::Tunnel => return self.tunnel().await,
            Step::Close => return Ok(End::Closed),
            Step::Reset => {
                socket2::SockRef::from(self.reader.socket()).set_linger(Some(Duration::ZERO))?;
                return Ok(End::Closed);
            }
        }
        Ok(End::Done)
    }

    async fn unless_left(&mut self, event: impl Future<Output = ()>) -> End {
        tokio::select! {
            () = event => End::Done,
            () = self.reader.closed() => End::Aborted,
        }
    }

    async fn send(&mut self, length: u64, chunked: bool) -> io::Result<()> {
        let mut sent = 0;
        while sent < length {
            let piece = pattern::slice(sent, length - sent);
            if chunked {
                self.write(format!("{:x}\r\n", piece.len()).as_bytes())
                    .await?;
            }
            self.write(piece).await?;
            if chunked {
                self.write(b"\r\n").await?;
            }
            sent += piece.len() as u64;
            self.shared.count(|seen| seen.sent += piece.len() as u64);
        }
        Ok(())
    }

    /// Writes all, and notices when the peer takes nothing for a while.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut write = pin!(self.writer.write_all(bytes));
        match timeout(STALL, &mut write).await {
            Ok(written) => written,
            Err(_) => {
                self.shared.count(|seen| seen.stalled += 1);
                write.await
            }
        }
    }

    async fn echo(&mut self, framing: Option<Framing>) -> io::Result<()> {
        match framing {
            Some(Framing::Chunked) => self.echo_chunks().await?,
            Some(Framing::Length(length)) => self.echo_length(length).await?,
            _ => {}
        }
        self.writer.write_all(b"0\r\n\r\n").await
    }

    async fn echo_chunks(&mut self) -> io::Result<()> {
        let mut piece = Vec::new();
        while self
            .reader
            .chunk(&mut |bytes: &[u8]| piece.extend_from_slice(bytes))
            .await?
            .is_some()
        {
            self.write_chunk(&piece).await?;
            piece.clear();
        }
        self.reader.trailers().await.map(drop)
    }

    async fn echo_length(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let mut piece = Vec::new();
            let step = length.min(64 * 1024);
            self.reader
                .body(Framing::Length(step), |bytes| {
                    piece.extend_from_slice(bytes)
                })
                .await?;
            self.write_chunk(&piece).await?;
            length -= step;
        }
        Ok(())
    }

    async fn write_chunk(&mut self, piece: &[u8]) -> io::Result<()> {
        self.writer
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .await?;
        self.writer.write_all(piece).await?;
        self.writer.write_all(b"\r\n").await
    }

    async fn tunnel(&mut self) -> io::Result<End> {
        loop {
            let piece = self.reader.some().await?;
            if piece.is_empty() {
                return Ok(End::Closed);
            }
            self.writer.write_all(&piece).await?;
        }
    }
}
