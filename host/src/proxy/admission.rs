//! A request's way into its pool: how it comes to a backend for each attempt,
//! and how it waits for one.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::error::Refusal;
use super::record::Record;
use super::request::Outgoing;
use crate::connection::Client;
use crate::pool::{Held, Place};
use crate::telemetry::metrics::Refused;
use crate::worker::{AtLimit, Choice, Claim, LocalPool, Slot, Worker};

/// One request at the door of its pool.
pub struct Admission {
    client: Rc<Client>,
    /// Of the generation that the request began with; of a newer one if it had
    /// to wait before anything was done for it.
    pool: Rc<LocalPool>,
    key: u64,
    /// Its place in the pool, where that is limited. Never while it waits.
    slot: Option<Slot>,
    /// When it came, until that is used as the moment of the first choice.
    arrived_us: Option<u64>,
    /// How long it has waited so far.
    waited: Duration,
}

/// Why there is no backend for a request at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// Others came before.
    Turn,
    /// The backends that it might have are full.
    Full,
    /// The backend that it must have is full.
    Busy,
    /// The pool has as many requests as it may.
    Limit,
    /// Nobody is eligible.
    NoBackend,
    /// Everybody who is eligible was tried.
    Exhausted,
    /// The strategy wants it to wait.
    Wait,
    /// Its session's backend is lost.
    Lost,
    /// The strategy refuses it.
    Reject(StatusCode),
}

impl Admission {
    /// The way to `pool` of a request with this affinity key that has just come.
    pub fn to(pool: &Rc<LocalPool>, client: &Rc<Client>, key: u64, now_us: u64) -> Admission {
        Admission {
            client: Rc::clone(client),
            pool: Rc::clone(pool),
            key,
            slot: None,
            arrived_us: Some(now_us),
            waited: Duration::ZERO,
        }
    }

    /// Where it goes; after [`Admission::claim`] that backend's.
    pub fn pool(&self) -> &Rc<LocalPool> {
        &self.pool
    }

    /// The place in the pool, to be held until the response has ended.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    /// A backend for the next attempt that is not in `tried`: the one that the
    /// request's session has, otherwise the strategy's choice. Waits for one if
    /// the pool has a queue.
    pub async fn claim(
        &mut self,
        outgoing: &mut Outgoing,
        tried: &[usize],
        record: &mut Record,
    ) -> Result<Claim, Refusal> {
        let is_newcomer = tried.is_empty();
        let denied = match is_newcomer && self.pool.has_precedence() {
            true => Denied::Turn,
            false => match self.enter(outgoing, tried) {
                Ok(claim) => return Ok(claim),
                Err(denied) => denied,
            },
        };
        if !denied.may_pass() || !self.pool.queues() {
            return Err(denied.refusal());
        }
        // Boxed: who need not wait carries no room for it.
        Box::pin(self.wait(outgoing, tried, record)).await
    }

    /// A backend that is not in `tried` for a request that still occupies one: it
    /// does not wait. Two that waited for each other's would wait in vain.
    pub fn claim_at_once(
        &mut self,
        outgoing: &mut Outgoing,
        tried: &[usize],
    ) -> Result<Claim, Refusal> {
        let claim = match self.pool.has_precedence() {
            true => Err(Denied::Turn),
            false => self.enter(outgoing, tried),
        };
        claim.map_err(Denied::refusal)
    }

    /// Waits for its turn in the queue, as often as it takes and for as long as
    /// it may.
    async fn wait(
        &mut self,
        outgoing: &mut Outgoing,
        tried: &[usize],
        record: &mut Record,
    ) -> Result<Claim, Refusal> {
        // Whoever is admitted next may have it: this one would keep it in vain.
        self.slot = None;
        let settings = self.pool.settings();
        let left = settings.queue_timeout.saturating_sub(self.waited);
        let Some(place) = self.pool.queue().join(settings.queue_size) else {
            return Err(Refusal::unavailable().because(Refused::QueueFull));
        };
        let client = Rc::clone(&self.client);
        let waiting = Waiting::begin(&client.worker, &self.pool);
        let turn = self.take_turns(place, outgoing, tried);
        let result = client.watch.within(left, turn).await;
        let time = waiting.time();
        self.waited += time;
        record.waited(time);
        match result {
            Some(Ok(claim)) => Ok(claim),
            Some(Err(denied)) => Err(denied.refusal()),
            None => Err(Refusal::unavailable().because(Refused::QueueTimeout)),
        }
    }

