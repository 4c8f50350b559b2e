//! Bodies: those of requests read whole within limits, those of answers written.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// Longest JSON that is read; only plugins are larger.
const JSON: usize = 1 << 20;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the rest of a body that is too large is still listened to, so that
/// who sends it can read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// An answer in JSON.
pub fn json(what: &impl Serialize) -> Response {
    match serde_json::to_vec(what) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer of the admin API cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The media type of a body, without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (kind, _) = value.split_once(';').unwrap_or((value, ""));
    Some(kind.trim().to_ascii_lowercase())
}

/// The body as JSON of this shape.
///
/// # Errors
///
/// 415 for another media type, 413 for more than a MiB, 400 for what is no
/// JSON, 422 for JSON of another shape.
pub async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    expect_media_type(
        request.headers(),
        &["application/json", "application/merge-patch+json"],
    )?;
    from_json(&read(request, JSON).await?)
}

/// As [`read_json`], and a default where there is no body.
///
/// # Errors
///
/// As [`read_json`], but for a missing media type.
pub async fn read_json_or_default<T: DeserializeOwned + Default>(
    request: Request,
) -> Result<T, Problem> {
    if media_type(request.headers()).is_some() {
        expect_media_type(request.headers(), &["application/json"])?;
    }
    match read(request, JSON).await? {
        text if text.is_empty() => Ok(T::default()),
        text => from_json(&text),
    }
}

fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| {
        let status = match error.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, format!("the body: {error}"))
    })
}

/// Refuses a body of any other type.
///
/// # Errors
///
/// 415, naming the types that are taken.
pub fn expect_media_type(headers: &HeaderMap, taken: &[&str]) -> Result<(), Problem> {
    let given = media_type(headers);
    if given.as_deref().is_some_and(|given| taken.contains(&given)) {
        return Ok(());
    }
    let detail = format!("the field Content-Type has to be {}", taken.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// The whole body, which has at most `limit` bytes.
///
/// # Errors
///
/// 413 when it is longer, 408 when it does not arrive within a minute, 400 when
/// it breaks off.
pub async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let announced = announced_length(request.headers());
    let waits = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if announced.is_some_and(|length| length > limit as u64) {
        // Who asked whether to send it has not begun to.
        return Err(too_long(body, limit, !waits).await);
    }
    let mut whole = BytesMut::new();
    match timeout(PATIENCE, fill(&mut whole, &mut body, limit)).await {
        Ok(Ok(Filled::Whole)) => Ok(whole.freeze()),
        Ok(Ok(Filled::TooLong)) => Err(too_long(body, limit, true).await),
        Ok(Err(_)) => {
            let detail = "the body breaks off";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail).and_close())
        }
        Err(_) => {
            let detail = "the body did not arrive within a minute";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).and_close())
        }
    }
}

enum Filled {
    Whole,
    TooLong,
}

async fn fill(whole: &mut BytesMut, body: &mut Body, limit: usize) -> Result<Filled, axum::Error> {
    while let Some(frame) = body.frame().await {
        // Trailers mean nothing here.
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        if piece.len() > limit - whole.len() {
            return Ok(Filled::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Filled::Whole)
}

/// Closing at once on somebody who is sending would reset the connection, and
/// the answer would be lost with it.
async fn too_long(mut body: Body, limit: usize, is_coming: bool) -> Problem {
    if is_coming {
        let _ = timeout(LINGER, async {
            while let Some(Ok(_)) = body.frame().await {}
        })
        .await;
    }
    let detail = format!("the body has more than {limit} bytes, which is the limit");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).and_close()
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
