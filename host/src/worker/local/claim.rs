//! Pick and reserve: how a request comes to a backend for one attempt.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use super::LocalPool;
use crate::pool::{InFlight, Live, Queue, Requests};
use crate::strategy::{Inbound, Pick, PickRequest};
use crate::worker::Worker;

/// A decision for one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Picked {
    /// Index into the pool's members.
    pub member: usize,
    /// Its stable id.
    pub id: u32,
    /// Comes back in the outcome.
    pub tag: u64,
    /// The fallback decided instead of the strategy.
    pub fallback: bool,
    /// An ejected backend shows whether it is well again.
    pub trial: bool,
    /// When, in microseconds since the process started.
    pub at_us: u64,
}

/// A backend that was picked and has room reserved for the attempt.
pub struct Claim {
    pub picked: Picked,
    pub lease: Lease,
}

/// Room at a backend: counted in flight until it is dropped. Fields are dropped
/// in their order: those who wait are told once, of all of it.
pub struct Lease {
    /// `None` where there is nothing to show, or it has been shown.
    trial: Option<Trial>,
    in_flight: InFlight<Cell>,
    slot: Option<Counted>,
    freed: Freed,
}

/// The live cell of a member, reached through this worker's pool: a count of those who
/// hold it would be written by all workers, for every request.
struct Cell {
    pool: Rc<LocalPool>,
    member: usize,
}

impl Deref for Cell {
    type Target = Live;

    fn deref(&self) -> &Live {
        self.pool.cell(self.member)
    }
}

/// An ejected backend shows whether it is well again, until this is dropped.
struct Trial {
    pool: Rc<LocalPool>,
    member: usize,
    /// How it went. `None`: nobody can tell, and another request is the trial.
    verdict: Option<bool>,
    /// When it ended or, before that, when it began.
    at_us: u64,
}

/// A request's place in its pool, where that has a limit.
pub struct Slot {
    counted: Counted,
    freed: Freed,
}

/// Counts for the pool's limit until it is dropped.
struct Counted(Arc<Requests>);

/// Tells those who wait that there is room, when it is dropped; unless somebody
/// else is going to.
struct Freed {
    pool: Rc<LocalPool>,
    tells: bool,
}

impl Lease {
    /// Whose backend it is.
    pub fn pool(&self) -> &Rc<LocalPool> {
        &self.freed.pool
    }

    /// The request's place is kept until this is dropped.
    pub fn holds(&mut self, slot: Option<Slot>) {
        self.slot = slot.map(Slot::untold);
    }

    /// If this is a trial that is not over, it is now; `good`: how it went, `None`
    /// where that says nothing of the backend. False: it is none.
    #[inline]
    pub fn ends_trial(&mut self, good: Option<bool>, now_us: u64) -> bool {
        match self.trial.take() {
            Some(mut trial) => {
                trial.verdict = good;
                trial.at_us = now_us;
                true
            }
            None => false,
        }
    }
}

impl Drop for Trial {
    #[cold]
    fn drop(&mut self) {
        self.pool.tried(self.member, self.verdict, self.at_us);
    }
}

impl Slot {
    fn untold(mut self) -> Counted {
        self.freed.tells = false;
        self.counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Freed {
    fn of(pool: &Rc<LocalPool>) -> Freed {
        Freed {
            pool: Rc::clone(pool),
            tells: true,
        }
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        if self.tells && self.pool.queues() {
            self.pool.queue().freed();
        }
    }
}

impl Deref for Lease {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.in_flight
    }
}

/// What became of a wish for a backend.
pub enum Choice {
    Backend(Claim),
    /// The eligible and untried backends are all full.
    Full,
    /// No backend is eligible and untried, whatever its load.
    Nobody,
    /// The strategy wants to wait.
    Wait,
    /// The strategy refuses the request.
    Reject(StatusCode),
    /// The session's backend is full, and no other shall take it.
    Busy,
    /// The session's backend may not be asked, and no other shall take it.
    Lost,
}

/// The pool has as many requests as it may.
pub struct AtLimit;

impl LocalPool {
    /// Lets the strategy choose among the eligible members that have room and
    /// are not in `tried`, and reserves room at the one that it chose.
    pub fn claim(
        self: &Rc<Self>,
        worker: &Worker,
        at_us: u64,
        head: &mut Inbound,
        key: u64,
        tried: &[usize],
    ) -> Choice {
        loop {
            let picked = match self.pick(worker, at_us, head, key, tried) {
                Ok(picked) => picked,
                Err(choice) => return choice,
            };
            // Where another worker was quicker, the backend is full now and is
            // not among those of the next pick.
            if let Some(lease) = self.reserve(picked.member) {
                return Choice::Backend(Claim { picked, lease });
            }
        }
    }

