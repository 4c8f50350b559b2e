//! A plugin's place on one worker: the instance that sits in it, and what
//! happens when it faults.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::plugin::{Answer, Fault, FaultKind, Instance, InstanceSettings, Plugin};
use crate::pool::Row;

use super::plan::Plan;
use super::prepare::Strategy;
use super::recovery::Recovery;
use super::stats::Counters;
use super::{Candidates, Inbound, MembersHandle, Outcome, Pick, PickRequest, spread};

/// Most outcomes kept for a plugin that is slow to be told.
const MAX_OUTCOMES: usize = 4096;
/// An instance is replaced before it runs out of memory, but not more often.
const RECYCLE_AFTER: Duration = Duration::from_secs(60);

/// A plugin on one worker, with an instance in it except while it is paused.
pub(super) struct Seat {
    plugin: Arc<Plugin>,
    settings: InstanceSettings,
    members: MembersHandle,
    counters: Arc<Counters>,
    instance: Option<Instance>,
    recovery: Recovery,
    outcomes: Vec<Outcome>,
    plan: Option<Arc<Plan>>,
    /// The pool's generation that the plan was made for; `None` when it was
    /// made for another pool, or another list of members.
    plan_generation: Option<u32>,
    plan_interval_us: u64,
    next_plan_us: u64,
}

/// What became of a pick.
pub(super) enum Answered {
    /// A valid answer, and what was given to `inbound.tag`.
    Pick(Pick, u64),
    /// `refusal::fallback`, and the tag.
    NoOpinion(u64),
    /// There was no usable answer, or no instance to ask.
    Fault,
}

impl Seat {
    /// Starts an instance, with the state of the one that sat here before.
    pub(super) fn take(
        strategy: &Strategy,
        plugin: &Arc<Plugin>,
        members: MembersHandle,
        counters: Arc<Counters>,
        previous: Option<&mut Self>,
    ) -> Self {
        let interval = strategy.settings().plan_interval;
        let mut seat = Self {
            plugin: plugin.clone(),
            settings: strategy.instance_settings(strategy.shared()),
            members,
            counters,
            instance: None,
            recovery: Recovery::default(),
            outcomes: Vec::new(),
            plan: None,
            plan_generation: None,
            plan_interval_us: u64::try_from(interval.as_micros()).unwrap_or(u64::MAX),
            next_plan_us: 0,
        };
        let saved = previous.and_then(|previous| seat.inherit(previous));
        match seat.start_with(saved.as_deref()) {
            Ok(instance) => seat.instance = Some(instance),
            Err(fault) => seat.faulted(&fault, 0, 0),
        }
        seat
    }

    /// Takes over what the predecessor leaves; returns its saved state.
    fn inherit(&mut self, previous: &mut Self) -> Option<Vec<u8>> {
        if self.plugin.is_planner() {
            self.plan.clone_from(&previous.plan);
        }
        if !self.plugin.has_state() {
            return None;
        }
        previous.hand_over_outcomes(0);
        previous.save()
    }

    fn save(&mut self) -> Option<Vec<u8>> {
        match self.instance.as_mut()?.save() {
            Ok(saved) => saved,
            Err(fault) => {
                self.log_cold_start(&format!("the old one could not save: {fault}"));
                None
            }
        }
    }

