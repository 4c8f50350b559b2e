//! `grpc.health.v1.Health/Check`, over HTTP/2 without an upgrade.
//!
//! One call with one small message each way does not need a code generator:
//! the request is one text field, the answer one number.

use std::error::Error;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use super::{BODY, Driver, HEAD, Target, connect, let_end};
use crate::config::GrpcProbe;
use crate::health::verdict::{Fault, Unfit};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Passed when the server says `SERVING`.
pub async fn check(target: &Target<'_>, probe: &GrpcProbe) -> Result<(), Unfit> {
    let stream = connect(target).await?;
    let (mut sender, connection) = http2::Builder::new(Local)
        .initial_stream_window_size(BODY as u32)
        .initial_connection_window_size(BODY as u32)
        .max_header_list_size(HEAD as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(fault)?;
    let driver = Driver::spawn(connection);
    let response = sender.send_request(request(target, probe)?).await;
    let result = judge(response.map_err(fault)?).await;
    let_end(async move {
        // Without it the connection says goodbye.
        drop(sender);
        driver.ended().await;
    });
    Ok(result?)
}

fn request(target: &Target<'_>, probe: &GrpcProbe) -> Result<Request<Full<Bytes>>, Fault> {
    let malformed = |error: http::Error| Fault::Protocol(format!("cannot be asked: {error}"));
    let host = probe.host.as_ref().and_then(|host| host.to_str().ok());
    let uri = Uri::builder()
        .scheme("http")
        .authority(host.unwrap_or(target.authority))
        .path_and_query(PATH)
        .build()
        .map_err(malformed)?;
    let mut request = Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, super::USER_AGENT)
        .body(Full::new(framed(&encoded(&probe.service))))
        .map_err(malformed)?;
    request.headers_mut().extend(probe.headers.clone());
    Ok(request)
}

async fn judge(response: http::Response<Incoming>) -> Result<(), Fault> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Fault::Status(head.status.as_u16()));
    }
    // An error without a message has its trailers in the head.
    accepted(&head.headers)?;
    let (message, trailers) = received(body).await?;
    accepted(&trailers)?;
    let serving = unframed(&message).and_then(status);
    match serving.ok_or_else(|| Fault::Protocol("its answer is not gRPC".to_owned()))? {
        1 => Ok(()),
        other => Err(Fault::Grpc(serving_status(other))),
    }
}

/// The body's data, up to [`BODY`] bytes, and its trailers.
async fn received(mut body: Incoming) -> Result<(Bytes, HeaderMap), Fault> {
    let mut data = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(fault)?.into_data() {
            Ok(piece) if data.len() + piece.len() > BODY => {
                return Err(Fault::Protocol("its answer is too long".to_owned()));
            }
            Ok(piece) => data.put(piece),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((data.freeze(), trailers))
}

/// Whether the call itself went well, as far as these fields say.
fn accepted(fields: &HeaderMap) -> Result<(), Fault> {
    match fields.get("grpc-status").map(HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(code) => Err(Fault::Grpc(grpc_status(&String::from_utf8_lossy(code)))),
    }
}

fn grpc_status(code: &str) -> String {
    // https://grpc.github.io/grpc/core/md_doc_statuscodes.html
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number = code.parse().ok();
    match number.and_then(|number: usize| NAMES.get(number)) {
        Some(name) => format!("grpc status {name}"),
        None => "grpc status of no known meaning".to_owned(),
    }
}

fn serving_status(number: u64) -> String {
    match number {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "neither SERVING nor NOT_SERVING",
    }
    .to_owned()
}

/// `HealthCheckRequest { service }` in the protobuf encoding: field 1, text.
/// The empty name is the default and not written.
fn encoded(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    message.freeze()
}

/// A message as gRPC puts it into a body: not compressed, its length in front.
fn framed(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.put_slice(message);
    body.freeze()
}

/// The only message of a body, if it is not compressed.
fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (compressed == 0 && message.len() == length).then_some(message)
}

/// Field 1 of `HealthCheckResponse`, 0 where it is left out; nothing when the
/// message is none.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (0, _) => return None,
            (_, kind) => skip(&mut message, kind)?,
        }
    }
    Some(status)
}

/// Skips a field's value.
fn skip(message: &mut &[u8], kind: u64) -> Option<()> {
    let length = match kind {
        0 => return take_varint(message).map(drop),
        1 => 8,
        2 => usize::try_from(take_varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *message = message.get(length..)?;
    Some(())
}

fn put_varint(message: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        message.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    message.put_u8(number as u8);
}

/// A varint of at most ten bytes.
fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// What an error of HTTP/2 means. A peer that speaks HTTP/1 is one of them.
fn fault(error: hyper::Error) -> Fault {
    let mut cause: Option<&dyn Error> = Some(&error);
    let mut innermost = String::new();
    while let Some(error) = cause {
        if error.is::<io::Error>() {
            return Fault::Closed;
        }
        innermost = error.to_string();
        cause = error.source();
    }
    match error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        true => Fault::Closed,
        false => Fault::Protocol(format!("its answer is not HTTP/2: {innermost}")),
    }
}

/// Tasks of a connection stay on the health thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_what_protoc_makes_of_it() {
        assert_eq!(encoded("")[..], b""[..]);
        assert_eq!(encoded("db")[..], b"\x0a\x02db"[..]);
        let long = "s".repeat(300);
        assert_eq!(encoded(&long)[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(framed(&encoded("db"))[..], b"\0\0\0\0\x04\x0a\x02db"[..]);
    }

    #[test]
    fn a_status_is_read_whatever_stands_beside_it() {
        assert_eq!(status(b"\x08\x01"), Some(1));
        assert_eq!(status(b"\x08\x02"), Some(2));
        assert_eq!(status(b""), Some(0), "the default is not written");
        // Fields of a later version: varint, 64 bits, text, 32 bits.
        let later = b"\x10\x96\x01\x19\0\0\0\0\0\0\0\0\x22\x01x\x2d\0\0\0\0\x08\x01";
        assert_eq!(status(later), Some(1));
        for broken in [
            &b"\x08"[..],
            b"\x12\x05x",
            b"\x0b",
            b"\x00\x01",
            &[0x80; 11],
        ] {
            assert_eq!(status(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn only_a_whole_uncompressed_message_is_one() {
        assert_eq!(unframed(b"\0\0\0\0\x02\x08\x01"), Some(&b"\x08\x01"[..]));
        for broken in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08\x01",
        ] {
            assert_eq!(unframed(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut message = BytesMut::new();
            put_varint(&mut message, number);
            prop_assert_eq!(take_varint(&mut &message[..]), Some(number));
        }

        #[test]
        fn no_answer_can_break_it(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = unframed(&bytes).map(status);
            let _ = status(&bytes);
        }
    }
}