    /// The member with this id for a request of a session that it has: the strategy
    /// is not asked. Who drains keeps its sessions. Otherwise it is [`Choice::Busy`], or
    /// [`Choice::Lost`] if it may not be asked or is gone.
    pub fn claim_member(self: &Rc<Self>, id: u32, at_us: u64) -> Choice {
        let Some(member) = self.pool().members.index_of(id) else {
            return Choice::Lost;
        };
        let wanted = &self.pool().members.list[member];
        let may_be_asked = wanted.standing.is_eligible() || self.snapshot.borrow().has(member);
        if wanted.is_in_maintenance() || !may_be_asked {
            return Choice::Lost;
        }
        let picked = Picked {
            member,
            id,
            tag: 0,
            fallback: false,
            trial: false,
            at_us,
        };
        match self.reserve(member) {
            Some(lease) => Choice::Backend(Claim { picked, lease }),
            None => Choice::Busy,
        }
    }

    /// Who comes now has to wait: others came before.
    #[inline]
    pub fn has_precedence(&self) -> bool {
        self.queues() && self.queue().has_precedence()
    }

    /// Requests wait here, rather than being refused.
    #[inline]
    pub fn queues(&self) -> bool {
        self.settings().queue_size != 0
    }

    /// Who waits for this pool's backends.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.pool().queue
    }

    /// The pool has as many requests as it may.
    #[inline]
    pub fn is_at_limit(&self) -> bool {
        let most = self.settings().max_requests;
        most != 0 && self.pool().requests.count() >= most
    }

    /// A place for one more request. The inner `None`: the pool has no limit.
    ///
    /// # Errors
    ///
    /// It has as many as it may.
    pub fn enter(self: &Rc<Self>) -> Result<Option<Slot>, AtLimit> {
        let most = self.settings().max_requests;
        if most == 0 {
            return Ok(None);
        }
        let requests = &self.pool().requests;
        let entered = requests.enter(most).then(|| Slot {
            counted: Counted(Arc::clone(requests)),
            freed: Freed::of(self),
        });
        entered.ok_or(AtLimit).map(Some)
    }

    /// An ejected member whose time is over, for the one request that is its
    /// trial. `repeatable`: that it fails would do no harm.
    #[inline]
    pub fn claim_trial(self: &Rc<Self>, at_us: u64, repeatable: bool) -> Option<Claim> {
        match self.pool().eligibility.trial_due(at_us) {
            true => self.claim_due_trial(at_us, repeatable),
            false => None,
        }
    }

    #[cold]
    fn claim_due_trial(self: &Rc<Self>, at_us: u64, repeatable: bool) -> Option<Claim> {
        let member = self.pool().trial(at_us, repeatable)?;
        // Whichever way this ends, the trial does too.
        let trial = Trial {
            pool: Rc::clone(self),
            member,
            verdict: None,
            at_us,
        };
        let mut lease = self.reserve(member)?;
        lease.trial = Some(trial);
        let picked = Picked {
            member,
            id: self.pool().members.list[member].id,
            tag: 0,
            fallback: false,
            trial: true,
            at_us,
        };
        Some(Claim { picked, lease })
    }

    fn reserve(self: &Rc<Self>, member: usize) -> Option<Lease> {
        let capacity = self.pool().members.list[member].settings.capacity;
        let pool = Rc::clone(self);
        let in_flight = InFlight::reserve(Cell { pool, member }, capacity)?;
        Some(Lease {
            trial: None,
            in_flight,
            slot: None,
            freed: Freed::of(self),
        })
    }

    fn pick(
        &self,
        worker: &Worker,
        at_us: u64,
        head: &mut Inbound,
        key: u64,
        tried: &[usize],
    ) -> Result<Picked, Choice> {
        let random = worker.random();
        let mut snapshot = self.snapshot.borrow_mut();
        snapshot.keep_up(at_us);
        // A plan names whom it wants: with 10,000 backends nobody else is looked at.
        let by_plan = self.served.strategy.is_planner() && snapshot.is_simple() && tried.is_empty();
        if !by_plan {
            snapshot.refresh(at_us, tried, random);
            if snapshot.rows().is_empty() {
                return Err(match snapshot.is_exhausted(tried) {
                    true => Choice::Nobody,
                    false => Choice::Full,
                });
            }
        }
        let request = PickRequest {
            key,
            random,
            sequence: self.pool().next_sequence(),
            now_us: at_us,
            generation: snapshot.generation(),
            attempt: tried.len() as u32,
        };
        let mut picker = self.picker.borrow_mut();
        let decision = match by_plan {
            true => picker.look_up(&*snapshot, &request),
            false => picker.pick(snapshot.rows(), &request, head),
        };
        match decision.pick {
            Pick::Backend(index) => {
                let member = match by_plan {
                    true => snapshot.active(index),
                    false => snapshot.member_of(index),
                };
                Ok(Picked {
                    member,
                    id: snapshot.members().list[member].id,
                    tag: decision.tag,
                    fallback: decision.fallback,
                    trial: false,
                    at_us,
                })
            }
            Pick::Wait => Err(Choice::Wait),
            Pick::Reject(status) => Err(Choice::Reject(status)),
        }
    }
}
