//! Whose fault it is, which status that makes, and what a retry after it is called.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use crate::strategy::Failure;
use crate::telemetry::metrics::{Refused, RetryReason};
use crate::transport::Cause;

/// An answer that the proxy gives itself. It names the status and nothing
/// internal: no backend, pool, plugin or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// For the counts of the pool; `None` where it has none to do with it.
    pub why: Option<Refused>,
    /// The connection cannot be trusted to carry another request.
    close: bool,
    /// Seconds after which the client may try again; 0: it is told nothing.
    retry_after_s: u64,
}

impl Refusal {
    /// `status`, after which the connection goes on.
    pub const fn new(status: StatusCode) -> Refusal {
        Refusal {
            status,
            why: None,
            close: false,
            retry_after_s: 0,
        }
    }

    /// `status`, after which the connection is closed.
    pub const fn closing(status: StatusCode) -> Refusal {
        Refusal {
            close: true,
            ..Refusal::new(status)
        }
    }

    /// The request cannot be understood in one way only.
    pub const fn bad_request() -> Refusal {
        Refusal::closing(StatusCode::BAD_REQUEST)
    }

    /// The request's body is longer than it may be (RFC 9110 section 15.5.14).
    pub const fn too_large() -> Refusal {
        Refusal::closing(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// The same; but if it is because the client's body broke off, then because
    /// it was cut off where it became too large.
    pub fn for_too_large_a_body(self) -> Refusal {
        match self.why {
            Some(why @ Refused::Client) => Refusal::too_large().because(why),
            _ => self,
        }
    }

    /// No backend can take the request now.
    pub const fn unavailable() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The same; if it says that it was only not the moment (503, or 429 of RFC
    /// 6585), with the advice to try again after `time`, in whole seconds. Zero:
    /// without advice.
    pub fn retry_after(self, time: Duration) -> Refusal {
        let passes = matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        );
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        Refusal {
            retry_after_s: if passes { seconds } else { 0 },
            ..self
        }
    }

    /// The same, counted under this reason.
    pub const fn because(self, why: Refused) -> Refusal {
        Refusal {
            why: Some(why),
            ..self
        }
    }

    /// The response, as short text or as JSON.
    pub fn into_response(self, json: bool) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::text(self.body(json)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.retry_after_s > 0 {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after_s));
        }
        response
    }

    fn body(self, json: bool) -> Bytes {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let code = self.status.as_u16();
        Bytes::from(if json {
            format!("{{\"status\":{code},\"error\":\"{reason}\"}}\n")
        } else {
            format!("{code} {reason}\n")
        })
    }
}

/// The client asks for JSON.
pub fn wants_json(request: &HeaderMap) -> bool {
    request
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"))
}

impl Cause {
    /// What another attempt at another backend would be called; `None`: that
    /// would do no better, or the time is up. Whether the request can be sent a
    /// second time at all is [`super::request::Outgoing`]'s to say.
    pub fn reason(&self) -> Option<RetryReason> {
        match self {
            Cause::Connect(_) | Cause::ConnectTimeout => Some(RetryReason::Connect),
            Cause::Closed(_) => Some(RetryReason::Reset),
            Cause::ResponseTimeout => Some(RetryReason::Timeout),
            Cause::StaleConnection
            | Cause::Local(_)
            | Cause::TotalTimeout
            | Cause::Protocol(_)
            | Cause::RequestTimeout
            | Cause::RequestBody(_) => None,
        }
    }

    /// The answer, if it is the last word (RFC 9110 sections 15.6.3 to 15.6.5).
    pub fn refusal(&self) -> Refusal {
        let refusal = match self {
            Cause::Connect(_) | Cause::Closed(_) | Cause::StaleConnection | Cause::Protocol(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY)
            }
            Cause::ConnectTimeout | Cause::ResponseTimeout | Cause::TotalTimeout => {
                Refusal::new(StatusCode::GATEWAY_TIMEOUT)
            }
            Cause::Local(_) => Refusal::unavailable(),
            Cause::RequestTimeout => Refusal::closing(StatusCode::REQUEST_TIMEOUT),
            Cause::RequestBody(_) => Refusal::bad_request(),
        };
        refusal.because(self.refused())
    }

    /// What the refusal is counted under.
    fn refused(&self) -> Refused {
        match self {
            Cause::Connect(_) => Refused::Connect,
            Cause::ConnectTimeout | Cause::ResponseTimeout | Cause::TotalTimeout => {
                Refused::Timeout
            }
            Cause::Closed(_) | Cause::StaleConnection => Refused::Reset,
            Cause::Protocol(_) => Refused::Protocol,
            Cause::Local(_) => Refused::Local,
            Cause::RequestTimeout | Cause::RequestBody(_) => Refused::Client,
        }
    }

    /// What the strategy is told. `None`: it was not the backend.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Cause::Connect(_) => Some(Failure::Connect),
            Cause::ConnectTimeout | Cause::ResponseTimeout => Some(Failure::Timeout),
            Cause::Closed(_) => Some(Failure::Reset),
            Cause::Protocol(_) => Some(Failure::Protocol),
            Cause::Local(_)
            | Cause::StaleConnection
            | Cause::TotalTimeout
            | Cause::RequestTimeout
            | Cause::RequestBody(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_in_whole_seconds_and_for_what_passes() {
        let told = |refusal: Refusal, ms| {
            let refusal = refusal.retry_after(Duration::from_millis(ms));
            let response = refusal.into_response(false);
            let value = response.headers().get(RETRY_AFTER)?;
            Some(value.to_str().expect("digits").to_owned())
        };
        let full = Refusal::unavailable();
        assert_eq!(told(full, 1_000).as_deref(), Some("1"));
        assert_eq!(told(full, 1).as_deref(), Some("1"));
        assert_eq!(told(full, 1_001).as_deref(), Some("2"));
        assert_eq!(told(full, 0), None);
        let too_many = Refusal::new(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(told(too_many, 3_000).as_deref(), Some("3"));
        assert_eq!(told(Refusal::new(StatusCode::BAD_GATEWAY), 1_000), None);
        assert_eq!(told(Refusal::bad_request(), 1_000), None);
    }
}
