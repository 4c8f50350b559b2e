//! Pick and reserve: how a request comes to a backend for one attempt.

use std::ops::Deref;
use std::rc::Rc;

use http::StatusCode;

use super::LocalPool;
use crate::config::BackendState;
use crate::pool::InFlight;
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
    /// When, in microseconds since the process started.
    pub at_us: u64,
}

/// A backend that was picked and has room reserved for the attempt.
pub struct Claim {
    pub picked: Picked,
    pub lease: Lease,
}

/// Room at a backend: counted in flight until it is dropped.
pub struct Lease {
    in_flight: InFlight,
    pool: Rc<LocalPool>,
}

impl Lease {
    /// Whose backend it is.
    pub fn pool(&self) -> &Rc<LocalPool> {
        &self.pool
    }
}

impl Deref for Lease {
    type Target = InFlight;

    fn deref(&self) -> &InFlight {
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
    /// The session's backend cannot take it, and no other shall.
    Lost,
}

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
    /// is not asked. Who drains keeps its sessions. Otherwise it is [`Choice::Full`], or
    /// [`Choice::Lost`] if it may not be asked or is gone.
    pub fn claim_member(self: &Rc<Self>, id: u32, at_us: u64) -> Choice {
        let Some(member) = self.pool().members.index(id) else {
            return Choice::Lost;
        };
        let wanted = &self.pool().members.list[member];
        let in_maintenance = wanted.settings.state == BackendState::Maintenance;
        if in_maintenance || !wanted.standing.is_eligible() {
            return Choice::Lost;
        }
        let picked = Picked {
            member,
            id,
            tag: 0,
            fallback: false,
            at_us,
        };
        match self.reserve(member) {
            Some(lease) => Choice::Backend(Claim { picked, lease }),
            None => Choice::Full,
        }
    }

    fn reserve(self: &Rc<Self>, member: usize) -> Option<Lease> {
        let member = &self.pool().members.list[member];
        let in_flight = InFlight::reserve(&member.cell, member.settings.capacity)?;
        Some(Lease {
            in_flight,
            pool: Rc::clone(self),
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
        let mut snapshot = self.snapshot.borrow_mut();
        snapshot.keep_up();
        // A plan names whom it wants: with 10,000 backends nobody else is looked at.
        let by_plan =
            self.served.strategy.is_planner() && snapshot.is_uncapped() && tried.is_empty();
        if !by_plan {
            snapshot.refresh(at_us, tried);
            if snapshot.rows().is_empty() {
                return Err(match snapshot.is_exhausted(tried) {
                    true => Choice::Nobody,
                    false => Choice::Full,
                });
            }
        }
        let request = PickRequest {
            key,
            random: worker.random(),
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
                    at_us,
                })
            }
            Pick::Wait => Err(Choice::Wait),
            Pick::Reject(status) => Err(Choice::Reject(status)),
        }
    }
}
