//! A second reading of the same grammars, written to be compared with: slow and
//! simple, over whole buffers, knowing nothing of the other. Of answers it is hyper's.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The answer to a request with `method` that hyper's client reads from these bytes, after
/// which the connection is closed. `None`: it reads none, or not to its end.
pub fn answer(bytes: &[u8], method: &Method) -> Option<Response<Vec<u8>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let (near, far) = tokio::io::duplex(bytes.len() + 1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.ok()?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        let exchange = async {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes().to_vec();
            Some(Response::from_parts(head, body))
        };
        let (answer, _, _) = tokio::join!(exchange, connection, says(far, bytes));
        answer
    })
}

/// Says these bytes once it is asked.
async fn says(mut stream: DuplexStream, bytes: &[u8]) -> std::io::Result<()> {
    let _asked = stream.read(&mut [0; 1024]).await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await
}

/// Where the requests of `bytes` end, read as RFC 9112 has them without any of
/// the leniency that it permits. `None`: they cannot be read. The last one may be
/// incomplete.
pub fn ends(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match request(bytes, at) {
            Read::Until(end) => {
                ends.push(end);
                at = end;
            }
            Read::Incomplete => break,
            Read::Wrong => return None,
        }
    }
    Some(ends)
}

enum Read {
    Until(usize),
    Incomplete,
    Wrong,
}

/// A line and where the next one begins.
enum Line<'a> {
    Whole(&'a [u8], usize),
    Incomplete,
    Wrong,
}

fn line(bytes: &[u8], from: usize) -> Line<'_> {
    let rest = &bytes[from..];
    match rest.iter().position(|byte| b"\r\n".contains(byte)) {
        None => Line::Incomplete,
        Some(end) if rest[end] == b'\n' => Line::Wrong,
        Some(end) => match rest.get(end + 1) {
            None => Line::Incomplete,
            Some(b'\n') => Line::Whole(&rest[..end], from + end + 2),
            Some(_) => Line::Wrong,
        },
    }
}

macro_rules! whole {
    ($line:expr) => {
        match $line {
            Line::Whole(line, next) => (line, next),
            Line::Incomplete => return Read::Incomplete,
            Line::Wrong => return Read::Wrong,
        }
    };
}

fn request(bytes: &[u8], from: usize) -> Read {
    let (mut first, mut at) = whole!(line(bytes, from));
    while first.is_empty() {
        (first, at) = whole!(line(bytes, at));
    }
    let (mut lengths, mut chunked) = (Vec::new(), false);
    loop {
        let (field, next) = whole!(line(bytes, at));
        at = next;
        if field.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(field).to_ascii_lowercase();
        match text.split_once(':') {
            Some(("content-length", value)) => match length(value) {
                Some(length) => lengths.push(length),
                None => return Read::Wrong,
            },
            Some(("transfer-encoding", _)) => chunked = true,
            _ => {}
        }
    }
    lengths.dedup();
    match (chunked, lengths.as_slice()) {
        (true, []) => chunks(bytes, at),
        (false, []) => Read::Until(at),
        (false, [length]) => skip(bytes, at, *length),
        _ => Read::Wrong,
    }
}

fn skip(bytes: &[u8], from: usize, length: u64) -> Read {
    match usize::try_from(length)
        .ok()
        .and_then(|length| from.checked_add(length))
    {
        Some(end) if end <= bytes.len() => Read::Until(end),
        _ => Read::Incomplete,
    }
}

fn length(value: &str) -> Option<u64> {
    let digits = value.trim_matches([' ', '\t']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn chunks(bytes: &[u8], mut at: usize) -> Read {
    loop {
        let (size, next) = whole!(line(bytes, at));
        at = next;
        let text = String::from_utf8_lossy(size);
        let digits = text.split(';').next().unwrap_or_default();
        let digits = digits.trim_end_matches([' ', '\t']);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Read::Wrong;
        }
        let Ok(size) = u64::from_str_radix(digits, 16) else {
            return Read::Wrong;
        };
        if size == 0 {
            break;
        }
        at = match skip(bytes, at, size) {
            Read::Until(end) => end,
            other => return other,
        };
        match whole!(line(bytes, at)) {
            ([], next) => at = next,
            _ => return Read::Wrong,
        }
    }
    loop {
        let (trailer, next) = whole!(line(bytes, at));
        at = next;
        if trailer.is_empty() {
            return Read::Until(at);
        }
    }
}

/// One `forwarded-element` of RFC 7239 section 4, no list of them.
///
/// # Panics
///
/// If it is not.
pub fn is_one_element(element: &[u8]) {
    let mut quoted = false;
    let mut bytes = element.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => assert!(bytes.next().is_some(), "escapes nothing"),
            b',' | b' ' | b'\\' if !quoted => panic!("a list: {element:?}"),
            _ => {}
        }
    }
    assert!(!quoted, "a quote has no end: {element:?}");
}
