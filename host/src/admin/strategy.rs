//! A pool's strategy: what is in force, another one, and back.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::body::{self, json, media_type, read_json, read_json_or_default};
use super::path::Path;
use super::pools::find;
use super::problem::Problem;
use super::{Context, model, view};
use crate::control::{NewSource, NewStrategy};
use crate::history::Version;

/// The media type of a component (WebAssembly Web API, section 5).
const WASM: &str = "application/wasm";

/// What is in force.
pub async fn show(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
) -> Result<Response, Problem> {
    let generation = context.generation();
    let current = find(&generation, &pool)?.history.current();
    let response = json(&view::strategy(current));
    Ok(with_etag(response, current))
}

/// What has been in force, newest first.
pub async fn history(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
) -> Result<Response, Problem> {
    let generation = context.generation();
    let versions = find(&generation, &pool)?.history.versions();
    let versions = versions.iter().map(|version| view::strategy(version));
    Ok(json(&model::History {
        versions: versions.collect(),
    }))
}

/// Another strategy: a component's bytes, or the name of a shipped one.
pub async fn swap(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
    query: Result<Query<model::Upload>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Instant::now();
    let expected = if_match(request.headers())?;
    // A pool that is not there is not worth an upload.
    find(&context.generation(), &pool)?;
    if media_type(request.headers()).as_deref() != Some(WASM) {
        let wanted = shipped(&pool, read_new_strategy(request).await?)?;
        let version = context.control.swap(&pool, wanted, expected).await?;
        return Ok(swapped(asked, &version));
    }
    let Query(upload) = query
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the query: {error}")))?;
    let _turn = context.uploads.acquire().await;
    let bytes = body::read(request, context.upload_limit).await?;
    let wanted = component(upload, bytes);
    let version = context.control.swap(&pool, wanted, expected).await?;
    Ok(swapped(asked, &version))
}

/// Back to an earlier version.
pub async fn rollback(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Instant::now();
    let expected = if_match(request.headers())?;
    let model::Rollback { version } = read_json_or_default(request).await?;
    let version = context.control.rollback(&pool, version, expected).await?;
    Ok(swapped(asked, &version))
}

/// Back to what the configuration asks for.
pub async fn forget(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = Instant::now();
    let expected = if_match(&headers)?;
    let version = context.control.forget_strategy(&pool, expected).await?;
    Ok(swapped(asked, &version))
}

async fn read_new_strategy(request: Request) -> Result<model::NewStrategy, Problem> {
    body::expect_media_type(request.headers(), &["application/json", WASM])?;
    read_json(request).await
}

fn shipped(pool: &str, wanted: model::NewStrategy) -> Result<NewStrategy, Problem> {
    let model::NewStrategy { name, config } = wanted;
    let config = match config {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(table @ Value::Object(_)) => table.to_string(),
        Some(_) => {
            let detail = format!("pool {pool}: config: expected an object or a text");
            return Err(Problem::unprocessable(detail));
        }
    };
    Ok(NewStrategy {
        source: NewSource::Shipped(name),
        config,
    })
}

fn component(upload: model::Upload, bytes: Bytes) -> NewStrategy {
    NewStrategy {
        source: NewSource::Component {
            name: upload.name.unwrap_or_default(),
            bytes,
        },
        config: upload.config.unwrap_or_default(),
    }
}

/// The version that has to be in force for the change to happen; none where it
/// does not matter (RFC 9110 section 13.1.1).
fn if_match(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut fields = headers.get_all(IF_MATCH).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let tag = field.to_str().ok().filter(|_| fields.next().is_none());
    match tag.map(str::trim) {
        Some("*") => Ok(None),
        Some(tag) if !tag.contains(',') => Ok(Some(tag.trim_matches('"').to_owned())),
        _ => {
            let detail = "the field If-Match has to be one version or *";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

fn swapped(asked: Instant, version: &Version) -> Response {
    let response = json(&model::Swapped {
        took_us: view::micros(asked.elapsed()),
        strategy: view::strategy(version),
    });
    with_etag(response, version)
}

fn with_etag(mut response: Response, version: &Version) -> Response {
    let tag = format!("\"{}\"", version.strategy.full_version());
    // A version is hexadecimal digits or a word.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_can_be_expected() {
        let expected = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_static(value));
            }
            if_match(&headers).map_err(|_| ())
        };
        assert_eq!(expected(&[]), Ok(None));
        assert_eq!(expected(&["*"]), Ok(None));
        assert_eq!(expected(&["\"abc\""]), Ok(Some("abc".to_owned())));
        assert_eq!(expected(&["abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(expected(&["\"a\", \"b\""]), Err(()));
        assert_eq!(expected(&["\"a\"", "\"b\""]), Err(()));
    }
}
