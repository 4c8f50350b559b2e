//! Pools: who the backends are, which of them may be asked, and how loaded they are.
//!
//! Knows neither wasm nor HTTP, does no IO and reads no clock: time comes in
//! as an argument.

mod advice;
mod eligibility;
mod ewma;
mod growth;
mod levels;
mod limiter;
mod live;
mod members;
mod outlier;
mod queue;
mod requests;
mod retries;
mod retry_budget;
mod row;
mod sessions;
mod snapshot;
mod standing;

pub use advice::Advice;
pub use eligibility::Eligibility;
pub use limiter::Limiter;
pub use live::{InFlight, Live, LiveCell, Sample};
pub use members::{Member, Membership};
pub use outlier::Ejected;
pub use queue::{Held, Place, Queue};
pub use requests::Requests;
pub use retries::Retries;
pub use row::Row;
pub use sessions::{Sessions, Token, inherit_sessions_secret, sessions_secret};
pub use snapshot::{Rules, Snapshot};
pub use standing::Standing;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::PoolSettings;
use crate::telemetry::metrics::{Ledger, PoolCounts};

/// One pool of one generation: immutable but for the live columns, the
/// standings, the queue, the retries, the sequence and the counts, which it shares with the same pool of other generations.
pub struct Pool {
    pub settings: PoolSettings,
    pub members: Arc<Membership>,
    pub counts: Arc<Ledger<PoolCounts>>,
    /// What becomes of the members' standings.
    pub eligibility: Arc<Eligibility>,
    /// Who waits for one of its backends.
    pub queue: Arc<Queue>,
    /// Who is counted for its limit.
    pub requests: Arc<Requests>,
    /// What each client has used of its rate.
    pub limiter: Arc<Limiter>,
    /// How much trying again it bears.
    pub retries: Arc<Retries>,
    sequence: Arc<Sequence>,
    /// Where the pool's settings want some.
    sessions: Option<Sessions>,
}

/// Alone on its cache line: every worker adds to it for every pick.
#[derive(Default)]
#[repr(align(128))]
struct Sequence(AtomicU64);

impl Pool {
    /// The pool that `settings` describe. What `previous`, the pool of this
    /// name in the generation before, has in common with it is carried over:
    /// ids, load, latency, standing, the queue, the sequence and the counts.
    pub fn new(settings: PoolSettings, previous: Option<&Pool>) -> Pool {
        let queue = previous.map(|pool| Arc::clone(&pool.queue));
        let queue = queue.unwrap_or_default();
        Pool {
            members: Arc::new(Membership::new(
                &settings,
                previous.map(|pool| &*pool.members),
            )),
            counts: previous
                .map(|pool| Arc::clone(&pool.counts))
                .unwrap_or_default(),
            eligibility: previous
                .map(|pool| Arc::clone(&pool.eligibility))
                .unwrap_or_else(|| Arc::new(Eligibility::waking(&queue))),
            queue,
            requests: previous
                .map(|pool| Arc::clone(&pool.requests))
                .unwrap_or_default(),
            limiter: previous
                .map(|pool| Arc::clone(&pool.limiter))
                .unwrap_or_default(),
            retries: previous
                .map(|pool| Arc::clone(&pool.retries))
                .unwrap_or_default(),
            sequence: previous
                .map(|pool| Arc::clone(&pool.sequence))
                .unwrap_or_default(),
            sessions: None,
            settings,
        }
    }

    /// A picture of it for one worker.
    pub fn snapshot(&self, now_us: u64) -> Snapshot {
        Snapshot::new(
            Arc::clone(&self.members),
            Arc::clone(&self.eligibility),
            Rules::from(&self.settings),
            now_us,
        )
    }

    /// The pool with the sessions that its settings want.
    ///
    /// # Errors
    ///
    /// As [`Sessions::new`].
    pub fn with_sessions(mut self) -> io::Result<Pool> {
        if let Some(sticky) = &self.settings.sticky {
            self.sessions = Some(Sessions::new(sticky, &self.members)?);
        }
        Ok(self)
    }

    /// Which member a session belongs to, where the pool has sessions.
    #[inline]
    pub fn sessions(&self) -> Option<&Sessions> {
        self.sessions.as_ref()
    }

    /// The number of this pick, counted over all workers from 0.
    pub fn next_sequence(&self) -> u64 {
        self.sequence.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two words that workers write for each request, on one line, would be two workers
    /// that wait for each other's without having anything to do with each other. 128: the
    /// processor fetches lines in pairs.
    #[test]
    fn what_all_workers_write_has_a_line_to_itself() {
        assert_eq!((size_of::<Sequence>(), align_of::<Sequence>()), (128, 128));
        assert_eq!((size_of::<Requests>(), align_of::<Requests>()), (128, 128));
        assert_eq!((size_of::<Live>(), align_of::<Live>()), (64, 64));
    }
}
