//! The plugin under test, and one instance of it that chooses.

use std::sync::Arc;
use std::time::Duration;

use crate::config::StrategySettings;
use crate::plugin::{Fault, Instance, InstanceSettings, Label, Plugin, SharedSlots};
use crate::pool::Row;
use crate::strategy::{
    Answered, Inbound, Outcome, Pick, PickRequest, Plan, Routing, checked, checked_plan, spread,
};

use super::{Counterexample, made_up, scene};

/// What a plugin is tested with.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Everything that is random follows from it.
    pub seed: u64,
    /// Calls that it must bear.
    pub calls: u64,
    /// Wall time after which no more of them are made.
    pub time: Duration,
}

/// A plugin that is tested: compiled, and what its instances are started with.
pub struct Subject {
    plugin: Arc<Plugin>,
    name: Arc<str>,
    settings: StrategySettings,
    terms: Terms,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This index, in range.
    Backend(usize),
    /// No opinion: the proxy's own fallback decides.
    Fallback,
    /// Nothing suitable now, or not for this request.
    Nobody,
}

impl Subject {
    /// A plugin to be tested with the limits and the configuration of `settings`.
    ///
    /// # Errors
    /// When the proxy would refuse to start it so; says why.
    pub fn new(
        plugin: Arc<Plugin>,
        name: &str,
        settings: StrategySettings,
        terms: Terms,
    ) -> Result<Self, String> {
        if !settings.config.is_empty() && !plugin.takes_configuration() {
            return Err("it takes no configuration, but one is given".to_owned());
        }
        let subject = Self {
            plugin,
            name: name.into(),
            settings,
            terms,
        };
        match subject.start(&scene::equal(3)) {
            Ok(_) => Ok(subject),
            Err(fault) => Err(format!("it does not start: {fault}")),
        }
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Most linear memory of an instance, in bytes.
    pub(super) fn memory_limit(&self) -> usize {
        self.settings.memory
    }

    #[cfg(test)]
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.terms.seed = seed;
    }

    /// Random numbers, other ones for every `stream`.
    pub(super) fn random(&self, stream: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(spread(self.terms.seed, stream))
    }

    /// A fresh instance in a pool of `rows`.
    pub(super) fn start(&self, rows: &[Row]) -> Result<Chooser, Fault> {
        self.start_with(&self.settings.config, rows)
    }

    /// A fresh instance with another configuration.
    pub(super) fn start_with(&self, config: &str, rows: &[Row]) -> Result<Chooser, Fault> {
        let settings = InstanceSettings {
            label: Label {
                pool: "test".into(),
                plugin: self.name.clone(),
            },
            config: config.into(),
            deadline: self.settings.deadline,
            memory: self.settings.memory,
            shared: Arc::new(SharedSlots::default()),
        };
        Ok(Chooser {
            instance: Instance::start(&self.plugin, &settings, made_up::members(rows))?,
            is_planner: self.plugin.is_planner(),
            reads_requests: self.plugin.imports().iter().any(|name| name == "inbound"),
            plan_interval_us: self.settings.plan_interval.as_micros() as u64,
            plan: None,
        })
    }
}

/// An instance that chooses as the proxy has it choose: a strategy is asked for every
/// request, a planner for a plan when the pool changed or the plan has become old.
pub(super) struct Chooser {
    instance: Instance,
    is_planner: bool,
    reads_requests: bool,
    plan_interval_us: u64,
    plan: Option<Planned>,
}

struct Planned {
    plan: Plan,
    generation: u32,
    made_us: u64,
}

impl Chooser {
    /// It makes plans.
    pub(super) fn is_planner(&self) -> bool {
        self.is_planner
    }

    /// The pool consists of `rows` from now on.
    pub(super) fn pool_is(&mut self, rows: &[Row]) {
        self.instance.set_members(made_up::members(rows));
    }

    /// Chooses one of `rows`, which are not empty; and what was given to `inbound.tag`.
    pub(super) fn choose(
        &mut self,
        rows: &[Row],
        request: &PickRequest,
    ) -> Result<(Choice, u64), Fault> {
        if self.is_planner {
            return Ok((self.look_up(rows, request)?, 0));
        }
        let mut inbound = match self.reads_requests {
            true => made_up::inbound(request),
            false => Inbound::default(),
        };
        let (answer, tag) = self.instance.pick(rows, request, &mut inbound)?;
        let choice = match checked(answer, tag, rows.len())? {
            Answered::Pick(Pick::Backend(index), _) => Choice::Backend(index),
            Answered::Pick(Pick::Wait | Pick::Reject(_), _) => Choice::Nobody,
            Answered::NoOpinion(_) | Answered::Fault => Choice::Fallback,
        };
        Ok((choice, tag))
    }

    /// Makes a plan, whether or not one is due; it is valid.
    pub(super) fn plan(&mut self, rows: &[Row]) -> Result<Routing, Fault> {
        let routing = self.instance.plan(rows)?;
        checked_plan(routing.clone(), rows)?;
        Ok(routing)
    }

    fn look_up(&mut self, rows: &[Row], request: &PickRequest) -> Result<Choice, Fault> {
        let is_fresh = |planned: &&Planned| {
            let age_us = request.now_us.saturating_sub(planned.made_us);
            planned.generation == request.generation && age_us < self.plan_interval_us
        };
        if self.plan.as_ref().filter(is_fresh).is_none() {
            self.plan = Some(Planned {
                plan: checked_plan(self.instance.plan(rows)?, rows)?,
                generation: request.generation,
                made_us: request.now_us,
            });
        }
        let found = self
            .plan
            .as_ref()
            .and_then(|planned| planned.plan.pick(rows, request, false));
        Ok(found.map_or(Choice::Fallback, Choice::Backend))
    }

    /// Hands outcomes over, if they are wanted.
    pub(super) fn observe(&mut self, outcomes: &[Outcome]) -> Result<(), Fault> {
        self.instance.observe(outcomes)
    }

    /// Its state, if it keeps one.
    pub(super) fn save(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.instance.save()
    }

    /// Gives it a state; the inner error is its own.
    pub(super) fn restore(&mut self, saved: &[u8]) -> Result<Result<(), String>, Fault> {
        self.instance.restore(saved)
    }

    /// Most linear memory it has held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.instance.memory_high_water()
    }
}

/// A fault is what somebody was given, and what came of it.
pub(super) trait Given<T> {
    /// As a counterexample, with what was given.
    fn given(self, input: impl FnOnce() -> String) -> Result<T, Counterexample>;
}

impl<T> Given<T> for Result<T, Fault> {
    fn given(self, input: impl FnOnce() -> String) -> Result<T, Counterexample> {
        self.map_err(|fault| Counterexample {
            input: input(),
            answer: fault.to_string(),
        })
    }
}
