//! A plugin's place on one worker: the instance that sits in it, and what
//! happens when it faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::plugin::{
    Answer, Fault, FaultKind, Instance, InstanceSettings, Plugin, Successor, thread_cpu_time,
};
use crate::pool::Row;
use crate::telemetry::metrics::Own;

use super::conduct::Gravity;
use super::meter::{Meter, Taken};
use super::plan::Plan;
use super::prepare::Strategy;
use super::recycling::{Recycled, Recycling, Verdict};
use super::shadow::Shadow;
use super::stats::Counters;
use super::{Candidates, Inbound, MembersHandle, Outcome, Pick, PickRequest, Routing, spread};

/// Most outcomes kept for a plugin that is slow to be told.
const MAX_OUTCOMES: usize = 4096;

/// A plugin on one worker, with an instance in it except after a fault and
/// while it is in quarantine.
pub(super) struct Seat {
    strategy: Arc<Strategy>,
    plugin: Arc<Plugin>,
    settings: InstanceSettings,
    members: MembersHandle,
    counters: Own<Counters>,
    instance: Option<Instance>,
    recycling: Recycling,
    /// Who is to sit here next, and why.
    successor: Option<(Successor, Recycled)>,
    meter: Meter,
    outcomes: Vec<Outcome>,
    plan: Option<Arc<Plan>>,
    /// The pool's generation that the plan was made for; `None` when it was
    /// made for another pool, or another list of members.
    plan_generation: Option<u32>,
    plan_interval_us: u64,
    next_plan_us: u64,
}

/// What became of a pick.
pub(crate) enum Answered {
    /// A valid answer, and what was given to `inbound.tag`.
    Pick(Pick, u64),
    /// `refusal::fallback`, and the tag.
    NoOpinion(u64),
    /// There was no usable answer.
    Fault,
}

impl Seat {
    /// Starts an instance, with the state of the one that sat here before.
    pub(super) fn take(
        strategy: &Arc<Strategy>,
        plugin: &Arc<Plugin>,
        members: MembersHandle,
        counters: Own<Counters>,
        previous: Option<&mut Self>,
        now_us: u64,
    ) -> Self {
        let interval = strategy.settings().plan_interval;
        let mut seat = Self {
            strategy: strategy.clone(),
            plugin: plugin.clone(),
            settings: strategy.instance_settings(strategy.shared()),
            members,
            counters,
            instance: None,
            recycling: Recycling::new(strategy.settings(), now_us),
            successor: None,
            meter: Meter::new(strategy.settings().budget, fastrand::Rng::new()),
            outcomes: Vec::new(),
            plan: None,
            plan_generation: None,
            plan_interval_us: u64::try_from(interval.as_micros()).unwrap_or(u64::MAX),
            next_plan_us: 0,
        };
        let saved = previous.and_then(|previous| seat.inherit(previous, now_us));
        match seat.start_with(saved.as_deref()) {
            Ok(instance) => seat.instance = Some(instance),
            Err(fault) => seat.faulted(&fault, now_us, now_us),
        }
        seat
    }

    /// Takes over what the predecessor leaves; returns its saved state.
    fn inherit(&mut self, previous: &mut Self, now_us: u64) -> Option<Vec<u8>> {
        if self.plugin.is_planner() {
            self.plan.clone_from(&previous.plan);
        }
        if !self.plugin.has_state() {
            return None;
        }
        previous.hand_over_outcomes(now_us);
        previous.save()
    }

    fn save(&mut self) -> Option<Vec<u8>> {
        match self.instance.as_mut()?.save() {
            Ok(saved) => saved,
            Err(fault) => {
                self.log_cold_start(&format!("the old one could not save: {fault}"));
                // What a call failed in is not called again.
                self.instance = None;
                None
            }
        }
    }

    /// Starts an instance; a state that it does not take leaves it cold.
    fn start_with(&self, saved: Option<&[u8]>) -> Result<Instance, Fault> {
        self.hand_over(self.start()?, saved)
    }

