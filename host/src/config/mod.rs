//! The validated settings: what the configuration *means*.
//!
//! `file.rs` holds the TOML as it was written; nothing outside this module
//! sees that form. A [`Settings`] that exists is right: names resolve,
//! numbers are in range, every route leads to a pool.

mod agent;
mod defaults;
mod dns;
mod document;
mod file;
mod health;
mod json;
mod load;
mod mistakes;
mod quick;
mod read;
mod resolve;
mod retry;
mod secret;
mod token;
mod values;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

pub use agent::AgentSettings;
pub use dns::{DnsSettings, Family, Resolve, Target};
pub use health::{GrpcProbe, HealthSettings, HealthStart, HttpProbe, Probe};
pub use load::{LoadReportSettings, Metric, ReportFormat};
pub use mistakes::{Mistake, Mistakes};
pub use retry::{RetryOn, RetrySettings};
pub use secret::Secret;
pub use token::Token;

use crate::plugin::Binary;

/// Reads the file at `path`. Relative paths in it are relative to its folder.
///
/// # Errors
///
/// Every mistake of the file, or that it cannot be read.
pub fn load(path: &Path) -> Result<Settings, Mistakes> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => Err(Mistakes::whole(
            path.display().to_string(),
            format!("cannot read the configuration: {error}"),
        )),
    }
}

/// Reads `text` as if it stood in the file at `path`.
///
/// # Errors
///
/// Every mistake of the text.
pub fn parse(text: &str, path: &Path) -> Result<Settings, Mistakes> {
    let (file, mut report) = read::read(text, &path.display().to_string());
    let folder = path.parent().unwrap_or(Path::new(""));
    let settings = file.and_then(|file| resolve::resolve(file, folder, &mut report));
    match (settings, Mistakes::of(report.mistakes)) {
        (Some(settings), None) => Ok(settings),
        (_, Some(mistakes)) => Err(mistakes),
        (None, None) => Err(Mistakes::whole(
            path.display().to_string(),
            "the configuration is incomplete",
        )),
    }
}

/// The names that `strategy` may have besides `fallback` and paths.
pub fn shipped_strategies() -> impl Iterator<Item = &'static str> {
    crate::plugin::shipped::names()
}

/// A backend's address from what is written: host and port, 80 when none is
/// written, `http://` allowed in front.
///
/// # Errors
///
/// What is wrong with it, and what belongs there.
pub fn backend_address(text: &str) -> Result<Authority, String> {
    values::FromText::from_text(text)
}

/// Everything the proxy was told, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Worker threads. Default: one per core this process may use.
    pub workers: NonZeroUsize,
    /// Most connections of clients at once. Default: half of the descriptors that
    /// the process may have, the other half being for those to the backends.
    pub max_connections: NonZeroUsize,
    /// How long requests in flight may take to finish at shutdown. Default 30 s.
    pub shutdown_grace: Duration,
    /// How long a successor may take until it serves, at least 1 s. Default 60 s.
    pub upgrade_timeout: Duration,
    /// Where log lines go and what they look like.
    pub log: LogSettings,
    /// How plugins that are not shipped become code.
    pub compile: CompileSettings,
    /// What may be asked of the proxy while it runs. Default: nothing.
    pub admin: AdminSettings,
    /// How names of backends become addresses.
    pub dns: DnsSettings,
    /// Sockets to accept on; never empty.
    pub listeners: Vec<ListenerSettings>,
    /// Host and path to pool, in the order written.
    pub routes: Vec<RouteSettings>,
    /// Named groups of backends; never empty.
    pub pools: Vec<PoolSettings>,
    /// What is odd but no mistake, to be logged by whoever puts these in force.
    pub warnings: Vec<Mistake>,
}

impl Settings {
    /// Logs the warnings, once these settings are in force.
    pub fn tell_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// The plugins that pools name by path: to be watched beside the
    /// configuration file itself. Each once, in the pools' order.
    pub fn plugin_files(&self) -> Vec<&Path> {
        let mut files = Vec::new();
        for pool in &self.pools {
            if let StrategySource::File(path) = &pool.strategy.source
                && !files.contains(&path.as_path())
            {
                files.push(path.as_path());
            }
        }
        files
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severe level written: `error`, `warn`, `info` (default), `debug`, `trace`.
    pub level: tracing::level_filters::LevelFilter,
    /// `auto` (default): human lines on a terminal, JSON elsewhere.
    pub format: LogFormat,
    /// One line a request on standard output. Default off.
    pub access: AccessLog,
}

/// How process log lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

/// How access log lines are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Common,
    Json,
}

