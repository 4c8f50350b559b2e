//! The process as a whole: its version, its reload, and what describes the API.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::body::{json, read_json_or_default};
use super::problem::Problem;
use super::{Context, model, view};
use crate::reload;
use crate::telemetry::metrics;

/// The description that every answer keeps to.
const OPENAPI: &str = include_str!("../../openapi.json");

/// What runs here, and since when.
pub async fn version(State(context): State<Arc<Context>>) -> Response {
    let uptime = context.control.started().elapsed();
    let started = SystemTime::now().checked_sub(uptime);
    json(&model::Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: view::instant(started.unwrap_or(SystemTime::UNIX_EPOCH)),
        uptime_us: view::micros(uptime),
        generation: context.generation().number,
    })
}

/// Reads the configuration and the plugins again.
pub async fn reload(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, Problem> {
    let model::Nothing {} = read_json_or_default(request).await?;
    let reloaded = context.control.reload().await?;
    Ok(json(&model::Reloaded {
        changed: matches!(reloaded, reload::Reloaded::Published(_)),
        generation: context.generation().number,
    }))
}

/// Everything that is counted; `host/METRICS.md` is the reference.
pub async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    let text = context.metrics.render(&context.generation());
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// `host/openapi.json`
pub async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], OPENAPI).into_response()
}
