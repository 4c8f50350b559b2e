//! A pool's backends: who they are, how they do, and who may take requests.

use std::num::NonZeroU16;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::body::{json, read_json};
use super::path::Path;
use super::pools::find;
use super::problem::Problem;
use super::{Context, model, view};
use crate::config::{self, BackendSettings};
use crate::control::BackendChange;
use crate::generation::Served;
use crate::pool::Member;

/// The longest name of a backend, in bytes: it appears in every log line about it.
const LONGEST_NAME: usize = 255;

type At = Path<(String, String)>;

/// All of a pool.
pub async fn list(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
) -> Result<Response, Problem> {
    let generation = context.generation();
    let backends = view::backends(find(&generation, &pool)?, context.now_us());
    Ok(json(&model::Backends { backends }))
}

/// One.
pub async fn show(
    State(context): State<Arc<Context>>,
    Path((pool, backend)): At,
) -> Result<Response, Problem> {
    let generation = context.generation();
    let served = find(&generation, &pool)?;
    let member = member(served, &backend)?;
    let shown = view::backend(&served.pool, member, context.now_us());
    Ok(json(&shown))
}

/// Adds one, or gives the one of this name other settings.
pub async fn put(
    State(context): State<Arc<Context>>,
    Path((pool, backend)): At,
    request: Request,
) -> Result<Response, Problem> {
    let wanted: model::NewBackend = read_json(request).await?;
    let settings = settings(&pool, &backend, wanted)?;
    let is_new = member(find(&context.generation(), &pool)?, &backend).is_err();
    context.control.put_backend(&pool, settings).await?;
    let shown = show_if_single(context, pool, backend).await?;
    if is_new && shown.status() == StatusCode::OK {
        return Ok((StatusCode::CREATED, shown).into_response());
    }
    Ok(shown)
}

/// Changes weight, limits or state.
pub async fn change(
    State(context): State<Arc<Context>>,
    Path((pool, backend)): At,
    request: Request,
) -> Result<Response, Problem> {
    let wanted: model::BackendChange = read_json(request).await?;
    let change = wanted_change(wanted, || format!("pool {pool}: backend {backend}"))?;
    context
        .control
        .change_backend(&pool, &backend, change)
        .await?;
    show_if_single(context, pool, backend).await
}

/// A backend that was just changed. A name may stand for any number of them: then
/// nothing is shown.
async fn show_if_single(
    context: Arc<Context>,
    pool: String,
    backend: String,
) -> Result<Response, Problem> {
    let single = member(find(&context.generation(), &pool)?, &backend).is_ok();
    match single {
        true => show(State(context), Path((pool, backend))).await,
        false => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Changes them of every backend at once: so a whole pool drains.
pub async fn change_all(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let wanted: model::BackendChange = read_json(request).await?;
    let change = wanted_change(wanted, || format!("pool {pool}"))?;
    context.control.change_backends(&pool, change).await?;
    list(State(context), Path(pool)).await
}

fn wanted_change(
    wanted: model::BackendChange,
    named: impl Fn() -> String,
) -> Result<BackendChange, Problem> {
    if wanted == model::BackendChange::default() {
        let detail = format!("{}: weight, capacity, priority or state is needed", named());
        return Err(Problem::unprocessable(detail));
    }
    Ok(BackendChange {
        weight: wanted
            .weight
            .map(|number| weight(number, named))
            .transpose()?,
        capacity: wanted.capacity,
        priority: wanted.priority,
        state: wanted.state.map(Into::into),
    })
}

/// Takes one out of the pool; what it has in flight it finishes.
pub async fn remove(
    State(context): State<Arc<Context>>,
    Path((pool, backend)): At,
) -> Result<StatusCode, Problem> {
    context.control.remove_backend(&pool, &backend).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn member<'s>(served: &'s Served, backend: &str) -> Result<&'s Member, Problem> {
    let pool = &served.pool;
    let mut members = pool.members.list.iter();
    members
        .find(|member| member.settings.name == backend)
        .ok_or_else(|| {
            let pool = &pool.settings.name;
            Problem::not_found(format!("pool {pool}: there is no backend {backend}"))
        })
}

fn settings(
    pool: &str,
    backend: &str,
    wanted: model::NewBackend,
) -> Result<BackendSettings, Problem> {
    let named = || format!("pool {pool}: backend {backend}");
    if backend.len() > LONGEST_NAME || backend.chars().any(char::is_control) {
        let detail = format!(
            "pool {pool}: a backend's name has at most {LONGEST_NAME} bytes and no control characters"
        );
        return Err(Problem::unprocessable(detail));
    }
    let address = config::backend_address(&wanted.address)
        .map_err(|what| Problem::unprocessable(format!("{}: address: {what}", named())))?;
    let mut settings = BackendSettings::new(address);
    settings.name = backend.to_owned();
    if let Some(number) = wanted.weight {
        settings.weight = weight(number, named)?;
    }
    settings.capacity = wanted.capacity.unwrap_or(settings.capacity);
    settings.priority = wanted.priority.unwrap_or(settings.priority);
    settings.zone = wanted.zone;
    settings.labels = wanted.labels;
    settings.state = wanted.state.map_or(settings.state, Into::into);
    Ok(settings)
}

fn weight(number: u32, named: impl Fn() -> String) -> Result<NonZeroU16, Problem> {
    u16::try_from(number)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| {
            let detail = format!("{}: weight: {number} is out of range: 1 to 65535", named());
            Problem::unprocessable(detail)
        })
}