    /// Starts an instance; a state that it does not take leaves it cold.
    fn start_with(&self, saved: Option<&[u8]>) -> Result<Instance, Fault> {
        let mut instance = self.start()?;
        let Some(saved) = saved else {
            return Ok(instance);
        };
        match instance.restore(saved) {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(why)) => {
                self.log_cold_start(&why);
                Ok(instance)
            }
            Err(fault) => {
                self.log_cold_start(&fault.to_string());
                self.start()
            }
        }
    }

    fn start(&self) -> Result<Instance, Fault> {
        Instance::start(&self.plugin, &self.settings, self.members.clone())
    }

    pub(super) fn is_planner(&self) -> bool {
        self.plugin.is_planner()
    }

    /// Looks the pick up in the plan; `None` without one, or when it finds
    /// nobody eligible.
    #[inline]
    pub(super) fn look_up<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        request: &PickRequest,
    ) -> Option<usize> {
        let same_generation = self.plan_generation == Some(request.generation);
        let plan = self.plan.as_deref()?;
        plan.pick(candidates, request, same_generation)
    }

    pub(super) fn set_members(&mut self, members: MembersHandle) {
        if let Some(instance) = &mut self.instance {
            instance.set_members(members.clone());
        }
        self.members = members;
        self.plan_generation = None;
    }

    /// Asks the plugin.
    #[inline]
    pub(super) fn pick(
        &mut self,
        rows: &[Row],
        request: &PickRequest,
        inbound: &mut Inbound,
    ) -> Answered {
        if self.instance.is_none() && !self.replace(request.now_us, request.random) {
            return Answered::Fault;
        }
        let Some(instance) = &mut self.instance else {
            return Answered::Fault;
        };
        let checked = instance
            .pick(rows, request, inbound)
            .and_then(|(answer, tag)| checked(answer, tag, rows.len()));
        match checked {
            Ok(answered) => answered,
            Err(fault) => {
                self.faulted(&fault, request.now_us, request.random);
                Answered::Fault
            }
        }
    }

    /// Puts an instance in the empty seat if its pause is over.
    #[cold]
    fn replace(&mut self, now_us: u64, random: u64) -> bool {
        if !self.recovery.may_start(now_us) {
            return false;
        }
        match self.start() {
            Ok(instance) => {
                self.instance = Some(instance);
                self.recovery.started(now_us);
                self.counters.replacements.add(1);
                if self.recovery.is_recovering() {
                    tracing::info!(
                        pool = &*self.settings.label.pool,
                        plugin = &*self.settings.label.plugin,
                        "plugin replaced after a fault"
                    );
                }
                true
            }
            Err(fault) => {
                self.faulted(&fault, now_us, random);
                false
            }
        }
    }

    #[cold]
    fn faulted(&mut self, fault: &Fault, now_us: u64, random: u64) {
        self.instance = None;
        self.outcomes.clear();
        self.counters.fault(fault.kind);
        let pause = self.recovery.fault(now_us, spread(random, 3));
        tracing::warn!(
            pool = &*self.settings.label.pool,
            plugin = &*self.settings.label.plugin,
            kind = fault.kind.as_str(),
            error = fault.message,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "plugin faulted"
        );
    }

    fn log_cold_start(&self, why: &str) {
        tracing::warn!(
            pool = &*self.settings.label.pool,
            plugin = &*self.settings.label.plugin,
            error = why,
            "plugin starts without the state of the one before it"
        );
    }

    pub(super) fn observe(&mut self, outcome: Outcome) {
        if !self.plugin.wants_feedback() || self.instance.is_none() {
            return;
        }
        if self.outcomes.len() < MAX_OUTCOMES {
            self.outcomes.push(outcome);
        } else {
            self.counters.outcomes_dropped.add(1);
        }
    }

    pub(super) fn pending_outcomes(&self) -> usize {
        self.outcomes.len()
    }

    pub(super) fn flush(&mut self, now_us: u64) {
        self.hand_over_outcomes(now_us);
        self.recycle_if_large(now_us);
    }

    fn hand_over_outcomes(&mut self, now_us: u64) {
        if self.outcomes.is_empty() {
            return;
        }
        let Some(instance) = &mut self.instance else {
            return;
        };
        let result = instance.observe(&self.outcomes);
        self.outcomes.clear();
        if let Err(fault) = result {
            self.faulted(&fault, now_us, now_us);
        }
    }

    /// Replaces an instance that leaks before it fails a request.
    fn recycle_if_large(&mut self, now_us: u64) {
        let large = self.settings.memory / 8 * 7;
        let is_large = |instance: &Instance| instance.memory_high_water() > large;
        if !self.instance.as_ref().is_some_and(is_large)
            || self.recovery.age(now_us) < RECYCLE_AFTER
        {
            return;
        }
        let saved = self.save();
        match self.start_with(saved.as_deref()) {
            Ok(instance) => {
                self.instance = Some(instance);
                self.recovery.started(now_us);
                self.counters.replacements.add(1);
            }
            Err(fault) => self.faulted(&fault, now_us, now_us),
        }
    }

    pub(super) fn replan_due(&self, now_us: u64, generation: u32) -> bool {
        self.is_planner()
            && (now_us >= self.next_plan_us || self.plan_generation != Some(generation))
            && (self.instance.is_some() || self.recovery.may_start(now_us))
    }

    pub(super) fn replan_if_due(&mut self, rows: &[Row], now_us: u64, generation: u32) -> bool {
        if rows.is_empty() || !self.replan_due(now_us, generation) {
            return false;
        }
        if self.instance.is_none() && !self.replace(now_us, now_us) {
            return false;
        }
        let Some(instance) = &mut self.instance else {
            return false;
        };
        let plan = instance
            .plan(rows)
            .and_then(|routing| Plan::new(routing, rows));
        match plan {
            Ok(plan) => {
                self.plan = Some(Arc::new(plan));
                self.plan_generation = Some(generation);
                self.next_plan_us = now_us.saturating_add(self.plan_interval_us);
                self.counters.plans.add(1);
                true
            }
            Err(fault) => {
                self.faulted(&fault, now_us, now_us);
                false
            }
        }
    }
}

/// The answer, if it makes sense for a list of `backends`.
#[inline]
pub(super) fn checked(answer: Answer, tag: u64, backends: usize) -> Result<Answered, Fault> {
    match answer {
        Answer::Index(index) if (index as usize) < backends => {
            Ok(Answered::Pick(Pick::Backend(index as usize), tag))
        }
        Answer::Index(index) => Err(Fault::new(
            FaultKind::BadIndex,
            format!("picked backend {index} of {backends}"),
        )),
        Answer::Fallback => Ok(Answered::NoOpinion(tag)),
        Answer::Wait => Ok(Answered::Pick(Pick::Wait, tag)),
        Answer::Reject(status) => match StatusCode::from_u16(status) {
            Ok(status) if status.is_client_error() || status.is_server_error() => {
                Ok(Answered::Pick(Pick::Reject(status), tag))
            }
            _ => Err(Fault::new(
                FaultKind::BadStatus,
                format!("rejected with status {status}, which is not 400 to 599"),
            )),
        },
    }
}
