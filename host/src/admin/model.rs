//! What goes over the wire: every body of `host/openapi.json`, field by field.
//! `anubis ctl` reads with the same types.
//!
//! Times are whole microseconds (`_us`), sizes whole bytes (`_bytes`), instants
//! RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why a request was refused (RFC 9457).
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// A sentence that names what it is about.
    pub detail: String,
}

/// `GET /livez` and `/readyz`
#[derive(Debug, Serialize, Deserialize)]
pub struct Health {
    /// `live` or `ready`.
    pub status: String,
}

/// `GET /v1/version`
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    /// Of anubis.
    pub version: String,
    pub started: String,
    pub uptime_us: u64,
    /// Of the configuration and everything in force with it.
    pub generation: u64,
}

/// `POST /v1/reload`
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// False when there was nothing new to read.
    pub changed: bool,
    /// The generation in force afterwards.
    pub generation: u64,
}

/// The body of a request that says all in its path: none, or `{}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `GET /v1/pools`
#[derive(Debug, Serialize, Deserialize)]
pub struct Pools {
    /// In the order of the configuration.
    pub pools: Vec<PoolSummary>,
}

/// A pool in a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct PoolSummary {
    pub name: String,
    pub strategy: StrategySummary,
    pub backends: BackendCounts,
    /// So few are eligible that all are asked.
    pub panic: bool,
    /// Attempts in flight to all its backends.
    pub in_flight: u64,
    /// Requests that wait until a backend has room.
    pub queued: u64,
}

/// A strategy in a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct StrategySummary {
    pub name: String,
    pub version: String,
    pub standing: String,
}

/// A pool's backends by state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct BackendCounts {
    pub active: usize,
    pub drain: usize,
    pub maintenance: usize,
    /// Those that fail their health checks, in whatever state they are.
    pub unhealthy: usize,
    /// Those that are left out because of their answers.
    pub ejected: usize,
    /// Those that are active, healthy and not ejected.
    pub eligible: usize,
}

/// `GET /v1/pools/{pool}`
#[derive(Debug, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub strategy: Strategy,
    pub admission: Admission,
    pub backends: Vec<Backend>,
}

/// Who is let in to a pool's backends, and who waits.
#[derive(Debug, Serialize, Deserialize)]
pub struct Admission {
    /// Most requests at once that have a backend; 0 = no limit.
    pub max_requests: u32,
    /// How many have one; 0 where there is no limit.
    pub requests: u32,
    /// Most requests that may wait; 0 = they are refused.
    pub queue_size: u64,
    /// How many wait.
    pub queued: u64,
    /// How long one may wait.
    pub queue_timeout_us: u64,
}

/// `GET /v1/pools/{pool}/backends`
#[derive(Debug, Serialize, Deserialize)]
pub struct Backends {
    /// In the order of the configuration, then those that were added.
    pub backends: Vec<Backend>,
}

/// `GET /v1/pools/{pool}/backends/{backend}`
#[derive(Debug, Serialize, Deserialize)]
pub struct Backend {
    pub name: String,
    pub address: String,
    /// The address that its name led to; null where it has none or is not
    /// resolved.
    pub resolved: Option<String>,
    /// What plugins know it by; never used again for another.
    pub id: u32,
    pub state: BackendState,
    pub weight: u16,
    /// Most requests at once; 0 = no limit.
    pub capacity: u32,
    /// 0 = first choice.
    pub priority: u32,
    pub zone: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Peak-EWMA of the time to the response head; null before the first answer.
    pub latency_us: Option<u32>,
    /// EWMA of the failed share, 0 to 1.
    pub failures: f64,
    /// Load that it reports of itself, 0 to 1; null where it does not, or not lately.
    pub utilization: Option<f64>,
    /// It is active, healthy and not ejected.
    pub eligible: bool,
    /// While it is left out because of its answers; else null.
    pub ejected: Option<BackendEjection>,
    /// How much of its weight it has in a slow start; null when it has all.
    pub slow_start_percent: Option<u32>,
    /// What its health checks say; null where the pool has none.
    pub health: Option<BackendHealth>,
    /// What its agent says; null where the pool asks none.
    pub agent: Option<BackendAgent>,
    /// Attempts that have ended, since the start, by what became of them.
    pub attempts: BTreeMap<String, u64>,
}

/// What keeps an ejected backend out.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackendEjection {
    /// How long until a request may be its trial; 0: the next one is. Null: one is
    /// just now.
    pub trial_in_us: Option<u64>,
    /// This one and those before it that are not forgiven yet.
    pub ejections: u32,
}

