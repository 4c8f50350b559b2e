//! A worker's side of a generation: snapshots, pickers and upstreams of its own.

mod claim;

pub use claim::{AtLimit, Choice, Claim, Lease, Picked, Slot};

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::config::{BackendState, HostHeader, PoolSettings, StickySettings};
use crate::generation::{Generation, Listening, Served};
use crate::listener::Bound;
use crate::pool::{Limiter, LiveCell, Member, Pool, Sessions, Snapshot};
use crate::strategy::{MembersHandle, Outcome, Picker};
use crate::telemetry::metrics::{BackendCounts, ListenerCounts, Own, PoolCounts};
use crate::timer::Alarm;
use crate::transport::{Cause, Connection, Limits, Reuse, Upstream, Upstreams};

/// A generation as one worker serves it.
pub struct Adopted {
    generation: Arc<Generation>,
    /// In the generation's order.
    listeners: Vec<Own<ListenerCounts>>,
    pools: Vec<Rc<LocalPool>>,
}

/// One pool on one worker.
pub struct LocalPool {
    served: Served,
    pub limits: Limits,
    pub counts: Own<PoolCounts>,
    snapshot: RefCell<Snapshot>,
    /// Shared with the generations before and after that have the same strategy.
    picker: Rc<RefCell<Picker>>,
    /// By member, in the pool's order.
    backends: Vec<LocalBackend>,
}

/// One backend of a pool on one worker.
struct LocalBackend {
    upstream: Rc<Upstream>,
    /// Its address as a `Host`.
    host: Option<HeaderValue>,
    counts: Own<BackendCounts>,
}

impl LocalBackend {
    fn new(member: &Member, upstreams: &Upstreams) -> LocalBackend {
        LocalBackend {
            upstream: upstreams.at(&member.target),
            host: HeaderValue::from_str(&member.address).ok(),
            counts: member.counts.open(),
        }
    }

    fn keep_house(&self, keep_alive: Duration, now_us: u64) {
        self.upstream.expire(keep_alive, now_us);
        self.counts.idle.set(self.upstream.idle() as u64);
    }
}

impl Adopted {
    /// Makes this worker's parts of `generation`; what `previous` has of the
    /// same pool is used on.
    pub fn new(
        generation: Arc<Generation>,
        previous: Option<&Adopted>,
        upstreams: &Upstreams,
        now_us: u64,
    ) -> Adopted {
        let pools = generation
            .pools
            .iter()
            .map(|served| {
                let old = previous.and_then(|adopted| adopted.pool(&served.pool.settings.name));
                let old = old.map(|pool| &**pool);
                Rc::new(LocalPool::new(served.clone(), old, upstreams, now_us))
            })
            .collect();
        let listeners = generation.listeners.iter();
        Adopted {
            listeners: listeners.map(|one| one.bound.counts.open()).collect(),
            generation,
            pools,
        }
    }

    /// Where a request for `host` and `path` goes.
    pub fn route(&self, host: &str, path: &str) -> Option<&Rc<LocalPool>> {
        self.generation
            .routes
            .find(host, path)
            .map(|index| &self.pools[index])
    }

    /// Most connections of clients at once, over all workers.
    pub fn max_connections(&self) -> usize {
        self.generation.max_connections
    }

    /// The sockets to accept on.
    pub fn listeners(&self) -> &[Listening] {
        &self.generation.listeners
    }

    /// What this worker counts for a listener, also for one that is gone.
    pub fn counts(&self, bound: &Arc<Bound>) -> Own<ListenerCounts> {
        self.listeners()
            .iter()
            .zip(&self.listeners)
            .find(|(one, _)| Arc::ptr_eq(&one.bound, bound))
            .map_or_else(|| bound.counts.open(), |(_, counts)| counts.clone())
    }

    /// What is done now and then, off the request path.
    pub fn keep_house(&self, now_us: u64) {
        for pool in &self.pools {
            pool.keep_house(now_us);
        }
    }

    /// Those who wait see what this generation has for them.
    pub fn wake_queues(&self) {
        for pool in &self.pools {
            pool.queue().changed();
        }
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Rc<LocalPool>> {
        let mut pools = self.pools.iter();
        pools.find(|pool| pool.settings().name == name)
    }
}

impl LocalPool {
    fn new(
        served: Served,
        previous: Option<&LocalPool>,
        upstreams: &Upstreams,
        now_us: u64,
    ) -> LocalPool {
        let members: MembersHandle = served.pool.members.clone();
        let start = |previous: Option<&mut Picker>, members| {
            let strategy = Arc::clone(&served.strategy);
            let last_good = served.history.last_good().cloned();
            let picker = Picker::new(strategy, last_good, members, previous, now_us);
            Rc::new(RefCell::new(picker))
        };
        let picker = match previous {
            Some(old) if Arc::ptr_eq(&old.served.strategy, &served.strategy) => {
                old.picker.borrow_mut().set_members(members);
                Rc::clone(&old.picker)
            }
            Some(old) => start(Some(&mut *old.picker.borrow_mut()), members),
            None => start(None, members),
        };
        LocalPool {
            limits: Limits::from(&served.pool.settings),
            snapshot: RefCell::new(served.pool.snapshot(now_us)),
            backends: served
                .pool
                .members
                .list
                .iter()
                .map(|member| LocalBackend::new(member, upstreams))
                .collect(),
            counts: served.pool.counts.open(),
            picker,
            served,
        }
    }

    /// What each client has used of its rate.
    pub fn limiter(&self) -> &Limiter {
        &self.pool().limiter
    }

