//! One worker's running strategy: the request path's side of the seam.

use std::sync::Arc;

use http::StatusCode;

use crate::config::OnFault;
use crate::pool::Row;

use super::prepare::Strategy;
use super::seat::{Answered, Seat};
use super::stats::Counters;
use super::{Candidates, Decision, Inbound, MembersHandle, Outcome, Pick, PickRequest, fallback};

/// A strategy on one worker. Every method returns in bounded time and none
/// waits for another thread.
pub struct Picker {
    strategy: Arc<Strategy>,
    counters: Arc<Counters>,
    /// `None`: the native fallback decides everything.
    seat: Option<Box<Seat>>,
}

impl Picker {
    /// Starts `strategy` on this worker. The plugin's state goes over from
    /// `previous` when both keep one; if that fails, the new one starts cold.
    /// If it cannot start at all the fallback serves until it can. `previous`
    /// itself goes on for the requests that still have it.
    pub fn new(
        strategy: Arc<Strategy>,
        members: MembersHandle,
        previous: Option<&mut Self>,
    ) -> Self {
        let counters = strategy.open_counters();
        let previous = previous.and_then(|picker| picker.seat.as_deref_mut());
        let seat = strategy
            .plugin()
            .map(|plugin| Seat::take(&strategy, plugin, members, counters.clone(), previous))
            .map(Box::new);
        Self {
            strategy,
            counters,
            seat,
        }
    }

    /// What it runs.
    pub fn strategy(&self) -> &Arc<Strategy> {
        &self.strategy
    }

    /// Chooses one of `rows`, which must hold only what is eligible and not
    /// tried yet. `inbound` is lent to the plugin and back again, unchanged.
    /// With no rows there is nobody to choose: [`Pick::Wait`].
    #[inline]
    pub fn pick(&mut self, rows: &[Row], request: &PickRequest, inbound: &mut Inbound) -> Decision {
        self.counters.picks.add(1);
        let Some(seat) = &mut self.seat else {
            return decision(native(rows, request), false);
        };
        if rows.is_empty() {
            return decision(Pick::Wait, false);
        }
        if seat.is_planner() {
            return self.planned(rows, request);
        }
        match seat.pick(rows, request, inbound) {
            Answered::Pick(pick, tag) => Decision {
                pick,
                tag,
                fallback: false,
            },
            Answered::NoOpinion(tag) => Decision {
                tag,
                ..self.by_fallback(rows, request)
            },
            Answered::Fault => self.after_fault(rows, request),
        }
    }

    /// The same for a planner, without a list: only the backends that the plan
    /// names are looked at. Strategies that are no planners answer from the
    /// fallback, so ask [`Strategy::is_planner`] first.
    #[inline]
    pub fn look_up<C: Candidates + ?Sized>(
        &mut self,
        candidates: &C,
        request: &PickRequest,
    ) -> Decision {
        self.counters.picks.add(1);
        if candidates.is_empty() {
            return decision(Pick::Wait, false);
        }
        self.planned(candidates, request)
    }

    #[inline]
    fn planned<C: Candidates + ?Sized>(&self, candidates: &C, request: &PickRequest) -> Decision {
        let seat = self.seat.as_deref();
        match seat.and_then(|seat| seat.look_up(candidates, request)) {
            Some(index) => decision(Pick::Backend(index), false),
            None => self.by_fallback(candidates, request),
        }
    }

    /// Notes what became of an attempt, for a plugin that wants to know.
    /// Cheap: it is only kept until [`Picker::flush`].
    #[inline]
    pub fn observe(&mut self, outcome: Outcome) {
        if let Some(seat) = &mut self.seat {
            seat.observe(outcome);
        }
    }

    /// Outcomes that wait for [`Picker::flush`].
    pub fn pending_outcomes(&self) -> usize {
        self.seat.as_deref().map_or(0, Seat::pending_outcomes)
    }

    /// Hands the outcomes to the plugin and replaces an instance that has
    /// nearly used up its memory. Not on the request path: call it about ten
    /// times a second and when 256 outcomes are pending.
    pub fn flush(&mut self, now_us: u64) {
        if let Some(seat) = &mut self.seat {
            seat.flush(now_us);
        }
    }

    /// Asks a planner for a new plan when `generation` is not the plan's or
    /// `plan-interval` has passed. `rows` are all eligible backends. True when
    /// there is a new plan; on a fault the last one stays in force.
    pub fn replan_if_due(&mut self, rows: &[Row], now_us: u64, generation: u32) -> bool {
        match &mut self.seat {
            Some(seat) => seat.replan_if_due(rows, now_us, generation),
            None => false,
        }
    }

    /// A plan is wanted: so that rows are gathered only for a reason.
    pub fn replan_due(&self, now_us: u64, generation: u32) -> bool {
        self.seat
            .as_deref()
            .is_some_and(|seat| seat.replan_due(now_us, generation))
    }

    /// The pool's members have changed under the same strategy.
    pub fn set_members(&mut self, members: MembersHandle) {
        if let Some(seat) = &mut self.seat {
            seat.set_members(members);
        }
    }

    fn by_fallback<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        request: &PickRequest,
    ) -> Decision {
        self.counters.fallbacks.add(1);
        decision(native(candidates, request), true)
    }

    #[cold]
    fn after_fault(&self, rows: &[Row], request: &PickRequest) -> Decision {
        match self.strategy.settings().on_fault {
            OnFault::Fallback => self.by_fallback(rows, request),
            OnFault::Reject => decision(Pick::Reject(StatusCode::SERVICE_UNAVAILABLE), false),
        }
    }
}

fn decision(pick: Pick, fallback: bool) -> Decision {
    Decision {
        pick,
        tag: 0,
        fallback,
    }
}

fn native<C: Candidates + ?Sized>(candidates: &C, request: &PickRequest) -> Pick {
    fallback::pick(candidates, request).map_or(Pick::Wait, Pick::Backend)
}
