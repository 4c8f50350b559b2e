//! What is in force where nothing is written: every default, once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, Method};
use tracing::level_filters::LevelFilter;

use super::{
    AccessLog, AdminSettings, BackendSettings, BackendState, CacheFolder, Carrier, CompileSettings,
    CookieSettings, DnsSettings, HashKey, HealthSettings, HealthStart, HostHeader, HostPattern,
    HttpProbe, ListenerSettings, LogFormat, LogSettings, OnFault, OnLost, OutlierSettings,
    PoolSettings, Priorities, Probe, Resolve, RetrySettings, RouteSettings, SameSite, Settings,
    StickySettings, StrategySettings, StrategySource, Target,
};

/// The strategy of a pool that names none.
pub const STRATEGY: &str = "round-robin";

impl Settings {
    /// One listener and one pool that takes everything; the rest is default.
    pub fn new(listener: ListenerSettings, pool: PoolSettings) -> Self {
        Self {
            workers: workers(),
            max_connections: max_connections(),
            shutdown_grace: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(60),
            log: LogSettings::default(),
            compile: CompileSettings::default(),
            admin: AdminSettings::default(),
            dns: DnsSettings::default(),
            listeners: vec![listener],
            routes: vec![RouteSettings::everything_to(0)],
            pools: vec![pool],
            warnings: Vec::new(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: LogFormat::Auto,
            access: AccessLog::Off,
        }
    }
}

impl Default for CompileSettings {
    /// Python's runtime, the largest known, takes 11 s.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            cache: CacheFolder::Default,
        }
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            address: None,
            socket: None,
            token: None,
            upload_limit: 16 << 20,
            state_file: None,
        }
    }
}

impl ListenerSettings {
    /// A listener on `address`, named after it.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            name: address.to_string(),
            address,
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            idle_timeout: Duration::from_secs(60),
            trusted_proxies: Vec::new(),
            max_request_line: 8 << 10,
            max_header_size: 64 << 10,
            max_headers: 100,
            max_body_size: u64::MAX,
            max_connections: 0,
            max_connections_per_client: 0,
        }
    }
}

impl RouteSettings {
    /// Any host and any path to one pool.
    pub fn everything_to(pool: usize) -> Self {
        Self {
            host: HostPattern::Any,
            path: "/".to_owned(),
            pool,
        }
    }
}

impl HealthSettings {
    /// Checks that ask `probe`.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            port: None,
            interval: Duration::from_secs(2),
            interval_down: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: const { NonZeroU32::new(2).expect("2 is not 0") },
            fall: const { NonZeroU32::new(3).expect("3 is not 0") },
            start: HealthStart::Healthy,
        }
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            method: Method::GET,
            path: "/".to_owned(),
            host: None,
            headers: HeaderMap::new(),
            statuses: vec![200..=399],
            body: None,
        }
    }
}

impl PoolSettings {
    /// A pool of these backends; the caller sees to it that there are some and
    /// that their names differ.
    pub fn new(name: impl Into<String>, backends: Vec<BackendSettings>) -> Self {
        Self {
            name: name.into(),
            backends,
            strategy: StrategySettings::new(StrategySource::Shipped(STRATEGY.to_owned())),
            hash_key: HashKey::Random,
            host_header: HostHeader::Keep,
            zone: None,
            tries: const { NonZeroUsize::new(3).expect("3 is not 0") },
            retry: RetrySettings::default(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(4),
            keep_alive_connections: 256,
            tunnel_timeout: Duration::from_secs(60 * 60),
            rate_limit: None,
            panic_threshold: 50,
            priorities: Priorities::Proxy,
            slow_start: Duration::ZERO,
            outliers: OutlierSettings::default(),
            resolve: Resolve::All,
            health_check: None,
            agent_check: None,
            load_report: None,
            max_requests: 0,
            queue_size: 0,
            // Who waits longer for a page has gone, or asks again besides.
            queue_timeout: Duration::from_secs(5),
            retry_after: Duration::from_secs(1),
            sticky: None,
        }
    }

    /// The same pool with another strategy, and with the affinity key that the
    /// strategy needs: see [`HashKey::default_for`].
    #[must_use]
    pub fn with_strategy(mut self, source: StrategySource) -> Self {
        self.replace_strategy(source, String::new());
        self
    }

    /// Another strategy under the same limits. What was left to its default
    /// becomes the new one's default: the affinity key, the priorities and the deadline.
    pub fn replace_strategy(&mut self, source: StrategySource, config: String) {
        if self.hash_key == HashKey::default_for(&self.strategy.source) {
            self.hash_key = HashKey::default_for(&source);
        }
        if self.priorities == Priorities::default_for(&self.strategy.source) {
            self.priorities = Priorities::default_for(&source);
        }
        if self.strategy.deadline == deadline_for(&self.strategy.source) {
            self.strategy.deadline = deadline_for(&source);
        }
        self.strategy.source = source;
        self.strategy.config = config;
    }
}

impl StickySettings {
    /// Tokens that this carries.
    pub fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            ttl: None,
            secret: None,
            on_lost: OnLost::Move,
        }
    }
}

