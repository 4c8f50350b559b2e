//! The TOML as it is written: every key there is, none of the defaults.
//!
//! Everything may be left out here; what must not be is said by `resolve.rs`,
//! which knows where. Nothing outside `config/` sees these types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;
use http::uri::Authority;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::retry::RetryCase;
use super::values::{Factor, Size, Text, Time, Whole};
use super::words::{
    CheckMethod, CheckPath, CookieDomain, CookieName, CookiePath, DnsName, Host, NameServer,
    PathPrefix, StatusRange,
};
use super::{HashKey, HostHeader, HostPattern, Metric, StrategySource};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct File {
    pub workers: Option<Whole<1, 1024>>,
    pub max_connections: Option<Whole<1, 10_000_000>>,
    pub shutdown_grace: Option<Text<Time<0>>>,
    pub upgrade_timeout: Option<Text<Time<1000>>>,
    pub compile_time: Option<Text<Time<1000>>>,
    pub cache_dir: Option<String>,
    pub log: Log,
    pub admin: Option<Spanned<Admin>>,
    pub dns: Dns,
    pub listeners: Vec<Spanned<Listener>>,
    pub routes: Vec<Spanned<Route>>,
    pub pools: BTreeMap<Spanned<String>, Pool>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Log {
    pub level: Option<LogLevel>,
    pub format: Option<LogFormat>,
    pub access: Option<AccessLog>,
}

/// `log.level`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

/// `log.access`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLog {
    Off,
    Common,
    Json,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Admin {
    pub address: Option<Spanned<Text<SocketAddr>>>,
    pub socket: Option<PathBuf>,
    pub token_file: Option<Spanned<String>>,
    pub upload_limit: Option<Spanned<Text<Size>>>,
    pub state_file: Option<PathBuf>,
}

/// `[dns]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Dns {
    pub servers: Vec<Text<NameServer>>,
    pub search: Option<Vec<Text<DnsName>>>,
    pub family: Option<Family>,
    pub min_ttl: Option<Text<Time<10>>>,
    pub max_ttl: Option<Spanned<Text<Time<10>>>>,
    pub timeout: Option<Text<Time<10>>>,
    pub attempts: Option<Whole<1, 10>>,
}

/// `dns.family`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Auto,
    Ipv4,
    Ipv6,
    Both,
}

/// One of `[[listeners]]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Listener {
    pub name: Option<Spanned<String>>,
    pub address: Option<Spanned<Text<SocketAddr>>>,
    pub header_timeout: Option<Text<Time<1>>>,
    pub keep_alive: Option<Text<Time<0>>>,
    pub idle_timeout: Option<Text<Time<1>>>,
    pub trusted_proxies: Vec<Text<IpNet>>,
    pub max_request_line: Option<Text<Size<256, 0x10_0000>>>,
    pub max_header_size: Option<Text<Size<1024, 0x10_0000>>>,
    pub max_headers: Option<Whole<10, 10_000>>,
    pub max_body_size: Option<Text<Size<1, 0x100_0000_0000>>>,
    pub max_connections: Option<Whole<0, 10_000_000>>,
    pub max_connections_per_client: Option<Whole<0, 10_000_000>>,
}

/// One of `[[routes]]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Route {
    pub host: Option<Text<HostPattern>>,
    pub path: Option<Text<PathPrefix>>,
    pub pool: Option<Spanned<String>>,
}

/// One of `[pools.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Pool {
    pub backends: Vec<Spanned<Backend>>,
    pub strategy: Option<Spanned<Text<StrategySource>>>,
    pub config: Option<Spanned<toml::Value>>,
    pub deadline: Option<Text<Time<1>>>,
    pub budget: Option<Text<Time<1>>>,
    pub memory: Option<Text<Size>>,
    pub recycle_memory: Option<Spanned<Text<Size>>>,
    pub recycle_calls: Option<Whole<0, 1_000_000_000_000>>,
    pub on_fault: Option<OnFault>,
    pub probation: Option<Text<Time<0>>>,
    pub plan_interval: Option<Text<Time<10>>>,
    pub hash_key: Option<Text<HashKey>>,
    pub host_header: Option<Text<HostHeader>>,
    pub zone: Option<String>,
    pub tries: Option<Whole<1, 1000>>,
    pub retry_on: Vec<RetryCase>,
    pub retry_budget: Option<Whole<0, 100>>,
    pub retry_backoff: Option<Text<Time<0>>>,
    pub total_timeout: Option<Text<Time<0>>>,
    pub replay_buffer: Option<Text<Size<0, 0x100_0000>>>,
    pub hedge_after: Option<Text<Time<0>>>,
    pub connect_timeout: Option<Text<Time<1>>>,
    pub response_timeout: Option<Text<Time<1>>>,
    pub idle_timeout: Option<Text<Time<1>>>,
    pub keep_alive: Option<Text<Time<0>>>,
    pub keep_alive_connections: Option<Whole<0, 65_535>>,
    pub tunnel_timeout: Option<Text<Time<1>>>,
    pub rate_limit: Option<Spanned<RateLimit>>,
    pub panic_threshold: Option<Whole<0, 100>>,
    pub priorities: Option<Priorities>,
    pub slow_start: Option<Text<Time<0>>>,
    pub outlier_detection: Option<OutlierDetection>,
    pub resolve: Option<Resolve>,
    pub health_check: Option<HealthCheck>,
    pub agent_check: Option<Spanned<AgentCheck>>,
    pub load_report: Option<LoadReport>,
    pub max_requests: Option<Whole<0, 4_294_967_295>>,
    pub queue_size: Option<Whole<0, 1_000_000>>,
    pub queue_timeout: Option<Spanned<Text<Time<1>>>>,
    pub retry_after: Option<Text<Time<0>>>,
    pub sticky: Option<Spanned<Sticky>>,
}