    /// Gives a fresh instance its predecessor's state; where it cannot bear that,
    /// another one begins without.
    fn hand_over(&self, mut instance: Instance, saved: Option<&[u8]>) -> Result<Instance, Fault> {
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

    /// Asks the plugin, which must be trusted.
    #[inline]
    pub(super) fn pick(
        &mut self,
        rows: &[Row],
        request: &PickRequest,
        inbound: &mut Inbound,
    ) -> Answered {
        if self.meter.is_over_budget(request.now_us) {
            self.over_budget(request.now_us, request.random);
            return Answered::Fault;
        }
        if self.instance.is_none() && !self.replace(request.now_us, request.random) {
            return Answered::Fault;
        }
        let Some(instance) = &mut self.instance else {
            return Answered::Fault;
        };
        self.recycling.called();
        let timing = self.meter.begin();
        let checked = instance
            .pick(rows, request, inbound)
            .and_then(|(answer, tag)| checked(answer, tag, rows.len()));
        if let Some(timing) = timing {
            let Taken { time, calls } = self.meter.end(&timing);
            self.counters.pick_took(time, calls);
        }
        match checked {
            Ok(answered) => answered,
            Err(fault) => {
                self.faulted(&fault, request.now_us, request.random);
                Answered::Fault
            }
        }
    }

    /// Copies a call that the plugin, being in quarantine, was not asked.
    pub(super) fn offer(&self, rows: &[Row], request: &PickRequest, inbound: &Inbound) {
        self.strategy.conduct().offer(|| Shadow {
            rows: rows.to_vec(),
            request: *request,
            inbound: inbound.clone(),
        });
    }

    /// Puts an instance in the empty seat.
    #[cold]
    fn replace(&mut self, now_us: u64, random: u64) -> bool {
        match self.start() {
            Ok(instance) => {
                self.seat(instance, now_us);
                self.counters.replacements.add(1);
                true
            }
            Err(fault) => {
                self.faulted(&fault, now_us, random);
                false
            }
        }
    }

    /// Lets `instance` sit down, in the empty seat or in another's place.
    fn seat(&mut self, instance: Instance, now_us: u64) {
        self.instance = Some(instance);
        self.successor = None;
        self.recycling.begin(now_us);
    }

    #[cold]
    fn over_budget(&mut self, now_us: u64, random: u64) {
        let budget = self.strategy.settings().budget;
        let fault = Fault::new(
            FaultKind::Budget,
            format!(
                "all calls together took more CPU time than {} a second",
                humantime::format_duration(budget)
            ),
        );
        self.faulted(&fault, now_us, random);
    }

    #[cold]
    fn faulted(&mut self, fault: &Fault, now_us: u64, random: u64) {
        self.instance = None;
        self.outcomes.clear();
        self.counters.fault(fault.kind);
        let gravity = match fault.kind {
            FaultKind::Budget => Gravity::Lasting,
            _ => Gravity::Single,
        };
        let conduct = self.strategy.conduct();
        let quarantine = conduct.fault(gravity, now_us, spread(random, 3));
        let (pool, plugin) = (&*self.settings.label.pool, &*self.settings.label.plugin);
        let (kind, error) = (fault.kind.as_str(), &fault.message);
        let version = self.strategy.version();
        tracing::warn!(pool, plugin, version, kind, error, "plugin faulted");
        if let Some(time) = quarantine {
            let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(pool, plugin, version, time_ms, "plugin in quarantine");
        }
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
        if !self.strategy.conduct().is_trusted() {
            // Put there by another worker's faults, perhaps: its memory is free.
            self.instance = None;
            self.successor = None;
            self.outcomes.clear();
            return;
        }
        self.hand_over_outcomes(now_us);
        if let Some(instance) = &self.instance {
            self.counters.memory(instance.memory_high_water());
        }
        self.recycle_if_due(now_us);
    }

    fn hand_over_outcomes(&mut self, now_us: u64) {
        if self.outcomes.is_empty() {
            return;
        }
        let Some(instance) = &mut self.instance else {
            return;
        };
        let begin = thread_cpu_time();
        let result = instance.observe(&self.outcomes);
        let taken = self.meter.add(begin);
        self.counters.call_took(taken, 1);
        self.outcomes.clear();
        if let Err(fault) = result {
            self.faulted(&fault, now_us, now_us);
        }
    }

    /// Replaces an instance that is worn out before it fails a request. Its
    /// successor is started elsewhere and takes the seat when it is ready: what
    /// is left to do here is to hand the state over.
    fn recycle_if_due(&mut self, now_us: u64) {
        match &self.successor {
            Some((successor, reason)) => {
                let reason = *reason;
                if let Some(started) = successor.take() {
                    self.successor = None;
                    self.recycle(started, reason, now_us);
                }
            }
            None => self.look_for_wear(now_us),
        }
    }

    fn look_for_wear(&mut self, now_us: u64) {
        let Some(instance) = &self.instance else {
            return;
        };
        match self.recycling.look(instance.memory_high_water(), now_us) {
            Verdict::Stays => {}
            Verdict::HeldBack(time) => self.log_held_back(time),
            Verdict::Due(reason) => {
                let members = self.members.clone();
                let successor = Successor::begin(&self.plugin, &self.settings, members);
                self.successor = Some((successor, reason));
            }
        }
    }

    /// Puts the successor in the place of the instance, if there is one of each:
    /// where the instance has gone, the next pick starts another.
    fn recycle(&mut self, started: Result<Instance, Fault>, reason: Recycled, now_us: u64) {
        let Some(instance) = &self.instance else {
            return;
        };
        let (calls, memory) = (self.recycling.calls(), instance.memory_high_water());
        let replaced = started.and_then(|mut successor| {
            // They may have changed while it was being started.
            successor.set_members(self.members.clone());
            let saved = self.save();
            self.hand_over(successor, saved.as_deref())
        });
        let (pool, plugin) = (&*self.settings.label.pool, &*self.settings.label.plugin);
        match replaced {
            Ok(successor) => {
                let reason_name = reason.as_str();
                tracing::debug!(
                    pool,
                    plugin,
                    reason = reason_name,
                    calls,
                    memory,
                    "plugin instance recycled"
                );
                self.seat(successor, now_us);
                self.counters.recycled(reason);
            }
            // Nobody was kept waiting for it, and the old one still answers.
            Err(fault) => {
                let error = &fault.message;
                tracing::warn!(pool, plugin, error, "plugin instance cannot be recycled");
                self.recycling.postpone(now_us);
            }
        }
    }

    fn log_held_back(&self, time: Duration) {
        tracing::warn!(
            pool = &*self.settings.label.pool,
            plugin = &*self.settings.label.plugin,
            recycle_memory = self.strategy.settings().recycle_memory,
            seconds = time.as_secs(),
            "plugin fills its memory within a second: its instances are kept longer"
        );
    }

    pub(super) fn replan_due(&self, now_us: u64, generation: u32) -> bool {
        self.is_planner()
            && (now_us >= self.next_plan_us || self.plan_generation != Some(generation))
    }

    pub(super) fn replan_if_due(&mut self, rows: &[Row], now_us: u64, generation: u32) -> bool {
        if rows.is_empty() || !self.replan_due(now_us, generation) {
            return false;
        }
        if !self.strategy.conduct().is_trusted() {
            let request = PickRequest {
                now_us,
                generation,
                ..PickRequest::default()
            };
            self.offer(rows, &request, &Inbound::default());
            return false;
        }
        if self.instance.is_none() && !self.replace(now_us, now_us) {
            return false;
        }
        let Some(instance) = &mut self.instance else {
            return false;
        };
        self.recycling.called();
        let begin = thread_cpu_time();
        let plan = instance
            .plan(rows)
            .and_then(|routing| checked_plan(routing, rows));
        let taken = self.meter.add(begin);
        self.counters.call_took(taken, 1);
        if self.meter.is_over_budget(now_us) {
            self.over_budget(now_us, now_us);
            return false;
        }
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

/// The plan, if it makes sense for `rows`. What goes wrong in the host on the
/// way there is the plugin's fault as well, and nobody else's.
pub(crate) fn checked_plan(routing: Routing, rows: &[Row]) -> Result<Plan, Fault> {
    catch_unwind(AssertUnwindSafe(|| Plan::new(routing, rows))).unwrap_or_else(|_panic| {
        Err(Fault::new(
            FaultKind::Panic,
            "the host panicked while it checked the plan",
        ))
    })
}

/// The answer, if it makes sense for a list of `backends`.
#[inline]
pub(crate) fn checked(answer: Answer, tag: u64, backends: usize) -> Result<Answered, Fault> {
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