/// How plugins that are not shipped become code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileSettings {
    /// CPU time that compiling one plugin may take, at least 1 s. Default 60 s.
    pub time: Duration,
    /// Where compiled plugins are kept.
    pub cache: CacheFolder,
}

/// `cache-dir`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFolder {
    /// Not written: the user's own cache, if there is one.
    Default,
    /// Empty: nothing is kept.
    Off,
    /// This folder, relative to the configuration file.
    At(PathBuf),
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where the admin API listens. Default: nowhere. Others than loopback
    /// only with a token.
    pub address: Option<SocketAddr>,
    /// The Unix socket of the admin API, for whom the file system lets through
    /// (mode 0600). Default: none.
    pub socket: Option<PathBuf>,
    /// What a request over TCP has to show. Default: nothing.
    pub token: Option<Token>,
    /// Longest body of a request, in bytes. Default 16 MiB, at most 64 MiB.
    pub upload_limit: usize,
    /// Where changes made at run time are kept for the next start. Default:
    /// nowhere.
    pub state_file: Option<PathBuf>,
}

impl AdminSettings {
    /// There is a way to reach the admin API.
    pub fn listens(&self) -> bool {
        self.address.is_some() || self.socket.is_some()
    }
}

/// One `[[listeners]]` entry: a socket and what its clients may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Unique; default: the address as written.
    pub name: String,
    /// Where to listen; port 0 lets the system choose (the log says which).
    pub address: SocketAddr,
    /// From the connection's first byte wanted, or the previous response, to a
    /// complete request head once its first byte is there. Default 10 s.
    pub header_timeout: Duration,
    /// How long an idle keep-alive connection stays open. Default 75 s.
    pub keep_alive: Duration,
    /// Longest pause while a request body is received or a response body is
    /// taken by the client. Default 60 s.
    pub idle_timeout: Duration,
    /// Peers whose `X-Forwarded-*` and `Forwarded` are believed and extended;
    /// from all others they are replaced. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Longest request line, in bytes. Default 8 KiB.
    pub max_request_line: usize,
    /// Largest request head, in bytes, the line included. Default 64 KiB.
    pub max_header_size: usize,
    /// Most header fields of a request. Default 100.
    pub max_headers: usize,
    /// Longest request body, in bytes. Default: no limit (`u64::MAX`).
    pub max_body_size: u64,
    /// Most connections at once; 0 (default) = no limit but the process'.
    pub max_connections: usize,
    /// Most connections of one client at once; 0 (default) = no limit.
    pub max_connections_per_client: usize,
}

impl ListenerSettings {
    /// Most connections of the client at `address`; `None`: any number. A proxy
    /// of ours has those of many clients.
    pub fn max_connections_of(&self, address: IpAddr) -> Option<usize> {
        let most = self.max_connections_per_client;
        (most != 0 && !self.trusts(address)).then_some(most)
    }

    /// Who is there is a proxy of ours.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// One `[[routes]]` entry. The most specific route wins: an exact host before
/// a wildcard before any host, then the longest path prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Lower case, no port.
    pub host: HostPattern,
    /// Begins with `/`; matches whole segments: `/api` matches `/api` and
    /// `/api/x`, not `/apix`. Default `/`.
    pub path: String,
    /// Index into [`Settings::pools`].
    pub pool: usize,
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// No `host` given.
    Any,
    /// `*.example.com`, held as `example.com`: every name below it, not itself.
    Below(String),
    /// `www.example.com`
    Exact(String),
}