    /// Looks for a backend whenever it is its turn, until there is one or
    /// waiting does not help.
    async fn take_turns(
        &mut self,
        mut place: Place,
        outgoing: &mut Outgoing,
        tried: &[usize],
    ) -> Result<Claim, Denied> {
        loop {
            place.turn().await;
            self.arrived_us = None;
            let is_current = self.keep_up(tried);
            let denied = match self.enter(outgoing, tried) {
                Ok(claim) => {
                    place.enter();
                    return Ok(claim);
                }
                Err(denied) if !denied.may_pass() => return Err(denied),
                Err(denied) => denied,
            };
            place.stay(match is_current && tried.is_empty() {
                true => denied.held(),
                // What there is for newcomers, it does not see.
                false => Held::NotForIt,
            });
        }
    }

    /// Goes on with the generation in force, unless backends of another were
    /// tried. False if the request is tied to one that is not in force any more.
    fn keep_up(&mut self, tried: &[usize]) -> bool {
        let generation = self.client.worker.generation();
        let Some(pool) = generation.pool(self.pool.name()) else {
            return false;
        };
        if tried.is_empty() {
            self.pool = Rc::clone(pool);
        }
        Rc::ptr_eq(&self.pool, pool)
    }

    /// Takes a backend, and a place in the pool where it has none yet.
    fn enter(&mut self, outgoing: &mut Outgoing, tried: &[usize]) -> Result<Claim, Denied> {
        if self.slot.is_none() && self.pool.is_at_limit() {
            return Err(Denied::Limit);
        }
        let claim = match self.choose(outgoing, tried) {
            Choice::Backend(claim) => claim,
            Choice::Full => return Err(Denied::Full),
            Choice::Busy => return Err(Denied::Busy),
            Choice::Nobody if tried.is_empty() => return Err(Denied::NoBackend),
            Choice::Nobody => return Err(Denied::Exhausted),
            Choice::Wait => {
                self.pool.counts.strategy_waits.add(1);
                return Err(Denied::Wait);
            }
            Choice::Lost => return Err(Denied::Lost),
            Choice::Reject(status) => return Err(Denied::Reject(status)),
        };
        if self.slot.is_none() {
            match self.pool.enter() {
                Ok(slot) => self.slot = slot,
                Err(AtLimit) => {
                    drop(claim);
                    return Err(Denied::Limit);
                }
            }
        }
        Ok(claim)
    }

    fn choose(&mut self, outgoing: &mut Outgoing, tried: &[usize]) -> Choice {
        let worker = &self.client.worker;
        let arrived_us = self.arrived_us.take();
        let now_us = arrived_us.unwrap_or_else(|| worker.now_us());
        let session = outgoing.session.as_ref();
        let bound = session.and_then(|session| session.choose(&self.pool, now_us, tried));
        let repeatable = outgoing.is_replayable();
        bound.unwrap_or_else(|| {
            if tried.is_empty()
                && let Some(claim) = self.pool.claim_trial(now_us, repeatable)
            {
                return Choice::Backend(claim);
            }
            let head = &mut outgoing.head;
            self.pool.claim(worker, now_us, head, self.key, tried)
        })
    }
}

impl Denied {
    /// Waiting may help.
    fn may_pass(self) -> bool {
        match self {
            Denied::Turn
            | Denied::Full
            | Denied::Busy
            | Denied::Limit
            | Denied::NoBackend
            | Denied::Wait => true,
            Denied::Exhausted | Denied::Lost | Denied::Reject(_) => false,
        }
    }

    /// Whether there is room for nobody or only none for this request.
    fn held(self) -> Held {
        match self {
            Denied::Busy | Denied::Wait => Held::NotForIt,
            _ => Held::NoRoom,
        }
    }

    fn refusal(self) -> Refusal {
        let (status, why) = match self {
            Denied::Reject(status) => (status, Refused::Reject),
            denied => (StatusCode::SERVICE_UNAVAILABLE, denied.reason()),
        };
        Refusal::new(status).because(why)
    }

    fn reason(self) -> Refused {
        match self {
            // Said only where the queue was there and is not any more.
            Denied::Turn | Denied::Full | Denied::Busy => Refused::Full,
            Denied::Limit => Refused::Limit,
            Denied::NoBackend | Denied::Exhausted => Refused::NoBackend,
            Denied::Wait => Refused::Wait,
            Denied::Lost => Refused::Session,
            Denied::Reject(_) => Refused::Reject,
        }
    }
}

/// A request that waits, counted when that is over: also when the client leaves.
struct Waiting {
    worker: Rc<Worker>,
    pool: Rc<LocalPool>,
    since_us: u64,
}

impl Waiting {
    fn begin(worker: &Rc<Worker>, pool: &Rc<LocalPool>) -> Waiting {
        Waiting {
            worker: Rc::clone(worker),
            pool: Rc::clone(pool),
            since_us: worker.now_us(),
        }
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.worker.now_us().saturating_sub(self.since_us))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.counts.waited(self.time().as_micros() as u64);
    }
}