impl CookieSettings {
    /// A cookie of this name for the whole site, while the browser runs.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: "/".to_owned(),
            domain: None,
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }
}

impl BackendSettings {
    /// A backend at `address`, named after it.
    pub fn new(address: Authority) -> Self {
        Self {
            name: address.to_string(),
            address,
            target: Target::Written,
            weight: NonZeroU16::MIN,
            capacity: 0,
            priority: 0,
            zone: None,
            labels: BTreeMap::new(),
            state: BackendState::Active,
        }
    }
}

/// Linear memory of an instance, in bytes. Python's runtime begins with 12 MiB.
const MEMORY: usize = 64 << 20;

impl StrategySettings {
    /// The default of `recycle-memory`: a quarter is left for what is needed until
    /// the successor is ready.
    pub fn recycle_memory_for(memory: usize) -> usize {
        memory / 4 * 3
    }

    /// A strategy without configuration and with the default limits.
    pub fn new(source: StrategySource) -> Self {
        Self {
            deadline: deadline_for(&source),
            source,
            config: String::new(),
            memory: MEMORY,
            recycle_memory: Self::recycle_memory_for(MEMORY),
            recycle_calls: 0,
            budget: Duration::from_millis(250),
            probation: Duration::from_secs(60),
            on_fault: OnFault::Fallback,
            plan_interval: Duration::from_secs(1),
        }
    }
}

impl Default for OutlierSettings {
    /// Envoy's.
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            success_rate_factor: 1.9,
            slow_factor: 0.0,
            interval: Duration::from_secs(10),
            min_backends: 5,
            min_requests: 100,
            ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejected: 10,
        }
    }
}

impl Priorities {
    /// Shipped strategies that are about priorities heed them themselves.
    pub fn default_for(source: &StrategySource) -> Self {
        match source {
            StrategySource::Shipped(name)
                if matches!(name.as_str(), "priority-zone" | "first-fit") =>
            {
                Self::Strategy
            }
            _ => Self::Proxy,
        }
    }
}

impl HashKey {
    /// Without an affinity key, strategies that are about affinity would draw
    /// lots: the shipped ones that are get the client's address. All others
    /// get random bits.
    pub fn default_for(source: &StrategySource) -> Self {
        match source {
            StrategySource::Shipped(name)
                if matches!(name.as_str(), "ip-hash" | "consistent-hash" | "maglev") =>
            {
                Self::ClientAddress
            }
            _ => Self::Random,
        }
    }
}

/// Ten milliseconds are thousands of picks. `maglev` alone needs more for one
/// call now and then: it fills its table when the pool has changed, which takes
/// some ten milliseconds with thousands of backends.
fn deadline_for(source: &StrategySource) -> Duration {
    match source {
        StrategySource::Shipped(name) if name == "maglev" => Duration::from_millis(100),
        _ => Duration::from_millis(10),
    }
}

/// Half of the descriptors: each connection of a client may need one to a backend.
fn max_connections() -> NonZeroUsize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.and_then(|limit| usize::try_from(limit / 2).ok());
    half.and_then(NonZeroUsize::new)
        .unwrap_or(NonZeroUsize::MAX)
}

/// One worker per core that this process may use; one when that is unknown.
fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
