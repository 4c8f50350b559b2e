//! One worker's running strategy: the request path's side of the seam.

use std::sync::Arc;

use http::StatusCode;

use crate::config::OnFault;
use crate::pool::Row;
use crate::telemetry::metrics::Own;

use super::prepare::Strategy;
use super::seat::{Answered, Seat};
use super::stats::Counters;
use super::{Candidates, Decision, Inbound, MembersHandle, Outcome, Pick, PickRequest, fallback};

/// A strategy on one worker. Every method returns in bounded time and none
/// waits for another thread.
pub struct Picker {
    strategy: Arc<Strategy>,
    counters: Own<Counters>,
    /// `None`: the native fallback decides everything.
    seat: Option<Box<Seat>>,
    stand_in: StandIn,
}

/// Who answers for a plugin with `on-fault = "last-good"`: the strategy that
/// was in force before it, started when it is first needed.
struct StandIn {
    strategy: Option<Arc<Strategy>>,
    members: MembersHandle,
    picker: Option<Box<Picker>>,
}

impl Picker {
    /// Starts `strategy` on this worker. The plugin's state goes over from
    /// `previous` when both keep one; if that fails, the new one starts cold.
    /// If it cannot start at all others answer until it can. `previous`
    /// itself goes on for the requests that still have it. `last_good` answers
    /// for it where its `on-fault` says so.
    pub fn new(
        strategy: Arc<Strategy>,
        last_good: Option<Arc<Strategy>>,
        members: MembersHandle,
        previous: Option<&mut Self>,
        now_us: u64,
    ) -> Self {
        let counters = strategy.open_counters();
        let previous = previous.and_then(|picker| picker.seat.as_deref_mut());
        let seat = strategy.plugin().map(|plugin| {
            let (members, counters) = (members.clone(), counters.clone());
            Seat::take(&strategy, plugin, members, counters, previous, now_us)
        });
        let last_good = last_good.filter(|_| strategy.settings().on_fault == OnFault::LastGood);
        Self {
            strategy,
            counters,
            seat: seat.map(Box::new),
            stand_in: StandIn {
                strategy: last_good,
                members,
                picker: None,
            },
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
        if !self.strategy.conduct().is_trusted() {
            seat.offer(rows, request, inbound);
            return self.in_its_place(rows, request, inbound);
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
            Answered::Fault => self.in_its_place(rows, request, inbound),
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

    /// Hands the outcomes to the plugin and replaces an instance that is worn out. Not
    /// on the request path: call it about ten
    /// times a second and when 256 outcomes are pending.
    pub fn flush(&mut self, now_us: u64) {
        if let Some(seat) = &mut self.seat {
            seat.flush(now_us);
        }
        if self.strategy.conduct().is_trusted() {
            self.stand_in.picker = None;
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
        self.stand_in.set_members(members.clone());
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

    /// What `on-fault` says: the plugin has not answered this pick.
    #[cold]
    fn in_its_place(
        &mut self,
        rows: &[Row],
        request: &PickRequest,
        inbound: &mut Inbound,
    ) -> Decision {
        match self.strategy.settings().on_fault {
            OnFault::Fallback => self.by_fallback(rows, request),
            OnFault::LastGood => match self.stand_in.picker(request.now_us) {
                Some(picker) => {
                    self.counters.fallbacks.add(1);
                    Decision {
                        fallback: true,
                        ..picker.pick(rows, request, inbound)
                    }
                }
                None => self.by_fallback(rows, request),
            },
            OnFault::Reject => decision(Pick::Reject(StatusCode::SERVICE_UNAVAILABLE), false),
        }
    }
}

impl StandIn {
    fn picker(&mut self, now_us: u64) -> Option<&mut Picker> {
        let strategy = self.strategy.as_ref()?;
        let start = || Picker::new(strategy.clone(), None, self.members.clone(), None, now_us);
        Some(self.picker.get_or_insert_with(|| Box::new(start())))
    }

    fn set_members(&mut self, members: MembersHandle) {
        if let Some(picker) = &mut self.picker {
            picker.set_members(members.clone());
        }
        self.members = members;
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
