//! What a plugin costs: a pick, a plan, a start, its compilation, its memory.
//!
//! Calls are made through the proxy's own instance, with its limits and deadline, and
//! each is timed by itself with the wall clock; what reading the clock takes is measured
//! first and taken off. Sizes take turns, so that whatever else the machine does falls
//! on all of them alike.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::conformance::made_up;
use crate::config::StrategySettings;
use crate::plugin::{Binary, Engine, Instance, InstanceSettings, Label, Plugin, SharedSlots};
use crate::pool::Row;
use crate::strategy::{PickRequest, checked_plan, spread};

/// Times that a plugin is started; the median is told.
const STARTS: usize = 15;
/// Turns that the sizes take, and how long each has.
const TURNS: usize = 10;
const TURN: Duration = Duration::from_millis(30);
/// Calls of the first turn that are not counted: caches are cold, memory is fetched.
const WARM_UP: usize = 20;

/// What was measured of one plugin.
pub struct Figures {
    /// Bytes of its file.
    pub size: usize,
    /// It makes plans: `calls` are those of `plan`.
    pub is_planner: bool,
    /// Bytes to machine code, with nothing kept from before.
    pub compile: Duration,
    /// A new instance, configured.
    pub start: Duration,
    /// Most linear memory after all calls, in bytes.
    pub memory: usize,
    /// By the number of backends.
    pub calls: Vec<Calls>,
}

/// Calls with one number of backends, in nanoseconds.
pub struct Calls {
    /// Backends in the list.
    pub backends: u32,
    /// Half of the calls took no longer.
    pub p50: f64,
    /// All but one in a hundred took no longer.
    pub p99: f64,
    /// A look-up in the plan; for planners only.
    pub look_up: Option<f64>,
}

/// Measures the plugin in `binary` as `settings` say, with each of `sizes` backends.
///
/// # Errors
/// Where the proxy would refuse it, or it fails a call; says why.
pub fn measure(
    engine: &Engine,
    binary: &Binary,
    settings: &StrategySettings,
    sizes: &[u32],
) -> Result<Figures> {
    let begin = Instant::now();
    let plugin = Plugin::compile_once(engine, binary)?;
    let compile = begin.elapsed();
    let mut subject = Subject::new(plugin, binary, settings, sizes)?;
    let start = subject.median_start()?;
    let samples = subject.samples()?;
    let clock = clock_cost();
    let calls = samples.into_iter().map(|samples| samples.told(clock));
    Ok(Figures {
        size: binary.bytes().len(),
        is_planner: subject.plugin.is_planner(),
        compile,
        start,
        calls: calls.collect(),
        memory: subject.instance.memory_high_water(),
    })
}

/// One plugin, and the pools that it is asked about.
struct Subject {
    plugin: Arc<Plugin>,
    settings: InstanceSettings,
    instance: Instance,
    pools: Vec<Vec<Row>>,
    /// Requests so far.
    sequence: u64,
}

impl Subject {
    fn new(
        plugin: Arc<Plugin>,
        binary: &Binary,
        settings: &StrategySettings,
        sizes: &[u32],
    ) -> Result<Self> {
        let settings = InstanceSettings {
            label: Label {
                pool: "bench".into(),
                plugin: binary.name().clone(),
            },
            config: settings.config.as_str().into(),
            deadline: settings.deadline,
            memory: settings.memory,
            shared: Arc::new(SharedSlots::default()),
        };
        let pools: Vec<Vec<Row>> = sizes.iter().map(|size| rows(*size)).collect();
        Ok(Self {
            instance: start(&plugin, &settings, &pools)?,
            plugin,
            settings,
            pools,
            sequence: 0,
        })
    }

    fn median_start(&self) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let begin = Instant::now();
            let instance = start(&self.plugin, &self.settings, &self.pools)?;
            times.push(begin.elapsed());
            drop(instance);
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    /// Samples for each pool.
    fn samples(&mut self) -> Result<Vec<Samples>> {
        let mut all: Vec<Samples> = self.pools.iter().map(|pool| Samples::of(pool)).collect();
        for turn in 0..TURNS {
            for (index, samples) in all.iter_mut().enumerate() {
                self.turn(index, turn == 0, samples)?;
            }
        }
        Ok(all)
    }

    fn turn(&mut self, pool: usize, is_first: bool, samples: &mut Samples) -> Result<()> {
        let skipped = if is_first { WARM_UP } else { 0 };
        for _ in 0..skipped {
            self.call(pool, samples)?;
        }
        let begin = Instant::now();
        // One at least, however long it takes.
        loop {
            let took = self.call(pool, samples)?;
            samples.calls.push(took.as_nanos() as f64);
            if begin.elapsed() >= TURN {
                return Ok(());
            }
        }
    }

