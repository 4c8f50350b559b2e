//! What went wrong, for people and for programs (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::model;
use crate::control::Refused;

/// The media type of every error's body.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that says no, and why.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// `detail` names the pool, backend or field that it is about.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            header: None,
        }
    }

    /// There is nothing of this name.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// It was understood and cannot be done.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// A token is missing or wrong.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer realm=\"anubis\"");
        Self {
            header: Some((WWW_AUTHENTICATE, challenge)),
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// The rest of the request is not read, so the connection ends with this.
    #[must_use]
    pub fn and_close(self) -> Self {
        Self {
            header: Some((CONNECTION, HeaderValue::from_static("close"))),
            ..self
        }
    }

    /// What the answer's first line says.
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// There is no such path.
    pub async fn no_such_path() -> Self {
        Self::not_found("there is nothing at this path; GET /openapi.json says what there is")
    }

    /// The path has other methods.
    pub async fn no_such_method() -> Self {
        let detail = "this path has other methods, which the field Allow names";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = model::Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let mut response = (self.status, super::body::json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}

/// What the control thread refuses.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(what) => Self::not_found(what),
            Refused::Conflict(what) => Self::new(StatusCode::CONFLICT, what),
            Refused::Precondition(what) => Self::new(StatusCode::PRECONDITION_FAILED, what),
            Refused::Invalid(what) => Self::unprocessable(what),
            Refused::Plugin(error) => Self::unprocessable(format!("{error:#}")),
            Refused::Failed(what) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, what),
        }
    }
}