/// What the health checks of a backend say.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackendHealth {
    /// What it is held for.
    pub healthy: bool,
    /// When that changed last; null when it never did.
    pub since: Option<String>,
    /// When the last check that came to a result ended; null before the first.
    pub checked: Option<String>,
    /// How long it took.
    pub took_us: Option<u64>,
    /// What was wrong at the last check that failed; null when none did.
    pub last_error: Option<String>,
}

/// What the agent of a backend says.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackendAgent {
    /// It is down.
    pub down: bool,
    /// What it wants done with the backend: `ready`, `drain` or `maint`.
    pub administration: String,
    /// How much of its weight it should have; 0 = no new requests.
    pub weight_percent: u32,
    /// Its last answer that could be read; null before the first.
    pub said: Option<String>,
    /// When that came.
    pub at: Option<String>,
    /// How long it took.
    pub took_us: Option<u64>,
    /// What was wrong at the last check; null when nothing was.
    pub error: Option<String>,
}

/// Whether a backend takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// It does.
    Active,
    /// No new ones.
    Drain,
    /// No new ones, and idle connections to it are closed.
    Maintenance,
}

/// `PUT /v1/pools/{pool}/backends/{backend}`: what is left out is default.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BackendState>,
}

/// `PATCH /v1/pools/{pool}/backends/{backend}`, and without a backend for all of
/// them: what is left out stays.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BackendState>,
}

/// `GET /v1/pools/{pool}/strategy`, and each entry of a history.
#[derive(Debug, Serialize, Deserialize)]
pub struct Strategy {
    pub name: String,
    /// SHA-256 of the component; `native` for the fallback.
    pub version: String,
    /// 1 for the pool's first, then one more for each that came into force.
    pub number: u64,
    pub since: String,
    /// `configured`, `swapped`, `rolled-back` or `returned`.
    pub origin: String,
    /// `native`, `simple`, `learning` or `planner`.
    pub shape: String,
    /// What the plugin may do besides computing.
    pub imports: Vec<String>,
    /// What its `configure` got.
    pub config: String,
    pub limits: Limits,
    /// `trusted`, `quarantined` or `probed`.
    pub standing: String,
    pub compile_us: u64,
    /// Null when it had served before.
    pub rehearsal: Option<Rehearsal>,
    pub stats: Stats,
}

/// What a plugin is held to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time of one call.
    pub deadline_us: u64,
    /// CPU time of all calls in a second, on one worker.
    pub budget_us: u64,
    /// Linear memory of one instance.
    pub memory_bytes: u64,
    /// An instance that has held more is recycled.
    pub recycle_memory_bytes: u64,
    /// An instance that was called so often is recycled; 0 = never.
    pub recycle_calls: u64,
    /// `fallback`, `last-good` or `reject`.
    pub on_fault: String,
    /// How long after a swap a quarantine brings the strategy before it back.
    pub probation_us: u64,
    /// Between two plans of a planner.
    pub plan_interval_us: u64,
}

/// What a plugin showed before it touched a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Picks, or plans of a planner.
    pub calls: u32,
    /// Wall time of one, in nanoseconds.
    pub per_call_ns: u64,
    pub memory_bytes: u64,
    /// What became of the state of the strategy before it: `none`, `taken`, or
    /// `refused: ` and why.
    pub state: String,
}

/// What was counted over all workers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stats {
    pub picks: u64,
    /// Picks that another than the plugin decided.
    pub fallbacks: u64,
    /// Faults by kind; kinds without any are there too.
    pub faults: BTreeMap<String, u64>,
    pub quarantines: u64,
    /// Instances started in place of one that faulted.
    pub replacements: u64,
    /// Instances that made room for a new one without a fault, by reason.
    pub recycled: BTreeMap<String, u64>,
    pub plans: u64,
    pub outcomes_dropped: u64,
    /// CPU time of all calls, estimated from samples.
    pub cpu_us: u64,
    /// Most linear memory that one instance held.
    pub memory_bytes: u64,
}

/// `PUT /v1/pools/{pool}/strategy` with the name of a shipped one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStrategy {
    /// A shipped strategy or `fallback`.
    pub name: String,
    /// An object, given to the plugin as JSON text, or text as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

/// The query of `PUT /v1/pools/{pool}/strategy` with a component.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// What logs and histories call it.
    pub name: Option<String>,
    /// Text for its `configure`.
    pub config: Option<String>,
}

/// `POST /v1/pools/{pool}/strategy/rollback`
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// A number of the history or the beginning of a SHA-256; without it, the
    /// newest earlier one in good standing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a change of the strategy has done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Swapped {
    /// From the request to the strategy in force.
    pub took_us: u64,
    pub strategy: Strategy,
}

/// `GET /v1/pools/{pool}/strategy/history`
#[derive(Debug, Serialize, Deserialize)]
pub struct History {
    /// Newest first; the first is in force.
    pub versions: Vec<Strategy>,
}
