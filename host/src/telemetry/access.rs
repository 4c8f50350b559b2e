//! The access log: for now only its shape; entries go nowhere.
use std::time::{Duration, SystemTime};
#[derive(Clone)]
pub struct AccessLog;
impl AccessLog {
    pub fn open(_: crate::config::AccessLog) -> Option<AccessLog> {
        None
    }
    pub fn write(&self, _entry: Entry) {}
}
pub struct Entry {
    pub time: SystemTime,
    pub client: Option<std::net::IpAddr>,
    pub method: http::Method,
    pub target: String,
    pub version: http::Version,
    pub host: Option<String>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    pub status: http::StatusCode,
    pub bytes: u64,
    pub pool: Option<String>,
    pub backend: Option<String>,
    pub strategy: Option<String>,
    pub attempts: u32,
    pub duration: Duration,
    pub upstream_latency: Option<Duration>,
    pub fallback: bool,
}
impl Default for Entry {
    fn default() -> Entry {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            client: None,
            method: http::Method::GET,
            target: String::new(),
            version: http::Version::HTTP_11,
            host: None,
            user_agent: None,
            referer: None,
            status: http::StatusCode::OK,
            bytes: 0,
            pool: None,
            backend: None,
            strategy: None,
            attempts: 0,
            duration: Duration::ZERO,
            upstream_latency: None,
            fallback: false,
        }
    }
}