    /// One call, timed; a plan is looked up in as well.
    fn call(&mut self, pool: usize, samples: &mut Samples) -> Result<Duration> {
        let request = request(self.sequence);
        self.sequence += 1;
        let rows = &self.pools[pool];
        let failed = |fault| anyhow!("with {} backends: {fault}", rows.len());
        if self.plugin.is_planner() {
            let begin = Instant::now();
            let routing = self.instance.plan(rows).map_err(failed)?;
            let took = begin.elapsed();
            let plan = checked_plan(routing, rows).map_err(failed)?;
            samples.look_ups.push(look_up_time(&plan, rows, request));
            return Ok(took);
        }
        let mut inbound = made_up::inbound(&request);
        let begin = Instant::now();
        let answer = self.instance.pick(rows, &request, &mut inbound);
        let took = begin.elapsed();
        black_box(answer.map_err(failed)?);
        Ok(took)
    }
}

/// Nanoseconds, a call each.
struct Samples {
    backends: u32,
    calls: Vec<f64>,
    look_ups: Vec<f64>,
}

impl Samples {
    fn of(pool: &[Row]) -> Self {
        Self {
            backends: pool.len() as u32,
            calls: Vec::new(),
            look_ups: Vec::new(),
        }
    }

    fn told(mut self, clock: f64) -> Calls {
        let calls = &mut self.calls;
        Calls {
            backends: self.backends,
            p50: (percentile(calls, 50) - clock).max(0.0),
            p99: (percentile(calls, 99) - clock).max(0.0),
            look_up: (!self.look_ups.is_empty()).then(|| percentile(&mut self.look_ups, 50)),
        }
    }
}

fn start(
    plugin: &Arc<Plugin>,
    settings: &InstanceSettings,
    pools: &[Vec<Row>],
) -> Result<Instance> {
    // Ids begin anew in each pool, so the largest has them all.
    let largest = pools.iter().max_by_key(|pool| pool.len());
    let members = made_up::members(largest.map_or(&[], |pool| &pool[..]));
    Instance::start(plugin, settings, members)
        .map_err(|fault| anyhow!("it does not start: {fault}"))
}

/// Nanoseconds of one look-up, which is too short to be timed alone.
fn look_up_time(plan: &crate::strategy::Plan, rows: &[Row], request: PickRequest) -> f64 {
    const LOOK_UPS: u64 = 256;
    let requests = (0..LOOK_UPS).map(|number| self::request(request.sequence + number));
    let requests: Vec<PickRequest> = requests.collect();
    let begin = Instant::now();
    for request in &requests {
        black_box(plan.pick(rows, request, true));
    }
    begin.elapsed().as_nanos() as f64 / LOOK_UPS as f64
}

/// What reading the clock takes, which is part of every sample.
fn clock_cost() -> f64 {
    let mut samples: Vec<f64> = (0..1_000)
        .map(|_| {
            let begin = Instant::now();
            begin.elapsed().as_nanos() as f64
        })
        .collect();
    percentile(&mut samples, 50)
}

/// The sample that so many of a hundred do not exceed; 0 of none.
fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let index = (samples.len() * percent / 100).min(samples.len().saturating_sub(1));
    samples.get(index).copied().unwrap_or(0.0)
}

/// A pool in the midst of traffic.
fn rows(size: u32) -> Vec<Row> {
    let row = |id: u32| {
        let bits = spread(u64::from(id), 1);
        Row {
            id,
            weight: 1 + id % 3,
            in_flight: (bits % 16) as u32,
            latency_us: 1_000 + (bits >> 8) as u32 % 20_000,
            zone: id % 4,
            ..Row::default()
        }
    };
    (1..=size).map(row).collect()
}

fn request(sequence: u64) -> PickRequest {
    PickRequest {
        key: spread(sequence, 2) >> 11,
        random: spread(sequence, 3) >> 11,
        sequence,
        now_us: sequence * 50,
        generation: 1,
        ..PickRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StrategySource;
    use crate::plugin::guests::{engine, wasm};

    fn figures(guest: &str) -> Result<Figures> {
        let settings = StrategySettings::new(StrategySource::Fallback);
        let binary = Binary::new(guest, wasm(guest));
        measure(engine(), &binary, &settings, &[3, 100])
    }

    #[test]
    fn a_strategy_and_a_planner_have_their_figures() {
        for (guest, is_planner) in [("always-first", false), ("planner-last", true)] {
            let figures = figures(guest).unwrap();
            assert_eq!(figures.is_planner, is_planner, "{guest}");
            assert!(figures.memory > 0 && figures.size > 0 && !figures.compile.is_zero());
            let sizes = figures.calls.iter().map(|calls| calls.backends);
            assert_eq!(sizes.collect::<Vec<_>>(), [3, 100]);
            for calls in figures.calls {
                assert!(0.0 < calls.p50 && calls.p50 <= calls.p99, "{guest}");
                assert_eq!(calls.look_up.is_some(), is_planner);
            }
        }
    }

    #[test]
    fn who_fails_is_not_measured() {
        let error = figures("trap").err().unwrap().to_string();
        assert!(error.starts_with("with 3 backends: "), "{error}");
    }

    #[test]
    fn percentiles_are_of_what_there_is() {
        let mut samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut samples, 50), 101.0);
        assert_eq!(percentile(&mut samples, 99), 199.0);
        assert_eq!(percentile(&mut [7.0], 99), 7.0);
        assert_eq!(percentile(&mut [], 50), 0.0);
    }
}
