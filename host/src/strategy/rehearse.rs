//! A rehearsal: what a plugin goes through before it may touch a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::plugin::{Fault, Instance, InstanceSettings, Plugin, SharedSlots};
use crate::pool::Row;

use super::prepare::Strategy;
use super::seat::{checked, checked_plan};
use super::{Failure, Inbound, MembersHandle, Outcome, PickRequest, spread};

/// Picks of one rehearsal, unless the plugin is slow.
const PICKS: u32 = 2000;
/// Plans of one rehearsal.
const PLANS: u32 = 20;
/// A slow plugin is not rehearsed longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Outcomes that are handed over at once.
const BATCH: usize = 128;

/// What a rehearsal has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Picks made, plans for a planner; 0 for the fallback.
    pub calls: u32,
    /// Wall time of one, on average.
    pub per_call: Duration,
    /// Most linear memory held, in bytes.
    pub memory: usize,
    /// What became of the state of the strategy before it.
    pub state: HandOver,
}

/// Whether a strategy's state goes over to its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// One of the two keeps none.
    None,
    /// It was taken.
    Taken,
    /// The successor starts without it, because of this.
    Refused(String),
}

impl Strategy {
    /// Starts a throw-away instance and has it decide some thousand times on
    /// `rows` (the live pool, or made-up backends when empty), on all and on
    /// parts of them, under the same limits as in service. Its state, if it
    /// keeps one, must come through `save` and `restore`, and it is given a
    /// state of `before`, the strategy that it is to replace. The counters of
    /// `shared` are not touched. Takes up to a second or so: never on a worker.
    ///
    /// # Errors
    /// The first fault, with pool and plugin named.
    pub fn rehearse(
        &self,
        rows: &[Row],
        members: MembersHandle,
        before: Option<&Self>,
    ) -> Result<Rehearsal> {
        let Some(plugin) = self.plugin() else {
            return Ok(Rehearsal {
                calls: 0,
                per_call: Duration::ZERO,
                memory: 0,
                state: HandOver::None,
            });
        };
        let made_up;
        let rows = if rows.is_empty() {
            made_up = made_up_rows();
            &made_up[..]
        } else {
            rows
        };
        let settings = self.instance_settings(Arc::new(SharedSlots::default()));
        let saved = before.and_then(|before| before.play_for_state(rows, &members));
        let actor = Actor {
            plugin,
            settings: &settings,
            members: &members,
        };
        actor.play(rows, saved.as_deref()).with_context(|| {
            format!(
                "pool {}: plugin {} failed its rehearsal",
                self.pool(),
                self.name()
            )
        })
    }

    /// The state of a throw-away instance that has decided for a while; `None`
    /// when it keeps none or faults, which is not its successor's fault.
    fn play_for_state(&self, rows: &[Row], members: &MembersHandle) -> Option<Vec<u8>> {
        let plugin = self.plugin().filter(|plugin| plugin.has_state())?;
        let settings = self.instance_settings(Arc::new(SharedSlots::default()));
        let mut instance = Instance::start(plugin, &settings, members.clone()).ok()?;
        decide(plugin, &mut instance, rows).ok()?;
        instance.save().ok().flatten()
    }
}

/// A plugin that is rehearsed, and what its instances are started with.
struct Actor<'a> {
    plugin: &'a Arc<Plugin>,
    settings: &'a InstanceSettings,
    members: &'a MembersHandle,
}

impl Actor<'_> {
    fn play(&self, rows: &[Row], predecessors: Option<&[u8]>) -> Result<Rehearsal, Fault> {
        let mut instance = self.start()?;
        let begin = Instant::now();
        let calls = decide(self.plugin, &mut instance, rows)?;
        let per_call = begin.elapsed() / calls.max(1);
        if let Some(saved) = instance.save()? {
            // Whether it takes the state is its own affair; a fault is not.
            let _taken = self.start()?.restore(&saved)?;
        }
        Ok(Rehearsal {
            calls,
            per_call,
            memory: instance.memory_high_water(),
            state: self.hand_over(predecessors)?,
        })
    }

    fn hand_over(&self, saved: Option<&[u8]>) -> Result<HandOver, Fault> {
        let Some(saved) = saved.filter(|_| self.plugin.has_state()) else {
            return Ok(HandOver::None);
        };
        Ok(match self.start()?.restore(saved)? {
            Ok(()) => HandOver::Taken,
            Err(why) => HandOver::Refused(why),
        })
    }

    fn start(&self) -> Result<Instance, Fault> {
        Instance::start(self.plugin, self.settings, self.members.clone())
    }
}