/// One `[pools.NAME]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// The table's name.
    pub name: String,
    /// In the order written; never empty; names unique.
    pub backends: Vec<BackendSettings>,
    pub strategy: StrategySettings,
    /// What `request.key` is the hash of. Default: nothing (random bits).
    pub hash_key: HashKey,
    /// The `Host` that backends see. Default: keep the client's.
    pub host_header: HostHeader,
    /// The proxy's own zone, to compare with the backends'.
    pub zone: Option<String>,
    /// Attempts for one request, each at another backend. Default 3.
    pub tries: NonZeroUsize,
    /// What of them comes after the first, and when.
    pub retry: RetrySettings,
    /// To an established connection. Default 2 s.
    pub connect_timeout: Duration,
    /// From the request's end to the response head. Default 60 s.
    pub response_timeout: Duration,
    /// Longest pause within a response body. Default 60 s.
    pub idle_timeout: Duration,
    /// How long an idle connection to a backend is kept. Default 4 s, below
    /// the 5 s after which many servers close theirs.
    pub keep_alive: Duration,
    /// Idle connections kept per backend and worker. Default 256.
    pub keep_alive_connections: usize,
    /// Longest silence within a tunnel (WebSocket and other upgrades). Default 1 h.
    pub tunnel_timeout: Duration,
    /// How many requests a second a client may send. Default: any number.
    pub rate_limit: Option<RateSettings>,
    /// Fewer eligible backends of a priority than this share, in percent, and
    /// all active ones are asked. Default 50; 0 = never.
    pub panic_threshold: u8,
    /// Who heeds the backends' priorities.
    pub priorities: Priorities,
    /// How long a backend that came back takes to its full weight. Default: no
    /// time.
    pub slow_start: Duration,
    /// Whose answers are so bad that it is left out for a while.
    pub outliers: OutlierSettings,
    /// What becomes of names in `backends`. Default: every address is a backend.
    pub resolve: Resolve,
    /// How its backends are checked. Default: not at all.
    pub health_check: Option<HealthSettings>,
    /// Which programs beside its backends say how they are. Default: none is asked.
    pub agent_check: Option<AgentSettings>,
    /// What its backends tell of their load with their answers. Default: nobody
    /// listens.
    pub load_report: Option<LoadReportSettings>,
    /// Most requests at once that have a backend, over all workers; 0
    /// (default) = no limit.
    pub max_requests: u32,
    /// Most requests that wait until a backend has room; 0 (default): they are
    /// refused.
    pub queue_size: usize,
    /// How long one may wait. Default 5 s.
    pub queue_timeout: Duration,
    /// What `Retry-After` says where the pool takes no request now; 0 = it is
    /// not sent. Default 1 s.
    pub retry_after: Duration,
    /// Sessions stay with their backend. Default: they do not.
    pub sticky: Option<StickySettings>,
}

/// Who heeds the backends' priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priorities {
    /// The proxy: a strategy is offered the backends of one priority.
    Proxy,
    /// The strategy: it is offered all, and sees their priorities.
    Strategy,
}

/// `[pools.NAME.rate-limit]`
#[derive(Debug, Clone, PartialEq)]
pub struct RateSettings {
    /// Requests a second, more than 0.
    pub rate: f64,
    /// Requests at once by who has sent none for a while, at least 1. Default:
    /// those of a second.
    pub burst: u64,
    /// Whose requests are counted together. Default: those of a client address.
    pub key: HashKey,
}

/// `[pools.NAME.outlier-detection]`
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierSettings {
    /// So many gateway errors in a row eject. Default 5; 0 = any number may be.
    pub consecutive_errors: u32,
    /// A share of good answers this many standard deviations below the mean
    /// ejects. Default 1.9; 0 = any share may be.
    pub success_rate_factor: f64,
    /// A latency this many times the median ejects. Default 0 = any may be.
    pub slow_factor: f64,
    /// How often backends are compared and past ejections forgiven. Default 10 s.
    pub interval: Duration,
    /// Fewer backends with [`OutlierSettings::min_requests`] are not compared.
    /// Default 5.
    pub min_backends: usize,
    /// Attempts in an interval, without which a backend is not compared. Default
    /// 100.
    pub min_requests: u64,
    /// Of the first ejection; the n-th takes n times as long. Default 30 s.
    pub ejection_time: Duration,
    /// No ejection takes longer. Default 300 s.
    pub max_ejection_time: Duration,
    /// Most backends out at once, in percent, but at least one unless 0. Default
    /// 10.
    pub max_ejected: u8,
}

/// `[pools.NAME.sticky]`: a client that was given a token comes back to the
/// backend that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickySettings {
    pub carrier: Carrier,
    /// How long a session lasts from its beginning, at least 1 s. Default: as
    /// long as the client keeps the token.
    pub ttl: Option<Duration>,
    /// What tokens are signed with. Default: random bits of this process.
    pub secret: Option<Secret>,
    /// When the session's backend cannot take the request. Default: move.
    pub on_lost: OnLost,
}

