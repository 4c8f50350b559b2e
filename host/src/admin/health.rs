//! Whether the proxy runs, and whether it should get traffic.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::body::json;
use super::problem::Problem;
use super::{Context, model};
use crate::config::BackendState;
use crate::generation::Served;

/// The process answers.
pub async fn livez() -> Response {
    status("live")
}

/// It serves, and every pool has a backend that takes requests.
pub async fn readyz(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    if context.shutdown.borrow().is_some() {
        return Err(unready("the proxy is ending"));
    }
    let generation = context.generation();
    match generation
        .pools
        .iter()
        .find(|served| !takes_requests(served))
    {
        Some(served) => {
            let name = &served.pool.settings.name;
            Err(unready(format!("pool {name}: no backend is active")))
        }
        None => Ok(status("ready")),
    }
}

fn status(status: &str) -> Response {
    json(&model::Health {
        status: status.to_owned(),
    })
}

fn unready(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

fn takes_requests(served: &Served) -> bool {
    let mut members = served.pool.members.list.iter();
    members.any(|member| member.settings.state == BackendState::Active)
}