fn decide(plugin: &Plugin, instance: &mut Instance, rows: &[Row]) -> Result<u32, Fault> {
    let begin = Instant::now();
    if plugin.is_planner() {
        plan(instance, rows, begin)
    } else {
        pick(instance, rows, begin)
    }
}

fn pick(instance: &mut Instance, rows: &[Row], begin: Instant) -> Result<u32, Fault> {
    let mut live = rows.to_vec();
    let mut outcomes = Vec::with_capacity(BATCH);
    for number in 0..PICKS {
        let random = spread(u64::from(number), 0) >> 11;
        stir(&mut live, random);
        let shown = &live[..shown(number, live.len())];
        let (answer, tag) = instance.pick(shown, &request(number, random), &mut inbound())?;
        match checked(answer, tag, shown.len()) {
            Ok(_) => {}
            // `return 1` is a fair first try: on a list that a retry made
            // shorter the fallback will answer. On the whole pool it must be right.
            Err(_) if shown.len() < live.len() => {}
            Err(fault) => return Err(fault),
        }
        outcomes.push(outcome(&shown[0], tag, random));
        if outcomes.len() == BATCH {
            instance.observe(&outcomes)?;
            outcomes.clear();
        }
        if begin.elapsed() > PATIENCE {
            return Ok(number + 1);
        }
    }
    Ok(PICKS)
}

fn plan(instance: &mut Instance, rows: &[Row], begin: Instant) -> Result<u32, Fault> {
    let mut live = rows.to_vec();
    for number in 0..PLANS {
        stir(&mut live, spread(u64::from(number), 0));
        let shown = &live[..shown(number, live.len())];
        let routing = instance.plan(shown)?;
        checked_plan(routing, shown)?;
        if begin.elapsed() > PATIENCE {
            return Ok(number + 1);
        }
    }
    Ok(PLANS)
}

/// How many of the backends a pick is shown: mostly all, now and then fewer.
fn shown(number: u32, all: usize) -> usize {
    match number % 8 {
        3 => 1,
        5 => all.div_ceil(2),
        _ => all,
    }
}

/// Changes what a strategy looks at: load, latency, failures.
fn stir(rows: &mut [Row], random: u64) {
    let row = &mut rows[super::below(random << 11, rows.len() as u64) as usize];
    let bits = |shift: u32, below: u64| ((random >> shift) % below) as u32;
    row.in_flight = bits(0, 64);
    row.latency_us = bits(6, 50_000);
    row.failures = bits(20, 10_001);
    row.utilization = bits(30, 10_001);
}

fn request(number: u32, random: u64) -> PickRequest {
    PickRequest {
        key: spread(random, 7) >> 11,
        random,
        sequence: u64::from(number),
        now_us: u64::from(number) * 1000,
        generation: number / 256,
        attempt: u32::from(number % 16 == 15),
    }
}

fn inbound() -> Inbound {
    Inbound::default()
}

fn outcome(row: &Row, tag: u64, random: u64) -> Outcome {
    let failed = random.is_multiple_of(16);
    Outcome {
        tag,
        id: row.id,
        latency_us: row.latency_us,
        status: if failed { 0 } else { 200 },
        failure: if failed {
            Failure::Connect
        } else {
            Failure::None
        },
        attempt: 0,
    }
}

fn made_up_rows() -> Vec<Row> {
    let row = |id| Row {
        id,
        weight: id,
        ..Row::default()
    };
    (1..=3).map(row).collect()
}
