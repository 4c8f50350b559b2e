//! Every path of the API and what answers there; `host/openapi.json` lists the
//! same, which a test compares.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method};

use super::guard::Guard;
use super::problem::Problem;
use super::{Context, backends, health, pools, process, strategy};

type Routes = Vec<(&'static str, MethodRouter<Arc<Context>>)>;

fn routes() -> Routes {
    vec![
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(process::metrics)),
        ("/openapi.json", get(process::openapi)),
        ("/v1/version", get(process::version)),
        ("/v1/reload", post(process::reload)),
        ("/v1/pools", get(pools::list)),
        ("/v1/pools/{pool}", get(pools::show)),
        (
            "/v1/pools/{pool}/backends",
            get(backends::list).patch(backends::change_all),
        ),
        (
            "/v1/pools/{pool}/backends/{backend}",
            get(backends::show)
                .put(backends::put)
                .patch(backends::change)
                .delete(backends::remove),
        ),
        (
            "/v1/pools/{pool}/strategy",
            get(strategy::show)
                .put(strategy::swap)
                .delete(strategy::forget),
        ),
        (
            "/v1/pools/{pool}/strategy/rollback",
            post(strategy::rollback),
        ),
        ("/v1/pools/{pool}/strategy/history", get(strategy::history)),
    ]
}

/// Everything there is, for those that `guard` lets pass.
pub fn router(context: &Arc<Context>, guard: Guard) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .fallback(Problem::no_such_path)
        .method_not_allowed_fallback(Problem::no_such_method)
        .with_state(Arc::clone(context))
        .layer(from_fn_with_state(Arc::new(guard), Guard::watch))
        .layer(from_fn(finish))
}

/// Tells the log of every change that was asked for, and browsers to keep and
/// guess nothing.
async fn finish(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    if !matches!(method, Method::GET | Method::HEAD) {
        tracing::info!(%method, path, status, "asked through the admin API");
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
