//! Pools, to look at.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::body::json;
use super::path::Path;
use super::problem::Problem;
use super::{Context, model, view};
use crate::generation::{Generation, Served};

/// Every pool, in short.
pub async fn list(State(context): State<Arc<Context>>) -> Response {
    let generation = context.generation();
    let pools = generation.pools.iter().map(view::pool_summary);
    json(&model::Pools {
        pools: pools.collect(),
    })
}

/// One pool with its strategy and its backends.
pub async fn show(
    State(context): State<Arc<Context>>,
    Path(pool): Path<String>,
) -> Result<Response, Problem> {
    let generation = context.generation();
    let served = find(&generation, &pool)?;
    Ok(json(&view::pool(served, context.now_us())))
}

/// The pool of this name.
///
/// # Errors
///
/// 404 when there is none.
pub fn find<'g>(generation: &'g Generation, pool: &str) -> Result<&'g Served, Problem> {
    generation
        .pool(pool)
        .ok_or_else(|| Problem::not_found(format!("there is no pool {pool}")))
}
