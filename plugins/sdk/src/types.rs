//! The contract's records (`wit/lb.wit`), as Rust types.

/// One backend as it is at this moment.
///
/// The layout is the contract's, so the list that the proxy copies into the
/// plugin is used where it lies; `glue.rs` checks that at compile time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Backend {
    /// Constant while the backend is in the pool, also across reloads; never
    /// used again for another one. Key whatever outlives a pick by this, never
    /// by the index.
    pub id: u32,
    /// Effective weight, 1 to 65535.
    pub weight: u32,
    /// Most requests it takes at once; 0 = no limit.
    pub capacity: u32,
    /// 0 = first choice; higher numbers are backups.
    pub priority: u32,
    /// Equal numbers are equal zones; 0 = none.
    pub zone: u32,
    /// Requests now in flight from this proxy, over all its workers.
    pub in_flight: u32,
    /// Estimated time to the response head in microseconds, decayed to now;
    /// 0 = no sample yet.
    pub latency_us: u32,
    /// Failed share of the recent requests, in 1/10000.
    pub failures: u32,
    /// Load that the backend reports of itself, in 1/10000; 0 = not reported.
    pub utilization: u32,
    /// See [`Backend::in_slow_start`] and [`Backend::in_own_zone`]; other bits
    /// may get a meaning later.
    pub state: u32,
}

impl Backend {
    /// Whether its weight is still growing to what the operator gave it.
    pub fn in_slow_start(&self) -> bool {
        self.state & 1 != 0
    }

    /// Whether it is in the proxy's own zone.
    pub fn in_own_zone(&self) -> bool {
        self.state & 2 != 0
    }
}

/// What every pick knows about its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Hash of the operator's affinity key, or random bits where there is
    /// none. 53 bits.
    pub key: u64,
    /// 53 uniform random bits, new for every pick; see [`Random`](crate::Random).
    pub random: u64,
    /// Counts the pool's picks over all workers: 0, 1, 2 ... Each worker has
    /// its own instance of the plugin, so whatever goes round goes by this.
    pub sequence: u64,
    /// Monotonic microseconds since the proxy started.
    pub now_us: u64,
    /// Changes when membership, weights or eligibility change. It does *not*
    /// change when a backend is left out of a list because it is full or was
    /// already tried: compare the list itself before trusting a cache.
    pub generation: u32,
    /// 0 for the first try, 1 for the first retry ...
    pub attempt: u32,
}

/// Why no backend was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No opinion: use the pool's fallback strategy.
    Fallback,
    /// Nothing suitable now: hold the request in the pool's queue.
    Wait,
    /// Refuse the request with this status, 400 to 599.
    Reject(u16),
}

/// What became of one attempt.
///
/// Laid out as [`Backend`] is, so that a batch is used where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Outcome {
    /// What was given to [`inbound::tag`](crate::inbound::tag) during the pick, else 0.
    pub tag: u64,
    /// [`Backend::id`], not an index: the pool may have changed since.
    pub id: u32,
    /// Time to the response head in microseconds.
    pub latency_us: u32,
    /// HTTP status; 0 = there was no response.
    pub status: u32,
    /// 0 none, 1 connect, 2 timeout, 3 reset, 4 protocol, 5 the client left.
    pub failure: u32,
    /// 0 for the first try, 1 for the first retry ...
    pub attempt: u32,
}

impl Outcome {
    /// Whether the backend did what it was asked: it answered, and not with a 5xx.
    /// A client that left says nothing of the backend and counts as well.
    pub fn is_success(&self) -> bool {
        const CLIENT_LEFT: u32 = 5;
        self.failure == CLIENT_LEFT || (self.failure == 0 && self.status < 500)
    }
}

/// A plan: how the proxy routes until there is another. Each list has an entry for
/// each backend of the list that the plan was made from, or indices into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// A weight for each (0 = none): weighted random.
    Weights(Vec<u32>),
    /// A weight for each: of two weighted draws the less loaded one.
    TwoChoices(Vec<u32>),
    /// Indices: entry `key % length`.
    Table(Vec<u32>),
    /// Indices: the first eligible one in this order.
    Order(Vec<u32>),
}

/// How loud a line in the proxy's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Every pick.
    Trace,
    /// What the author of the plugin wants to know.
    Debug,
    /// What the operator may want to know.
    Info,
    /// Works, but not as the operator meant it.
    Warn,
    /// Does not work.
    Error,
}