    /// What the configuration says of this pool.
    pub fn settings(&self) -> &PoolSettings {
        &self.pool().settings
    }

    /// What the configuration calls it.
    pub fn name(&self) -> &str {
        &self.settings().name
    }

    /// The name of the strategy in force, for the log.
    pub fn strategy_name(&self) -> &str {
        self.served.strategy.name()
    }

    /// Somebody who is not in `tried` may be asked, if only when there is room again.
    pub fn has_untried(&self, tried: &[usize], now_us: u64) -> bool {
        let mut snapshot = self.snapshot.borrow_mut();
        snapshot.keep_up(now_us);
        !snapshot.is_exhausted(tried)
    }

    /// See [`Pool::retries_are_of_use`].
    pub fn retries_are_of_use(&self) -> bool {
        self.pool().retries_are_of_use()
    }

    /// Charges a retry to the pool's budget. False: it is spent.
    pub fn withdraw_retry(&self, now_us: u64) -> bool {
        let percent = self.settings().retry.budget;
        self.pool().retries.withdraw(now_us, self.begun(), percent)
    }

    /// Requests that have come so far, over all workers.
    fn begun(&self) -> u64 {
        self.pool().counts.sum(PoolCounts::begun)
    }

    /// The name of a member, for the log.
    pub fn backend_name(&self, member: usize) -> &str {
        &self.pool().members.list[member].settings.name
    }

    /// How sessions stay with their backend, where they do.
    #[inline]
    pub fn sticky(&self) -> Option<(&StickySettings, &Sessions)> {
        let sessions = self.pool().sessions()?;
        Some((self.settings().sticky.as_ref()?, sessions))
    }

    /// A member's stable id.
    pub fn id_of(&self, member: usize) -> u32 {
        self.pool().members.list[member].id
    }

    /// A member's live cell.
    pub fn cell(&self, member: usize) -> &LiveCell {
        &self.pool().members.list[member].cell
    }

    /// See [`Pool::went_wrong`].
    #[cold]
    pub fn went_wrong(&self, member: usize, now_us: u64) {
        self.pool().went_wrong(member, now_us);
    }

    /// See [`Pool::tried`].
    #[cold]
    pub fn tried(&self, member: usize, good: Option<bool>, now_us: u64) {
        self.pool().tried(member, good, now_us);
    }

    /// What this worker counts for a member.
    pub fn backend_counts(&self, member: usize) -> &BackendCounts {
        &self.backends[member].counts
    }

    /// A connection to `member`; see [`Upstream::connection`].
    pub fn connection(
        &self,
        member: usize,
        alarm: &Alarm,
        reuse: Reuse,
        now_us: u64,
    ) -> impl Future<Output = Result<Connection, Cause>> {
        let LocalBackend {
            upstream, counts, ..
        } = &self.backends[member];
        upstream.connection(&self.limits, alarm, reuse, now_us, counts)
    }

    /// Keeps a connection to `member`, which was free at `now_us`, for the next request.
    pub fn keep(&self, member: usize, connection: Connection, now_us: u64) {
        let limit = self.limits.keep_alive_connections;
        self.backends[member]
            .upstream
            .keep(connection, limit, now_us);
    }

    /// The `Host` for `member`, where it is not the client's own. A request
    /// that has none gets the backend's address: HTTP/1.1 asks for one.
    pub fn host_header(&self, member: usize, has_host: bool) -> Option<&HeaderValue> {
        match &self.settings().host_header {
            HostHeader::Keep if has_host => None,
            HostHeader::Keep | HostHeader::Backend => self.backends[member].host.as_ref(),
            HostHeader::Fixed(value) => Some(value),
        }
    }

    /// Logs an attempt without an answer; loudly if the one before had one.
    pub fn attempt_failed(&self, member: usize, cause: &Cause) {
        let (pool, backend) = (&self.settings().name, self.backend_name(member));
        if cause.failure().is_some() && self.cell(member).note_answer(false) {
            tracing::warn!(pool, backend, error = %cause, "backend does not answer");
        } else {
            tracing::debug!(pool, backend, error = %cause, "attempt failed");
        }
    }

    /// Logs an answer of a backend that had given none.
    pub fn attempt_answered(&self, member: usize) {
        if self.cell(member).note_answer(true) {
            tracing::info!(
                pool = self.settings().name,
                backend = self.backend_name(member),
                "backend answers again"
            );
        }
    }

    /// The strategy learns from outcomes.
    pub fn wants_outcomes(&self) -> bool {
        self.served.strategy.wants_feedback()
    }

    /// Tells the strategy what became of an attempt.
    pub fn observe(&self, outcome: Outcome) {
        self.picker.borrow_mut().observe(outcome);
    }

    fn keep_house(&self, now_us: u64) {
        for (backend, member) in self.backends.iter().zip(&self.pool().members.list) {
            let keep_alive = match member.settings.state {
                BackendState::Maintenance => Duration::ZERO,
                BackendState::Active | BackendState::Drain => self.limits.keep_alive,
            };
            backend.keep_house(keep_alive, now_us);
        }
        self.queue().keep_house(now_us);
        self.pool().look_after(now_us);
        self.pool().retries.note(now_us, || self.begun());
        let mut snapshot = self.snapshot.borrow_mut();
        let mut picker = self.picker.borrow_mut();
        picker.flush(now_us);
        snapshot.keep_up(now_us);
        let generation = snapshot.generation();
        if picker.replan_due(now_us, generation) {
            picker.replan_if_due(&snapshot.everyone(now_us), now_us, generation);
        }
    }

    fn pool(&self) -> &Pool {
        &self.served.pool
    }
}