/// `pools.NAME.resolve`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolve {
    All,
    AtConnect,
}

/// `[pools.NAME.health-check]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct HealthCheck {
    #[serde(rename = "type")]
    pub kind: Option<HealthType>,
    pub method: Option<Spanned<Text<CheckMethod>>>,
    pub path: Option<Spanned<Text<CheckPath>>>,
    pub host: Option<Spanned<Text<Host>>>,
    pub headers: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    pub expect_status: Option<Spanned<Vec<StatusRange>>>,
    pub expect_body: Option<Spanned<String>>,
    pub service: Option<Spanned<String>>,
    pub port: Option<Whole<1, 65_535>>,
    pub interval: Option<Text<Time<10>>>,
    pub interval_down: Option<Text<Time<10>>>,
    pub timeout: Option<Text<Time<1>>>,
    pub rise: Option<Times>,
    pub fall: Option<Times>,
    pub start: Option<HealthStart>,
}

/// How many results in a row.
pub type Times = Whole<1, 1000>;

/// `pools.NAME.health-check.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthType {
    Http,
    Tcp,
    Grpc,
}

/// `pools.NAME.health-check.start`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStart {
    Healthy,
    Unhealthy,
}

/// `[pools.NAME.agent-check]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct AgentCheck {
    pub port: Option<Whole<1, 65_535>>,
    pub send: Option<String>,
    pub interval: Option<Text<Time<10>>>,
    pub timeout: Option<Text<Time<1>>>,
    pub expiry: Option<Text<Time<10>>>,
}

/// `[pools.NAME.load-report]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct LoadReport {
    pub metrics: Option<Spanned<Vec<Text<Metric>>>>,
    pub full_at: Option<Spanned<Factor<1_000_000_000>>>,
    pub expiry: Option<Text<Time<10>>>,
    pub ask: Option<ReportFormat>,
    pub forward: Option<bool>,
}

/// `pools.NAME.load-report.ask`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportFormat {
    Text,
    Json,
}

/// `[pools.NAME.rate-limit]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct RateLimit {
    pub rate: Option<Spanned<Factor<1_000_000>>>,
    pub burst: Option<Whole<1, 1_000_000>>,
    pub key: Option<Text<HashKey>>,
}

/// `pools.NAME.priorities`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priorities {
    Proxy,
    Strategy,
}

/// `[pools.NAME.outlier-detection]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct OutlierDetection {
    pub consecutive_errors: Option<Whole<0, 1_000_000>>,
    pub success_rate_factor: Option<Factor>,
    pub slow_factor: Option<Factor>,
    pub interval: Option<Text<Time<100>>>,
    pub min_backends: Option<Whole<2, 10_000>>,
    pub min_requests: Option<Whole<1, 1_000_000>>,
    pub ejection_time: Option<Text<Time<1>>>,
    pub max_ejection_time: Option<Text<Time<1>>>,
    pub max_ejected: Option<Whole<0, 100>>,
}

/// `pools.NAME.on-fault`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFault {
    Fallback,
    LastGood,
    Reject,
}

/// `[pools.NAME.sticky]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Sticky {
    pub cookie: Option<Spanned<Text<CookieName>>>,
    pub header: Option<Spanned<Text<HeaderName>>>,
    pub path: Option<Spanned<Text<CookiePath>>>,
    pub domain: Option<Spanned<Text<CookieDomain>>>,
    pub secure: Option<Spanned<bool>>,
    pub http_only: Option<Spanned<bool>>,
    pub same_site: Option<Spanned<SameSite>>,
    pub ttl: Option<Text<Time<1000>>>,
    pub secret_file: Option<Spanned<String>>,
    pub on_lost: Option<OnLost>,
}

/// `pools.NAME.sticky.same-site`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// `pools.NAME.sticky.on-lost`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLost {
    Move,
    Reject,
}

/// One of `[[pools.NAME.backends]]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "a table"
)]
pub struct Backend {
    pub address: Option<Text<Authority>>,
    pub srv: Option<Spanned<Text<DnsName>>>,
    pub name: Option<Spanned<String>>,
    pub weight: Option<Whole<1, 65_535>>,
    pub capacity: Option<Whole<0, 4_294_967_295>>,
    pub priority: Option<Whole<0, 4_294_967_295>>,
    pub zone: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub state: Option<BackendState>,
}

/// `pools.NAME.backends.state`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    Active,
    Drain,
    Maintenance,
}
