//! `[pools.NAME.health-check]`: what is asked of a backend to know whether it
//! can be given requests.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

/// One `[pools.NAME.health-check]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSettings {
    /// What is asked. Default: an HTTP request.
    pub probe: Probe,
    /// Where, if not at the port that the requests go to.
    pub port: Option<NonZeroU16>,
    /// From the start of a check to the start of the next while nothing
    /// changes, at least 10 ms. Default 2 s.
    pub interval: Duration,
    /// The same while the backend is unhealthy, while results contradict what
    /// it is held for, and before the first one. Default 1 s, or `interval` if
    /// that is shorter.
    pub interval_down: Duration,
    /// From the start of a check to its result, at least 1 ms. Default 1 s.
    pub timeout: Duration,
    /// Passed checks in a row that make an unhealthy backend healthy. Default 2.
    pub rise: NonZeroU32,
    /// Failed checks in a row that make a healthy backend unhealthy. Default 3.
    pub fall: NonZeroU32,
    /// What a backend is held for before its first result. Default healthy.
    pub start: HealthStart,
}

/// What one check asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// `http`
    Http(HttpProbe),
    /// `tcp`: it takes a connection.
    Tcp,
    /// `grpc`: `grpc.health.v1.Health/Check` says `SERVING`.
    Grpc(GrpcProbe),
}

/// `type = "http"`
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// Default GET.
    pub method: Method,
    /// Path and query. Default `/`.
    pub path: String,
    /// The `Host` header. Default: the backend's address.
    pub host: Option<HeaderValue>,
    /// Further header fields.
    pub headers: HeaderMap,
    /// Statuses that are good. Default 200 to 399, as nginx and HAProxy have it.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What the beginning of the body has to contain. Default: anything.
    pub body: Option<String>,
}

/// `type = "grpc"`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GrpcProbe {
    /// The service that is asked about. Default: the empty name, the server
    /// as a whole.
    pub service: String,
    /// The `:authority`. Default: the backend's address.
    pub host: Option<HeaderValue>,
    /// Further metadata.
    pub headers: HeaderMap,
}

/// What a backend is held for before its first result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthStart {
    /// It gets requests.
    Healthy,
    /// It gets none until its first passed check.
    Unhealthy,
}