/// What carries the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    Cookie(CookieSettings),
    /// A field of requests and, where a token is given, of responses.
    Header(HeaderName),
}

/// The cookie that carries a token (RFC 6265 section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieSettings {
    pub name: String,
    /// Default `/`.
    pub path: String,
    /// Default: the host that was asked, and no other.
    pub domain: Option<String>,
    /// Over TLS only. Default false.
    pub secure: bool,
    /// Not for scripts. Default true.
    pub http_only: bool,
    /// Default lax.
    pub same_site: SameSite,
}

/// Whether a cookie comes with requests from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// What becomes of a session whose backend is gone or takes no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// The strategy picks another one, which has the session from then on.
    Move,
    /// 503, until it is back or the client comes without the token.
    Reject,
}

/// One entry of a pool's `backends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// Unique within the pool; default: the address as written.
    pub name: String,
    /// Host (name or address) and port; `http://` in front is allowed and the
    /// port defaults to 80. Of SRV records it is their name.
    pub address: Authority,
    /// What `address` is, and where it leads.
    pub target: Target,
    /// Share of the requests, relative to the others'. Default 1.
    pub weight: NonZeroU16,
    /// Most requests at once; 0 (default) = no limit.
    pub capacity: u32,
    /// 0 (default) = first choice; higher numbers are backups.
    pub priority: u32,
    pub zone: Option<String>,
    /// Free text for strategies (`members.label`).
    pub labels: BTreeMap<String, String>,
    /// Whether it takes new requests. Default active.
    pub state: BackendState,
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// It takes requests.
    Active,
    /// It takes no new requests; what it has it finishes.
    Drain,
    /// The same, and idle connections to it are closed.
    Maintenance,
}

impl BackendState {
    const ALL: [Self; 3] = [Self::Active, Self::Drain, Self::Maintenance];

    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A pool's `strategy` and what limits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategySettings {
    pub source: StrategySource,
    /// Given to `configure` as it is: a TOML table as JSON text, a string as
    /// itself, empty when the key is absent.
    pub config: String,
    /// CPU time one call may take, and a tenth of what a plan may. Default 10 ms, at
    /// least 1 ms.
    pub deadline: Duration,
    /// CPU time that all calls together may take, in a second and on a worker.
    /// Default 250 ms, at least 1 ms; a second or more is no limit.
    pub budget: Duration,
    /// Most linear memory of one instance, in bytes. Default 64 MiB.
    pub memory: usize,
    /// An instance that holds more than so many bytes makes room for a new one.
    /// Default three quarters of `memory`; as much as `memory` = never.
    pub recycle_memory: usize,
    /// An instance that was called so often makes room for a new one. Default 0 =
    /// never.
    pub recycle_calls: u64,
    /// What a request gets when the plugin faults. Default: the fallback.
    pub on_fault: OnFault,
    /// How long after a swap a quarantine brings the strategy before it back.
    /// Default 60 s; zero = never.
    pub probation: Duration,
    /// How often a `planner` is asked again while nothing changes. Default 1 s.
    pub plan_interval: Duration,
}

/// Where a strategy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrategySource {
    /// `strategy = "fallback"`: the native fallback decides every pick.
    Fallback,
    /// One of the shipped components, by name.
    Shipped(String),
    /// A component or core module on disk, relative to the configuration file;
    /// watched for changes.
    File(PathBuf),
    /// Handed over while the proxy runs: by the admin API, or brought back by a
    /// rollback. Never written in a configuration.
    Given(Binary),
}

/// As it is written in a configuration.
impl fmt::Display for StrategySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fallback => f.write_str("fallback"),
            Self::Shipped(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Given(binary) => f.write_str(binary.name()),
        }
    }
}

/// What a request gets when its pool's plugin traps, misses its deadline or
/// answers nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// The native fallback strategy picks.
    Fallback,
    /// The strategy that was in force before picks; without one, the fallback.
    LastGood,
    /// 503.
    Reject,
}

/// What affinity is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// Random bits for every request.
    Random,
    /// `client-address`
    ClientAddress,
    /// `header:NAME`
    Header(HeaderName),
    /// `cookie:NAME`
    Cookie(String),
    /// `path`
    Path,
    /// `query:NAME`
    Query(String),
}

/// The `Host` header that a backend receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// `keep`: what the client sent.
    Keep,
    /// `backend`: the backend's address.
    Backend,
    /// Anything else: this value.
    Fixed(HeaderValue),
}
