//! One request to the admin API, over TCP or a Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::admin::model;

/// For a connection, and then for the answer: a large plugin is compiled and
/// rehearsed meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// What may stand in a segment of a path or a value of a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` for a segment of a path or a value of a query.
pub fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, PLAIN)
}

/// What is asked.
#[derive(Debug)]
pub struct Ask {
    method: Method,
    path: String,
    body: Option<(&'static str, Bytes)>,
}

impl Ask {
    /// Without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
        }
    }

    /// To look at something.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// With JSON.
    ///
    /// # Errors
    ///
    /// When `body` cannot be written in JSON.
    pub fn json(self, body: &impl serde::Serialize) -> Result<Self> {
        let text = serde_json::to_vec(body)?;
        Ok(self.body("application/json", text))
    }

    /// With any other body.
    pub fn body(self, kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            body: Some((kind, bytes.into())),
            ..self
        }
    }
}

/// Where the admin API is, and what it is shown.
#[derive(Debug)]
pub struct Client {
    place: Place,
    token: Option<HeaderValue>,
}

#[derive(Debug)]
enum Place {
    Tcp(Authority),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Client {
    /// For the admin API at `place`, with the token in a file.
    ///
    /// # Errors
    ///
    /// When `place` is neither `http://HOST:PORT` nor `unix:PATH`, or the token
    /// cannot be read.
    pub fn new(place: &str, token_file: Option<&Path>) -> Result<Self> {
        Ok(Self {
            place: Place::read(place)?,
            token: token_file.map(read_token).transpose()?,
        })
    }

    /// What is answered, as JSON of this shape.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`], or when the answer has another shape.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.ask(Ask::get(path)).await?;
        serde_json::from_slice(&text).with_context(|| format!("{self}: the answer to {path}"))
    }

    /// The body of a good answer.
    ///
    /// # Errors
    ///
    /// When the API is not reached, or with the sentence that it refuses with.
    pub async fn ask(&self, ask: Ask) -> Result<Bytes> {
        let asked = async {
            match &self.place {
                Place::Tcp(authority) => {
                    let port = authority.port_u16().unwrap_or(80);
                    let host = authority.host().trim_matches(['[', ']']);
                    let stream = TcpStream::connect((host, port)).await;
                    self.ask_over(stream.context("cannot connect")?, ask).await
                }
                Place::Unix(path) => {
                    let stream = UnixStream::connect(path).await;
                    self.ask_over(stream.context("cannot connect")?, ask).await
                }
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.or_refusal(),
            Ok(Err(error)) => Err(error.context(self.to_string())),
            Err(_) => bail!("{self}: no answer within {} s", PATIENCE.as_secs()),
        }
    }

    async fn ask_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ask: Ask,
    ) -> Result<Answer> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(self.request(ask)?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        drop(sender);
        // The answer is complete; how the connection ended is of no interest.
        let _ = connection.await;
        Ok(Answer { status, body })
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>> {
        let host = match &self.place {
            Place::Tcp(authority) => authority.as_str(),
            Place::Unix(_) => "localhost",
        };
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = match ask.body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                body
            }
            None => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }
}

struct Answer {
    status: http::StatusCode,
    body: Bytes,
}

impl Answer {
    fn or_refusal(self) -> Result<Bytes> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        match serde_json::from_slice::<model::Problem>(&self.body) {
            Ok(problem) => Err(anyhow!("{}", problem.detail)),
            Err(_) => Err(anyhow!("{} from what is no admin API", self.status)),
        }
    }
}

impl Place {
    fn read(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            ensure!(!path.is_empty(), "--admin {text}: a path is missing");
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let wrong = || format!("--admin {text}: expected http://HOST:PORT or unix:PATH");
        let uri: Uri = text.parse().with_context(wrong)?;
        let is_plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        match uri.authority() {
            Some(authority) if is_plain && uri.query().is_none() => {
                Ok(Self::Tcp(authority.clone()))
            }
            _ => bail!(wrong()),
        }
    }
}

fn read_token(path: &Path) -> Result<HeaderValue> {
    let named = || format!("--token-file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", text.trim())).with_context(named)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_api_is_an_address_or_a_socket() {
        let place = |text: &str| Place::read(text).map(|place| place.to_string());
        for text in [
            "http://127.0.0.1:9090",
            "http://[::1]:9090",
            "unix:/run/admin.sock",
        ] {
            assert_eq!(place(text).expect("right"), text);
        }
        for wrong in [
            "",
            "127.0.0.1:9090",
            "https://a:1",
            "http://a/v1",
            "unix:",
            "http://",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_do_not_escape_their_segment() {
        assert_eq!(
            encoded("a/../b?c#d e").to_string(),
            "a%2F..%2Fb%3Fc%23d%20e"
        );
        assert_eq!(encoded("127.0.0.1:9001").to_string(), "127.0.0.1%3A9001");
    }
}
