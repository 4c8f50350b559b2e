//! One HTTP/1.1 request, and whether its answer is as it should be.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use memchr::memmem;

use super::{BODY, Driver, HEAD, Target, connect, let_end};
use crate::config::HttpProbe;
use crate::health::verdict::{Fault, Unfit};

/// Passed when the status is an expected one and the beginning of the body
/// contains what it should.
pub async fn check(target: &Target<'_>, probe: &HttpProbe) -> Result<(), Unfit> {
    let stream = connect(target).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Fault::from)?;
    let driver = Driver::spawn(connection);
    let response = sender.send_request(request(target, probe)?).await;
    let (head, mut body) = response.map_err(Fault::from)?.into_parts();
    let status = head.status.as_u16();
    let result = match &probe.body {
        _ if !probe.statuses.iter().any(|good| good.contains(&status)) => {
            Err(Fault::Status(status))
        }
        Some(text) => contains(&mut body, text).await,
        None => Ok(()),
    };
    let_end(async move {
        drain(&mut body).await;
        drop((body, sender));
        driver.ended().await;
    });
    Ok(result?)
}

fn request(target: &Target<'_>, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, Fault> {
    let malformed = |error: http::Error| Fault::Protocol(format!("cannot be asked: {error}"));
    let host = match &probe.host {
        Some(host) => host.clone(),
        None => HeaderValue::try_from(target.authority).map_err(|error| malformed(error.into()))?,
    };
    let mut request = Request::builder()
        .method(probe.method.clone())
        .uri(&probe.path)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .header(USER_AGENT, super::USER_AGENT)
        .header(ACCEPT, "*/*")
        .body(Empty::new())
        .map_err(malformed)?;
    // What is written replaces what is said by itself.
    request.headers_mut().extend(probe.headers.clone());
    Ok(request)
}

/// Whether `text` occurs in the body's first [`BODY`] bytes.
async fn contains(body: &mut Incoming, text: &str) -> Result<(), Fault> {
    let mut seen = Vec::new();
    while seen.len() < BODY {
        let Some(frame) = body.frame().await.transpose()? else {
            break;
        };
        let data = frame.into_data().unwrap_or_default();
        // From where the text may have begun without being found.
        let from = seen.len().saturating_sub(text.len());
        seen.extend_from_slice(&data[..data.len().min(BODY - seen.len())]);
        if memmem::find(&seen[from..], text.as_bytes()).is_some() {
            return Ok(());
        }
    }
    Err(Fault::Body(text.to_owned()))
}

/// Reads on to the end, if that is near.
async fn drain(body: &mut Incoming) {
    let mut read = 0;
    while read < BODY {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
