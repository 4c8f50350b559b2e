//! A client that sends exactly the bytes it is given and shows exactly those
//! that come back.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};

use crate::pattern::{self, Check};
use crate::wire::{Framing, Head, Reader};
use crate::within;

/// The error where the proxy closes before a response's first byte, as it may
/// close any connection that it holds for idle.
pub const BETWEEN_RESPONSES: &str = "closed between two responses";

/// A response, whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The head, byte for byte.
    pub head: Head,
    /// The content, without its framing.
    pub body: Vec<u8>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection to the proxy.
#[derive(Debug)]
pub struct Client {
    /// What it receives.
    pub reader: Reader,
    /// What it sends.
    pub writer: OwnedWriteHalf,
    address: SocketAddr,
}

/// A GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Response {
    Client::connect(address).await.get(target).await
}

/// Sends these bytes on a connection of their own and returns the response,
/// read as one to a GET.
pub async fn raw(address: SocketAddr, request: &str) -> Response {
    let mut client = Client::connect(address).await;
    client.send(request).await;
    client.response().await
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("the proxy listens");
        Self::on(stream, address)
    }

    /// Connects with a small receive buffer, for a client that reads slowly.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("sockets can be made");
        socket
            .set_recv_buffer_size(8 * 1024)
            .expect("the kernel takes any size");
        let stream = within("a connection", socket.connect(address))
            .await
            .expect("the proxy listens");
        Self::on(stream, address)
    }

    /// Connects, if anything listens.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::on(
            within("a connection", TcpStream::connect(address)).await?,
            address,
        ))
    }

    fn on(stream: TcpStream, address: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("it is a TCP socket");
        let (read, writer) = stream.into_split();
        Self {
            reader: Reader::new(read),
            writer,
            address,
        }
    }

    /// This end's address, as the proxy sees it.
    pub fn local_address(&self) -> SocketAddr {
        self.reader.socket().local_addr().expect("it is connected")
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(
            "the proxy to take what is sent",
            self.writer.write_all(bytes.as_ref()),
        )
        .await
        .expect("the proxy keeps the connection open");
    }

    /// Sends these bytes, which the proxy may refuse to read to their end.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(
            "the proxy to take what is sent",
            self.writer.write_all(bytes.as_ref()),
        )
        .await
    }

    /// Sends a GET with a Host and nothing else.
    pub async fn send_get(&mut self, target: &str) {
        let address = self.address;
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
            .await;
    }

    /// A GET and its response.
    pub async fn get(&mut self, target: &str) -> Response {
        self.send_get(target).await;
        self.response().await
    }

    /// The next response, to any request but HEAD.
    pub async fn response(&mut self) -> Response {
        within("a response", self.try_response())
            .await
            .expect("the proxy answers whole")
    }

    /// The next response head alone.
    pub async fn head(&mut self) -> Head {
        within("a response head", self.reader.head())
            .await
            .expect("the proxy answers")
            .expect("not an end")
    }

    /// The next response, or how it failed.
    pub async fn try_response(&mut self) -> io::Result<Response> {
        let head = match self.reader.head().await {
            Ok(Some(head)) => head,
            Err(error) if self.reader.has_bytes() => return Err(error),
            Ok(None) | Err(_) => return Err(io::Error::other(BETWEEN_RESPONSES)),
        };
        let mut body = Vec::new();
        let trailers = match body_of(&head) {
            None => Vec::new(),
            Some(framing) => {
                self.reader
                    .body(framing, |piece| body.extend_from_slice(piece))
                    .await?
            }
        };
        Ok(Response {
            head,
            body,
            trailers,
        })
    }

    /// A response made of [`crate::pattern`]: its head, and the body's length
    /// or where it differs. Bounded by no time: it may be large.
    pub async fn pattern(&mut self) -> io::Result<(Head, Result<u64, String>)> {
        let head = self
            .reader
            .head()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut check = Check::default();
        if let Some(framing) = body_of(&head) {
            self.reader.body(framing, |piece| check.add(piece)).await?;
        }
        Ok((head, check.result()))
    }

    /// Everything until the proxy closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let end = self
            .reader
            .body(Framing::ToEnd, |piece| rest.extend_from_slice(piece));
        // A reset ends the connection as well as a close does.
        let _ = within("the proxy to close", end).await;
        rest
    }
}

/// Sends `length` bytes of [`crate::pattern`].
pub async fn send_pattern(writer: &mut OwnedWriteHalf, length: u64) -> io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let piece = pattern::slice(sent, length - sent);
        writer.write_all(piece).await?;
        sent += piece.len() as u64;
    }
    Ok(())
}

fn body_of(head: &Head) -> Option<Framing> {
    match head.status() {
        100..=199 | 204 | 304 => None,
        _ => Some(head.framing().unwrap_or(Framing::ToEnd)),
    }
}
